"""The ImageNet forms beside the installed torchvision, at the size they were made for; and its weights from a file."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from tinygrad_norm import Tensor, nn
from tinygrad_norm.models import create_model
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn import init
from tinygrad_norm.training import load_safetensors

FOLDER = Path(__file__).parents[1] / "models"
golden = run_path(str(FOLDER / "make_golden.py"))
ours = run_path(str(FOLDER / "test_torchvision.py"))
cases: dict[str, Any] = golden["cases"]
NETS = ["alexnet", "vgg16", "vgg16_bn", "resnet18", "efficientnet_b0", "convnext_tiny"]


@pytest.mark.parametrize("name", ["resnet18 in training", "efficientnet_b0"])
def test_the_stored_numbers_are_what_the_script_makes(name):
    with np.load(FOLDER / "golden" / "zoo.npz") as stored:
        expected = {key.partition(": ")[2]: stored[key] for key in stored if key.partition(": ")[0] == name}
    found = cases["run"](golden["TORCHVISION"], cases["CASES"][name])
    assert max(cases["differences"](found, expected).values()) < 1e-9


@pytest.mark.parametrize("name", NETS)
def test_logits_and_gradients_at_224_pixels(name, monkeypatch):
    """Gradients of float32 are less alike: rounding turns a ReLU over, or makes another pixel a pool's largest.

    Each library is off by a thousandth from what both compute in float64; the stored cases hold gradients to 1e-9.
    """
    monkeypatch.setattr(init, "_source", lambda generator: cases["Still"]())
    case = cases["CASES"][name]._replace(dtype="float32")
    expected = cases["run"](golden["TORCHVISION"], case, (1, 3, 224, 224))
    found = cases["run"](ours["OURS"], case, (1, 3, 224, 224))
    off = cases["differences"](found, expected)
    assert off["logits"] < 1e-4, off
    assert off["gradients"] < 1e-2, off


def test_its_weights_load_strictly_from_a_safetensors_file(tmp_path):
    torch.manual_seed(0)
    theirs = golden["torchvision_models"]().resnet18().eval()
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "resnet18.safetensors")
    model = create_model("resnet18", 1000, small_images=False).eval()
    model.load_state_dict(load_safetensors(tmp_path / "resnet18.safetensors"), strict=True)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad(), no_grad():
        expected, found = theirs(images).numpy(), model(Tensor(images.numpy())).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_tied_model_that_save_model_wrote_is_read(tmp_path):
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
    theirs[2].weight = theirs[0].weight
    safetensors.torch.save_model(theirs, str(tmp_path / "tied.safetensors"))
    arrays = load_safetensors(tmp_path / "tied.safetensors")
    assert ("0.weight" in arrays) + ("2.weight" in arrays) == 1
    mine = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1D(3), nn.Linear(3, 3))
    mine[2].weight = mine[0].weight
    del arrays["1.num_batches_tracked"]
    older = {name: torch.tensor(array) for name, array in arrays.items()} | {"2.weight": theirs[0].weight}
    older |= {"0.weight": theirs[0].weight}
    assert theirs.load_state_dict(older) == mine.load_state_dict(arrays) == ([], [])
    for name, array in mine.state_dict().items():
        np.testing.assert_array_equal(array, theirs.state_dict()[name].numpy())
