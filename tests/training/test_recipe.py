from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tinygrad_norm.models import list_models
from tinygrad_norm.training.recipe import DEFAULTS, Recipe, recipe_for


@pytest.mark.parametrize("model", list_models())
def test_each_model_has_defaults_that_json_can_say(model):
    recipe = recipe_for(model)
    assert (recipe.model, recipe.data, recipe.image_size) == (model, "digits", 32)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert model in DEFAULTS


def test_changes_are_made_and_all_else_is_the_models_own():
    own, changed = recipe_for("vgg16"), recipe_for("vgg16", norm="group", epochs=3, augment=["flip"], data=Path("here"))
    assert own.to_dict() | {"norm": "group", "epochs": 3, "augment": ["flip"], "data": "here"} == changed.to_dict()
    with pytest.raises(FrozenInstanceError):
        changed.epochs = 4


def test_a_folder_is_found_from_elsewhere_too(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipe_for("mlp", data="images").data == str(tmp_path / "images")
    assert recipe_for("mlp", data="digits").data == "digits"


def test_options_add_to_the_models_own():
    assert recipe_for("efficientnet_b0", options={"width": 0.5}).options == {"stochastic_depth": 0.0, "width": 0.5}


def test_another_optimizer_brings_its_learning_rate_and_photos_their_augmentation():
    assert recipe_for("resnet18", optimizer="sgd").lr == 0.05
    assert recipe_for("resnet18", optimizer="sgd", lr=0.2).lr == 0.2
    assert recipe_for("vgg16", optimizer="adamw").lr == recipe_for("vgg16").lr
    assert recipe_for("resnet18", data="cifar10").augment == ("crop", "flip")
    assert recipe_for("resnet18", data="cifar10", augment=()).augment == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet81"}, "model is one of .*; did you mean resnet18?"),
        ({"norm": "grup"}, "norm is one of .*; did you mean group?"),
        ({"optimizer": "AdamV"}, "optimizer is one of .*; did you mean adam"),
        ({"schedule": "one-cycle"}, "schedule is one of .*; did you mean onecycle?"),
        ({"augment": ("shift", "flop")}, "augment is one of .*; did you mean flip?"),
        ({"epochs": 0}, "epochs is an integer of at least 1, got 0"),
        ({"batch_size": -1}, "batch_size is an integer of at least 1"),
        ({"seed": -1}, "seed is an integer of at least 0"),
        ({"lr": 0.0}, "lr is a finite number above 0"),
        ({"lr": float("nan")}, "lr is a finite number above 0"),
        ({"norm_momentum": 1.5}, "norm_momentum is a number from 0 to 1"),
        ({"label_smoothing": 1}, "label_smoothing is a number of at least 0 and below 1"),
        ({"clip_norm": 0}, "clip_norm is a finite number above 0"),
        ({"clip_adaptive": 0}, "clip_adaptive is a finite number above 0"),
        ({"mixup": 0.2, "cutmix": 1.0}, "mixup and cutmix exclude each other"),
        ({"epochs": 1.5}, "epochs is an integer"),
        ({"lr": None}, "lr is a finite number"),
        ({"lr": "0.1"}, "lr is a finite number"),
        ({"norm": 3}, "norm is a name"),
        ({"augment": "flip"}, "augment is a tuple of names"),
        ({"options": {"width": 1e308}}, r"options: width is a number of at most 1e\+15, got 1e\+308"),
        ({"options": {"layer_scale": -(10**400)}}, "options: layer_scale is a number of at most"),
        ({"epochs": 10**400}, r"epochs is an integer of at most \d+, got an integer of about 401 digits"),
        ({"options": {"width": {1}}}, "options hold what JSON can say"),
        ({"options": {"width": float("nan")}}, "options hold what JSON can say"),
        ({"options": {"image_size": 16}}, "image_size is no option of the net in a recipe: use --image-size"),
        ({"options": {"num_classes": 4}}, "num_classes is no option .*: the data say it"),
        ({"norm": "group", "norm_momentum": 0.2}, r"norm_momentum is for norms that keep .* got it for 'group'"),
        ({"model": "convnext_tiny", "norm_momentum": 0.2}, r"keep running statistics \(batch, .*for 'layer'"),
        ({"norm": "grn"}, "norm: 'grn' does not normalize"),
        ({"model": "mlp", "norm": "lrn"}, "norm of rows is one of .* got 'lrn', which divides by the neighbouring"),
        ({"epoch": 3}, "Recipe has no option 'epoch' .*; did you mean epochs?"),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_meant(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        recipe_for(**{"model": "lenet5"} | changes)


def test_a_momentum_goes_with_every_norm_that_keeps_running_statistics():
    for norm in ("batch", "renorm", "ibn", "power"):
        assert recipe_for("resnet18", norm=norm, norm_momentum=0.2).norm_momentum == 0.2


@pytest.mark.parametrize("values", [None, {}, {"model": "lenet5", "colour": "red"}, {"model": "lenet5", "epochs": "3"}])
def test_a_description_that_is_none_is_refused(values):
    with pytest.raises((TypeError, ValueError)):
        Recipe.from_dict(values)
