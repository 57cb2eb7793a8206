"""The kernels of this package's norms, which `python -m tinygrad_norm.derivation.committed` writes."""
