"""Data sets and the loader that hands them out in batches."""

from tinygrad_norm.data.datasets import ArrayDataset, Dataset, digits, from_arrays, mnist
from tinygrad_norm.data.idx import read_idx, write_idx
from tinygrad_norm.data.loader import DataLoader

__all__ = ["ArrayDataset", "DataLoader", "Dataset", "digits", "from_arrays", "mnist", "read_idx", "write_idx"]
