"""What layers and ops are certified with: small inputs of odd shapes, in each mode and form that they have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from tinygrad_norm import nn, ops
from tinygrad_norm.certificate.case import Case, case_of_module
from tinygrad_norm.certificate.norm_examples import NORMS, NormExample, make_norm
from tinygrad_norm.nn.activation import ACTIVATION_LAYERS
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import RunningMoments
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.testing import Function

Options = dict[str, Any]
Inputs = str | tuple[int, ...]


class Example(NamedTuple):
    """A use of a layer or an op."""

    inputs: Inputs
    """Names of inputs, as in `draw_inputs`, or the shape of one."""
    arguments: tuple[Any, ...]
    """What a layer is made with, or what an op is given after its inputs."""
    options: Options
    function: Function | None
    """How an op is called that takes its inputs in another way."""


def on(inputs: Inputs, *arguments: Any, function: Function | None = None, **options: Any) -> Example:
    """Return the example with these arguments and options."""
    return Example(inputs, arguments, options, function)


# Layers

NORM_SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    # Of norms that have kernels of their own, the shape of the input, that with an activation, and a larger one: enough
    # for several threads; images with the channels first, in which a channel is a row to the kernels.
    "BatchNorm1D": ((7, 2), (5, 2), (7109, 37)),
    "BatchNorm2D": ((3, 2, 3, 1), (2, 2, 3, 1), (9, 3, 99, 99)),
    "BatchNorm3D": ((2, 2, 1, 3, 1), (5, 2, 1, 1, 1), (5, 3, 26, 27, 26)),
    "GroupNorm": ((2, 4, 3), (1, 4, 3), (5, 6, 94, 95)),
    "InstanceNorm1D": ((2, 2, 5), (1, 2, 5), (9, 3, 9733)),
    "InstanceNorm2D": ((2, 2, 5, 1), (1, 2, 5, 1), (9, 3, 99, 99)),
    "InstanceNorm3D": ((2, 2, 1, 5, 1), (1, 2, 1, 5, 1), (5, 3, 26, 27, 26)),
    **dict.fromkeys(("LayerNorm", "RMSNorm"), ((3, 1, 5), (2, 1, 5), (439, 1, 601))),
    **dict.fromkeys(("LayerNorm2D", "RMSNorm2D"), ((2, 5, 1, 2), (2, 5, 1, 1), (3, 37, 49, 49))),
}
SMALL = {"N": 5, "C": 4, "L": 5, "H": 5, "W": 1, "K": 3}
"""The sizes of all others: C and K are no other's length, so that the axes that may grow are told from these."""

IMAGES, ROWS = (2, 2, 5, 3), (3, 5)
LAYERS = {
    **{name: [on(ROWS)] for name in ("Hardswish", "Identity", "Mish", "ReLU", "SiLU", "Sigmoid", "Tanh")},
    **{name: [on(IMAGES)] for name in ("Flatten", "GlobalAvgPool2D")},
    "AdaptiveAvgPool2D": [on(IMAGES, 1), on(IMAGES, (2, 3))],
    "AvgPool2D": [on(IMAGES, 2), on(IMAGES, 3, 2, 1, count_include_pad=False)],
    "BCEWithLogitsLoss": [on("x fixed_chances"), on("x fixed_chances", reduction="none")],
    "Conv2D": [
        on((1, 2, 4, 3), 2, 2, (3, 2)),
        on((2, 2, 3, 1), 2, 4, 2, stride=2, padding=1, groups=2, bias=False),
        on((1, 2, 3, 2), 2, 2, 2, dilation=2, padding_mode="reflect", padding=1),
        *[on((1, 2, 3, 2), 2, 2, (2, 1), activation=name) for name in ACTIVATION_LAYERS],
    ],
    "CrossEntropyLoss": [
        on("x labels"),
        on("x labels", weight=[0.5, 2.0, 1.0, 3.0], label_smoothing=0.2, ignore_index=1),
        on("x labels", reduction="none"),
    ],
    "Dropout": [on(ROWS, 0.4)],
    "Dropout2D": [on(IMAGES, 0.4)],
    "ELU": [on(ROWS, 1.5)],
    "GELU": [on(ROWS), on(ROWS, "tanh")],
    "HuberLoss": [on("x fixed", delta=0.7)],
    "L1Loss": [on("x fixed")],
    "LeakyReLU": [on(ROWS, 0.2)],
    "Linear": [
        on((2, 3, 5), 5, 3),
        on(ROWS, 5, 3, bias=False),
        *[on((2, 5), 5, 3, activation=name) for name in ACTIVATION_LAYERS],
    ],
    "LogSoftmax": [on(ROWS), on(ROWS, 0)],
    "MaxPool2D": [on(IMAGES, 2), on(IMAGES, 3, 2, 1, ceil_mode=True)],
    "MSELoss": [on("x fixed"), on("x fixed", reduction="none")],
    "NLLLoss": [on("x labels")],
    "Softmax": [on(ROWS), on(ROWS, 0)],
    "Softplus": [on(ROWS), on(ROWS, 0.5)],
    "SqueezeExcite": [on((2, 4, 2, 1), 4, 3), on((1, 4, 1, 2), 4, 3, "silu", "hardswish")],
    "StochasticDepth": [on((5, 3), 0.4)],
    "Upsample": [on((1, 2, 3, 2), scale_factor=2), on((1, 2, 3, 2), size=(4, 5), mode="bilinear")],
}
LARGER_LAYERS = {  # the others' inputs grow as far as they can: `enlarge.py`
    "Conv2D": [  # one for each way that the kernels go
        on((3, 17, 19, 17), 17, 19, 3, padding=1),
        on((3, 17, 19, 17), 17, 17, 3, padding=1, groups=17),
        on((3, 17, 33, 31), 17, 19, 5, stride=2, activation="relu"),
        on((3, 65, 19, 17), 65, 67, 1, activation="silu"),
        on((70, 17, 2, 2), 17, 19, 3, padding=1),
        on((2, 17, 6, 5), 17, 131, 3),
    ],
}


def layer_names() -> list[str]:
    """Return the layers that can be certified by name."""
    return sorted([*NORMS, *LAYERS])


def layer_cases(name: str, rng: Generator) -> list[Case]:
    """Return the cases of a layer of `nn`."""
    if name in NORM_SHAPES:
        return _norm_cases(name, rng)
    if name in NORMS:
        return [case for example in NORMS[name] for case in _cases_of_norm(name, example, rng)]
    cases = []
    for inputs, arguments, options, _ in LAYERS[name]:
        layer, mutated = getattr(nn, name)(*arguments, **options), options.get("activation", "silu") == "silu"
        cases += cases_of_layer(_words(arguments, options), layer, _drawn(inputs, rng), rng, mutated)
    for inputs, arguments, options, _ in LARGER_LAYERS.get(name, []):
        layer = getattr(nn, name)(*arguments, **options)
        case = case_of_module(_words(arguments, options), layer, _drawn(inputs, rng), rng)
        cases.append(replace(case, mutated=False, larger=True))
    return cases


def _cases_of_norm(name: str, example: NormExample, rng: Generator) -> list[Case]:
    words = f"{_words(example.made_with(SMALL), {**example.options})} on {example.axes}"
    inputs = example.draw(SMALL, rng)
    return cases_of_layer(
        " and ".join(filter(None, (words, example.given))), make_norm(name, example, SMALL), inputs, rng
    )


def cases_of_layer(name: str, layer: Module, inputs: list[Any], rng: Generator, mutated: bool = True) -> list[Case]:
    """Return a layer in training, and in inference if that is something else."""
    case = case_of_module(name, layer, inputs, rng, mutated=mutated)
    cases = [
        replace(case, name=", ".join(filter(None, (mode, name))), function=_in_mode(layer, mode, case.function))
        for mode in ("training", "inference")
    ]
    training, inference = [each.call(*each.leaves()).raw for each in cases]
    return [case] if np.array_equal(training, inference) else cases


def _in_mode(layer: Module, mode: str, function: Function) -> Function:
    def run(*given: Any) -> Tensor:
        layer.train(mode == "training")
        return function(*given)

    return run


def _norm_cases(name: str, rng: Generator) -> list[Case]:
    """Return training and inference, each with weight and bias, no bias, neither, and with each activation."""
    shape, small, larger = NORM_SHAPES[name]
    kind, (example, *_) = getattr(nn, name), NORMS[name]
    tracked: Options = {"track_running_stats": True, "affine": True} if issubclass(kind, RunningMoments) else {}
    forms: dict[str, Options] = {"weight and bias": {}, "no bias": {"bias": False}}
    if name.startswith("RMS"):
        forms = {"weight": {}}
    forms["no weight"] = {"elementwise_affine" if name in ("LayerNorm", "RMSNorm") else "affine": False}
    forms |= {activation: {"activation": activation} for activation in ACTIVATION_LAYERS}
    cases = []
    for mode in ("training", "inference") if tracked else ("",):
        for form, options in forms.items():
            activated = "activation" in options
            sizes = [(small if activated else shape, "")]
            if form in ("weight and bias", "weight", "relu", "silu"):
                sizes.append((larger, "larger"))
            for size, word in sizes:
                known = dict(zip(example.axes, size, strict=False))  # (N, C) is (N, C, L) without L
                layer = make_norm(name, example, known, **{**tracked, **options})
                label = ", ".join(filter(None, (mode, form, word)))
                made = case_of_module(label, layer, [rng.normal(0.3, 1.2, size)], rng, mode != "inference")
                mutated = not word and (not activated or form == "silu")
                cases.append(replace(made, mutated=mutated, larger=bool(word)))
    return cases


def _words(arguments: tuple[Any, ...], options: Options) -> str:
    return ", ".join([*map(repr, arguments), *(f"{key}={value!r}" for key, value in options.items())])


def _drawn(inputs: Inputs, rng: Generator) -> list[Any]:
    if isinstance(inputs, tuple):
        return [rng.normal(0.2, 1.1, inputs)]
    given = draw_inputs(rng)
    return [given[name] for name in inputs.split()]


def draw_inputs(rng: Generator) -> dict[str, Any]:
    """Return the inputs that cases name; those in float64 are differentiated, unless they are called fixed."""
    constant = np.float32  # of which no gradient is asked
    return {
        "x": rng.normal(0.2, 1.1, (3, 4)),
        "other": rng.normal(0.2, 1.1, (3, 4)),
        "row": rng.normal(0.2, 1.1, 4),
        "positive": rng.uniform(0.3, 2.5, (3, 4)),
        "matrix": rng.normal(size=(4, 2)),
        "weight": rng.normal(size=(2, 4)),
        "images": rng.normal(size=(2, 2, 5, 3)),
        "few_images": rng.normal(size=(1, 2, 4, 3)),
        "filters": rng.normal(size=(2, 2, 3, 2)),
        "batch": rng.normal(0.3, 1.2, (3, 2, 3, 1)),
        "gains": rng.normal(0.7, 0.6, 2),
        "shifts": rng.normal(size=2),
        "row_gains": rng.normal(0.7, 0.6, 4),
        "channels": rng.normal(size=(2, 2, 1, 1)),
        "mean": rng.normal(size=2).astype(constant),
        "var": rng.uniform(0.5, 2, 2).astype(constant),
        "mask": rng.random((3, 4)) < 0.5,
        "indices": rng.integers(0, 4, (3, 2)),
        "labels": np.array([1, 3, 0]),
        "fixed": rng.normal(size=(3, 4)).astype(constant),
        "fixed_chances": rng.random((3, 4)).astype(constant),
    }


# Ops

_UNARY = "abs cos elu erf exp expm1 gelu hardswish leaky_relu log_softmax mish negative relu sigmoid silu sin softmax"
_OF_X = f"{_UNARY} ndtr softplus square tanh flip flatten matrix_transpose logsumexp max mean min prod std sum var"
_OF_POSITIVE = "log log1p rsqrt sqrt"
_OF_TWO = "add add_relu divide logaddexp maximum minimum multiply subtract"
_TESTS = "equal greater greater_equal isfinite isnan less less_equal logical_and logical_not logical_or logical_xor"
_STEPS = "all any arange argmax argmin ceil floor not_equal ones ones_like round sign stop_gradient zeros_like"
NO_GRADIENT = {*_TESTS.split(), *_STEPS.split()}
"""Ops whose output is a constant, whole numbers or truth values, and has no gradient, or one of 0 everywhere."""

OPS = {
    **{name: [on("x")] for name in _OF_X.split()},
    **{name: [on("positive")] for name in _OF_POSITIVE.split()},
    **{name: [on("x other"), on("x row")] for name in _OF_TWO.split()},
    "adaptive_avg_pool2d": [on("images", (2, 3))],
    "astype": [on("x", "float64")],
    "avg_pool2d": [on("images", 3, 2, 1, count_include_pad=False)],
    "batch_norm": [
        on("batch gains shifts", function=lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True)),
        on("batch gains shifts mean var", function=lambda x, w, b, mean, var: ops.batch_norm(x, mean, var, w, b)),
        on("batch", None, None, training=True, activation="silu"),
    ],
    "binary_cross_entropy_with_logits": [on("x fixed_chances")],
    "broadcast_to": [on("row", (3, 4))],
    "clip": [on("x", -0.5, 0.7)],
    "concat": [on("x other", function=lambda x, y: ops.concat([x, y], 1))],
    "conv2d": [on("few_images filters"), on("few_images filters", stride=2, padding=1, activation="silu")],
    "cross_entropy": [on("x labels"), on("x labels", [0.5, 2.0, 1.0, 3.0], "none", 0.2, ignore_index=0)],
    "cumulative_sum": [on("x", 1)],
    "dropout": [on("x", 0.4)],
    "dropout2d": [on("images", 0.4)],
    "gated": [on("x", function=lambda x: ops.gated(x, ops.sigmoid(x)))],
    "einsum": [on("x matrix", function=lambda x, y: ops.einsum("ij,jk->ki", x, y))],
    "expand_dims": [on("x", 1)],
    "gather": [on("x indices", function=lambda x, indices: ops.gather(x, 1, indices))],
    "getitem": [on("x", (slice(None), [0, 3, 3]))],
    "group_norm": [
        on("images gains shifts", function=lambda x, w, b: ops.group_norm(x, 1, w, b)),
        on("images", 2, activation="silu"),
    ],
    "huber_loss": [on("x fixed", delta=0.7)],
    "instance_norm": [
        on("images gains shifts", function=lambda x, w, b: ops.instance_norm(x, None, None, w, b)),
        on("images mean var", use_input_stats=False),
    ],
    "interpolate": [on("few_images", (3, 5), mode="bilinear")],
    "l1_loss": [on("x fixed")],
    "layer_norm": [
        on("x row_gains row", function=lambda x, w, b: ops.layer_norm(x, 4, w, b)),
        on("x", 4, activation="silu"),
    ],
    "layer_norm_2d": [on("few_images", eps=0.1)],
    "linear": [on("x weight shifts"), on("x weight"), on("x weight shifts", "silu")],
    "local_response_norm": [on("images", 2), on("few_images", 3, 0.3, 0.6, 1.5)],
    "matmul": [on("x matrix")],
    "max_pool2d": [on("images", 3, 2, 1)],
    "moveaxis": [on("images", 1, -1)],
    "mse_loss": [on("x fixed")],
    "nll_loss": [on("x labels")],
    "pad": [on("x", ((1, 0), (0, 2)))],
    "permute_dims": [on("images", (1, 3, 0, 2))],
    "pow": [on("positive row")],
    "reshape": [on("x", (2, 6))],
    "rms_norm": [
        on("x row_gains", function=lambda x, w: ops.rms_norm(x, 4, w)),
        on("x", 4, activation="silu"),
    ],
    "rms_norm_2d": [on("few_images gains")],
    "roll": [on("x", 2, 1)],
    "scale": [on("images channels")],
    "split": [on("x", function=lambda x: ops.multiply(*ops.split(x, 2, 1)))],
    "squeeze": [on("channels")],
    "stack": [on("x other", function=lambda x, y: ops.stack([x, y], 1))],
    "stochastic_depth": [on("x", 0.4)],
    "take": [on("x", [0, 3, 3], 1)],
    "take_along_axis": [on("x indices", 1)],
    "where": [on("mask x other")],
}


def op_cases(name: str, rng: Generator) -> list[Case]:
    """Return the cases of an op of `ops`."""
    cases = []
    for inputs, arguments, options, function in OPS[name]:
        call = function or _following(getattr(ops, name), arguments, options)
        cases.append(Case(str(inputs) if len(OPS[name]) > 1 else "", call, tuple(_drawn(inputs, rng))))
    return cases


def _following(op: Function, arguments: tuple[Any, ...], options: Options) -> Function:
    """Return `op` with these arguments put after its inputs."""
    return lambda *inputs: op(*inputs, *arguments, **options)
