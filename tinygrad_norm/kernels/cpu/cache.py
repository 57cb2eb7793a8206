"""What was compiled, kept for later processes: one file for each kernel and signature, read only if it is whole.

Numba's own cache ends the program where no folder can be written or a file is damaged, and compiles again only when the
file of a kernel itself has changed; here, when any of the kernels' files has, for they call each other.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba

from tinygrad_norm.kernels.cpu.numba_internals import FunctionCache, IndexDataCacheFile, NullCache
from tinygrad_norm.output import UnfailingStream

_DIGEST = hashlib.sha256().digest_size


def cache_of(function: Any) -> Any:
    """The cache of one function for Numba; one that keeps nothing where no folder can be written, which is told."""
    try:
        return _KernelCache(function)
    except RuntimeError:  # Numba has no name of its own for "no locator available"
        say_once(
            "no folder for compiled kernels can be written, so they are compiled in each process; "
            "NUMBA_CACHE_DIR can name one"
        )
        return NullCache()


@cache
def say_once(sentence: str) -> None:
    """Print `sentence` on stderr, the first time."""
    print(f"tinygrad_norm: {sentence}", file=UnfailingStream(sys.stderr), flush=True)


class _KernelCache(FunctionCache):  # type: ignore[misc] # Numba has no types
    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _Files(self.cache_path, self._impl.filename_base, _sources())

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super().save_overload(signature, compiled)
        except OSError as error:  # a full disk, or a folder that can no longer be written
            say_once(f"compiled kernels cannot be kept, so they are compiled in each process: {error}")


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """The files of one function, each with a digest of what it holds and what it was made from, and no index."""

    def save(self, key: Any, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._path(key)) as file:
            file.write(self._digest(key, content) + content)

    def load(self, key: Any) -> Any:
        """What was saved; None if nothing was, if it is damaged, or if a source or a version is another."""
        try:
            whole = Path(self._path(key)).read_bytes()
        except OSError:
            return None
        content = whole[_DIGEST:]
        return pickle.loads(content) if whole[:_DIGEST] == self._digest(key, content) else None

    def _path(self, key: Any) -> str:
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return str(self._data_path(f"{Path(self._index_name).stem}.{name}.nbc"))

    def _digest(self, key: Any, content: bytes) -> bytes:
        made_from = (key, self._source_stamp, numba.__version__, llvmlite.__version__)
        return hashlib.sha256(repr(made_from).encode() + content).digest()


@cache
def _sources() -> tuple[tuple[str, int], ...]:
    """The kernels' files, and when each was last changed."""
    return tuple((path.name, path.stat().st_mtime_ns) for path in sorted(Path(__file__).parent.glob("*.py")))
