"""A trainer that replays its steps leaves the same bytes as one that runs them op by op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.recorded_runs import a_net, a_trainer, drawn, images, written
from tinygrad_norm import detect_anomaly, eager, manual_seed, nn, ops, optim
from tinygrad_norm.data import DataLoader
from tinygrad_norm.plan import Captured
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training import Callback, Trainer
from tinygrad_norm.training.step import measure, predict, take_step


@pytest.mark.parametrize("seed", range(12))
def test_log_and_checkpoint_have_the_bytes_of_eager_steps(tmp_path, seed):
    choice = drawn(np.random.default_rng(seed))
    for folder, capture in (("eager", False), ("captured", True)):
        trainer, loader = a_trainer(tmp_path / folder, capture, choice)
        trainer.fit(loader, 3, DataLoader(images(20), 8))
    assert trainer.take_step.why == "" == trainer.measure.why, choice
    assert written(tmp_path / "captured") == written(tmp_path / "eager"), choice


@pytest.mark.parametrize("seed", range(12, 16))
def test_a_run_goes_on_from_a_checkpoint_of_the_other_kind(tmp_path, seed):
    choice, found = drawn(np.random.default_rng(seed)), []
    for first, then in ((False, False), (True, False), (False, True), (True, True)):
        folder = tmp_path / f"{first}{then}"
        trainer, loader = a_trainer(folder, first, choice)
        trainer.fit(loader, 2)
        trainer, loader = a_trainer(folder, then, choice)
        trainer.resume(folder / "checkpoint.safetensors", loader)
        trainer.fit(loader, 4)
        found.append(written(folder))
    assert found[1:] == found[:1] * 3, choice


class Poisoned(Callback):
    """Makes one weight NaN before the seventh step."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        if trainer.batch == 6:
            weight = next(trainer.model.parameters())
            weight.data = np.where(np.arange(weight.size).reshape(weight.shape) == 3, np.nan, weight.numpy())


@pytest.mark.parametrize("capture", [False, True])
def test_nothing_is_learned_from_a_loss_that_is_not_finite(tmp_path, capture):
    choice = drawn(np.random.default_rng(0)) | {"schedule": "none", "mix": False}
    trainer, _ = a_trainer(tmp_path, capture, choice)
    trainer.callbacks.insert(0, Poisoned())
    loader = DataLoader(images(80), 8, seed=2)
    before: dict[str, bytes] = {}

    class Keeper(Callback):
        def on_batch_end(self, trainer: Trainer, loss: float) -> None:
            before.update({name: each.raw.tobytes() for name, each in trainer.model.named_parameters()})

    trainer.callbacks.append(Keeper())
    with pytest.raises(FloatingPointError, match="epoch 1, batch 7: the loss is nan; try lr below"):
        trainer.fit(loader, 1)
    assert {name: each.raw.tobytes() for name, each in trainer.model.named_parameters()} == before
    steps = {state["step"] for state in trainer.optimizer.state.values()}
    assert steps == {6}
    if capture:
        assert isinstance(trainer.take_step, Captured)
        assert trainer.take_step.plans


def test_an_error_inside_of_a_replay_is_the_eager_one(tmp_path):
    def failing(capture: bool) -> str:
        trainer, _ = a_trainer(
            tmp_path, capture, drawn(np.random.default_rng(1)) | {"mix": False, "norm": "batch", "optimizer": "sgd"}
        )
        data = images(48)
        data.targets[42] = 7  # in the sixth batch
        with pytest.raises(Exception, match="7") as caught:
            trainer.fit(DataLoader(data, 8), 1)
        return f"{caught.type.__name__}: {caught.value}"

    assert failing(True) == failing(False)


def test_hooks_and_eager_blocks_see_each_op(tmp_path):
    trainer, loader = a_trainer(tmp_path, True, drawn(np.random.default_rng(2)))
    with detect_anomaly():
        trainer.fit(loader, 1)
    assert "hooks" in trainer.take_step.why
    with eager():
        trainer.fit(loader, 2)
    assert trainer.take_step.why == "eager() asks for it"
    assert trainer.take_step.plans == []
    trainer.fit(loader, 4)
    assert trainer.take_step.why == ""


def test_a_loss_that_python_decides_on_is_never_stale(tmp_path):
    def loss(output: Tensor, targets: Any) -> Tensor:
        scale = 2.0 if targets.sum() % 2 else 1.0
        return ops.cross_entropy(output, targets) * scale

    records = []
    for capture in (False, True):
        manual_seed(0)
        model = a_net("batch")
        trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), loss, progress=False, capture=capture)
        records.append(trainer.fit(DataLoader(images(40), 8), 2))
    assert records[0] == records[1]
    assert "reads elements" in trainer.take_step.why


def test_the_functions_of_a_step_say_what_they_return():
    model = nn.Linear(3, 2)
    x, target = np.ones((4, 3), np.float32), np.zeros(4, np.int64)
    output, loss = measure(model, nn.CrossEntropyLoss(), x, target)
    assert loss is not None
    assert np.array_equal(predict(model, x).numpy(), output.numpy())
    assert measure(model, None, x, target)[1] is None
    made, before = take_step(model, optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss(), x, target)
    assert not made.requires_grad
    assert before.item() == loss.item()
    with pytest.raises(ValueError, match="one number"):
        measure(model, lambda output, target: output, x, target)
