"""Training: the loop, callbacks, logs, curves and checkpoints."""

from __future__ import annotations

from tinygrad_norm.training.callbacks import (
    BestWeights,
    Callback,
    Checkpoint,
    EarlyStopping,
    JSONLLog,
)
from tinygrad_norm.training.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_norm.training.curves import plot_curves
from tinygrad_norm.training.history import History
from tinygrad_norm.training.interrupt import TrainingInterrupted
from tinygrad_norm.training.safetensors import load_safetensors, save_safetensors
from tinygrad_norm.training.tensorboard import TensorBoardLog
from tinygrad_norm.training.trainer import Trainer

__all__ = [
    "BestWeights",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "JSONLLog",
    "TensorBoardLog",
    "Trainer",
    "TrainingInterrupted",
    "load_checkpoint",
    "load_safetensors",
    "plot_curves",
    "save_checkpoint",
    "save_safetensors",
]
