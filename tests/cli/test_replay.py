"""`tinygrad-norm profile --captured`, called as the console script calls it."""

from __future__ import annotations

import json

import pytest

from tinygrad_norm.cli import replay
from tinygrad_norm.cli.inspection import make_whole_step
from tinygrad_norm.plan import capture
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.recipe import recipe_for

SMALL = ("lenet5", "--batch-size", "4", "--image-size", "16", "--repeats", "3", "--captured")


def test_profile_captured_lists_the_slowest_launches(run):
    status, out, _ = run("profile", *SMALL, "--top", "4")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "lenet5, input 4×3×16×16, captured: the median of 3 replays"
    step = capture(make_whole_step(recipe_for("lenet5", batch_size=4, image_size=16)))
    while not step.plans:
        step()
    assert lines[3].startswith(f"{len(step.plans[0].steps)} launches, ")
    assert lines[5].split() == ["slowest", "launch", "arrays", "ms", "of", "time"]
    shares = [float(line.split()[-1].rstrip("%")) for line in lines[6:]]
    assert len(shares) == 4
    assert shares == sorted(shares, reverse=True)


def test_profile_captured_json_holds_the_same(run):
    status, out, _ = run("profile", *SMALL, "--json", "--top", "2", "--composed")
    assert status == 0
    found = json.loads(out)
    assert found["seconds"].keys() == {"eager", "captured"}
    assert found["slowest"][0]["seconds"] >= found["slowest"][1]["seconds"] > 0
    assert found["launches"] > 2
    assert found["plan_bytes"] > 0


def test_what_cannot_be_replayed_is_said():
    with pytest.raises(RuntimeError, match=r"profile: the call was no replay: .*reads elements"):
        replay.measure_replays(lambda: float(Tensor([1.0]).sum().item()), 2)


def test_it_draws_nothing(run):
    status, _, err = run("profile", *SMALL, "-o", "time.png")
    assert status == 2
    assert "--captured: it prints alone" in err
