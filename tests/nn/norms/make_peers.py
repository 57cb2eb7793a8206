"""Write what norms of other libraries do into golden/peers.npz, by hand.

python -m venv peers
peers/bin/pip install torch==2.13.0 torchvision==0.28.0 timm==1.0.31 flax==0.12.8 jax==0.10.2 keras==3.15.1
peers/bin/python tests/nn/norms/make_peers.py
"""

from __future__ import annotations

import os
from pathlib import Path
from runpy import run_path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
import jax
import numpy as np
import torch

jax.config.update("jax_enable_x64", True)
# timm asks for torchvision, whose own operators some builds of PyTorch do not find; norms use none of them.
_library = torch.library.Library("torchvision", "FRAGMENT")
for _operator in ("nms", "qnms"):
    _library.define(f"{_operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")

HERE = Path(__file__).parent
peers = run_path(str(HERE / "peer_cases.py"))


def from_timm(case: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """y, its gradients, and the running variance in each step."""
    import timm.layers.grn  # after the operators above

    kind = getattr(timm.layers, case.peer, None) or timm.layers.grn.GlobalResponseNorm
    layer, found = kind(**case.peer_options).double(), dict[str, Any]()
    names = {name: case.renamed.get(name, name) for name, _ in layer.named_parameters()}
    for name, parameter in layer.named_parameters():
        parameter.data = torch.tensor(given[names[name]])
    for step in range(peers["STEPS"]):
        x = torch.tensor(given[f"x{step}"], requires_grad=True)
        layer.zero_grad()
        y = layer(x)
        y.backward(torch.tensor(given[f"g{step}"]))
        found |= {f"y{step}": y.detach().numpy(), f"dx{step}": x.grad.numpy()}
        found |= {f"d{names[name]}{step}": each.grad.numpy() for name, each in layer.named_parameters()}
        if hasattr(layer, "running_var"):
            found[f"running_var{step}"] = layer.running_var.numpy().copy()
    layer.eval()
    return found | {"inference": layer(torch.tensor(given["x0"])).detach().numpy()}


def masked(case: Any, given: dict[str, np.ndarray], normalize: Any) -> dict[str, np.ndarray]:
    """y where it counts, and its gradients, in each step, of a function of x, weight and bias; channels go last."""
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


def from_flax(case: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Batch norm with a mask."""
    import flax.nnx

    def normalize(x: Any, weight: Any, bias: Any) -> Any:
        layer = flax.nnx.BatchNorm(4, rngs=flax.nnx.Rngs(0), param_dtype=np.float64)
        layer.scale, layer.bias = flax.nnx.Param(weight), flax.nnx.Param(bias)
        return layer(x, use_running_average=False, mask=given["mask"][..., None])

    return masked(case, given, normalize)


def from_keras(case: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Batch norm with a mask."""
    import keras  # after its backend is chosen

    keras.config.set_floatx("float64")
    layer = keras.layers.BatchNormalization()
    layer.build((None, None, 4))

    def normalize(x: Any, weight: Any, bias: Any) -> Any:
        state = layer.non_trainable_variables
        y, _ = layer.stateless_call([weight, bias], state, x, training=True, mask=jax.numpy.asarray(given["mask"]))
        return y

    return masked(case, given, normalize)


def main() -> None:
    """Run all cases."""
    makers = {"timm": from_timm, "Flax": from_flax, "Keras": from_keras}
    found: dict[str, np.ndarray] = {}
    for name, case in peers["CASES"].items():
        made = makers[name.split()[0]](case, peers["inputs"](name))
        found |= {f"{name}/{key}": value for key, value in made.items()}
    np.savez_compressed(HERE / "golden" / "peers.npz", **found)


if __name__ == "__main__":
    main()
