from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.models.norm_catalog import (
    cost_of,
    derived_norm,
    formula_of,
    layer_named,
    norm_facts,
    passes,
    sets_sharing,
    shown,
    values_sharing,
)
from tinygrad_norm.models.norms import OF_IMAGES, OF_ROWS

pytestmark = pytest.mark.usefixtures("plain_numpy")

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
    "IBN": BATCH,
    "IterNorm1D": np.s_[:, :, :],
    "IterNorm2D": np.s_[:, :, 3:],
    "LocalResponseNorm": np.s_[:1, :1, 4:],  # three neighbours, of which the last channel has one
}
GHOST = np.s_[:2, :, -1:]
MASKED = {"MaskedBatchNorm": BATCH, "MaskedInstanceNorm": CHANNEL_OF_IMAGE, "MaskedGroupNorm": GROUP}


def family(layer):
    """The name of a layer without the rank of its input."""
    return layer if layer in SETS else layer.rstrip("123D")


@pytest.mark.parametrize("layer", [layer for layer in norm_layers() if family(layer) in SETS])
def test_each_norm_has_the_set_that_the_field_knows(layer):
    shared = values_sharing(layer)
    expected = np.zeros(shared.shape, bool)
    expected[SETS[family(layer)]] = True
    np.testing.assert_array_equal(shared, expected)


@pytest.mark.parametrize("layer", ["GhostBatchNorm1D", "GhostBatchNorm2D"])
def test_ghost_batch_norm_shares_within_a_ghost(layer):
    shared = values_sharing(layer)
    expected = np.zeros(shared.shape, bool)
    expected[GHOST] = True
    np.testing.assert_array_equal(shared, expected)


@pytest.mark.parametrize("layer", [layer for layer in norm_layers() if layer.rstrip("123D") in MASKED])
def test_of_a_masked_norm_what_counts_shares(layer):
    shared, (_, mask) = values_sharing(layer), shown(layer).inputs
    expected = np.zeros(shared.shape, bool)
    expected[MASKED[layer.rstrip("123D")]] = True
    counts = mask.reshape(len(mask), -1, 1)
    assert not counts.all()
    np.testing.assert_array_equal(shared, expected & counts)


def test_ibn_has_another_set_in_its_first_channels():
    first, last = sets_sharing("IBN")
    assert first.sum() == first[:1, :, :1].sum() == first.shape[1]
    assert last.sum() == last[:, :, -1].sum() == last[..., 0].size
    assert norm_facts("IBN").shared == "H · W of the first 3 of 6 channels; N, H · W of the others"
    assert [len(sets_sharing(layer)) for layer in ("GroupNorm", "LocalResponseNorm")] == [1, 1]


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
    assert facts.lines > 0
    made, inputs, labels = shown(layer)
    assert made(*inputs).shape == inputs[0].shape
    assert len(labels) == 3


@pytest.mark.parametrize("layer", norm_layers())
def test_what_is_said_not_to_derive_does_not(layer):
    kind = norm_layers()[layer]
    if not kind.underivable:
        assert isinstance(derived_norm(layer), DerivedNorm)
        return
    with pytest.raises(ValueError, match=f"^derive: {layer} is not derived from its definition, as {kind.underivable}"):
        derived_norm(layer)
    with pytest.raises(ValueError, match=r"^derive: "):
        derive(kind.definition)


def test_the_formula_of_a_definition_that_does_not_derive_is_that_of_its_docstring():
    def norm(x, size):
        """x / size, all of it.

        More words.
        """

    assert formula_of(norm) == "y = x / size, all of it"
    assert norm_facts("LocalResponseNorm").formula.startswith("y = x / (k + alpha · mean(x²))^beta, ")


def test_the_zoo_s_names_are_all_told():
    named = {name for layer in norm_layers() for name in norm_facts(layer).names}
    assert named == {*OF_ROWS, *OF_IMAGES}
    assert (norm_facts("BatchNorm1D").names, norm_facts("BatchNorm2D").names) == (("batch",), ("batch",))


def test_a_name_of_the_zoo_is_that_of_a_layer_of_images():
    assert [layer_named(name) for name in ("renorm", "layer", "lrn")] == [
        "BatchRenorm2D",
        "LayerNorm2D",
        "LocalResponseNorm",
    ]
    assert {layer_named(name) for name in {*OF_ROWS, *OF_IMAGES}} <= norm_layers().keys()
    assert [layer_named(name) for name in ("BatchNorm1D", "none", "path.py:norm")] == [
        "BatchNorm1D",
        "none",
        "path.py:norm",
    ]


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


def test_the_cost_is_that_of_what_computes_it():
    def both(x, *, axes):
        xp = x.__array_namespace__()
        return x - xp.mean(x, axis=axes, keepdims=True) - xp.mean(x, axis=axes, keepdims=True)

    def pairwise(x, *, axes, others):
        xp = x.__array_namespace__()
        return x - xp.mean(x, axis=axes, keepdims=True) - xp.max(x, axis=others, keepdims=True)

    class Kind:
        definition, computed_by = staticmethod(both), ()

    assert cost_of(Kind) == "reads x twice forward, twice backward"
    Kind.computed_by = (both, norm_layers()["FiLM"].definition)
    assert cost_of(Kind) == "reads x 3 times forward, 3 times backward"
    Kind.computed_by = (both, pairwise)
    assert cost_of(Kind) == "in NumPy, in float64"
    Kind.computed_by = "magic"
    assert cost_of(Kind) == "magic"


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("BatchRenorm2D", "N, H · W"),
        ("PowerNorm", "N, H · W"),
        ("MaskedBatchNorm2D", "N, H · W, of what counts"),
        ("MaskedInstanceNorm1D", "L, of what counts"),
        ("MaskedGroupNorm", "H · W, a group of C, of what counts"),
        ("MaskedLayerNorm", "features, of what counts"),
    ],
)
def test_what_is_shared_is_told_as_by_the_batch_alone_and_of_all_that_counts(name, axes):
    assert norm_facts(name).shared == axes
