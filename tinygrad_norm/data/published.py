"""What was published of each data set: its files, and the names of its classes; `published.json` tells them."""

from __future__ import annotations

import json
from importlib import resources
from typing import NamedTuple

from tinygrad_norm.data.download import RemoteFile


class Published(NamedTuple):
    """The files of a data set, and the names of its classes, by what they are labels of."""

    files: tuple[RemoteFile, ...]
    classes: dict[str, tuple[str, ...]]


def published(name: str) -> Published:
    """Return what was published of a data set: "mnist", "fashion-mnist", "cifar10" or "cifar100"."""
    text = resources.files(__package__).joinpath("published.json").read_text("utf-8")
    entry = json.loads(text)[name]
    files = tuple(
        RemoteFile(file, size, md5, tuple(source + file for source in entry["sources"]))
        for file, size, md5 in entry["files"]
    )
    return Published(files, {kind: tuple(names) for kind, names in entry["classes"].items()})
