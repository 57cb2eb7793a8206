from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.derived import derive
from tinygrad_norm.models.norm_catalog import EXAMPLES, example_of, norm_facts, norm_layers, passes, values_sharing
from tinygrad_norm.models.norms import OF_IMAGES, OF_ROWS

# [N, positions, channels or features], as the field tells its norms apart
BATCH, IMAGE, CHANNEL_OF_IMAGE = np.s_[:, :, -1:], np.s_[:1, :, :], np.s_[:1, :, -1:]
GROUP, PIXEL, ALONE = np.s_[:1, :, 3:], np.s_[:1, :1, :], np.s_[:1, :1, -1:]
SETS = {
    **dict.fromkeys(
        ("BatchNorm", "BatchRenorm", "ConditionalBatchNorm", "EvoNormB0", "L1Norm", "LInfNorm", "SPADE"), BATCH
    ),
    **dict.fromkeys(("AdaIN", "FilterResponseNorm", "InstanceNorm"), CHANNEL_OF_IMAGE),
    **dict.fromkeys(("GroupNorm", "EvoNormS0"), GROUP),
    **dict.fromkeys(("LayerNorm", "RMSNorm", "ScaleNorm", "PartialRMSNorm"), PIXEL),
    **dict.fromkeys(("DynamicErf", "DynamicTanh", "FiLM"), ALONE),
    "GlobalResponseNorm": IMAGE,
}


def family(layer):
    """The name of a layer without the rank of its input."""
    return layer if layer in SETS else layer.rstrip("123D")


@pytest.mark.parametrize("layer", [layer for layer in norm_layers() if family(layer) in SETS])
def test_each_norm_has_the_set_that_the_field_knows(layer):
    shared = values_sharing(layer)
    expected = np.zeros(shared.shape, bool)
    expected[SETS[family(layer)]] = True
    np.testing.assert_array_equal(shared, expected)


def test_switchable_norm_has_the_sets_of_three_norms():
    shared = values_sharing("SwitchableNorm2D")
    expected = np.zeros(shared.shape, bool)
    for each in (BATCH, IMAGE, CHANNEL_OF_IMAGE):
        expected[each] = True
    np.testing.assert_array_equal(shared, expected)


@pytest.mark.parametrize("layer", norm_layers())
def test_every_norm_has_a_paper_a_formula_and_an_input_that_fits(layer):
    facts = norm_facts(layer)
    assert facts.source[-4:].isdigit() or "," in facts.source
    assert facts.formula.splitlines()[-1].startswith("y = ")
    arguments, shape, labels, options, condition = example_of(layer)
    inputs = [np.ones(each, np.float32) for each in (shape, *condition)]
    assert norm_layers()[layer](*arguments, **options)(*inputs).shape == shape
    assert len(labels) == 3


def test_every_example_is_one_of_a_norm():
    assert EXAMPLES.keys() <= norm_layers().keys()


def test_the_zoo_s_names_are_all_told():
    named = {name for layer in norm_layers() for name in norm_facts(layer).names}
    assert named == {*OF_ROWS, *OF_IMAGES}
    assert (norm_facts("BatchNorm1D").names, norm_facts("BatchNorm2D").names) == (("batch",), ("batch",))


def test_what_is_told_of_a_norm():
    facts = norm_facts("FilterResponseNorm2D")
    assert facts.formula == "square = mean(x²)\ny = max(γ · x / √(square + ε) + β, threshold)"
    assert (facts.shared, facts.names) == ("H · W", ("frn",))
    assert facts.lines == 2  # those of thresholded_response_norm
    assert (facts.parameters, facts.state) == (("weight", "bias", "threshold"), ())
    assert facts.source.startswith("Singh and Krishnan, Filter response normalization layer")
    assert norm_facts("GroupNorm").shared == "H · W, a group of C"
    assert norm_facts("BatchNorm2D").state == ("running_mean", "running_var", "num_batches_tracked")


def test_passes_are_those_of_the_kernels():
    layers = norm_layers()
    assert passes(derive(layers["DynamicTanh"].definition)) == (1, 1)
    assert passes(derive(layers["BatchNorm2D"].definition)) == (2, 2)  # mean and variance share one
    assert passes(derive(layers["LInfNorm"].definition)) == (3, 2)  # a maximum waits for the mean
