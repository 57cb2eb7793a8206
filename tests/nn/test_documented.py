"""What `help` shows of a norm layer: its text, its formula, every argument, and what it has from its base."""

from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.nn.documented import documented


def doc(kind):
    return kind.__doc__


def test_batch_norm_tells_formula_arguments_and_example():
    text = doc(nn.BatchNorm2D)
    assert text.startswith("Batch norm of (N, C, H, W).\n\nNormalize each channel over the batch")
    assert "\n\ny = weight · (x - mean) / √(var + eps) + bias.\n\nArgs:\n    num_features: C.\n" in text
    titles = ("Args:", "Raises:", "Source: Ioffe", "Example:\n    >>> norm = nn.BatchNorm2D(")
    places = [text.index(f"\n{title}") for title in titles]
    assert places == sorted(places)


def test_a_line_on_the_shape_is_followed_by_the_text_of_the_base():
    assert "the running statistics serve" in doc(nn.BatchNorm1D)
    assert "the running statistics serve" not in doc(nn.GhostBatchNorm1D)  # whose base has a text of its own
    assert "`ghost_size` images that follow each other" in doc(nn.GhostBatchNorm1D)


def test_an_example_is_not_that_of_the_base():
    class Derived(nn.BatchNorm2D):
        """Another one."""

    assert "Example" not in Derived.__doc__
    assert "Source: Ioffe" in Derived.__doc__


def test_arguments_are_told_once():
    for kind in (nn.LayerNorm, nn.RMSNorm, nn.SPADE, nn.MaskedBatchNorm1D):
        lines = doc(kind).partition("Args:\n")[2].partition("\n\n")[0].splitlines()
        names = [name for line in lines if line[4] != " " for name in line.strip().partition(":")[0].split(", ")]
        assert sorted(names) == sorted({*names})
    assert "eps: added to the mean square; None" in doc(nn.RMSNorm)
    assert "eps: added to the variance" not in doc(nn.RMSNorm)


def test_a_formula_of_its_own_is_the_only_one():
    assert doc(nn.L1Norm).count("y = weight") == 1


def test_a_class_without_a_docstring_has_the_arguments():
    class Silent(nn.GroupNorm): ...

    assert "num_groups: divides C." in documented(Silent)
