"""A trainer that replays its steps leaves the same bytes as one that runs them op by op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import detect_anomaly, eager, manual_seed, nn, ops, optim
from tinygrad_norm.data import ArrayDataset, DataLoader, Prefetch, augmentation
from tinygrad_norm.plan import Captured
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training import Callback, Trainer
from tinygrad_norm.training.step import measure, predict, take_step

NORMS = {
    "batch": nn.BatchNorm2D,
    "layer": nn.LayerNorm2D,
    "group": lambda channels: nn.GroupNorm(2, channels),
    "instance": nn.InstanceNorm2D,
    "renorm": nn.BatchRenorm2D,
    "power": nn.PowerNorm,
}
OPTIMIZERS = {
    "sgd": lambda groups: optim.SGD(groups, 0.05, momentum=0.9, nesterov=True),
    "adamw": lambda groups: optim.AdamW(groups, 1e-3, amsgrad=True),
    "rmsprop": lambda groups: optim.RMSprop(groups, 1e-3, centered=True),
    "lookahead": lambda groups: optim.Lookahead(optim.Adam(groups, 1e-3), k=2),
}
SCHEDULES = {
    "none": lambda optimizer: None,
    "cosine": lambda optimizer: optim.CosineAnnealingLR(optimizer, 24, per_batch=True),
    "onecycle": lambda optimizer: optim.OneCycleLR(optimizer, 0.01, 24, cycle_momentum=False),
    "plateau": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=0),
}


def a_net(norm: str, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Conv2D(1, 4, 3, padding=1),
        NORMS[norm](4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(4 * 6 * 5, 3),
    )


def images(count: int) -> ArrayDataset:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(count, 1, 6, 5)).astype(np.float32)
    return ArrayDataset(inputs, generator.integers(0, 3, count))


def a_trainer(folder: Any, capture: bool, choice: dict[str, Any]) -> tuple[Trainer, Any]:
    manual_seed(3)
    model = a_net(choice["norm"], choice["dropout"])
    optimizer = OPTIMIZERS[choice["optimizer"]](optim.decay_groups(model, choice["decay"]))
    mix = augmentation.Mixup(0.5, 3) if choice["mix"] else None
    loader: Any = DataLoader(images(45), 8, shuffle=True, mix=mix, seed=2)  # the last batch has 5
    folder.mkdir(exist_ok=True)
    trainer = Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(label_smoothing=choice["smoothing"]),
        schedule=SCHEDULES[choice["schedule"]](optimizer),
        clip_norm=choice["clip_norm"],
        clip_adaptive=choice["clip_adaptive"],
        log=folder / "log.jsonl",
        checkpoint=folder / "checkpoint.safetensors",
        progress=False,
        capture=capture,
    )
    return trainer, Prefetch(loader) if choice["prefetch"] else loader


def drawn(seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    options: dict[str, list[Any]] = {
        "norm": [*NORMS],
        "optimizer": [*OPTIMIZERS],
        "schedule": [*SCHEDULES],
        "dropout": [0.0, 0.3],
        "decay": [0.0, 0.02],
        "mix": [False, True],
        "smoothing": [0.0, 0.1],
        "clip_norm": [None, 0.5],
        "clip_adaptive": [None, 0.02],
        "prefetch": [False, True],
    }
    return {name: values[generator.integers(len(values))] for name, values in options.items()}


def written(folder: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("seed", range(12))
def test_log_and_checkpoint_have_the_bytes_of_eager_steps(tmp_path, seed):
    choice = drawn(seed)
    for folder, capture in (("eager", False), ("captured", True)):
        trainer, loader = a_trainer(tmp_path / folder, capture, choice)
        trainer.fit(loader, 3, DataLoader(images(20), 8))
    assert trainer.take_step.why == "" == trainer.measure.why, choice
    assert written(tmp_path / "captured") == written(tmp_path / "eager"), choice


@pytest.mark.parametrize("seed", range(12, 16))
def test_a_run_goes_on_from_a_checkpoint_of_the_other_kind(tmp_path, seed):
    choice, found = drawn(seed), []
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
    choice = drawn(0) | {"schedule": "none", "mix": False}
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
        trainer, _ = a_trainer(tmp_path, capture, drawn(1) | {"mix": False, "norm": "batch", "optimizer": "sgd"})
        data = images(48)
        data.targets[42] = 7  # in the sixth batch
        with pytest.raises(Exception, match="7") as caught:
            trainer.fit(DataLoader(data, 8), 1)
        return f"{caught.type.__name__}: {caught.value}"

    assert failing(True) == failing(False)


def test_hooks_and_eager_blocks_see_each_op(tmp_path):
    trainer, loader = a_trainer(tmp_path, True, drawn(2))
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
