"""Files that are not what they should be: one sentence with the file's name, little memory, and nothing changed."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.campaigns.campaign import Kind
from tests.campaigns.subject import recipe, whole
from tinygrad_norm import nn, optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training import BestWeights, EarlyStopping, Trainer, load_checkpoint, load_safetensors, load_trained
from tinygrad_norm.training.checkpoint import FIELD, read_checkpoint, save_parts
from tinygrad_norm.training.preparation import make_model
from tinygrad_norm.training.safetensors import read_header, read_safetensors, save_safetensors
from tinygrad_norm.training.saved_run import read_run
from tinygrad_norm.training.state import split_state

ROOM = 600 * 2**20
"""How much memory a small file may take, in bytes; what is read of the largest header takes about half of it."""

FOREIGN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2.5, -0.0, float("nan"), float("inf"), 10**7, 10**15, 10**30, 10**400),
    *("", "text", "t" * 10**5, "\ud800", "\x1b[2J\n", "nan", "mlp", "batch"),
    *([], [1], [[1]], ["a", None], {}, {"a": 1}, {1: 2}, {"$array": "x"}, (), (1, "a")),
    *(
        np.zeros(2),
        np.zeros((3, 0)),
        np.zeros(()),
        np.float32(2),
        np.array("text" == "text"),
        np.zeros(2, np.complex64),
    ),
)


@contextmanager
def little_memory(room: int) -> Iterator[None]:
    """No more than so many bytes of memory can be taken within it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


class Fixed:
    """A part with a given state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        """Nobody loads it."""


def make_trainer() -> tuple[Trainer, DataLoader]:
    """A trainer with something in each of its places."""
    random.manual_seed(0)
    rng = np.random.default_rng(0)
    data = ArrayDataset(rng.normal(size=(10, 3)).astype(np.float32), np.arange(10) % 2)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    schedule = optim.OneCycleLR(optimizer, 0.1, 20, cycle_momentum=False)
    callbacks = [BestWeights("train_loss"), EarlyStopping("train_loss")]
    loss = nn.CrossEntropyLoss()
    trainer = Trainer(model, optimizer, loss, schedule=schedule, callbacks=callbacks, progress=False)
    return trainer, DataLoader(data, 4, shuffle=True)


def state_of(trainer: Trainer, loader: DataLoader) -> Any:
    parts = (trainer.model, trainer.optimizer, trainer.schedule, loader, trainer, random)
    tree, arrays = split_state([part.state_dict() for part in parts])
    return json.dumps(tree), {name: array.tobytes() for name, array in arrays.items()}


@cache
def trained() -> dict[str, Any]:
    """The states of a trainer in the midst of things, by part."""
    trainer, loader = make_trainer()
    trainer.fit(loader, 2)
    return {name: part.state_dict() for name, part in trainer._parts(loader).items()}


READERS: dict[str, Callable[[Path], object]] = {
    "read_header": read_header,
    "load_safetensors": load_safetensors,
    "load_checkpoint": load_checkpoint,
    "read_run": read_run,
    "load_trained": load_trained,
}


def refusal(path: Path, read: Callable[[Path], object], room: int = ROOM) -> str | None:
    """What a reader says against a file, if anything; it must be said in words, by a ValueError."""
    try:
        with little_memory(room):
            read(path)
    except ValueError as error:
        said = str(error)
        assert str(path) in said, f"the file is not named: {said[:300]}"
        assert len(said) < len(str(path)) + 5000, f"it takes {len(said)} characters: {said[:300]}"
        return said
    return None


def save(path: Path, states: dict[str, Any], extra: Any) -> bool:
    """Save such states, unless the format has no place for a name in them, which has to be said."""
    try:
        save_parts(path, {str(name): Fixed(state) for name, state in states.items()}, extra)
    except ValueError as error:
        if not str(error).startswith("save_safetensors: "):
            raise
        return False
    return True


def resume(path: Path) -> None:
    """Take a checkpoint up; a trainer that refuses it is unchanged."""
    trainer, loader = make_trainer()
    before = state_of(trainer, loader)
    if refusal(path, lambda path: trainer.resume(path, loader)) is None:
        state_of(trainer, loader)
    else:
        assert state_of(trainer, loader) == before, "a refused state was taken up in part"


# Bytes


def damaged(rng: np.random.Generator, good: bytes) -> bytes:
    """The bytes with some damage, never the same."""
    while True:
        begin, end = sorted(rng.integers(0, len(good) + 1, 2))
        other = int(rng.integers(0, len(good)))
        found = {
            "zeroed": good[:begin] + bytes(end - begin) + good[end:],
            "lost": good[:begin] + good[end:],
            "doubled": good[:end] + good[begin:],
            "random": good[:begin] + rng.bytes(end - begin) + good[end:],
            "added": good[:other] + rng.bytes(int(rng.integers(1, 100))) + good[other:],
            "swapped": good[end:] + good[begin:end] + good[:begin],
        }[str(rng.choice(["zeroed", "lost", "doubled", "random", "added", "swapped"]))]
        if found != good:
            return found


def flips(rng: np.random.Generator, folder: Path) -> None:
    good = bytearray(whole()[0].read_bytes())
    header = int.from_bytes(good[:8], "little") + 8
    for place in rng.integers(0, header if rng.random() < 0.5 else len(good), rng.integers(1, 5)):
        good[place] ^= 1 << int(rng.integers(0, 8))
    path = folder / "flipped"
    path.write_bytes(good)
    if bytes(good) != whole()[0].read_bytes():
        for name in ("load_checkpoint", "load_trained", "read_run"):
            assert refusal(path, READERS[name]) is not None, f"{name} noticed nothing"


def cuts(rng: np.random.Generator, folder: Path) -> None:
    good = whole()[0].read_bytes()
    header = int.from_bytes(good[:8], "little") + 8
    path = folder / "cut"
    path.write_bytes(good[: int(rng.integers(0, header if rng.random() < 0.5 else len(good)))])
    for name, read in READERS.items():
        said = refusal(path, read)
        assert said is not None, f"{name} noticed nothing"
        assert "cut short" in said, said


def splices(rng: np.random.Generator, folder: Path) -> None:
    path = folder / "spliced"
    path.write_bytes(damaged(rng, whole()[0].read_bytes()))
    for name in ("load_checkpoint", "load_trained", "read_run"):
        assert refusal(path, READERS[name]) is not None, f"{name} noticed nothing"


def noise(rng: np.random.Generator, folder: Path) -> None:
    """Other bytes altogether, some of which claim a header that there could be."""
    path, text = folder / "noise", rng.bytes(int(rng.integers(0, 5000)))
    claimed = int(rng.choice([0, len(text), len(text) // 2, 2**20, 10**8, 2**32, 2**63]))
    path.write_bytes((claimed.to_bytes(8, "little") if rng.random() < 0.7 else b"") + text)
    for read in READERS.values():
        refusal(path, read)


# Headers


def replaced(tree: Any, value: Any, rng: np.random.Generator) -> Any:
    """A copy of nested dicts and lists in which one entry, wherever, is another, missing or doubled."""
    if not isinstance(tree, (dict, list, tuple)) or not tree or rng.random() < 0.15:
        return value
    entries = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree))
    place = int(rng.integers(0, len(entries)))
    key, old = entries[place]
    if rng.random() < 0.1:
        del entries[place]
    elif rng.random() < 0.1 and isinstance(tree, dict):
        entries[place] = (value if isinstance(value, (str, int)) else "other", old)
    else:
        entries[place] = (key, replaced(old, value, rng))
    return dict(entries) if isinstance(tree, dict) else type(tree)(item for _, item in entries)


def headers(rng: np.random.Generator, folder: Path) -> None:
    """The header says something else; what is read then is what the official package reads."""
    good = safetensors.numpy.save({"x": np.arange(6.0).reshape(2, 3), "y": np.ones(3, np.int16)}, {"note": "text"})
    length = int.from_bytes(good[:8], "little")
    fields, data = json.loads(good[8 : 8 + length]), good[8 + length :]
    values = [value for value in FOREIGN if isinstance(value, (type(None), int, float, str, list, dict))]
    values += ["F32", "I64", "BF16", [3, 2], [2, 3, 1], [0, 48], [48, 54], [6], 2**62, 2**64, -3]
    text = json.dumps(replaced(fields, values[int(rng.integers(0, len(values)))], rng))
    encoding = str(rng.choice(["utf-8"] * 9 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]))
    written = text.encode(encoding, "replace") + b" " * int(rng.integers(0, 9))
    path = folder / "header"
    path.write_bytes(len(written).to_bytes(8, "little") + written + data)
    for name in ("read_header", "load_safetensors"):
        if refusal(path, READERS[name]) is None:
            official = safetensors.numpy.load(path.read_bytes())
            found = load_safetensors(path)
            assert found.keys() == official.keys()
            assert all(np.array_equal(found[key], official[key]) for key in found)


def floods(rng: np.random.Generator, folder: Path) -> None:
    """Tens of megabytes of JSON that would take gigabytes."""
    piece = str(rng.choice(["[]", "{}", '{"":0}', "1.5", '"abc"', "[[[[]]]]", '{"a":1,"b":[]}', "[", '{"a":', '"']))
    separator = "" if piece in ("[", '{"a":', '"') else ","
    begin = str(rng.choice(['{"x":[', '{"x":{"shape":[', '{"__metadata__":[']))
    text = (begin + (piece + separator) * int(rng.integers(40, 60) * 10**6 // len(piece + separator))).encode()
    path = folder / "flood"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    del text
    for name in ("read_header", "load_checkpoint"):
        assert refusal(path, READERS[name]) is not None, f"{name} noticed nothing"


def claims(rng: np.random.Generator, folder: Path) -> None:
    """A small checkpoint describes a net that is not small."""
    path, own = folder / "claims", recipe().to_dict()
    extra: dict[str, Any] = {"channels": 1, "classes": 10, "class_names": (), "recipe": own}
    large = int(10 ** rng.uniform(5, 18))
    what = str(rng.choice(["classes", "channels", "image_size", "width", "hidden", "many"]))
    if what in extra:
        extra[what] = large
    elif what == "image_size":
        extra["recipe"] = own | {"image_size": large, "model": str(rng.choice(["mlp", "lenet5"])), "options": {}}
    else:
        options = (
            {"width": float(large)} if what == "width" else {"hidden": [large] if what == "hidden" else [1] * 10**5}
        )
        extra["recipe"] = own | {"model": "baseline_cnn" if what == "width" else "mlp", "options": options}
    save_parts(path, {"model": make_model(recipe(), 1, 10)}, extra)
    assert refusal(path, load_trained, 200 * 2**20) is not None, "it was believed"


# States


def states(rng: np.random.Generator, folder: Path) -> None:
    """Something in the state of a trainer, a schedule, a loader, an optimizer or a model is something else."""
    path, value = folder / "foreign", FOREIGN[int(rng.integers(0, len(FOREIGN)))]
    part = str(rng.choice(list(trained())))
    changed = trained() | {part: replaced(trained()[part], value, rng)}
    if save(path, changed, None):
        resume(path)


def runs(rng: np.random.Generator, folder: Path) -> None:
    """Something that `train` wrote about its run is something else."""
    path, value = folder / "foreign", FOREIGN[int(rng.integers(0, len(FOREIGN)))]
    saved = read_checkpoint(whole()[0])
    if rng.random() < 0.7:
        saved = saved._replace(extra=replaced(saved.extra, value, rng))
    else:
        saved = saved._replace(states=replaced(saved.states, value, rng))
    named = saved.states if isinstance(saved.states, dict) else {}
    for name in () if not save(path, named, saved.extra) else ("load_checkpoint", "read_run", "load_trained"):
        refusal(path, READERS[name])


def descriptions(rng: np.random.Generator, folder: Path) -> None:
    """Something in the JSON that describes a checkpoint is something else."""
    arrays, metadata = read_safetensors(whole()[0])
    values = [value for value in FOREIGN if isinstance(value, (type(None), int, float, str, list, dict))]
    values += [{kind: value} for kind in ("$array", "$scalar", "$float", "$tuple", "$dict") for value in values[::5]]
    changed = replaced(json.loads(metadata[FIELD]), values[int(rng.integers(0, len(values)))], rng)
    path = folder / "described"
    save_safetensors(path, arrays, {FIELD: json.dumps(changed)})
    for name in ("load_checkpoint", "read_run", "load_trained"):
        refusal(path, READERS[name])


# What is no file


def others(rng: np.random.Generator, folder: Path) -> None:
    """A pipe, a device, a socket, a folder, a link that leads nowhere or in a circle, a file that may not be read."""
    path, what = folder / "other", str(rng.choice(["pipe", "device", "socket", "folder", "nowhere", "circle", "empty"]))
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif what == "folder":
        path.mkdir()
    elif what == "empty":
        path.touch()
    else:
        path.symlink_to({"device": "/dev/zero", "nowhere": "missing", "circle": "other"}[what])
    for name, read in READERS.items():
        try:
            said = refusal(path, read)
        except OSError as error:
            said = str(error)
            assert what in ("nowhere", "circle"), f"{name}: {said}"
        assert str(path) in str(said), f"{name}: {said}"
    if what in ("pipe", "device", "socket", "folder"):
        kind = stat.S_IFMT(path.stat().st_mode)
        with pytest.raises(OSError, match=re.escape(str(path))):
            save_safetensors(path, {"x": np.zeros(3)})
        assert stat.S_IFMT(path.stat().st_mode) == kind, "it was replaced"


KINDS = [
    Kind("files", "bit flips", 400, flips),
    Kind("files", "cuts", 300, cuts),
    Kind("files", "splices", 300, splices),
    Kind("files", "noise", 300, noise),
    Kind("files", "headers", 1500, headers),
    Kind("files", "floods", 8, floods),
    Kind("files", "claims", 60, claims),
    Kind("files", "foreign states", 2000, states),
    Kind("files", "foreign runs", 800, runs),
    Kind("files", "foreign descriptions", 800, descriptions),
    Kind("files", "no files", 40, others),
]
