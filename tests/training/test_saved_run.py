"""What a checkpoint says of its run is believed as far as it fits what the file holds."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.data import ArrayDataset
from tinygrad_norm.optim import SGD
from tinygrad_norm.training import load_trained, recipe_for, save_checkpoint
from tinygrad_norm.training.checkpoint import save_parts
from tinygrad_norm.training.preparation import make_model
from tinygrad_norm.training.saved_run import read_run


@pytest.fixture
def recipe(few_digits):
    return recipe_for("lenet5", data=few_digits, image_size=16, epochs=3, batch_size=32, lr=0.01)


def test_only_the_classes_that_a_net_learned_can_be_put_to_it(tmp_path, recipe):
    def images(*names, channels=1, label=0):
        return ArrayDataset(np.zeros((3, channels, 16, 16), np.float32), np.full(3, label), names)

    model, checkpoint = nn.Linear(3, 2), tmp_path / "net"
    extra = {"recipe": recipe.to_dict(), "channels": 1, "classes": 2, "class_names": ("cat", "dog")}
    save_checkpoint(checkpoint, model, extra=extra)
    read_run(checkpoint).check_data(images("cat", "dog"))
    read_run(checkpoint).check_data(images(label=1))
    for other, message in (
        (images("cat", "cow"), r"knows 2 classes \(cat, dog\), these images 2 classes \(cat, cow\)"),
        (images("cat"), r"1 class \(cat\)"),
        (images(label=2), "these images 3 classes"),
        (images("cat", "dog", channels=3), "images of 1 channels, these have 3"),
    ):
        with pytest.raises(ValueError, match=message):
            read_run(checkpoint).check_data(other)


def test_a_file_that_is_no_run_is_refused(tmp_path, recipe):
    model = nn.Sequential(*(nn.Linear(600, 100) for _ in range(9)))
    save_checkpoint(tmp_path / "foreign", model, SGD(model.parameters(), lr=0.1))
    save_checkpoint(tmp_path / "later", model, extra={"recipe": {"model": "gpt"}, "channels": 1, "classes": 10})
    save_checkpoint(tmp_path / "swapped", model, extra={"recipe": recipe.to_dict(), "channels": 1, "classes": 10})
    save_checkpoint(tmp_path / "odd", model, extra={"recipe": recipe.to_dict(), "channels": "1", "classes": 10})
    extra = {"recipe": recipe.to_dict(), "channels": 1, "classes": 10}
    save_checkpoint(tmp_path / "more", model, extra=extra | {"more": 1})
    save_checkpoint(tmp_path / "huge", model, extra=extra | {"classes": 10**7})
    save_checkpoint(tmp_path / "small", model, extra=extra | {"recipe": recipe.to_dict() | {"image_size": 8}})
    save_parts(tmp_path / "list", {"model": SimpleNamespace(state_dict=lambda: {"weight": [1]})}, extra)
    past = SimpleNamespace(state_dict=lambda: {"epoch": -3, "batch": 0})
    save_parts(tmp_path / "past", {"model": model, "trainer": past}, extra)
    (tmp_path / "cut").write_bytes((tmp_path / "swapped").read_bytes()[:-10])
    for name, message in (
        ("foreign", "foreign holds no recipe"),
        ("later", "its recipe is not one of this version: model is one of"),
        ("swapped", "features.0.weight"),
        (
            "odd",
            "odd was not written by `tinygrad-norm train`: .*channels is an integer of at least 1, got '1'",
        ),
        ("more", "which is not known"),
        ("huge", r"the net that it describes is larger than its 18 arrays of 540,900 elements \(\d+ arrays"),
        ("list", r"model.weight is an array, got \[1\]"),
        ("past", "the state of trainer.epoch is an integer of at least 0, got -3"),
        ("small", "small: the net that it describes cannot be made: .*image_size is an integer of at least 16"),
        ("cut", "cut short"),
    ):
        with pytest.raises(ValueError, match=message):
            load_trained(tmp_path / name)


@pytest.mark.parametrize(
    "claims",
    [
        {"classes": 10**7},
        {"channels": 10**8},
        {"recipe": {"image_size": 10**5}},
        {"recipe": {"model": "mlp", "options": {"hidden": [1] * 50_000}}},
        {"recipe": {"model": "baseline_cnn", "options": {"width": 1000.0}}},
    ],
)
def test_a_net_is_not_built_larger_than_the_file(tmp_path, recipe, claims):
    """A small file is not able to take gigabytes, however large a net it claims to hold."""
    extra = {"channels": 1, "classes": 10} | claims | {"recipe": recipe.to_dict() | claims.get("recipe", {})}
    save_checkpoint(tmp_path / "claims", make_model(recipe, 1, 10), extra=extra)
    size = (tmp_path / "claims").stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="claims was altered: the net that it describes is larger than"):
            load_trained(tmp_path / "claims")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000 + 4 * size
    finally:
        tracemalloc.stop()
