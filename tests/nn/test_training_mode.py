from __future__ import annotations

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn.training_mode import freeze, frozen_paths, in_inference, in_training, start_training


def a_model():
    return nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1D(3), nn.Dropout()), nn.BatchNorm1D(3))


def training(model):
    return [path for path, part in model.named_modules() if part.training]


ALL = ["", "0", "1", "1.0", "1.1", "2"]


def test_a_part_in_inference_is_frozen_if_others_train():
    model = a_model()
    assert frozen_paths(model) == []
    model[1].eval()
    assert frozen_paths(model) == ["1", "1.0", "1.1"]
    model[1][1].train()
    assert frozen_paths(model) == ["1", "1.0"]


def test_a_model_in_inference_as_a_whole_says_nothing():
    model = a_model().eval()
    assert frozen_paths(model) == []
    assert frozen_paths(model, ["2"]) == ["2"]
    model[0].train()  # and one of which one part trains says it of all the others
    assert frozen_paths(model, ["2"]) == ["", "1", "1.0", "1.1", "2"]


def test_a_model_starts_to_train_as_a_whole_or_as_its_parts_are():
    model = a_model().eval()
    assert start_training(model) == []
    assert training(model) == ALL
    model[1][0].eval()
    assert start_training(model) == ["1.0"]
    assert training(model) == ["", "0", "1", "1.1", "2"]
    model.eval()
    assert start_training(model, ["1.0"]) == ["1.0"]
    assert training(model) == ["", "0", "1", "1.1", "2"]
    model.eval()
    model[2].train()
    assert start_training(model, ["1.0"]) == ["", "0", "1", "1.0", "1.1"]
    assert training(model) == ["2"]


def test_a_train_of_ones_own_is_called():
    class Fixed(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[0].eval()
            return self

    model = nn.Sequential(Fixed(nn.BatchNorm1D(3), nn.Dropout()))
    model.eval()
    assert start_training(model) == ["0.0"]
    assert training(model) == ["", "0", "0.1"]


def test_modes_come_back():
    model = a_model()
    model[1].eval()
    before = training(model)
    with in_inference(model):
        assert training(model) == []
    assert training(model) == before
    with in_training(model):
        assert training(model) == ALL
    with in_training(model, frozen_paths(model)):
        assert training(model) == before == ["", "0", "2"]
    with pytest.raises(ZeroDivisionError), in_inference(model):
        _ = 1 / 0
    assert training(model) == before


def test_a_part_that_there_is_not_cannot_be_frozen():
    model = a_model()
    with pytest.raises(ValueError, match="a part that is to stay in inference is not in the model: '7'"):
        freeze(model, ["2", "7"])
    assert training(model) == ALL


def test_a_part_that_has_two_paths_is_found_by_either():
    shared = nn.Dropout(0.5)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    freeze(model, ["2"])
    assert not shared.training
