from __future__ import annotations

from typing import Any

import pytest

from tinygrad_norm import derive
from tinygrad_norm.conformance.arguments import arguments_of_class, bind_function, parameter_roles
from tinygrad_norm.conformance.kinds import GROUPS, NORM_KINDS

BATCH, LAYER, GROUP = (3, 4, 5), (3, 5), (3, 4, 5)


def like_batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=0.5):
    return {name: value for name, value in locals().items() if name != "input"}


def like_layer_norm(x, normalized_shape, gamma, beta, epsilon=0.5):
    return normalized_shape, gamma, beta, epsilon


def like_group_norm(x, num_groups, weight=None):
    return num_groups, weight


def of_axes(x, scale, *, axis):
    return scale, axis


def unknown(x, size):
    return x


def test_arguments_are_known_by_their_names():
    bound = bind_function(like_batch_norm, NORM_KINDS["batch"], BATCH, 1e-3, columns=False)
    assert (bound.parameters, bound.takes_eps) == ({"weight": (4,), "bias": (4,)}, True)
    assert bound.function("x", "w", "b") == {
        "running_mean": None,
        "running_var": None,
        "weight": "w",
        "bias": "b",
        "training": True,
        "momentum": 0.1,
        "eps": 1e-3,
    }
    bound = bind_function(like_layer_norm, NORM_KINDS["layer"], LAYER, 1e-3, columns=False)
    assert bound.function("x", "w", "b") == ((5,), "w", "b", 1e-3)
    assert bound.takes_eps
    bound = bind_function(like_group_norm, NORM_KINDS["group"], GROUP, 1e-3, columns=True)
    assert bound.function("x", "w") == (GROUPS, "w")
    assert (bound.parameters, bound.takes_eps) == ({"weight": (4, 1)}, False)


@pytest.mark.parametrize(("kind", "shape", "axes"), [("layer", LAYER, (1,)), ("batch", BATCH, (0, 2))])
def test_axes_are_those_of_the_kind(kind, shape, axes):
    assert bind_function(of_axes, NORM_KINDS[kind], shape, 1e-3, columns=False).function("x", "w") == ("w", axes)


def test_a_derived_norm_is_called_as_its_definition():
    @derive
    def l2_norm(x: Any, weight: Any, *, axes: Any, eps: Any) -> Any:
        xp = x.__array_namespace__()
        return weight * x / xp.sqrt(xp.mean(xp.square(x), axis=axes, keepdims=True) + eps)

    bound = bind_function(l2_norm, NORM_KINDS["rms"], LAYER, 1e-3, columns=False)
    assert (bound.parameters, bound.takes_eps) == ({"weight": (5,)}, True)


def test_what_is_not_known_is_told():
    with pytest.raises(ValueError, match="certify: unknown has to be told size; certify a function that calls it"):
        bind_function(unknown, NORM_KINDS["layer"], LAYER, 1e-3, columns=False)
    with pytest.raises(ValueError, match="certify: of_axes has to be told axis"):
        bind_function(of_axes, NORM_KINDS["group"], GROUP, 1e-3, columns=False)
    with pytest.raises(
        ValueError, match="certify: MyNorm has a parameter 'alpha'; a norm here has a weight and a bias"
    ):
        parameter_roles("MyNorm", {"inner.weight": (5,), "alpha": (1,)})
    with pytest.raises(ValueError, match="certify: type does not tell its arguments; certify a function that calls it"):
        bind_function(type, NORM_KINDS["layer"], LAYER, 1e-3, columns=False)


def test_a_class_is_made_with_sizes():
    class Norm:
        def __init__(self, dim, eps=1e-6, affine=False, momentum=0.1):
            pass

    class Grouped:
        def __init__(self, num_groups, num_channels):
            pass

    assert arguments_of_class(Norm, NORM_KINDS["layer"], LAYER, 0.0) == ({"dim": 5, "eps": 0.0, "affine": True}, True)
    assert arguments_of_class(Grouped, NORM_KINDS["group"], GROUP, 0.0) == (
        {"num_groups": GROUPS, "num_channels": 4},
        False,
    )
