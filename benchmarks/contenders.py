"""What is timed of a net: a step of training or of inference, ours and PyTorch's; each is made in its own process."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.nets import BATCH, LEARNING_RATE, NETS, batch
from benchmarks.timing import Maker

OURS = "tinygrad_norm"
CAPTURED = "captured"


def our_training(
    name: str, size: int = BATCH, pixels: int | None = None, captured: bool = False
) -> Callable[[], object]:
    """A step of training: forward, backward, Adam; replayed, or eager."""
    from tinygrad_norm import capture
    from tinygrad_norm.models import create_model

    step = our_step(create_model(name, **NETS[name].options))
    given = batch(name, size, pixels)
    return tried(partial(capture(step, strict=True), *given)) if captured else partial(step, *given)


def our_tiny_step() -> Callable[[], object]:
    """A step that loads what every step needs, and leaves nothing."""
    from tinygrad_norm import nn

    conv, norm = nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8, activation="relu")
    net = nn.Sequential(conv, norm, nn.Flatten(), nn.Linear(8 * 30 * 30, 10))
    return partial(our_step(net), *batch("alexnet", 2))


def our_step(model: Any) -> Callable[[np.ndarray, np.ndarray], object]:
    """A step of training of any net, of images and labels."""
    from tinygrad_norm import Tensor, ops, optim

    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(images: np.ndarray, labels: np.ndarray) -> None:
        optimizer.zero_grad()
        ops.cross_entropy(model(Tensor(images)), labels).backward()
        optimizer.step()

    return step


def our_inference(name: str, size: int, captured: bool = False) -> Callable[[], object]:
    """The logits, with batch norm and activations folded; replayed, or eager."""
    from tinygrad_norm import Tensor, capture, no_grad
    from tinygrad_norm.models import create_model
    from tinygrad_norm.nn import fold_activations, fold_batch_norm

    model = create_model(name, **NETS[name].options).eval()
    fold_activations(fold_batch_norm(model, in_place=True), in_place=True)
    images, _ = batch(name, size)
    net = capture(model, strict=True) if captured else model

    def step() -> Any:
        with no_grad():
            return net(Tensor(images))

    return tried(step) if captured else step


def tried(step: Callable[[], object]) -> Callable[[], object]:
    """A captured step after as many calls as are often compared with eager ones: the next of these is the 64th."""
    for _ in range(33):
        step()
    return step


def torch_training(
    name: str, size: int = BATCH, channels_last: bool = False, fused: bool = False, compiled: bool = False
) -> Callable[[], object]:
    """A step of training in PyTorch."""
    torch, model, images = torch_net(name, size, channels_last)
    forward = torch.compile(model) if compiled else model
    return torch_step(forward, model, images, torch.from_numpy(batch(name, size)[1]), fused)


def torch_tiny_step() -> Callable[[], object]:
    """The step of `our_tiny_step`."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    conv, norm = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)
    model = torch.nn.Sequential(conv, norm, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 30 * 30, 10))
    images, labels = map(torch.from_numpy, batch("alexnet", 2))
    return torch_step(model, model, images, labels, fused=True)


def torch_step(forward: Any, model: Any, images: Any, labels: Any, fused: bool) -> Callable[[], object]:
    """A step of training of any net."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=fused or None)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(forward(images), labels).backward()
        optimizer.step()

    return step


def torch_inference(name: str, size: int, channels_last: bool = False, compiled: bool = False) -> Callable[[], object]:
    """The logits in PyTorch, with batch norm folded."""
    from benchmarks.peer_folding import fold_batch_norm

    torch, model, images = torch_net(name, size, channels_last)
    folded = fold_batch_norm(model.eval())
    forward = torch.compile(folded) if compiled else folded

    def step() -> Any:
        with torch.inference_mode():
            return forward(images)

    return step


def torch_net(name: str, size: int, channels_last: bool) -> tuple[Any, Any, Any]:
    """PyTorch with all threads, its net and its images."""
    import torch  # in its own process alone

    from benchmarks.peers import PEERS

    torch.set_num_threads(os.cpu_count() or 1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = PEERS[name]().to(memory_format=layout)
    return torch, model, torch.from_numpy(batch(name, size)[0]).to(memory_format=layout)


def training_forms(name: str) -> dict[str, Maker]:
    """PyTorch's eager forms of a training step: the fastest counts."""
    layouts = {"": False} if name == "mlp" else {"": False, ", channels-last": True}
    return {
        f"PyTorch{layout}{adam}": partial(torch_training, name, channels_last=last, fused=fused)
        for layout, last in layouts.items()
        for adam, fused in (("", False), (", fused Adam", True))
    }


def inference_forms(name: str, size: int) -> dict[str, Maker]:
    """PyTorch's eager forms of inference: the fastest counts."""
    forms: dict[str, Maker] = {"PyTorch": partial(torch_inference, name, size)}
    if name != "mlp":
        forms["PyTorch, channels-last"] = partial(torch_inference, name, size, channels_last=True)
    return forms
