"""Parameter groups from a model."""

from __future__ import annotations

from tinygrad_norm.nn import Module, Parameter
from tinygrad_norm.nn.normalization import Normalization
from tinygrad_norm.nn.parametrize import ParametrizationList
from tinygrad_norm.optim.optimizer import Group


def decay_groups(model: Module, weight_decay: float) -> list[Group]:
    """Split a model's parameters into weights, which decay, and biases and norms, which do not.

    Use it as `AdamW(decay_groups(model, 0.05), lr=1e-3)`. A parameter is spared if it belongs to a norm layer, is a
    bias by its name, has at most one axis, or is the gain of a parametrized weight. A group that would be empty is left
    out.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1D(2))
        >>> [(group["weight_decay"], len(group["params"])) for group in optim.decay_groups(model, 0.05)]
        [(0.05, 1), (0.0, 3)]
    """
    decays: dict[Parameter, bool] = {}
    for module in model.modules():
        norm = isinstance(module, Normalization)
        gains = module.gains() if isinstance(module, ParametrizationList) else []
        for name, parameter in module.named_parameters(recurse=norm):
            gain = any(parameter is each for each in gains)
            spared = norm or gain or name.endswith("bias") or parameter.ndim <= 1
            decays.setdefault(parameter, not spared)  # a shared parameter is its first owner's
    groups: list[Group] = [
        {"params": [parameter for parameter in decays if decays[parameter] == decay], "weight_decay": rate}
        for decay, rate in ((True, weight_decay), (False, 0.0))
    ]
    return [group for group in groups if group["params"]]
