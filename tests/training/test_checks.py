"""What a Trainer refuses when it is made, and when it is given a loader."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training import EarlyStopping, Trainer

INPUTS, TARGETS = np.ones((4, 6), np.float32), np.zeros(4, np.int64)


def make():
    """The parts of a trainer, and the trainer."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), progress=False)
    return SimpleNamespace(model=model, optimizer=optimizer, trainer=trainer)


def refused(error, message, **changed):
    run = make()
    arguments = {"model": run.model, "optimizer": run.optimizer, "loss": nn.CrossEntropyLoss()} | changed
    with pytest.raises(error, match=message):
        Trainer(**arguments)


@pytest.mark.parametrize(
    ("schedule", "given"),
    [
        ([], "list"),
        (optim.StepLR, r"the class StepLR; did you mean StepLR\(\.\.\.\)\?"),
        (lambda step: 0.1, "function"),
        ("cosine", "'cosine'"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, given):
    refused(TypeError, f"schedule is one of optim's, such as optim.StepLR, got {given}", schedule=schedule)


@pytest.mark.parametrize("build", [lambda o: optim.StepLR(o, 1), optim.ReduceLROnPlateau])
def test_a_schedule_of_another_optimizer_is_refused(build):
    message = f"the schedule {type(build(make().optimizer)).__name__} writes the learning rates of another optimizer"
    refused(ValueError, message, schedule=build(make().optimizer))
    run = make()
    around = optim.Lookahead(run.optimizer)
    for optimizer, schedule in ((around, build(run.optimizer)), (run.optimizer, build(around))):
        assert Trainer(run.model, optimizer, nn.CrossEntropyLoss(), schedule=schedule).schedule is schedule


def test_an_optimizer_of_another_model_is_refused_and_one_of_a_part_is_not():
    message = "none of the model's parameters, so nothing would be learned; was the model rebuilt or copied after"
    refused(ValueError, message, optimizer=make().optimizer)
    run = make()
    part = optim.SGD([*nn.Linear(2, 2).parameters(), *run.model.get_submodule("2").parameters()], lr=0.1)
    assert Trainer(run.model, part, nn.CrossEntropyLoss()).optimizer is part


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"loss": nn.CrossEntropyLoss},
            r"loss is a function of \(output, targets\), got the class CrossEntropyLoss; "
            r"did you mean CrossEntropyLoss\(\.\.\.\)\?",
        ),
        ({"loss": None}, r"loss is a function of \(output, targets\), got None"),
        ({"loss": "mse"}, r"loss is a function of \(output, targets\), got 'mse'"),
        ({"callbacks": EarlyStopping()}, "callbacks are a list of Callbacks, got EarlyStopping"),
        ({"callbacks": "early"}, "callbacks are a list of Callbacks, got 'early'"),
        ({"callbacks": [EarlyStopping]}, "each of callbacks is a Callback, got the class EarlyStopping; did"),
        ({"callbacks": [print]}, "each of callbacks is a Callback, got builtin_function_or_method"),
        ({"clip_norm": "1"}, "clip_norm is a number above 0, or None for no clipping, got '1'"),
        ({"clip_adaptive": "1"}, "clip_adaptive is a number above 0, or None for no clipping, got '1'"),
        ({"clip_norm": True}, "clip_norm is a number above 0, or None for no clipping, got True"),
    ],
)
def test_an_argument_of_another_kind_is_refused_in_words(changed, message):
    refused(TypeError, message, **changed)


@pytest.mark.parametrize("use", ["fit", "evaluate", "validation"])
def test_a_loss_that_returns_no_tensor_and_a_loader_that_is_none(use):
    run = make()
    call = {
        "fit": lambda loader: run.trainer.fit(loader, 1),
        "evaluate": run.trainer.evaluate,
        "validation": lambda loader: run.trainer.fit([(INPUTS, TARGETS)], 1, loader),
    }[use]
    name = {"fit": "fit: train_loader", "evaluate": "evaluate: loader", "validation": "fit: validation"}[use]
    expected = rf"{name} is a loader or a list of batches \(inputs, targets\), got"
    for loader, given in (
        (5, "int"),
        (DataLoader, "the class DataLoader"),
        (ArrayDataset(INPUTS, TARGETS), "a data set alone; did you"),
    ):
        with pytest.raises(TypeError, match=f"{expected} {given}"):
            call(loader)
    if use != "validation":
        with pytest.raises(TypeError, match=f"{expected} None"):
            call(None)
    run.trainer.loss = lambda output, targets: np.float64(1.5)
    with pytest.raises(TypeError, match="the loss's result is a Tensor, the mean over the batch, got float64"):
        call([(INPUTS, TARGETS)])


def test_a_generator_gives_one_epoch():
    message = "{} gave no batches{}; a generator gives one epoch; give a loader or a list"
    with pytest.raises(ValueError, match=message.format("the training loader", " in epoch 2")):
        make().trainer.fit(((INPUTS, TARGETS) for _ in range(2)), 2)
    with pytest.raises(ValueError, match=message.format("the loader", "")):
        make().trainer.fit([(INPUTS, TARGETS)], 2, ((INPUTS, TARGETS) for _ in range(2)))
