"""The training loop: batches, steps, validation, and a state from which it goes on exactly."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from itertools import islice
from typing import Any

import numpy as np

from tinygrad_norm.checks import check_integer
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn import Module
from tinygrad_norm.nn.loss import as_loss
from tinygrad_norm.nn.training_mode import freeze, frozen_paths, in_inference, start_training
from tinygrad_norm.optim import LRScheduler, Optimizer, ReduceLROnPlateau
from tinygrad_norm.output import UnfailingStream, printable
from tinygrad_norm.plan.captured import Captured
from tinygrad_norm.schema import COUNT, FLAG, MAPPING, NUMBER, TEXT, check_form
from tinygrad_norm.tables import plural
from tinygrad_norm.training.callbacks import Callback, Checkpoint, JSONLLog
from tinygrad_norm.training.checkpoint import Stateful, given_parts, load_parts, save_parts
from tinygrad_norm.training.checks import check_callbacks, check_loader, check_loss, check_parts, used_up
from tinygrad_norm.training.history import History, Record, measured
from tinygrad_norm.training.interrupt import HeldInterrupt, TrainingInterrupted, closed
from tinygrad_norm.training.metrics import Totals, agreement, mean_of, weight_of
from tinygrad_norm.training.progress import TrainingProgress
from tinygrad_norm.training.step import LossFunction, NotFiniteError, measure, take_step

Loader = Iterable[tuple[Any, ...]]
Schedule = LRScheduler | ReduceLROnPlateau


STATE = {
    "epoch": COUNT,
    "batch": COUNT,
    "batches_done": FLAG,
    "totals": {entry.name: NUMBER for entry in fields(Totals)},
    "lr": NUMBER,
    "frozen": [TEXT],
    "history": [{"epoch": COUNT, ...: NUMBER}],
    "callbacks": {...: MAPPING},
}
"""The form of a trainer's state."""


class Trainer:
    """Trains a model on batches of (inputs, targets), and measures it.

    A part of the model that is in inference while others train, as after `model.norm.eval()`, stays so through every
    `fit`, and through a resume; its parameters learn all the same. A model that is in inference as a whole was left so
    after it was used: `fit` calls its `train()`, but for what stayed in inference in the fits before. A loaded model in
    inference that gets a new head has one part that trains: call `model.train()` first, or all else stays in inference.

    Means over batches are those over all that counts, however it is cut into batches. A loss of `nn` knows what counts
    (`total_weight`: ignored targets do not, a class weighs what its weight says), and so does an op of `ops`, given
    as it is or in a `functools.partial` with arguments by name. For any other function, each example counts 1. A batch
    in which nothing counts enters no mean, and is passed over in training: only a schedule by batches goes on.

    There is an accuracy where it can be said which outputs are right; `training.metrics.agreement` tells where.

    Args:
        model: called with a Tensor of inputs.
        optimizer: of the model's parameters.
        loss: called with the model's output and the array of targets; gives the mean over the batch. It may have a
            method `total_weight(targets)`: what that mean divides by.
        schedule: stepped after each batch or epoch, as its `per_batch` says; one that watches for a plateau gets the
            validation loss (accuracy where it waits for a maximum), or the training loss where nothing is validated.
        callbacks: called in this order, before the log, the progress and the checkpoint asked for here.
        clip_norm: the largest norm of all gradients together.
        clip_adaptive: the largest norm of the gradient of each unit, as a part of the norm of its weights: see
            `optim.clip_grad_adaptive`. It comes first where both are given.
        log: a JSON-lines file to append to.
        progress: a bar on a terminal, a line an epoch elsewhere; False shows nothing.
        checkpoint: a file that gets the state after each epoch and on Ctrl-C.
        extra: whatever else its checkpoints should hold, as `save_checkpoint` takes it.
        capture: whether a batch's work is recorded once and replayed from then on, which changes no bit and spares
            Python's share of it. `take_step.why` and `measure.why` say why the last batch was not.

    Attributes:
        take_step, measure: what is called for each batch; `training.step` says with what.

    Raises:
        TypeError: an argument is of another kind: a class for one of its objects, a schedule that is none of `optim`.
        ValueError: the optimizer has none of the model's parameters, the schedule is of another optimizer, or
            `clip_norm` or `clip_adaptive` is not above 0.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1D(32), nn.ReLU(), nn.Linear(32, 10))
        >>> optimizer = optim.AdamW(model.parameters(), lr=0.01)
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, progress=False)
        >>> history = trainer.fit(data.DataLoader(data.digits("train"), batch_size=64, shuffle=True), epochs=2)
        >>> history[-1]["train_loss"] < history[0]["train_loss"]
        True
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: LossFunction,
        *,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        clip_norm: float | None = None,
        clip_adaptive: float | None = None,
        log: StrPath | None = None,
        progress: bool = True,
        checkpoint: StrPath | None = None,
        extra: Any = None,
        capture: bool = True,
    ) -> None:
        check_parts(model, optimizer, schedule, clip_norm=clip_norm, clip_adaptive=clip_adaptive)
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.clip_adaptive = clip_adaptive
        self.extra = extra
        self.take_step: Any = Captured(take_step) if capture else take_step
        self.measure: Any = Captured(measure) if capture else measure
        self.callbacks = [
            *check_callbacks(callbacks),
            *([JSONLLog(log)] if log is not None else []),
            *([TrainingProgress()] if progress else []),
            *([Checkpoint(checkpoint)] if checkpoint is not None else []),
        ]
        self.history = History()
        self.epoch = 0  # whole epochs done
        self.batch = 0  # batches done of the epoch at hand
        self.epochs = 0  # the goal of the fit at hand
        self.loader: Loader = ()
        self.validation: Loader | None = None
        self.stopped: str | None = None  # why a callback ended the fit at hand
        self.frozen: list[str] = []  # the paths of the parts that stay in inference
        self.lr = self._current_lr()  # that of the last step
        self._totals = Totals()
        self._batches_done = False  # the epoch at hand wants only its validation
        self._interrupt = HeldInterrupt()

    @property
    def loss(self) -> LossFunction:
        """The loss, as it was given."""
        return self._loss

    @loss.setter
    def loss(self, loss: LossFunction) -> None:
        check_loss(loss)
        self._loss = loss
        self._measured_by = as_loss(loss)  # made once: an op becomes the module that knows what counts

    def fit(self, train_loader: Loader, epochs: int, validation: Loader | None = None) -> History:
        """Train until `epochs` epochs are done, those of earlier calls and of a resumed run included.

        Ctrl-C ends the batch at hand, has checkpoints written, says so in a line, and raises; after `resume`, `fit`
        goes on from there as if nothing had happened. A second Ctrl-C stops at once.

        Args:
            train_loader: yields (inputs, targets), one epoch each time it is iterated; what has a state needs a
                `resume()` too, as DataLoader has, to go on inside an epoch.
            epochs: the goal.
            validation: yields (inputs, targets) to measure after each epoch; it is left at the position it had.

        Returns:
            The history, one record an epoch.

        Raises:
            TypeError: a loader cannot be iterated, a batch is no pair, or the loss returns no Tensor.
            FloatingPointError: a loss is NaN or infinite, or the weights are after an epoch.
            TrainingInterrupted: Ctrl-C, a KeyboardInterrupt.
            ValueError: a loader gives no batches, an empty one, or none in which anything counts; a callback or a
                schedule waits for what is not measured.
        """
        self.epochs, self.stopped = check_integer("epochs", epochs, 1), None
        check_loader("fit: train_loader", train_loader)
        if validation is not None:
            check_loader("fit: validation", validation)
        self.loader, self.validation = train_loader, validation
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.callback(callback.close)
            stack.callback(setattr, self, "_interrupt", self._interrupt)
            self._interrupt = stack.enter_context(HeldInterrupt())
            try:
                if self.epoch < epochs:
                    self.frozen = start_training(self.model, self.frozen)
                self._tell("on_train_begin")
                while self.epoch < epochs and not self.stopped:
                    self._run_epoch()
                self._tell("on_train_end")
            except TrainingInterrupted as interruption:
                self._tell("on_interrupt")
                print(interruption, file=UnfailingStream(sys.stderr))
                raise
        return self.history

    def evaluate(self, loader: Loader) -> dict[str, float]:
        """Measure the model in inference mode: the mean "loss", and the "accuracy" where there is one.

        The model's modes, and the position of a loader that has one, are afterwards what they were.

        Raises:
            TypeError: the loader cannot be iterated, a batch is no pair, or the loss returns no Tensor.
            ValueError: the loader gives no batches, an empty one, or none in which anything counts.
        """
        check_loader("evaluate: loader", loader)
        totals, count = Totals(), 0
        with in_inference(self.model), no_grad(), _kept_position(loader), closed(iter(loader)) as batches:
            for batch in batches:
                inputs, targets = _checked_batch(batch)
                weight = weight_of(self._measured_by, targets)
                output, loss = self.measure(self.model, self.loss if weight else None, inputs, targets)
                self._add_to(totals, 0.0 if loss is None else float(loss.item()), weight, output, targets)
                count += 1
                self._check_interrupt()
        if not count:
            raise ValueError(f"evaluate: the loader gave no batches{used_up(loader)}")
        return totals.means()

    def stop(self, reason: str) -> None:
        """End the fit at hand after this epoch; for callbacks."""
        self.stopped = reason

    def save_checkpoint(self, path: StrPath) -> None:
        """Write all that training needs to go on exactly; `load_checkpoint` reads the model out of it too."""
        save_parts(path, self._parts(self.loader), self.extra)

    def resume(self, path: StrPath, train_loader: Loader) -> None:
        """Take up the state of a checkpoint: of model, optimizer, schedule, loader, callbacks and random generator.

        What the run is made of must be what it was; callbacks may come and go. Then `fit` goes on.

        Raises:
            ValueError: what `load_checkpoint` says, or the run lacks a part; nothing has changed then.
        """
        load_parts(path, self._parts(train_loader), every=True)

    def state_dict(self) -> dict[str, Any]:
        """Return where training is, what it measured, and what the callbacks remember."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "batches_done": self._batches_done,
            "totals": asdict(self._totals),
            "lr": self.lr,
            "frozen": frozen_paths(self.model, self.frozen),
            "history": [dict(record) for record in self.history],
            "callbacks": {name: state for name, one in self._named_callbacks() if (state := one.state_dict())},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: it is something else; nothing has changed then, unless a callback refuses its own state.
        """
        state = {"lr": self._current_lr(), "frozen": [], **state}  # version 0.1 has neither
        check_form(state, STATE, "the trainer's state")
        freeze(self.model, state["frozen"])
        self.epoch, self.batch, self._batches_done = state["epoch"], state["batch"], state["batches_done"]
        self._totals = Totals(**state["totals"])
        self.lr, self.frozen = state["lr"], list(state["frozen"])
        self.history = History(state["history"])
        for name, callback in self._named_callbacks():
            if name in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][name])

    def _run_epoch(self) -> None:
        if not self._batches_done:
            self._tell("on_epoch_begin")
            self._run_batches()
        record: Record = {"epoch": self.epoch + 1, "lr": self.lr}
        record |= {f"train_{name}": value for name, value in self._totals.means().items()}
        if self.validation is not None:
            record |= {f"val_{name}": value for name, value in self.evaluate(self.validation).items()}
        self._step_schedule(record)
        self.epoch, self.batch, self._batches_done, self._totals = self.epoch + 1, 0, False, Totals()
        self.history.append(record)
        self._tell("on_epoch_end", record)
        self._check_interrupt()

    def _run_batches(self) -> None:
        self.frozen = start_training(self.model, self.frozen)  # again: a callback may have left the model in inference
        with closed(self._remaining_batches()) as batches:
            for batch in batches:
                loss = self._train_batch(*_checked_batch(batch))
                if isinstance(self.schedule, LRScheduler) and self.schedule.per_batch:
                    self.schedule.step()
                self.batch += 1
                self._tell("on_batch_end", loss)
                self._check_interrupt()
        if not self.batch:
            where = f"in epoch {self.epoch + 1}{used_up(self.loader)}"
            raise ValueError(f"fit: the training loader gave no batches {where}")
        self._check_weights()
        self._batches_done = True

    def _remaining_batches(self) -> Iterator[tuple[Any, ...]]:
        """A loader goes on from its position; of any other iterable, the batches already done are passed over."""
        loader: Any = self.loader
        if hasattr(loader, "resume"):
            if not self.batch:
                loader.batch = 0  # somebody may have left it in the middle of an epoch
            yield from loader.resume()
            return
        if self.batch and _has_state(loader):
            raise TypeError(f"fit: {type(loader).__name__} has a state, but no resume() that goes on from it")
        with closed(iter(loader)) as batches:
            yield from islice(batches, self.batch, None)

    def _train_batch(self, inputs: Any, targets: Any) -> float:
        """Take a step, and return the mean loss before it; where nothing counts, take none, and return NaN."""
        if not (weight := weight_of(self._measured_by, targets)):
            return math.nan
        self.lr = self._current_lr()
        given = self.model, self.optimizer, self.loss, inputs, targets, self.clip_adaptive, self.clip_norm
        try:
            output, loss = self.take_step(*given)
        except NotFiniteError as error:
            raise self._divergence(f"epoch {self.epoch + 1}, batch {self.batch + 1}: {error}") from None
        return self._add_to(self._totals, float(loss.item()), weight, output, targets)

    def _add_to(self, totals: Totals, value: float, weight: float, output: Any, targets: Any) -> float:
        mean = mean_of(self._measured_by, value, weight)
        totals.add(mean, weight, agreement(self._measured_by, output, targets))
        return mean

    def _current_lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _check_weights(self) -> None:
        """The last step of an epoch can spoil the weights too, and no checkpoint should get to see that."""
        for name, parameter in self.model.named_parameters():
            if not np.isfinite(parameter.raw).all():
                raise self._divergence(f"epoch {self.epoch + 1}: {name} is no longer finite")

    def _divergence(self, what: str) -> FloatingPointError:
        advice = f"try lr below {self.lr:g}, or clip_norm=1"
        return FloatingPointError(f"{what}; {advice}; `with detect_anomaly():` names the op that made the first NaN")

    def _step_schedule(self, record: Record) -> None:
        if isinstance(self.schedule, ReduceLROnPlateau):
            split = "val" if "val_loss" in record else "train"
            self.schedule.step(measured(record, f"{split}_{'loss' if self.schedule.sign > 0 else 'accuracy'}"))
        elif isinstance(self.schedule, LRScheduler) and not self.schedule.per_batch:
            self.schedule.step()

    def _check_interrupt(self) -> None:
        if self._interrupt.requested:
            files = [printable(callback.path) for callback in self.callbacks if isinstance(callback, Checkpoint)]
            saved = f"resume from {' or '.join(files)}" if files else "no checkpoint was asked for"
            done = f"{plural(self.epoch, 'epoch')} and {plural(self.batch, 'batch', 'batches')}"
            raise TrainingInterrupted(f"interrupted after {done}; {saved}")

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)

    def _parts(self, loader: Loader) -> dict[str, Stateful]:
        return given_parts(self.model, loader if _has_state(loader) else None, self.optimizer, self.schedule, self)

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        """Return the callbacks by class, and those of one class by number."""
        counts: Counter[str] = Counter()
        for callback in self.callbacks:
            counts[kind := type(callback).__name__] += 1
            yield f"{kind}{counts[kind]}", callback


@contextmanager
def _kept_position(loader: Any) -> Iterator[None]:
    """Keep an evaluation, cut short or not, from changing the order and the random transforms of the next."""
    state = loader.state_dict() if _has_state(loader) else None
    if state is not None:
        loader.load_state_dict(state)  # its position says which order is next, whoever looked at a batch
    try:
        yield
    finally:
        if state is not None:
            loader.load_state_dict(state)


def _has_state(loader: Any) -> bool:
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def _checked_batch(batch: Any) -> tuple[Any, Any]:
    is_tuple = isinstance(batch, (tuple, list))
    if not is_tuple or len(batch) != 2:
        size = f" of {len(batch)}" if is_tuple else ""
        raise TypeError(f"a batch is a tuple (inputs, targets), got a {type(batch).__name__}{size}")
    inputs, targets = map(np.asarray, batch)
    if inputs.shape[:1] != targets.shape[:1] or inputs.shape[:1] in ((), (0,)):
        found = f"shapes {inputs.shape} and {targets.shape}"
        raise ValueError(f"a batch has as many inputs as targets, and at least 1; got {found}")
    return inputs, targets
