"""Mutants that change nothing a caller can see, by the reason, as found by hand among survivors.

A mutant is named by its file, its function, and the text that replaces another: stable while that code stays.
"""

from __future__ import annotations

Fault = tuple[str, str, str, str]

BY_REASON: dict[str, list[Fault]] = {
    "The number stands in the branch that where() does not take.": [
        ("ops/activation.py", "Softplus.composed", "0.0", "(1.0)"),
        ("ops/activation.py", "Softplus.composed", "0.0", "(-1.0)"),
    ],
    "How much is remembered is a matter of speed.": [
        ("ops/arguments.py", "remembered", "1024", "(1025)"),
        ("ops/arguments.py", "remembered", "1024", "(1023)"),
        (
            "ops/arguments.py",
            "remembered",
            "functools.lru_cache(maxsize=1024, typed=True)",
            "(functools.lru_cache(typed=True))",
        ),
    ],
    "There is one element, the first and the last.": [
        ("nn/containers.py", "Sequential.__init__", "0", "(-1)"),
    ],
    "At p = 1 nothing is kept that the factor could meet.": [
        ("ops/dropout.py", "_drop", "0.0", "(1.0)"),
        ("ops/dropout.py", "_drop", "0.0", "(-1.0)"),
    ],
    "Only a real number that is hit exactly would show on which side of the limit it counts.": [
        ("nn/init.py", "trunc_normal_", "high - low >= 0.01", "(high - low > 0.01)"),
        ("nn/init.py", "trunc_normal_", "draws < a", "(draws <= a)"),
        ("nn/init.py", "trunc_normal_", "draws > b", "(draws >= b)"),
    ],
    "Writing into the array rounds to its dtype.": [
        ("nn/init.py", "constant_", "np.asarray(val, tensor.dtype)", "(np.asarray(val))"),
    ],
    "A sign is its own inverse.": [
        ("nn/init.py", "orthogonal_", "q *= np.sign(np.diagonal(r))", "q /= np.sign(np.diagonal(r))"),
    ],
    "The transpose of an orthogonal matrix is one, too, and as likely.": [
        ("nn/init.py", "orthogonal_", "rows < columns", "(rows <= columns)"),
    ],
    "The walk gives every gradient the dtype of its input, whether the op broadcasts or not.": [
        ("ops/shape.py", "Concat", "True", "False"),
    ],
    "An op's output is float32 again where no input was float64.": [
        ("ops/shape.py", "PutItem.forward", "np.zeros(shape, x.dtype)", "(np.zeros(shape))"),
    ],
    "np.add.at adds at plain keys, too; it takes longer.": [
        (
            "ops/shape.py",
            "_is_basic",
            "return all((part is None or part is Ellipsis or isinstance(part, slice | int) for part in parts))",
            "return None",
        ),
        (
            "ops/shape.py",
            "_is_basic",
            "part is None or part is Ellipsis or isinstance(part, slice | int)",
            "(part is None and part is Ellipsis and isinstance(part, slice | int))",
        ),
    ],
}
EQUIVALENTS = {fault: reason for reason, faults in BY_REASON.items() for fault in faults}
"""From file, function, text before and text after, to why no test can tell."""
