from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import nn, optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training.checkpoint import (
    FIELD,
    load_checkpoint,
    load_parts,
    read_checkpoint,
    save_checkpoint,
    save_parts,
)
from tinygrad_norm.training.safetensors import DIGEST, load_safetensors, read_safetensors, save_safetensors
from tinygrad_norm.training.state import split_state


def a_run(hidden=5, batch_size=4, lr=0.1):
    model = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 2))
    optimizer = optim.Adam(model.parameters(), lr=lr)
    schedule = optim.StepLR(optimizer, 2)
    data = np.random.default_rng(1).normal(size=(10, 3)).astype(np.float32)
    loader = DataLoader(ArrayDataset(data, np.arange(10) % 2), batch_size, shuffle=True)
    return model, optimizer, schedule, loader


def take_steps(run, count=2):
    model, optimizer, schedule, loader = run
    for _ in range(count):
        inputs, targets = next(loader.resume())
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(model(inputs), targets).backward()
        optimizer.step()
        schedule.step()


def snapshot(*parts):
    """Every bit of the parts' states and of the random generator's, as something that can be compared."""
    tree, arrays = split_state([part.state_dict() for part in parts] + [random.state_dict()])
    return json.dumps(tree), {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


def save_run(path, run, extra=None):
    model, optimizer, schedule, loader = run
    save_checkpoint(path, model, optimizer, schedule=schedule, loader=loader, extra=extra)


def load_run(path, run):
    model, optimizer, schedule, loader = run
    return load_checkpoint(path, model, optimizer, schedule=schedule, loader=loader)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint, and what was saved in it."""
    run = a_run()
    take_steps(run)
    extra = {"best": float("inf"), "names": ("a", 1), "curve": np.arange(3.0)}
    save_run(tmp_path / "run.safetensors", run, extra=extra)
    return tmp_path / "run.safetensors", snapshot(*run)


def test_everything_comes_back_bit_for_bit(saved):
    path, expected = saved
    random.manual_seed(99)
    run = a_run(lr=0.7)
    assert snapshot(*run) != expected
    found = load_run(path, run)
    assert snapshot(*run) == expected
    assert found["version"] == 1
    assert set(found["parts"]) == {"model", "optimizer", "schedule", "loader"}
    np.testing.assert_array_equal(found["extra"].pop("curve"), np.arange(3.0))
    assert found["extra"] == {"best": float("inf"), "names": ("a", 1)}


def test_a_model_alone_can_be_loaded_and_leaves_the_random_generator(saved):
    path, _ = saved
    random.manual_seed(99)
    model = a_run()[0]
    before = random.state_dict()
    load_checkpoint(path, model)
    arrays = load_safetensors(path)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, arrays[f"model.{name}"])
    assert random.state_dict() == before
    assert load_checkpoint(path)["extra"]["names"] == ("a", 1)


def test_arrays_have_readable_names(saved):
    path, _ = saved
    names = set(load_safetensors(path))
    assert {"model.0.weight", "model.2.bias", "optimizer.state.0.exp_avg", "extra.curve"} <= names


@pytest.mark.parametrize("wrong", ["model", "optimizer", "schedule", "loader", "random"])
def test_if_one_part_does_not_fit_nothing_changes(saved, monkeypatch, wrong):
    path, _ = saved
    random.manual_seed(99)
    run = a_run(hidden=6 if wrong == "model" else 5, batch_size=5 if wrong == "loader" else 4)
    take_steps(run, 1)
    if wrong in ("optimizer", "schedule", "random"):
        part = {"optimizer": run[1], "schedule": run[2], "random": random}[wrong]
        monkeypatch.setattr(part, "load_state_dict", RefusesOnce(part.load_state_dict, half_done=wrong != "random"))
    before = snapshot(*run)
    with pytest.raises(ValueError, match=r"shape|refused|another loader") as caught:
        load_run(path, run)
    assert snapshot(*run) == before
    assert str(caught.value).startswith(f"{path} was not loaded, and nothing was changed: ")


class RefusesOnce:
    """A load_state_dict that at first does its work, if `half_done`, and then refuses; later it is for the way back."""

    def __init__(self, load_state_dict, half_done):
        self.load_state_dict = load_state_dict
        self.half_done = half_done
        self.calls = 0

    def __call__(self, state):
        self.calls += 1
        if self.half_done or self.calls > 1:
            self.load_state_dict(state)
        if self.calls == 1:
            raise ValueError("refused")


def test_another_model_is_answered_with_all_that_differs(saved):
    path, _ = saved
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="nothing was loaded") as caught:
        load_checkpoint(path, model)
    for line in ("missing key 3.weight", "0.weight has shape (6, 3), got (5, 3)", "2.weight has shape (2, 6)"):
        assert line in str(caught.value)


def test_a_part_that_was_not_saved_is_named(tmp_path):
    model, optimizer, schedule, _ = a_run()
    save_checkpoint(tmp_path / "model", model)
    before = snapshot(model, optimizer)
    with pytest.raises(ValueError, match="holds no state of optimizer, schedule, only of model"):
        load_checkpoint(tmp_path / "model", model, optimizer, schedule=schedule)
    assert snapshot(model, optimizer) == before


def test_names_in_a_file_do_not_reach_the_terminal_as_they_are(tmp_path):
    model, optimizer, _, _ = a_run()
    save_parts(tmp_path / "run", {"\x1b[2J": model})
    with pytest.raises(ValueError, match=r"no state of optimizer, only of \\x1b\[2J"):
        load_parts(tmp_path / "run", {"optimizer": optimizer})
    with pytest.raises(ValueError, match=r"holds the state of \\x1b\[2J, which this run lacks"):
        load_parts(tmp_path / "run", {}, every=True)


def test_any_altered_or_missing_byte_is_noticed(saved):
    path, _ = saved
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [*range(0, len(good), 7), good.index(DIGEST.encode()) + 3, good.index(FIELD.encode()) + 3]:
        path.write_bytes(good[:position] + bytes([good[position] ^ int(rng.integers(1, 256))]) + good[position + 1 :])
        with pytest.raises(ValueError, match=r"run\.safetensors"):
            load_checkpoint(path)
    for length in rng.integers(0, len(good), 20):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=r"run\.safetensors is cut short"):
            load_checkpoint(path)


def test_arrays_alone_are_no_checkpoint(tmp_path):
    save_safetensors(tmp_path / "arrays", {"x": np.zeros(2)})
    with pytest.raises(ValueError, match="is no checkpoint, but arrays alone; read it with load_safetensors"):
        load_checkpoint(tmp_path / "arrays")


WHOLE: dict[str, Any] = {"version": 1, "random": {}, "parts": {"extra": None}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 2, "parts": "of another kind"}', "is a checkpoint of version 2; this package reads version 1"),
        ("{", r"its description is malformed \(JSONDecodeError: Expecting property name"),
        ("[]", r"it is a dict, got \[\]"),
        ('{"version": 1}', r"it lacks 'random', 'parts'; it has \['version'\]"),
        ('{"version": "1"}', "it.version is an integer of at least 0, got '1'"),
        ('{"version": true}', "it.version is an integer of at least 0, got True"),
        (WHOLE | {"parts": []}, r"it.parts is a dict, got \[\]"),
        (WHOLE | {"parts": {}}, "it.parts lacks 'extra'"),
        (WHOLE | {"random": 3}, "it.random is a dict, got 3"),
        (WHOLE | {"more": 3}, "it has 'more', which is not known"),
        ({"x": {"$array": "absent"}}, "KeyError: 'absent'"),
        ({"x": {"$array": ["there"]}}, "TypeError: unhashable type"),
        ({"x": {"$scalar": "there"}}, "ValueError: cannot reshape array of size 2"),
        ({"x": {"$float": "one"}}, "ValueError: could not convert string to float: 'one'"),
        ({"x": {"$float": None}}, "TypeError: float.. argument must be"),
        ({"x": {"$tuple": 5}}, "TypeError: .* must be an iterable"),
        ({"x": {"$dict": {"a": 1}}}, "ValueError: dictionary update sequence element #0 has length 1"),
        ({"x": {"$dict": [5]}}, "TypeError: cannot convert dictionary update"),
        ({"x": {"$dict": [[1, 2, 3]]}}, "ValueError: dictionary update sequence element #0 has length 3"),
        ({"x": {"$dict": [[]]}}, "ValueError: dictionary update sequence element #0 has length 0"),
        ({"x": {"$dict": [[[1], 2]]}}, "TypeError: unhashable type: 'list'"),
        ({"x": {"$dict": [[{"$array": "there"}, 2]]}}, "TypeError: unhashable type: 'numpy.ndarray'"),
        ("[" * 1000 + "]" * 1000, "lists and dicts lie more than 100 deep"),
    ],
)
def test_a_description_that_is_not_understood(tmp_path, text, message):
    if isinstance(text, dict):
        text = json.dumps(text if "version" in text else WHOLE | {"parts": {"extra": text}})
    save_safetensors(tmp_path / "file", {"there": np.zeros(2)}, {FIELD: text})
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(tmp_path / "file")
    assert str(caught.value).startswith(f"{tmp_path / 'file'} is ")


FOREIGN: tuple[Any, ...] = (
    *(None, True, -1, 2.5, float("nan"), 10**30, 10**400, "text", "t" * 10**5),
    *([], [1], {}, {"a": 1}, {1: 2}, (), np.zeros(2), np.float32(2)),
)


@pytest.mark.parametrize("part", ["model", "optimizer", "schedule", "loader"])
def test_a_foreign_state_is_refused_in_words_and_changes_nothing(saved, part, monkeypatch, rng):
    """Some entry of a part's state is something else, or missing; `tests.campaigns` tries them all."""
    path, _ = saved
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the test
    parts = dict(zip(("model", "optimizer", "schedule", "loader"), a_run(), strict=True))
    states = read_checkpoint(path).states
    cases = [changed for foreign in FOREIGN for changed in replaced(states[part], foreign)]
    before, refused = snapshot(*parts.values()), 0
    for number in rng.choice(len(cases), min(100, len(cases)), replace=False):
        save_parts(path, {name: Fixed(cases[number] if name == part else states[name]) for name in states})
        error = ""
        try:
            load_run(path, parts.values())
        except ValueError as raised:
            error = str(raised)
            refused += 1
        after = snapshot(*parts.values())
        assert not error or (after == before and len(error) < 1000)
        assert not error or error.startswith(f"{path} was not loaded, and nothing was changed: ")
        before = after
    assert refused > 20


class Fixed:
    """A part with a given state."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state


def replaced(state, foreign):
    """The state with each value in it, and it itself, replaced in turn; and with each entry left out."""
    yield foreign
    if isinstance(state, (dict, list)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            for changed in replaced(value, foreign):
                again = state.copy()
                again[key] = changed
                yield again
            if isinstance(state, dict):
                yield {other: kept for other, kept in state.items() if other != key}


def test_what_contains_itself_is_refused_when_it_is_saved(saved):
    path, _ = saved
    good = path.read_bytes()
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"lies more than 100 deep in a state; does something contain itself\?"):
        save_run(path, a_run(), extra=endless)
    deep: Any = 1
    for _ in range(60):
        deep = (deep,)  # in JSON twice as deep
    with pytest.raises(ValueError, match="save_checkpoint: lists and dicts lie more than 100 deep"):
        save_run(path, a_run(), extra=deep)
    assert path.read_bytes() == good


def test_what_cannot_be_saved_leaves_the_old_file(saved):
    path, _ = saved
    good = path.read_bytes()
    for extra in ({"optimizer": object()}, {"array": np.array([object()])}):
        with pytest.raises(TypeError, match=r"extra\.(optimizer|array)"):
            save_run(path, a_run(), extra=extra)
    assert path.read_bytes() == good
    assert os.listdir(path.parent) == [path.name]


KILLED = """
import sys, itertools
import numpy as np
from tinygrad_norm.training.checkpoint import save_checkpoint

class Model:
    def state_dict(self):
        return {"weight": np.full(400_000, self.step)}

model = Model()
for model.step in itertools.count():
    save_checkpoint(sys.argv[1], model, extra=model.step)
"""


def test_kill_9_at_any_moment_leaves_a_good_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    moments = np.random.default_rng(0)
    for replacements in (0, 1, 3):
        path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
        try:
            seen: set[int] = set()
            for _ in range(60_000):  # a minute, of which a second is needed
                if path.exists():
                    seen.add(path.stat().st_mtime_ns)
                if len(seen) > replacements:
                    break
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.02))
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL
        step = load_checkpoint(path)["extra"]
        assert step >= replacements
        assert (load_safetensors(path)["model.weight"] == step).all()
    save_checkpoint(path, nn.Linear(3, 2))
    assert os.listdir(tmp_path) == [path.name]  # what was being written is gone


def test_a_model_of_another_dtype_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, nn.Linear(3, 2).astype("float64"))
    model = nn.Linear(3, 2)
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=r"checkpoint's weight is float64, the model's float32; call model.astype\('float64'\) first"
    ):
        load_checkpoint(path, model)
    assert snapshot(model) == before
    load_checkpoint(path, model.astype("float64"))
    assert snapshot(model) != before


# A stored checkpoint: files that are out there have to stay readable

golden = run_path(str(Path(__file__).parent / "make_golden.py"))


def described(path):
    """The names of the parts, and the names, dtypes and shapes of all arrays."""
    arrays, metadata = read_safetensors(path)
    found = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    return sorted(json.loads(metadata[FIELD])["parts"]), dict(sorted(found.items()))


def test_the_names_in_a_checkpoint_are_those_of_a_stored_one(tmp_path):
    parts, arrays = described(golden["GOLDEN"])
    assert parts == ["extra", "loader", "model", "optimizer", "schedule", "trainer"]
    trainer, loader, validation = golden["make_trainer"]()
    trainer.fit(loader, 2, validation)
    trainer.save_checkpoint(tmp_path / "new")
    assert described(tmp_path / "new") == (parts, arrays)


def test_a_stored_checkpoint_is_read(tmp_path):
    trainer, loader, validation = golden["make_trainer"]()
    trainer.resume(golden["GOLDEN"], loader)
    arrays = load_safetensors(golden["GOLDEN"])
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, arrays[f"model.{name}"])
    state = trainer.optimizer.state_dict()["state"]
    np.testing.assert_array_equal(state[0]["exp_avg_sq"], arrays["optimizer.state.0.exp_avg_sq"])
    assert trainer.epoch == len(trainer.history) == 2
    assert load_checkpoint(golden["GOLDEN"])["extra"]["names"] == ("a", 1)
    assert len(trainer.fit(loader, 3, validation)) == 3


def test_what_is_no_mistake_in_a_checkpoint_is_raised_as_it_is(tmp_path, monkeypatch):
    model = nn.Linear(2, 3)
    save_checkpoint(tmp_path / "file", model=model)

    def interrupted(state):
        raise KeyboardInterrupt

    parts = {"model": nn.Linear(2, 3)}
    before = parts["model"].state_dict()
    monkeypatch.setattr(random, "load_state_dict", interrupted)
    optimizer = optim.SGD(parts["model"].parameters())
    save_checkpoint(tmp_path / "file", model=model, optimizer=optim.SGD(model.parameters()))
    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(tmp_path / "file", model=parts["model"], optimizer=optimizer)
    for name, array in parts["model"].state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("function", [save_checkpoint, load_checkpoint])
def test_swapped_arguments_are_told_apart(tmp_path, function):
    path, model = tmp_path / "file", nn.Linear(2, 3)
    name = function.__name__
    with pytest.raises(TypeError, match=f"^{name}: path is that of a file, and comes first, got Linear$"):
        function(model, path)
    with pytest.raises(TypeError, match=f"^{name}: model is itself, not its state, .*, got dict$"):
        function(path, model.state_dict())
    with pytest.raises(TypeError, match=f"^{name}: optimizer is itself, .*, got the class SGD; did you mean SGD"):
        function(path, model, optim.SGD)
    assert not path.exists()
