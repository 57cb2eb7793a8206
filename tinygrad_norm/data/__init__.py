"""Data sets, the loaders that hand them out in batches, and what changes the batches on the way."""

from tinygrad_norm.data.arrays import from_arrays
from tinygrad_norm.data.augmentation import (
    Compose,
    CutMix,
    Cutout,
    GaussianNoise,
    Mixup,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
)
from tinygrad_norm.data.cifar import cifar10, cifar100
from tinygrad_norm.data.datasets import ArrayDataset, Dataset
from tinygrad_norm.data.digits import digits
from tinygrad_norm.data.download import DownloadError
from tinygrad_norm.data.folder import image_folder
from tinygrad_norm.data.idx import read_idx, write_idx
from tinygrad_norm.data.loader import DataLoader
from tinygrad_norm.data.mnist import mnist
from tinygrad_norm.data.prefetch import Prefetch
from tinygrad_norm.data.registry import load

__all__ = [
    "ArrayDataset",
    "Compose",
    "CutMix",
    "Cutout",
    "DataLoader",
    "Dataset",
    "DownloadError",
    "GaussianNoise",
    "Mixup",
    "Prefetch",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShift",
    "cifar10",
    "cifar100",
    "digits",
    "from_arrays",
    "image_folder",
    "load",
    "mnist",
    "read_idx",
    "write_idx",
]
