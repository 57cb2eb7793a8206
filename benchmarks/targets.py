"""The targets: ours over the fastest eager PyTorch, at most, unless said otherwise."""

from __future__ import annotations

TRAINING = {
    "mlp": 0.67,
    "baseline_cnn": 0.67,
    "alexnet": 0.75,
    "vgg16": 0.67,
    "resnet18": 0.67,
    "efficientnet_b0": 0.67,
    "convnext_tiny": 0.5,
}
INFERENCE = {
    "mlp": 0.8,
    "baseline_cnn": 0.67,
    "alexnet": 0.8,
    "vgg16": 0.67,
    "resnet18": 0.67,
    "efficientnet_b0": 0.8,
    "convnext_tiny": 0.67,
}
CAPTURED_TRAINING = {
    "mlp": 0.5,
    "baseline_cnn": 0.5,
    "alexnet": 0.4,
    "vgg16": 0.4,
    "resnet18": 0.45,
    "efficientnet_b0": 0.4,
    "convnext_tiny": 0.5,
}
CAPTURED_INFERENCE = {
    "mlp": (0.4, 0.6),
    "baseline_cnn": (0.6, 0.5),
    "alexnet": (0.6, 0.4),
    "vgg16": (0.5, 0.45),
    "resnet18": (0.6, 0.5),
    "efficientnet_b0": (0.4, 0.7),
    "convnext_tiny": (0.6, 0.75),
}
"""For one image, and for a batch of 64."""
COMPILED_TRAINING = {"mlp": 0.8, "baseline_cnn": 0.67, "resnet18": 0.6, "efficientnet_b0": 0.5}
"""Captured over the fastest of torch.compile and JAX jit."""
COMPILED_INFERENCE = {
    "mlp": (2.0, 1.0),
    "baseline_cnn": (1.2, 1.0),
    "alexnet": (1.3, 0.5),
    "vgg16": (1.1, 0.55),
    "resnet18": (1.2, 0.65),
    "efficientnet_b0": (2.0, 1.0),
    "convnext_tiny": (1.2, 1.0),
}
"""Captured over onnxruntime, or torch.compile where that is faster: for one image, and for a batch of 64."""
SMALL_TRAINING = 0.35
"""A captured step of a small net over PyTorch's eager one."""
EMPTY_PLAN = 5e-3
"""Milliseconds of a call of a plan that does nothing."""
MEMORY = {
    "mlp": 1.0,
    "baseline_cnn": 0.8,
    "alexnet": 1.0,
    "vgg16": 0.8,
    "resnet18": 0.8,
    "efficientnet_b0": 0.8,
    "convnext_tiny": 1.0,
}
NORM = 0.5
"""Each norm, with and without activation: forward and backward in training, forward in inference."""
SMALL_NORM = 0.35
"""A replay of one of 256 features, or of images of at most 8×8."""
SMALL_OP = 1.0
"""One recorded elementwise op on 64 numbers, forward and backward."""
CAPTURED_MEMORY = 1.0
"""Peak memory of replayed steps over that of eager ones."""
BUSY = 0.6
"""A training step while another process keeps one of two cores busy."""
SLOWED = 2.2
"""Such a step over one on a quiet machine, if that takes more than 5 ms."""
SLOWED_SHORT = 1.5
"""SLOWED for a shorter step."""
TWO_THREADS = 1.7
"""Times as fast as one, at least."""
CAPTURED_TWO_THREADS = 1.6
"""The same of a replay, where it takes over 5 ms."""
GROWTH = 1.1
"""Time and memory over what would be in proportion to the work; a tenth is left to noise."""
COLD_STEP = 60.0
"""Seconds of the first step of ResNet18, kernels compiled."""
FIRST_STEP = 3.0
"""Seconds of the first step of ResNet18 in a later process."""
