"""A file is replaced whole or not at all, read only if it is one, and a folder belongs to one writer at a time."""

from __future__ import annotations

import os
import platform
import re
import secrets
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tinygrad_norm.dtypes import StrPath

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

WINDOWS = sys.platform == "win32"
_TEMPORARY = re.compile(r"\.tinygrad-norm-[0-9a-f]{8}\.tmp")  # short: the file's own name may take all 255 bytes
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def write_atomically(path: StrPath, data: bytes) -> None:
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one, never a part of either.

    The bytes go to a temporary file beside it and to the disk before the name changes hands. Missing folders are made.
    A file that is replaced keeps its mode and, where that is allowed, its owner. Temporary files that killed processes
    left in the folder are removed.

    Raises:
        OSError: it cannot be written; the message names `path`, not the temporary file.
    """
    target = Path(path).resolve()  # through a symbolic link, to the file it names
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        old = target.stat() if target.exists() else None
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise OSError(f"{path} cannot be written: it is {_kind(old.st_mode)}, not a file")
        file = _open_temporary(target.parent, 0o666 if old is None else stat.S_IMODE(old.st_mode))
        try:
            with file:
                if old is not None:
                    _take_over(file.fileno(), old)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                if not WINDOWS:  # the lock has to last until the name has changed; Windows renames closed files only
                    os.replace(file.name, target)
            if WINDOWS:
                os.replace(file.name, target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    _sync_folder(target.parent)


def open_regular(path: StrPath) -> BinaryIO:
    """Open a file to read its bytes; what is none is not opened, since to open a pipe waits for a writer.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: the path leads to a folder, a pipe, a socket or a device.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{os.fspath(path)} is {_kind(mode)}, not a file")
    return open(path, "rb")


def check_writable(path: Path) -> None:
    """Refuse, before any work, a file that could not be written.

    Raises:
        OSError: the path is a folder or a device, lies below a file, or in a folder that cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} cannot be written: it is {_kind(path.stat().st_mode)}, not a file")
    _check_folder(path, path.resolve().parent)


def put_in_place(finished: Path, target: Path) -> None:
    """Give a finished file its name, when its bytes are on the disk."""
    with open(finished, "r+b") as file:
        os.fsync(file.fileno())
    os.replace(finished, target)
    _sync_folder(target.parent)


@contextmanager
def locked(path: Path, in_use: str) -> Iterator[None]:
    """Hold a lock file while the block runs; its folder has to exist.

    The operating system holds the lock for this process and gives it up when the process ends, however it ends, so that
    a file which a killed one left behind locks nothing. Where a file system has no locks, a warning says so.

    Args:
        path: the lock file, which is made, tells who holds it, and is removed at the end.
        in_use: what the error says before "by process N on HOST".

    Raises:
        BlockingIOError: somebody holds it, be it another thread of this process.
        OSError: the file cannot be made.
    """
    descriptor, owner = _open_lock(path, in_use), os.getpid()
    try:
        with suppress(OSError):  # the words are for others; a full disk must not matter here
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{owner} {platform.node()}\n".encode())
        yield
    finally:
        forked = os.getpid() != owner  # a child that leaves the block takes nothing from its parent
        if not (WINDOWS or forked):
            path.unlink(missing_ok=True)
        os.close(descriptor)
        if WINDOWS:
            with suppress(OSError):  # somebody may just be looking at it
                path.unlink(missing_ok=True)


@contextmanager
def locked_folder(folder: Path, lock: str, in_use: str) -> Iterator[None]:
    """Hold a lock file in a folder, which is made where it is missing; made in vain, it goes again.

    Temporary files that killed processes left there are removed.

    Args:
        folder: to write into.
        lock: the name of the lock file.
        in_use: as in `locked`.

    Raises:
        OSError: somebody holds the lock, or the folder cannot be made or written to.
    """
    _check_folder(folder, folder.resolve())
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / lock, in_use):
            _remove_stale(folder)
            yield
    finally:
        with suppress(OSError):  # of the first that is not empty
            for path in made:
                path.rmdir()


def _open_lock(path: Path, in_use: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BlockingIOError:
            holder = re.match(r"(\d+) ([\w.-]*)", os.read(descriptor, 300).decode("ascii", "replace"))
            by = f"process {holder[1]} on {holder[2]}" if holder else "another process"
            os.close(descriptor)
            raise BlockingIOError(f"{in_use} by {by}") from None
        except OSError as error:
            warnings.warn(f"{path} cannot be locked ({error}): nobody would notice a second one", stacklevel=3)
            return descriptor
        os.close(descriptor)  # who held it has removed the file meanwhile


def _lock(descriptor: int) -> None:
    """Lock an open file for this process, or raise: BlockingIOError if somebody else has it, OSError if none can."""
    if sys.platform == "win32":
        try:
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind its end, for nobody can read a byte locked there
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open_temporary(folder: Path, mode: int) -> BinaryIO:
    """Return a new file of a mode, locked so that others see it in use."""

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, mode | stat.S_IWUSR)

    while True:
        path = folder / f".tinygrad-norm-{secrets.token_hex(4)}.tmp"
        file = open(path, "xb", opener=opener)  # noqa: SIM115 # the caller closes it
        try:
            if not WINDOWS:
                _lock(file.fileno())
            ours = path.exists()
        except BlockingIOError:
            ours = False
        except OSError:
            ours = True  # where nothing can be locked, nothing is removed either
        if ours:
            return file
        file.close()  # somebody took it for stale before it was locked, and removes it


def _remove_stale(folder: Path) -> None:
    """Remove the temporary files that nobody writes any more; what cannot be looked at or removed stays."""
    found: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        found += [entry.path for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for path in found:
        with suppress(OSError):
            if WINDOWS:  # where an open file cannot be removed, and one that waits for its name is no minute old
                if time.time() - os.stat(path).st_mtime > 60:
                    os.unlink(path)
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                _lock(descriptor)
                os.unlink(path)
            finally:
                os.close(descriptor)


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give an open file the owner, where that is allowed, and the mode of the file that it replaces."""
    if sys.platform != "win32":
        new = os.fstat(descriptor)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            with suppress(OSError):
                os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _check_folder(path: Path, folder: Path) -> None:
    """Raise an OSError that names `path` if nothing can be made in `folder`, or the innermost above that is there."""
    folder = next(place for place in (folder, *folder.parents) if place.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written: the folder {folder} is read-only")


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _sync_folder(folder: Path) -> None:
    """Bring a new name to the disk too. The file is whole by then, so a system that cannot do this is no failure."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
