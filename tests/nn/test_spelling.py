from __future__ import annotations

import subprocess
import sys

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn.spelling import closest, did_you_mean, refuse_unknown, refuse_unknown_keywords


def test_closest_prefers_the_same_word_in_other_capitals():
    assert closest("batchnorm2d", ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D"]) == "BatchNorm2D"


def test_closest_finds_a_typing_error_and_nothing_far_away():
    assert closest("wieght", ["bias", "weight"]) == "weight"
    assert closest("mpl", ["mlp", "lenet5"]) == "mlp"
    assert closest("gamma", ["bias", "weight"]) is None
    assert closest("Batchnorm", ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D"]) == "BatchNorm2D"
    assert did_you_mean("wieght", ["weight"]) == "; did you mean weight?"
    assert did_you_mean("gamma", ["weight"]) == ""


def test_an_attribute_spelled_wrong_is_answered():
    with pytest.raises(AttributeError, match=r"no attribute 'BatchNorm2d'; did you mean BatchNorm2D\?"):
        getattr(nn, "BatchNorm2d")  # noqa: B009 - a type checker knows that it is not there


def test_an_import_spelled_wrong_is_answered():
    with pytest.raises(ImportError, match=r"no attribute 'BatchNorm2d'; did you mean BatchNorm2D\?"):
        exec("from tinygrad_norm.nn import BatchNorm2d")


def test_an_import_whose_name_has_a_large_number_in_the_bytecode_is_answered():
    many = "\n".join(f"n{number} = {number}" for number in range(300))  # IMPORT_FROM then needs an EXTENDED_ARG
    with pytest.raises(ImportError, match="did you mean Linear"):
        exec(f"{many}\nfrom tinygrad_norm.nn import Linaer", {})


def test_hasattr_and_getattr_keep_their_promise():
    assert not hasattr(nn, "BatchNorm2d")
    assert getattr(nn, "BatchNorm2d", None) is None


def test_submodules_can_still_be_imported_by_name():
    code = "from tinygrad_norm.nn import summary; print(summary.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "tinygrad_norm.nn.summary"


def test_the_front_door_has_what_it_lists_and_lists_each_once():
    assert [name for name in nn.__all__ if not hasattr(nn, name)] == []
    assert len(set(nn.__all__)) == len(nn.__all__)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("learning_rate", "lr"), ("Epsilon", "eps"), ("beta1", "betas"), ("weight_decey", "weight_decay")],
)
def test_an_unknown_name_is_answered_with_the_one_that_was_meant(name, meant):
    with pytest.raises(TypeError, match=rf"Adam has no option '{name}' \(it has .*\); did you mean {meant}\?"):
        refuse_unknown("Adam", ["lr", name], ["lr", "eps", "betas", "weight_decay"])


def test_an_alias_of_what_is_not_there_is_no_answer():
    with pytest.raises(TypeError, match=r"SGD has no option 'epsilon' \(it has lr, momentum\)$"):
        refuse_unknown("SGD", ["epsilon"], ["lr", "momentum"])
    refuse_unknown("SGD", ["lr"], ["lr", "momentum"])


def test_what_takes_nothing_says_so():
    with pytest.raises(TypeError, match=r"Tanh has no option 'x' \(it has none\)$"):
        refuse_unknown("Tanh", ["x"], [])


def test_keywords_are_those_of_init_and_any_where_it_takes_any():
    class Some:
        def __init__(self, weight: int = 0) -> None: ...

    class Every:
        def __init__(self, **options: int) -> None: ...

    refuse_unknown_keywords(Some, ["weight"])
    refuse_unknown_keywords(Every, ["wieght"])
    with pytest.raises(TypeError, match=r"Some has no option 'wieght' \(it has weight\); did you mean weight\?"):
        refuse_unknown_keywords(Some, ["wieght"])


def test_the_nearest_of_several_names_is_meant():
    assert closest("momentun", ["moment", "momentum", "monument"]) == "momentum"
    assert closest("Dropout", ["dropout2d", "Dropout2D", "dropout"]) == "dropout"
    assert closest("xyz", ["abc"]) is None
