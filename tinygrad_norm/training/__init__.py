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
from tinygrad_norm.training.confusion import confusion_matrix, confusion_table, plot_confusion
from tinygrad_norm.training.curves import plot_curves
from tinygrad_norm.training.evaluation import Evaluation, evaluate
from tinygrad_norm.training.history import History
from tinygrad_norm.training.interrupt import TrainingInterrupted
from tinygrad_norm.training.recipe import Recipe, recipe_for
from tinygrad_norm.training.run import Result, load_trained, train
from tinygrad_norm.training.safetensors import load_safetensors, save_safetensors
from tinygrad_norm.training.tensorboard import TensorBoardLog
from tinygrad_norm.training.trainer import Trainer

__all__ = [
    "BestWeights",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Evaluation",
    "History",
    "JSONLLog",
    "Recipe",
    "Result",
    "TensorBoardLog",
    "Trainer",
    "TrainingInterrupted",
    "confusion_matrix",
    "confusion_table",
    "evaluate",
    "load_checkpoint",
    "load_safetensors",
    "load_trained",
    "plot_confusion",
    "plot_curves",
    "recipe_for",
    "save_checkpoint",
    "save_safetensors",
    "train",
]
