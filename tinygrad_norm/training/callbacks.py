"""What can be done between batches and epochs: stop early, keep the best weights, write checkpoints and a log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_norm.checks import NOT_NEGATIVE, check_choice, check_integer, check_number
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.files import check_writable
from tinygrad_norm.schema import ARRAY, COUNT, NUMBER, check_form, optional
from tinygrad_norm.training.history import Record, measured
from tinygrad_norm.training.logs import append_jsonl

if TYPE_CHECKING:
    from tinygrad_norm.training.trainer import Trainer


class Callback:
    """Called by the Trainer as it goes along. Override what is wanted.

    What has to survive a resume goes through `state_dict` and `load_state_dict`, which checkpoints include.

    Example:
        >>> class Tell(training.Callback):
        ...     def on_epoch_end(self, trainer, record):
        ...         print(record["epoch"], [*record])
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> optimizer = optim.SGD(model.parameters())
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, callbacks=[Tell()], progress=False)
        >>> _ = trainer.fit(data.DataLoader(data.digits("test"), batch_size=71), epochs=1)
        1 ['epoch', 'lr', 'train_loss', 'train_accuracy']
    """

    state_form: Mapping[str, Any] = {}
    """The form of each attribute that survives a resume, unless the two methods are overridden; see `schema`."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Called before the first epoch of a `fit`."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Called before the first batch of an epoch, or the first after a resume inside it."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """Called after the optimizer's step, with the batch's mean loss; NaN where nothing counted, and no step was."""

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Called after validation, with what the epoch measured; it is already the last record of `trainer.history`."""

    def on_train_end(self, trainer: Trainer) -> None:
        """Called after the last epoch, or after the one that stopped early."""

    def on_interrupt(self, trainer: Trainer) -> None:
        """Called after Ctrl-C, between two batches; then training ends."""

    def close(self) -> None:
        """Called at the end of a `fit`, whatever ended it."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers from epoch to epoch."""
        return {name: getattr(self, name) for name in self.state_form}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        if self.state_form:
            check_form(state, self.state_form, f"the state of {type(self).__name__}")
        for name in self.state_form:
            setattr(self, name, state[name])


BEST: dict[str, Any] = {"best": optional(NUMBER)}


class Best(Callback):
    """Knows the best value of one quantity so far; what waits for better ones derives from it.

    Args:
        monitor: a name in the records, as "val_loss"; None watches nothing.
        mode: "min", "max", or None for what the name says: an accuracy should grow, all else fall.
        min_delta: by how much a value must be better to count.

    Raises:
        ValueError: `mode` is unknown, or `min_delta` negative or not finite.
    """

    state_form = BEST

    def __init__(self, monitor: str | None, mode: str | None = None, min_delta: float = 0.0) -> None:
        if mode is not None:
            check_choice("mode", mode, ("min", "max"))
        check_number("min_delta", min_delta, NOT_NEGATIVE)
        self.monitor = monitor
        self.mode = mode or ("max" if "accuracy" in (monitor or "") else "min")
        self.min_delta = min_delta
        self.best: float | None = None
        if monitor is None:
            self.state_form = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """Refuse to wait for a validation that there is not."""
        if self.monitor and self.monitor.startswith("val_") and trainer.validation is None:
            training = self.monitor.replace("val_", "train_", 1)
            raise ValueError(f"{self.monitor!r} is monitored: give fit a validation loader, or monitor {training!r}")

    def update(self, record: Record) -> bool:
        """Return whether `record` is the best so far; NaN never is, nor is anything where nothing is watched."""
        value = measured(record, self.monitor) if self.monitor else math.nan
        gain = math.inf if self.best is None else (value - self.best) * (1 if self.mode == "max" else -1)
        if math.isnan(value) or not gain > self.min_delta:
            return False
        self.best = value
        return True


class EarlyStopping(Best):
    """Stops after `patience` epochs in a row that were no better than the best before them.

    Raises:
        ValueError: `patience` is below 1, or what `Best` refuses.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> stop = training.EarlyStopping("train_loss", patience=1)
        >>> optimizer = optim.SGD(model.parameters(), lr=1e-30)  # too small to get better
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, callbacks=[stop], progress=False)
        >>> len(trainer.fit(data.DataLoader(data.digits("test"), batch_size=71), epochs=9))
        2
    """

    state_form = BEST | {"waited": COUNT}

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, mode: str | None = None, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = check_integer("EarlyStopping: patience", patience, 1)
        self.waited = 0

    def on_train_begin(self, trainer: Trainer) -> None:
        """Stop at once if a resumed run had stopped; a larger `patience` lets it go on."""
        super().on_train_begin(trainer)
        self._judge(trainer)

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Count the epochs since the best."""
        self.waited = 0 if self.update(record) else self.waited + 1
        self._judge(trainer)

    def _judge(self, trainer: Trainer) -> None:
        if self.waited >= self.patience:
            trainer.stop(f"{self.monitor} was no better for {self.waited} epochs")


class BestWeights(Best):
    """Keeps the weights of the best epoch, and gives them back to the model when training ends.

    After Ctrl-C the model keeps its latest weights, so that training can go on.

    Example:
        >>> model, best = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), training.BestWeights("train_loss")
        >>> optimizer = optim.Adam(model.parameters())
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, callbacks=[best], progress=False)
        >>> len(trainer.fit(data.DataLoader(data.digits("test"), batch_size=71), epochs=2))
        2
    """

    state_form = BEST | {"epoch": COUNT, "weights": {...: ARRAY}}

    def __init__(self, monitor: str = "val_loss", mode: str | None = None, min_delta: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta)
        self.epoch = 0
        self.weights: dict[str, Any] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """Refuse to wait for a validation that there is not, and weights of another model."""
        super().on_train_begin(trainer)
        own, kept = ({name: a.shape for name, a in w.items()} for w in (trainer.model.state_dict(), self.weights))
        if kept and kept != own:
            raise ValueError("BestWeights: the weights that a checkpoint kept are of another model")

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Keep a copy of the weights if they are the best so far."""
        if self.update(record):
            self.epoch, self.weights = trainer.epoch, trainer.model.state_dict()

    def on_train_end(self, trainer: Trainer) -> None:
        """Restore the best weights."""
        if self.weights:
            trainer.model.load_state_dict(self.weights)


class Checkpoint(Best):
    """Writes a checkpoint after each epoch and on Ctrl-C, always to the same file, and the best one beside it.

    Put it last: what callbacks after it remember of the epoch is not in the file yet.

    Args:
        path: the latest state; with `monitor`, the best goes to "NAME.best.SUFFIX".
        monitor: the quantity that says which epoch is best; None writes the latest only.
        mode: as in `Best`.

    Example:
        >>> model, keep = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), training.Checkpoint("run.safetensors")
        >>> optimizer = optim.SGD(model.parameters())
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, callbacks=[keep], progress=False)
        >>> _ = trainer.fit(data.DataLoader(data.digits("test"), batch_size=71), epochs=1)
        >>> sorted(load_checkpoint("run.safetensors")["parts"])
        ['loader', 'model', 'optimizer', 'trainer']
    """

    def __init__(self, path: StrPath, monitor: str | None = None, mode: str | None = None) -> None:
        super().__init__(monitor, mode)
        self.path = Path(path)
        self.best_path = self.path.with_name(f"{self.path.stem}.best{self.path.suffix}")

    def on_train_begin(self, trainer: Trainer) -> None:
        """Refuse a place that cannot be written, before anything is trained."""
        super().on_train_begin(trainer)
        check_writable(self.path)

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Write the latest state, and before it the best where this is it: what is cut off in between is done again."""
        if self.update(record):
            trainer.save_checkpoint(self.best_path)
        trainer.save_checkpoint(self.path)

    def on_interrupt(self, trainer: Trainer) -> None:
        """Write the state after the last whole batch."""
        trainer.save_checkpoint(self.path)


class JSONLLog(Callback):
    """Appends one line of JSON to a file for each epoch, start, interruption and end; a resumed run goes on in it.

    Each line has an "event": "epoch" with the epoch's record, or "start", "interrupt" or "end" with the epochs, and the
    batches of the epoch at hand, that are done.

    Example:
        >>> import json
        >>> model, log = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), training.JSONLLog("log.jsonl")
        >>> optimizer = optim.SGD(model.parameters())
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, callbacks=[log], progress=False)
        >>> _ = trainer.fit(data.DataLoader(data.digits("test"), batch_size=71), epochs=1)
        >>> with open("log.jsonl") as lines:
        ...     print([json.loads(line)["event"] for line in lines])
        ['start', 'epoch', 'end']
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)

    def on_train_begin(self, trainer: Trainer) -> None:
        """Write where training starts."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write_position("start", trainer)

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Write the epoch's record."""
        append_jsonl(self.path, {"event": "epoch", **record})

    def on_interrupt(self, trainer: Trainer) -> None:
        """Write where training was interrupted."""
        self._write_position("interrupt", trainer)

    def on_train_end(self, trainer: Trainer) -> None:
        """Write where and why training ended."""
        self._write_position("end", trainer, reason=trainer.stopped or "all epochs are done")

    def _write_position(self, event: str, trainer: Trainer, **more: str) -> None:
        append_jsonl(self.path, {"event": event, "epochs": trainer.epoch, "batches": trainer.batch, **more})
