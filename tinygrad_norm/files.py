"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one, never a part of either.

    The bytes go to a temporary file beside it and to the disk before the name changes hands. Missing folders are made.

    Raises:
        OSError: it cannot be written; the message names `path`, not the temporary file.
    """
    target = Path(path).resolve()  # through a symbolic link, to the file it names
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    _sync_folder(target.parent)


def check_writable(path: Path) -> None:
    """Refuse, before any work, a file that could not be written.

    Raises:
        OSError: the path is a folder, lies below a file, or in a folder that cannot be written.
    """
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written: the folder {folder} is read-only")


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk too. Only POSIX systems can, and need to."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
