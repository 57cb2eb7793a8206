"""What the kernels use of Numba that is not public, so that another version may move it or drop it.

What is in `numba.core` and `numba.np` is imported here and nowhere else, and names that no import meets are listed.
`tests/kernels/cpu/test_numba_internals.py` looks for each of them in the Numba that is installed.
"""

from numba.core import cgutils as cgutils
from numba.core import event as event
from numba.core.caching import FunctionCache as FunctionCache
from numba.core.caching import IndexDataCacheFile as IndexDataCacheFile
from numba.core.caching import NullCache as NullCache
from numba.core.codegen import JITCodeLibrary as JITCodeLibrary
from numba.core.compiler import Compiler as Compiler
from numba.core.compiler_lock import global_compiler_lock as global_compiler_lock
from numba.np.ufunc.parallel import _launch_threads as _launch_threads

TRIED = (0, 61), (0, 68)
"""The oldest and the newest version with which the kernels were tested; `pyproject.toml` asks for no other."""

OPENMP = "numba.np.ufunc.omppool"
"""The module that loads OpenMP, for those who want to be there when it does."""

GEMM = "numba_xxgemm"
"""The C function that calls the matrix product of SciPy's BLAS."""

ATTRIBUTES = {
    "numba.core.caching.CompileResultCacheImpl": "filename_base",
    "numba.core.caching.FunctionCache": "_cache_file _impl cache_path save_overload",
    "numba.core.caching.IndexDataCacheFile": "_data_path _dump _index_name _open_for_write _source_stamp load save",
    "numba.core.codegen.JITCodeLibrary": "_ensure_finalized _finalize_dynamic_globals _finalize_final_module "
    "_optimize_final_module _optimize_functions codegen get_pointer_to_function",
    "numba.core.compiler.Compiler": "define_pipelines state",
    "numba.core.compiler.Flags": "noalias",
    "numba.core.event.Event": "data",
    "numba.core.options.DefaultOptions": "_nrt forceinline no_cfunc_wrapper no_cpython_wrapper",
    "numba.core.registry.CPUDispatcher": "_cache",
}
"""Methods, fields and options of these classes."""
