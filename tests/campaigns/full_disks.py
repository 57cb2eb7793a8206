"""No room on the disk at some moment: one sentence about it, the old file whole, and a run that goes on exactly."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.campaigns.campaign import Kind, start, wait
from tests.campaigns.kills import Counter
from tests.campaigns.subject import arguments, check_finished, check_no_temporary_files, train_on, whole
from tinygrad_norm.cli import main
from tinygrad_norm.training.checkpoint import read_checkpoint, save_parts
from tinygrad_norm.training.saved_run import CHECKPOINT


def save_and_tell(path: Path, size: int) -> int:
    """Save; 0 if that went well, 3 if an OSError names the file."""
    try:
        save_parts(path, {"model": Counter(size)}, 2)
    except OSError as error:
        return 3 if str(path) in str(error) else 4
    return 0


def check_save(path: Path, status: int) -> None:
    assert status in (0, 3), f"a save ended with status {status}"
    assert read_checkpoint(path).extra == (2 if status == 0 else 1)
    assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)


def while_saving(rng: np.random.Generator, folder: Path) -> None:
    """No file may grow longer than so much."""
    path, size = folder / "checkpoint", int(rng.integers(1, 20_000))
    save_parts(path, {"model": Counter(size)}, 1)
    limit = int(rng.uniform(0, 1.3) * path.stat().st_size)

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return save_and_tell(path, size)

    check_save(path, wait(start(work)))


def at_any_call(rng: np.random.Generator, folder: Path) -> None:
    """A call of the system fails, for this or another reason that disks have."""
    path, size = folder / "checkpoint", int(rng.integers(1, 20_000))
    save_parts(path, {"model": Counter(size)}, 1)
    name = rng.choice(["open", "fsync", "replace", "fchmod", "scandir"])
    number = rng.choice([errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])

    def work() -> int:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        setattr(os, name, fail)
        return save_and_tell(path, size)

    check_save(path, wait(start(work)))


def while_training(rng: np.random.Generator, folder: Path) -> None:
    run, output = folder / "run", folder / "output"
    limit = int(rng.uniform(0, 1.3) * whole()[0].stat().st_size)

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return main([*arguments(run), "--quiet"])

    status = wait(start(work, output))
    said = output.read_text()
    assert status in (0, 2), f"status {status}: {said}"
    assert status == 0 or (said.count("\n") == 1 and "Traceback" not in said), said
    if (run / CHECKPOINT).exists():
        read_checkpoint(run / CHECKPOINT)
    if run.exists():
        check_no_temporary_files(run)
    train_on(run)
    check_finished(run)


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes, in memory."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(place: Path, leave: int) -> Path:
    """Leave so many bytes of a disk, as far as it has them."""
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_bsize
    (place / "filling").write_bytes(bytes(max(0, free - leave)))
    return place / "filling"


def on_a_small_disk(rng: np.random.Generator, folder: Path) -> None:
    with small_disk(folder / "disk", 1 << 21) as disk:
        run, output = disk / "run", folder / "output"
        filling = fill(disk, int(rng.uniform(0, 5) * whole()[0].stat().st_size))
        status = wait(start(lambda: main([*arguments(run), "--quiet"]), output))
        said = output.read_text()
        assert status in (0, 2), f"status {status}: {said}"
        assert status == 0 or (said.count("\n") == 1 and "Traceback" not in said), said
        filling.unlink()
        train_on(run)
        check_finished(run)


def can_mount() -> bool:
    """Whether this user may make a disk in memory."""
    try:
        with small_disk(Path(f"/tmp/campaign-mount-{os.getpid()}"), 1 << 20) as place:
            pass
        place.rmdir()
    except (OSError, subprocess.SubprocessError):
        Path(f"/tmp/campaign-mount-{os.getpid()}").rmdir()
        return False
    return True


KINDS = [
    Kind("full disks", "while saving", 150, while_saving),
    Kind("full disks", "at any call", 150, at_any_call),
    Kind("full disks", "while training", 40, while_training),
]
AS_ROOT = [Kind("full disks", "on a small disk", 30, on_a_small_disk)]
