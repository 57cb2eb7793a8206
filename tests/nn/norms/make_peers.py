"""Write what norms of other libraries do into golden/peers.npz, by hand.

python -m venv peers
peers/bin/pip install torch==2.13.0 torchvision==0.28.0 timm==1.0.31 flax==0.12.8 jax==0.10.2 keras==3.15.1 \
    x-transformers==2.31.10 monai==1.6.1 torchtoolbox==0.1.8.2 neuraloperator==2.0.0
peers/bin/python tests/nn/norms/make_peers.py timm Flax Keras torchtoolbox x-transformers neuraloperator MONAI

python -m venv chainer
chainer/bin/pip install "setuptools<60" wheel "numpy<1.24"
chainer/bin/pip install --no-build-isolation chainer==7.8.1
chainer/bin/python tests/nn/norms/make_peers.py Chainer

Where a library does another thing than the paper, it is told to do the paper's: the variances of torchtoolbox's
switchable norm are made biased; MONAI's SPADE gets a ReLU for its leaky one, and no instance norm of γ and β.

Not to be had: PowerNorm, which is in no package (beside its authors' program, MIT, run once by hand, values and
gradients agree to the last bits in the warm-up, and then differ as the layer's docstring says); AdaIN of a style's
features, which no package has for a CPU.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
peers = run_path(str(HERE / "peer_cases.py"))
Arrays = dict[str, np.ndarray]


# Libraries on PyTorch


def from_torch(case: Any, given: Arrays, layer: Any, call: Callable[..., Any] | None = None) -> Arrays:
    """y, its gradients, and the running statistics in each step, and y in inference.

    Args:
        case: the case.
        given: its numbers.
        layer: the module.
        call: of parameters by our names, x and what goes with it; the module with its parameters renamed unless given.
    """
    import torch

    found: dict[str, Any] = {}
    renamed = {name: case.renamed.get(name, name) for name, _ in layer.named_parameters()}
    shapes = {name: parameter.shape for name, parameter in layer.named_parameters()}

    def as_renamed(parameters: dict[str, Any], *inputs: Any) -> Any:
        own = {name: parameters[ours].reshape(shapes[name]) for name, ours in renamed.items()}
        return torch.func.functional_call(layer, own, inputs)

    ours = renamed.values() if call is None else ("weight", "bias", *case.shapes)
    call = call or as_renamed
    for step in range(peers["STEPS"]):
        parameters = {name: torch.tensor(given[name], requires_grad=True) for name in ours}
        keys = ["x", "c"] if case.condition else ["x"]
        inputs = [torch.tensor(given[f"{key}{step}"], requires_grad=True) for key in keys]
        y = call(parameters, *inputs)
        y.backward(torch.tensor(given[f"g{step}"]))
        found[f"y{step}"] = y.detach().numpy()
        gradients = dict(zip(keys, inputs, strict=True)) | parameters
        found |= {f"d{name}{step}": each.grad.numpy() for name, each in gradients.items()}
        for name, buffer in layer.named_buffers():
            if (last := name.rpartition(".")[-1]) in ("running_mean", "running_var"):
                found[f"{last}{step}"] = buffer.numpy().copy()
    layer.eval()
    with torch.no_grad():
        inputs = [torch.tensor(given[f"{key}0"]) for key in keys]
        return found | {"inference": call(parameters, *inputs).numpy()}


def from_timm(case: Any, given: Arrays) -> Arrays:
    """Norms of convolutional nets."""
    import torch

    # It asks for torchvision, whose own operators some builds of PyTorch do not find; norms use none of them.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    import timm.layers.grn

    kind = getattr(timm.layers, case.peer, None) or timm.layers.grn.GlobalResponseNorm
    return from_torch(case, given, kind(**case.peer_options).double())


def from_torchtoolbox(case: Any, given: Arrays) -> Arrays:
    """Switchable norm, whose variances are unbiased: told that they are not, as in the paper."""
    import torch
    import torchtoolbox.nn

    unbiased = torch.Tensor.var
    torch.Tensor.var = functools.partialmethod(unbiased, correction=0)
    try:
        return from_torch(case, given, torchtoolbox.nn.SwitchNorm2d(**case.peer_options).double())
    finally:
        torch.Tensor.var = unbiased


def from_x_transformers(case: Any, given: Arrays) -> Arrays:
    """Norms of tokens."""
    import x_transformers.x_transformers as library

    layer = getattr(library, case.peer)(**case.peer_options).double()
    if case.peer == "ScaleNorm":
        layer.scale = 1.0  # √C, with which our weight begins
    return from_torch(case, given, layer)


def from_neuraloperator(case: Any, given: Arrays) -> Arrays:
    """AdaIN by one vector for the whole batch."""
    import torch
    from neuralop.layers.normalization_layers import AdaIN

    def call(parameters: dict[str, Any], x: Any, condition: Any) -> Any:
        def modulation(vector: Any) -> Any:
            scale = parameters["weight"] + vector @ parameters["condition_weight"]
            return torch.cat([scale, parameters["bias"] + vector @ parameters["condition_bias"]])

        layer = AdaIN(**case.peer_options, mlp=modulation)
        layer.set_embedding(condition)
        return layer(x)

    return from_torch(case, given, torch.nn.Identity(), call)


def from_monai(case: Any, given: Arrays) -> Arrays:
    """SPADE, with a ReLU for its leaky one, and no instance norm of γ and β."""
    import torch
    from monai.networks.blocks.spade_norm import SPADE

    layer = SPADE(**case.peer_options).double()
    layer.mlp_shared.adn.A.negative_slope = 0.0
    layer.mlp_gamma.adn = layer.mlp_beta.adn = torch.nn.Identity()
    return from_torch(case, given, layer)


# Others


def masked(case: Any, given: Arrays, normalize: Any) -> Arrays:
    """y where it counts, and its gradients, in each step, of a function of x, weight and bias; channels go last."""
    import jax

    found: dict[str, Any] = {}
    counts = given["mask"][..., None]
    for step in range(peers["STEPS"]):
        x, dy = (np.moveaxis(given[f"{what}{step}"], 1, -1) for what in "xg")
        y, back = jax.vjp(normalize, x, given["weight"], given["bias"])
        dx, dweight, dbias = back(dy * counts)
        for name, each in {"y": y * counts, "dx": dx}.items():
            found[f"{name}{step}"] = np.moveaxis(np.asarray(each), -1, 1)
        found |= {f"dweight{step}": np.asarray(dweight), f"dbias{step}": np.asarray(dbias)}
    return found


def from_flax(case: Any, given: Arrays) -> Arrays:
    """Batch norm with a mask."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import flax.nnx

    def normalize(x: Any, weight: Any, bias: Any) -> Any:
        layer = flax.nnx.BatchNorm(4, rngs=flax.nnx.Rngs(0), param_dtype=np.float64)
        layer.scale, layer.bias = flax.nnx.Param(weight), flax.nnx.Param(bias)
        return layer(x, use_running_average=False, mask=given["mask"][..., None])

    return masked(case, given, normalize)


def from_keras(case: Any, given: Arrays) -> Arrays:
    """Batch norm with a mask."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras

    jax.config.update("jax_enable_x64", True)

    keras.config.set_floatx("float64")
    layer = keras.layers.BatchNormalization()
    layer.build((None, None, 4))

    def normalize(x: Any, weight: Any, bias: Any) -> Any:
        state = layer.non_trainable_variables
        y, _ = layer.stateless_call([weight, bias], state, x, training=True, mask=jax.numpy.asarray(given["mask"]))
        return y

    return masked(case, given, normalize)


def from_chainer(case: Any, given: Arrays) -> Arrays:
    """Batch renormalization."""
    import chainer.functions

    found: dict[str, Any] = {}
    running = np.zeros(4), np.ones(4)
    options = dict(case.peer_options)
    for step in range(peers["STEPS"]):
        keys = f"x{step}", *_NAMES[1:]
        inputs = {name: chainer.Variable(given[key]) for name, key in zip(_NAMES, keys, strict=True)}
        with chainer.using_config("train", True):
            y = chainer.functions.batch_renormalization(
                *inputs.values(), running_mean=running[0], running_var=running[1], update_statistics=True, **options
            )
        y.grad = given[f"g{step}"]
        y.backward()
        found |= {f"d{name}{step}": each.grad for name, each in inputs.items()}
        found |= {
            f"y{step}": y.array,
            f"running_mean{step}": running[0].copy(),
            f"running_var{step}": running[1].copy(),
        }
    x, *affine = (given[key] for key in ("x0", *_NAMES[1:]))
    y = chainer.functions.fixed_batch_renormalization(x, *affine, *running, eps=options["eps"])
    return found | {"inference": y.array}


_NAMES = ("x", "weight", "bias")
MAKERS = {
    "timm": from_timm,
    "Flax": from_flax,
    "Keras": from_keras,
    "torchtoolbox": from_torchtoolbox,
    "x-transformers": from_x_transformers,
    "neuraloperator": from_neuraloperator,
    "MONAI": from_monai,
    "Chainer": from_chainer,
}


def main(libraries: list[str]) -> None:
    """Run the cases of some libraries, and keep what is known of the others."""
    file = HERE / "golden" / "peers.npz"
    known = {key: value for key, value in np.load(file).items() if key.split("/")[0] in peers["CASES"]}
    for name, case in peers["CASES"].items():
        if (library := name.split()[0]) in libraries:
            known = {key: value for key, value in known.items() if not key.startswith(f"{name}/")}
            made = MAKERS[library](case, peers["inputs"](name))
            known |= {f"{name}/{key}": value for key, value in made.items()}
    np.savez_compressed(file, **known)


if __name__ == "__main__":
    main(sys.argv[1:] or [*MAKERS])
