"""What layers and ops are certified with: small inputs of odd shapes, in each mode and form that they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_norm import nn, ops
from tinygrad_norm.certificate.case import Case, Random, case_of_module
from tinygrad_norm.nn.activation import ACTIVATIONS
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import RunningNorm
from tinygrad_norm.tensor import Tensor

Options = dict[str, Any]
Example = tuple[tuple[Any, ...], Options, tuple[int, ...]]
"""Arguments and options of a layer, and the shape of its input."""

# Layers

NORMS: dict[str, tuple[tuple[Any, ...], tuple[int, ...], tuple[int, ...]]] = {
    # arguments; the shape of the input, and that with an activation
    "BatchNorm1D": ((2,), (7, 2), (5, 2)),
    "BatchNorm2D": ((2,), (3, 2, 3, 1), (2, 2, 3, 1)),
    "BatchNorm3D": ((2,), (2, 2, 1, 3, 1), (5, 2, 1, 1, 1)),
    "GroupNorm": ((2, 4), (2, 4, 3), (1, 4, 3)),
    "InstanceNorm1D": ((2,), (2, 2, 5), (1, 2, 5)),
    "InstanceNorm2D": ((2,), (2, 2, 5, 1), (1, 2, 5, 1)),
    "LayerNorm": ((5,), (3, 5), (2, 5)),
    "LayerNorm2D": ((5,), (2, 5, 1, 2), (2, 5, 1, 1)),
    "RMSNorm": ((5,), (3, 5), (2, 5)),
    "RMSNorm2D": ((5,), (2, 5, 1, 2), (2, 5, 1, 1)),
}
LARGER_NORMS: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
    # Enough for several threads; images with the channels first, in which a channel is a row to the kernels.
    "BatchNorm1D": ((37,), (7109, 37)),
    "BatchNorm2D": ((3,), (9, 3, 99, 99)),
    "BatchNorm3D": ((3,), (5, 3, 26, 27, 26)),
    "GroupNorm": ((3, 6), (5, 6, 94, 95)),
    "InstanceNorm1D": ((3,), (9, 3, 9733)),
    "InstanceNorm2D": ((3,), (9, 3, 99, 99)),
    "LayerNorm": ((601,), (439, 601)),
    "LayerNorm2D": ((37,), (3, 37, 49, 49)),
    "RMSNorm": ((601,), (439, 601)),
    "RMSNorm2D": ((37,), (3, 37, 49, 49)),
}
IMAGES, ROWS = (2, 2, 5, 3), (3, 5)
LAYERS: dict[str, list[Example]] = {
    "AdaptiveAvgPool2D": [((1,), {}, IMAGES), (((2, 3),), {}, IMAGES)],
    "AvgPool2D": [((2,), {}, IMAGES), ((3, 2, 1), {"count_include_pad": False}, IMAGES)],
    "Conv2D": [
        ((2, 2, (3, 2)), {}, (1, 2, 4, 3)),
        ((2, 4, 2), {"stride": 2, "padding": 1, "groups": 2, "bias": False}, (2, 2, 3, 1)),
        ((2, 2, 2), {"dilation": 2, "padding_mode": "reflect", "padding": 1}, (1, 2, 3, 2)),
        *[((2, 2, (2, 1)), {"activation": name}, (1, 2, 3, 2)) for name in ACTIVATIONS],
    ],
    "Dropout": [((0.4,), {}, ROWS)],
    "Dropout2D": [((0.4,), {}, IMAGES)],
    "ELU": [((1.5,), {}, ROWS)],
    "Flatten": [((), {}, IMAGES)],
    "GELU": [((), {}, ROWS), (("tanh",), {}, ROWS)],
    "GlobalAvgPool2D": [((), {}, IMAGES)],
    "Hardswish": [((), {}, ROWS)],
    "Identity": [((), {}, ROWS)],
    "LeakyReLU": [((0.2,), {}, ROWS)],
    "Linear": [
        ((5, 3), {}, (2, 3, 5)),
        ((5, 3), {"bias": False}, ROWS),
        *[((5, 3), {"activation": name}, (2, 5)) for name in ACTIVATIONS],
    ],
    "LogSoftmax": [((), {}, ROWS), ((0,), {}, ROWS)],
    "MaxPool2D": [((2,), {}, IMAGES), ((3, 2, 1), {"ceil_mode": True}, IMAGES)],
    "Mish": [((), {}, ROWS)],
    "ReLU": [((), {}, ROWS)],
    "SiLU": [((), {}, ROWS)],
    "Sigmoid": [((), {}, ROWS)],
    "Softmax": [((), {}, ROWS), ((0,), {}, ROWS)],
    "Softplus": [((), {}, ROWS), ((0.5,), {}, ROWS)],
    "SqueezeExcite": [((4, 3), {}, (2, 4, 2, 1)), ((4, 3, "silu", "hardswish"), {}, (1, 4, 1, 2))],
    "StochasticDepth": [((0.4,), {}, (5, 3))],
    "Tanh": [((), {}, ROWS)],
    "Upsample": [((), {"scale_factor": 2}, (1, 2, 3, 2)), ((), {"size": (4, 5), "mode": "bilinear"}, (1, 2, 3, 2))],
}
LARGER_LAYERS: dict[str, list[Example]] = {  # the others' inputs grow as far as they can: `enlarge.py`
    "Conv2D": [  # one for each way that the kernels go
        ((17, 19, 3), {"padding": 1}, (3, 17, 19, 17)),
        ((17, 17, 3), {"padding": 1, "groups": 17}, (3, 17, 19, 17)),
        ((17, 19, 5), {"stride": 2, "activation": "relu"}, (3, 17, 33, 31)),
        ((65, 67, 1), {"activation": "silu"}, (3, 65, 19, 17)),
        ((17, 19, 3), {"padding": 1}, (70, 17, 2, 2)),
        ((17, 131, 3), {}, (2, 17, 6, 5)),
    ],
}
LOSSES: dict[str, list[tuple[Options, str]]] = {  # options, and names of the inputs
    "BCEWithLogitsLoss": [({}, "x fixed_chances"), ({"reduction": "none"}, "x fixed_chances")],
    "CrossEntropyLoss": [
        ({}, "x labels"),
        ({"weight": [0.5, 2.0, 1.0, 3.0], "label_smoothing": 0.2, "ignore_index": 1}, "x labels"),
        ({"reduction": "none"}, "x labels"),
    ],
    "HuberLoss": [({"delta": 0.7}, "x fixed")],
    "L1Loss": [({}, "x fixed")],
    "MSELoss": [({}, "x fixed"), ({"reduction": "none"}, "x fixed")],
    "NLLLoss": [({}, "x labels")],
}


def layer_names() -> list[str]:
    """The layers that can be certified by name."""
    return sorted([*NORMS, *LAYERS, *LOSSES])


def layer_cases(name: str, rng: Random) -> list[Case]:
    """The cases of a layer of `nn`."""
    if name in NORMS:
        return _norm_cases(name, rng)
    if name in LOSSES:
        given = draw(rng)
        made = [(options, [given[key] for key in names.split()]) for options, names in LOSSES[name]]
        return [
            case_of_module(_words((), options), getattr(nn, name)(**options), inputs, rng) for options, inputs in made
        ]
    cases = []
    for arguments, options, shape in LAYERS[name]:
        layer, x = getattr(nn, name)(*arguments, **options), rng.normal(0.2, 1.1, shape)
        mutated = "activation" not in options or options["activation"] == "silu"
        cases += cases_of_layer(_words(arguments, options), layer, [x], rng, mutated)
    for arguments, options, shape in LARGER_LAYERS.get(name, []):
        x = rng.normal(0.2, 1.1, shape)
        case = case_of_module(_words(arguments, options), getattr(nn, name)(*arguments, **options), [x], rng)
        cases.append(replace(case, mutated=False, larger=True))
    return cases


def cases_of_layer(name: str, layer: Module, inputs: list[Any], rng: Random, mutated: bool = True) -> list[Case]:
    """A layer in training, and in inference if that is something else."""
    training = case_of_module(name, layer, inputs, rng, mutated=mutated)
    inference = Case(name, training.function, training.inputs, mutated)
    outputs = []
    for case, mode in ((training, True), (inference, False)):
        layer.train(mode)
        outputs.append(case.call(*case.leaves()).raw)
    if np.array_equal(outputs[0], outputs[1]):
        return [training]
    named = [(f"{mode}{', ' if name else ''}{name}", mode == "training") for mode in ("training", "inference")]
    return [Case(label, _in_mode(layer, mode, training.function), training.inputs, mutated) for label, mode in named]


def _in_mode(layer: Module, training: bool, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*given: Any) -> Tensor:
        layer.train(training)
        return function(*given)

    return run


def _norm_cases(name: str, rng: Random) -> list[Case]:
    """Training and inference, each with weight and bias, without bias, without both, and with each activation."""
    arguments, shape, small = NORMS[name]
    larger_arguments, larger = LARGER_NORMS[name]
    kind = getattr(nn, name)
    tracked: Options = {"track_running_stats": True, "affine": True} if issubclass(kind, RunningNorm) else {}
    forms: dict[str, Options] = {"weight and bias": {}, "no bias": {"bias": False}}
    if name.startswith("RMS"):
        forms = {"weight": {}}
    forms["no weight"] = {"elementwise_affine" if name in ("LayerNorm", "RMSNorm") else "affine": False}
    forms |= {activation: {"activation": activation} for activation in ACTIVATIONS}
    cases = []
    for mode in ("training", "inference") if tracked else ("",):
        for form, options in forms.items():
            activated = "activation" in options
            sizes = [(arguments, small if activated else shape, "")]
            if form in ("weight and bias", "weight", "relu", "silu"):
                sizes.append((larger_arguments, larger, "larger"))
            for given, size, word in sizes:
                layer = kind(*given, **{**tracked, **options})
                label = ", ".join(filter(None, (mode, form, word)))
                made = case_of_module(label, layer, [rng.normal(0.3, 1.2, size)], rng, mode != "inference")
                mutated = not word and (not activated or form == "silu")
                cases.append(replace(made, mutated=mutated, larger=bool(word)))
    return cases


def _words(arguments: tuple[Any, ...], options: Options) -> str:
    return ", ".join([*map(repr, arguments), *(f"{key}={value!r}" for key, value in options.items())])


# Ops: the names of the inputs, and the call


def draw(rng: Random) -> dict[str, Any]:
    """The inputs that cases name; those in float64 are differentiated, unless they are called fixed."""
    constant = np.float32  # of which no gradient is asked
    return {
        "x": rng.normal(0.2, 1.1, (3, 4)),
        "other": rng.normal(0.2, 1.1, (3, 4)),
        "row": rng.normal(0.2, 1.1, 4),
        "positive": rng.uniform(0.3, 2.5, (3, 4)),
        "matrix": rng.normal(size=(4, 2)),
        "weight": rng.normal(size=(2, 4)),
        "bias": rng.normal(size=2),
        "images": rng.normal(size=(2, 2, 5, 3)),
        "few_images": rng.normal(size=(1, 2, 4, 3)),
        "filters": rng.normal(size=(2, 2, 3, 2)),
        "batch": rng.normal(0.3, 1.2, (3, 2, 3, 1)),
        "gains": rng.normal(0.7, 0.6, 2),
        "shifts": rng.normal(size=2),
        "row_gains": rng.normal(0.7, 0.6, 4),
        "row_shifts": rng.normal(size=4),
        "channels": rng.normal(size=(2, 2, 1, 1)),
        "mean": rng.normal(size=2).astype(constant),
        "var": rng.uniform(0.5, 2, 2).astype(constant),
        "mask": rng.random((3, 4)) < 0.5,
        "indices": rng.integers(0, 4, (3, 2)),
        "labels": np.array([1, 3, 0]),
        "fixed": rng.normal(size=(3, 4)).astype(constant),
        "fixed_chances": rng.random((3, 4)).astype(constant),
    }


_UNARY = "abs cos elu erf exp expm1 gelu hardswish leaky_relu log_softmax mish negative relu sigmoid silu sin softmax"
_OF_X = f"{_UNARY} softplus square tanh flip flatten matrix_transpose logsumexp max mean min prod std sum var"
_OF_POSITIVE = "log log1p rsqrt sqrt"
_OF_TWO = "add add_relu divide logaddexp maximum minimum multiply subtract"
NO_GRADIENT = {
    *("all", "any", "argmax", "argmin", "ceil", "equal", "floor", "greater", "greater_equal", "isfinite", "isnan"),
    *("less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "not_equal", "round", "sign"),
    *("ones", "ones_like", "stop_gradient", "zeros_like"),
}
"""Ops whose output is a constant, whole numbers or truth values, and has no gradient, or one of 0 everywhere."""

Call = tuple[str, Callable[..., Tensor]]
OPS: dict[str, list[Call]] = {
    **{name: [("x", getattr(ops, name))] for name in _OF_X.split()},
    **{name: [("positive", getattr(ops, name))] for name in _OF_POSITIVE.split()},
    **{name: [("x other", getattr(ops, name)), ("x row", getattr(ops, name))] for name in _OF_TWO.split()},
    "adaptive_avg_pool2d": [("images", lambda x: ops.adaptive_avg_pool2d(x, (2, 3)))],
    "astype": [("x", lambda x: ops.astype(x, x.dtype))],
    "avg_pool2d": [("images", lambda x: ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False))],
    "batch_norm": [
        ("batch gains shifts", lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True)),
        ("batch gains shifts mean var", lambda x, w, b, mean, var: ops.batch_norm(x, mean, var, w, b)),
        ("batch", lambda x: ops.batch_norm(x, None, None, training=True, activation="silu")),
    ],
    "binary_cross_entropy_with_logits": [("x fixed_chances", ops.binary_cross_entropy_with_logits)],
    "broadcast_to": [("row", lambda x: ops.broadcast_to(x, (3, 4)))],
    "clip": [("x", lambda x: ops.clip(x, -0.5, 0.7))],
    "concat": [("x other", lambda x, y: ops.concat([x, y], 1))],
    "conv2d": [
        ("few_images filters", ops.conv2d),
        ("few_images filters", lambda x, w: ops.conv2d(x, w, stride=2, padding=1, activation="silu")),
    ],
    "cross_entropy": [
        ("x labels", ops.cross_entropy),
        ("x labels", lambda x, y: ops.cross_entropy(x, y, [0.5, 2.0, 1.0, 3.0], "none", 0.2, ignore_index=0)),
    ],
    "cumulative_sum": [("x", lambda x: ops.cumulative_sum(x, 1))],
    "dropout": [("x", lambda x: ops.dropout(x, 0.4))],
    "dropout2d": [("images", lambda x: ops.dropout2d(x, 0.4))],
    "einsum": [("x matrix", lambda x, y: ops.einsum("ij,jk->ki", x, y))],
    "expand_dims": [("x", lambda x: ops.expand_dims(x, 1))],
    "gather": [("x indices", lambda x, indices: ops.gather(x, 1, indices))],
    "getitem": [("x", lambda x: ops.getitem(x, (slice(None), [0, 3, 3])))],
    "group_norm": [
        ("images gains shifts", lambda x, w, b: ops.group_norm(x, 1, w, b)),
        ("images", lambda x: ops.group_norm(x, 2, activation="silu")),
    ],
    "huber_loss": [("x fixed", lambda x, y: ops.huber_loss(x, y, delta=0.7))],
    "instance_norm": [
        ("images gains shifts", lambda x, w, b: ops.instance_norm(x, None, None, w, b)),
        ("images mean var", lambda x, mean, var: ops.instance_norm(x, mean, var, use_input_stats=False)),
    ],
    "interpolate": [("few_images", lambda x: ops.interpolate(x, (3, 5), mode="bilinear"))],
    "l1_loss": [("x fixed", ops.l1_loss)],
    "layer_norm": [
        ("x row_gains row_shifts", lambda x, w, b: ops.layer_norm(x, 4, w, b)),
        ("x", lambda x: ops.layer_norm(x, 4, activation="silu")),
    ],
    "layer_norm_2d": [("few_images", lambda x: ops.layer_norm_2d(x, eps=0.1))],
    "linear": [
        ("x weight bias", ops.linear),
        ("x weight", ops.linear),
        ("x weight bias", lambda x, w, b: ops.linear(x, w, b, "silu")),
    ],
    "matmul": [("x matrix", ops.matmul)],
    "max_pool2d": [("images", lambda x: ops.max_pool2d(x, 3, 2, 1))],
    "moveaxis": [("images", lambda x: ops.moveaxis(x, 1, -1))],
    "mse_loss": [("x fixed", ops.mse_loss)],
    "nll_loss": [("x labels", ops.nll_loss)],
    "pad": [("x", lambda x: ops.pad(x, ((1, 0), (0, 2))))],
    "permute_dims": [("images", lambda x: ops.permute_dims(x, (1, 3, 0, 2)))],
    "pow": [("positive row", ops.pow)],
    "reshape": [("x", lambda x: ops.reshape(x, (2, 6)))],
    "rms_norm": [
        ("x row_gains", lambda x, w: ops.rms_norm(x, 4, w)),
        ("x", lambda x: ops.rms_norm(x, 4, activation="silu")),
    ],
    "rms_norm_2d": [("few_images gains", lambda x, w: ops.rms_norm_2d(x, w))],
    "roll": [("x", lambda x: ops.roll(x, 2, 1))],
    "scale": [("images channels", ops.scale)],
    "split": [("x", lambda x: ops.multiply(*ops.split(x, 2, 1)))],
    "squeeze": [("channels", ops.squeeze)],
    "stack": [("x other", lambda x, y: ops.stack([x, y], 1))],
    "stochastic_depth": [("x", lambda x: ops.stochastic_depth(x, 0.4))],
    "take": [("x", lambda x: ops.take(x, [0, 3, 3], 1))],
    "take_along_axis": [("x indices", lambda x, indices: ops.take_along_axis(x, indices, 1))],
    "where": [("mask x other", ops.where)],
}


def op_cases(name: str, rng: Random) -> list[Case]:
    """The cases of an op of `ops`."""
    given = draw(rng)
    return [
        Case(names if len(OPS[name]) > 1 else "", function, tuple(given[key] for key in names.split()))
        for names, function in OPS[name]
    ]
