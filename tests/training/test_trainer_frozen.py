"""What a user put in inference before training stays so."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training import Callback, Trainer

RNG = np.random.default_rng(0)
DATA = ArrayDataset(RNG.normal(2, 3, size=(20, 4)).astype(np.float32), RNG.integers(0, 3, 20))


def a_model():
    return nn.Sequential(
        nn.BatchNorm1D(4), nn.Linear(4, 3), nn.Sequential(nn.BatchNorm1D(3), nn.Dropout()), nn.Linear(3, 3)
    )


def a_trainer(model, **options):
    return Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), **{"progress": False} | options)


def fit(trainer, epochs=2):
    loader = DataLoader(DATA, 10)
    trainer.fit(loader, epochs, loader)


def tracked(model):
    """How many batches have moved the statistics of each norm."""
    return model[0].num_batches_tracked.item(), model[2][0].num_batches_tracked.item()


def training(model):
    return [path for path, part in model.named_modules() if part.training]


def test_a_norm_frozen_by_its_own_eval_does_not_drift():
    model = a_model()
    model[0].eval()
    before = model[0].running_mean.tolist()
    trainer = a_trainer(model)
    fit(trainer)
    assert tracked(model) == (0, 4)
    assert model[0].running_mean.tolist() == before
    assert training(model) == ["", "1", "2", "2.0", "2.1", "3"]
    assert trainer.frozen == ["0"]


def test_a_part_with_all_inside_it_stays_in_inference():
    model = a_model()
    model[2].eval()
    trainer = a_trainer(model)
    fit(trainer)
    trainer.evaluate(DataLoader(DATA, 10))
    assert tracked(model) == (4, 0)
    assert training(model) == ["", "0", "1", "3"]


def test_a_model_in_inference_as_a_whole_is_trained_as_a_whole():
    model = a_model().eval()
    fit(a_trainer(model))
    assert tracked(model) == (4, 4)
    assert len(training(model)) == 7


def test_of_a_model_of_which_a_part_trains_only_that_part_does():
    model = a_model().eval()
    model[2].train()
    fit(a_trainer(model))
    assert tracked(model) == (0, 4)
    assert training(model) == ["2", "2.0", "2.1"]


def test_what_was_frozen_stays_so_after_the_model_was_used():
    model = a_model()
    model[0].eval()
    trainer = a_trainer(model)
    fit(trainer, 1)
    model.eval()
    fit(trainer, 2)
    assert tracked(model) == (0, 4)
    model.train()  # what thaws it
    fit(trainer, 3)
    assert tracked(model) == (2, 6)
    model.eval()
    fit(trainer, 4)
    assert tracked(model) == (4, 8)


def test_callbacks_may_freeze_and_thaw_between_epochs():
    class Freezes(Callback):
        def on_epoch_end(self, trainer, record):
            trainer.model[0].train(trainer.epoch == 2)

    class Uses(Callback):
        def on_epoch_end(self, trainer, record):
            trainer.model.eval()

    model = a_model()
    fit(a_trainer(model, callbacks=[Freezes()]), 3)
    assert tracked(model) == (4, 6)  # not in the second epoch
    model = a_model()
    model[0].eval()
    fit(a_trainer(model, callbacks=[Uses()]), 3)
    assert tracked(model) == (0, 6)


@pytest.mark.parametrize("used", [False, True])
def test_frozen_parts_survive_a_resume(tmp_path, used):
    path = tmp_path / "run.safetensors"
    model = a_model()
    model[0].eval()
    trainer = a_trainer(model)
    fit(trainer, 1)
    if used:
        model.eval()
    trainer.save_checkpoint(path)

    model = a_model()
    trainer = a_trainer(model)
    trainer.resume(path, DataLoader(DATA, 10))
    assert "BatchNorm1D (eval)" in model.summary()
    fit(trainer, 2)
    assert tracked(model) == (0, 4)

    thawed = a_model()
    trainer = a_trainer(thawed)
    trainer.resume(path, DataLoader(DATA, 10))
    thawed.train()
    fit(trainer, 2)
    assert tracked(thawed) == (2, 4)

    model = a_model()  # what the new program freezes stays frozen too
    model[2].eval()
    trainer = a_trainer(model)
    trainer.resume(path, DataLoader(DATA, 10))
    fit(trainer, 2)
    assert tracked(model) == (0, 2)


def test_a_finished_fit_leaves_the_mode_alone():
    model = a_model()
    trainer = a_trainer(model)
    fit(trainer, 1)
    model.eval()
    fit(trainer, 1)
    assert training(model) == []


def test_training_says_what_stays_in_inference(capsys):
    model = a_model()
    model[2].eval()
    fit(a_trainer(model, progress=True), 1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "in eval, and left so: 2"
    assert second.startswith("epoch 1/1  loss")
