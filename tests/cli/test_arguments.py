from __future__ import annotations

import argparse

import pytest

from tinygrad_norm.cli.arguments import add_recipe_arguments, defaults_table, recipe_from
from tinygrad_norm.models import list_models
from tinygrad_norm.models.norms import UNFIT_FOR_ROWS
from tinygrad_norm.training import recipe_for
from tinygrad_norm.training.recipe import FIELDS

GIVEN = {
    "data": "cifar10",
    "data_folder": "there",
    "image_size": 28,
    "validation_every": 5,
    "augment": ("flip", "cutout"),
    "mixup": 0.2,
    "norm": "batch",
    "norm_momentum": 0.3,
    "epochs": 7,
    "batch_size": 16,
    "optimizer": "sgd",
    "lr": 0.3,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "clip_norm": 2.0,
    "clip_adaptive": 0.02,
    "label_smoothing": 0.2,
    "seed": 3,
}


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_recipe_arguments(parser)
    return parser.parse_args(arguments)


def test_each_entry_of_a_recipe_has_an_option():
    assert {"model", "options", "cutmix", *GIVEN} == set(FIELDS)
    line = []
    for name, value in GIVEN.items():
        line += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    found = recipe_from(parse(*line, "--option", "width=0.5", "--option", "kind=plain"), "resnet18")
    assert found == recipe_for("resnet18", options={"width": 0.5, "kind": "plain"}, **GIVEN)
    assert recipe_from(parse("--cutmix", "1"), "resnet18").cutmix == 1


def test_what_is_not_said_is_the_models_own():
    assert recipe_from(parse(), "convnext_tiny") == recipe_for("convnext_tiny")
    assert recipe_from(parse("--augment"), "vgg16").augment == ()


def test_help_says_which_norms_are_not_for_rows():
    parser = argparse.ArgumentParser(prog="train", usage="")
    add_recipe_arguments(parser)
    text = " ".join(parser.format_help().split())
    assert f"for mlp not {', '.join(UNFIT_FOR_ROWS)} (default: the model's own)" in text
    assert "ibn, lrn (default" in text


def test_help_lists_the_defaults_of_each_model():
    rows = [line.split() for line in defaults_table().splitlines()[2:]]
    assert [row[0] for row in rows] == list_models()
    for name, epochs, *_ in rows:
        assert int(epochs) == recipe_for(name).epochs


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        (".5", 0.5),
        ("[1, 2]", [1, 2]),
        ("plain", "plain"),
        ("(256, 128)", (256, 128)),
        ("None", None),
        ("(1", "(1"),
    ],
)
def test_an_option_is_json_a_literal_or_text(text, value):
    assert parse("--option", f"it={text}").options == [("it", value)]


def test_an_option_without_a_value_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse("--option", "width")
    assert "an option is NAME=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["train mlp -o", "train mlp --data", "train mlp --data-folder", "graph mlp --output", "evaluate"]
)
def test_an_empty_name_of_a_file_or_folder_is_refused(line, run, tmp_path):
    """It would be the current folder."""
    status, out, err = run(*line.split(), "")
    assert (status, out) == (2, "")
    assert "the name of a file or folder is not empty, got ''; . is the current folder" in err
    assert not list(tmp_path.iterdir())
