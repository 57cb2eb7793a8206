"""Optimizers, schedules and clipping beside the installed PyTorch, with options drawn at random."""

from __future__ import annotations

import json
import math
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor

FOLDER = Path(__file__).parents[1] / "optim"
golden = run_path(str(FOLDER / "make_golden.py"))
run_optimizer = golden["trajectories"]["optimizer_trajectory"]
run_schedule = golden["trajectories"]["schedule_trajectory"]
PYTORCH = golden["PYTORCH"]
OURS = SimpleNamespace(tensor=Tensor, optim=optim, schedules=optim)


def test_the_stored_cases_are_what_the_script_makes():
    stored = json.loads((FOLDER / "golden" / "cases.json").read_text())
    assert stored == {"optimizers": golden["OPTIMIZERS"], "schedules": golden["SCHEDULES"]}
    with np.load(FOLDER / "golden" / "schedules.npz") as rates:
        assert set(rates) == set(stored["schedules"])
        for name, case in stored["schedules"].items():
            np.testing.assert_allclose(rates[name], run_schedule(PYTORCH, case), rtol=1e-12)
    with np.load(FOLDER / "golden" / "optimizers.npz") as rows:
        start, gradients = [rows["start0"], rows["start1"]], [rows["gradient0"], rows["gradient1"]]
        steps = [[a, None if skip else b] for a, b, skip in zip(*gradients, rows["missing"], strict=True)]
        for name, case in stored["optimizers"].items():
            found = run_optimizer(PYTORCH, case, start, steps)[rows["kept"]]
            np.testing.assert_allclose(rows[name], found, rtol=1e-12, atol=1e-14)


fractions, small = st.floats(0, 0.99), st.floats(0, 0.5)
common: dict[str, Any] = {"lr": st.floats(0.001, 0.3), "weight_decay": st.just(0.0) | small, "maximize": st.booleans()}
adaptive: dict[str, Any] = {**common, "eps": st.floats(1e-8, 0.1)}
adam = {**adaptive, "betas": st.tuples(fractions, fractions).map(list), "amsgrad": st.booleans()}
# Centered RMSprop has a test of its own below: it divides by a difference that may be all rounding.
rmsprop = {**adaptive, "alpha": fractions, "momentum": st.just(0.0) | fractions}
sgd = {**common, "momentum": st.just(0.0) | fractions, "dampening": small}
nesterov = {**common, "momentum": st.floats(0.1, 0.99), "nesterov": st.just(True)}
options = st.one_of(
    *(
        st.tuples(st.just(name), st.fixed_dictionaries(choices))
        for name, choices in [("SGD", sgd), ("SGD", nesterov), ("Adam", adam), ("AdamW", adam), ("RMSprop", rmsprop)]
    )
)


@given(options, st.integers(0, 2**32 - 1), st.booleans())
def test_goes_where_pytorch_goes(drawn, seed, groups):
    name, chosen = drawn
    rng = np.random.default_rng(seed)
    start = [rng.normal(size=shape) for shape in ((3, 2, 5), (7,), ())]
    gradients = [
        [None if rng.random() < 0.1 else rng.normal(size=array.shape) * 10 ** rng.normal() for array in start]
        for _ in range(20)
    ]
    split = [{"params": [2, 0]}, {"params": [1], "lr": 0.02, "weight_decay": 0.3}]
    case = {"optimizer": name, "options": chosen, "groups": split if groups else [{"params": [0, 1, 2]}]}
    expected = run_optimizer(PYTORCH, case, start, gradients)
    found = run_optimizer(OURS, case, start, gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_centered_rmsprop_goes_where_pytorch_goes(rng, momentum):
    start, gradients = [rng.normal(size=(3, 4))], [[rng.normal(size=(3, 4))] for _ in range(30)]
    case = {"optimizer": "RMSprop", "options": {"centered": True, "momentum": momentum}, "groups": [{"params": [0]}]}
    expected = run_optimizer(PYTORCH, case, start, gradients)
    np.testing.assert_allclose(run_optimizer(OURS, case, start, gradients), expected, rtol=1e-11)


whole = st.integers(1, 9)
single_schedules = st.one_of(
    st.tuples(st.just("StepLR"), st.fixed_dictionaries({"step_size": whole, "gamma": st.floats(0.1, 1)})),
    st.tuples(st.just("CosineAnnealingLR"), st.fixed_dictionaries({"T_max": whole, "eta_min": st.floats(0, 0.01)})),
    st.tuples(
        st.just("LinearWarmup"), st.fixed_dictionaries({"total_iters": whole, "start_factor": st.floats(0.01, 1)})
    ),
)
sequences = st.lists(st.tuples(single_schedules, whole), min_size=1, max_size=4).map(
    lambda parts: (
        "SequentialLR",
        {
            "schedulers": [schedule for schedule, _ in parts],
            "milestones": np.cumsum([steps for _, steps in parts[:-1]], dtype=int).tolist(),
        },
    )
)


@given(single_schedules | sequences)
def test_writes_the_learning_rates_that_pytorch_writes(schedule):
    case = {"optimizer": "SGD", "options": {}, "lrs": [0.1, 0.02], "schedule": schedule, "steps": 25}
    # PyTorch multiplies its way from one learning rate to the next, and loses digits where the cosine is near 0.
    np.testing.assert_allclose(run_schedule(OURS, case), run_schedule(PYTORCH, case), rtol=1e-6, atol=1e-9)


# A wave above an `eta_min` of 0 that others scale falls below it, in PyTorch down to negative rates.
chained = single_schedules.filter(lambda schedule: not schedule[1].get("eta_min")) | st.one_of(
    st.tuples(
        st.just("CosineAnnealingLR"),
        st.fixed_dictionaries({"T_max": st.integers(26, 40), "eta_min": st.floats(0, 0.01)}),
    ),
    st.tuples(
        st.just("ReduceLROnPlateau"),
        st.fixed_dictionaries({"patience": st.integers(0, 3), "factor": st.floats(0.2, 0.9), "cooldown": st.just(2)}),
    ),
)
events = st.tuples(st.integers(1, 24), st.just("scale"), st.floats(0.2, 3)) | st.tuples(
    st.integers(1, 24), st.just("schedule"), chained
)


@given(
    st.lists(chained, min_size=1, max_size=3),
    st.lists(events, max_size=3),
    st.lists(st.floats(0, 3), min_size=25, max_size=25),
)
def test_several_schedules_and_rates_set_by_hand_compose_as_in_pytorch(schedules, happening, metrics):
    case: dict[str, Any] = {"optimizer": "SGD", "options": {}, "lrs": [0.1, 0.02], "schedules": schedules}
    case |= {"events": happening, "metrics": metrics}
    np.testing.assert_allclose(run_schedule(OURS, case), run_schedule(PYTORCH, case), rtol=1e-6, atol=1e-9)


@given(
    st.sampled_from(["StepLR", "LinearWarmup", "CosineAnnealingLR", "ReduceLROnPlateau"]),
    st.lists(st.tuples(st.integers(1, 24), st.just("group"), st.floats(0.01, 0.5)), min_size=1, max_size=3),
    st.lists(st.floats(0, 3), min_size=25, max_size=25),
)
def test_groups_added_later_go_where_they_go_in_pytorch(name, happening, metrics):
    arguments = {"StepLR": {"step_size": 4}, "CosineAnnealingLR": {"T_max": 30}, "ReduceLROnPlateau": {"patience": 1}}
    case: dict[str, Any] = {"optimizer": "SGD", "options": {}, "lrs": [0.1, 0.02], "events": happening}
    case |= {"schedules": [(name, arguments.get(name, {})), ("StepLR", {"step_size": 7})], "metrics": metrics}
    np.testing.assert_allclose(run_schedule(OURS, case), run_schedule(PYTORCH, case), rtol=1e-6, atol=1e-9)


@given(
    st.fixed_dictionaries(
        {
            "max_lr": st.floats(0.01, 1),
            "pct_start": st.floats(0.2, 0.45),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
            "three_phase": st.booleans(),
            "div_factor": st.floats(2, 50),
            "final_div_factor": st.floats(2, 1e4),
            "base_momentum": st.floats(0.5, 0.8),
            "max_momentum": st.floats(0.8, 0.99),
        }
    ),
    st.integers(12, 30),
    st.sampled_from(["SGD", "Adam", "RMSprop"]),
)
def test_one_cycle_writes_what_pytorch_writes(arguments, total, optimizer):
    schedule = ("OneCycleLR", {**arguments, "total_steps": total})
    case = {"optimizer": optimizer, "options": {}, "lrs": [0.1], "schedule": schedule, "steps": total - 1}
    np.testing.assert_allclose(run_schedule(OURS, case), run_schedule(PYTORCH, case), rtol=1e-10)


@given(
    st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.floats(0, 0.9),
            "patience": st.integers(0, 3),
            "threshold": st.floats(0, 0.3),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
            "cooldown": st.integers(0, 3),
            "min_lr": st.floats(0, 0.05),
        }
    ),
    st.lists(st.floats(-3, 3) | st.sampled_from([1.0, math.nan, math.inf]), min_size=20, max_size=30),
)
def test_plateaus_write_what_pytorch_writes(arguments, metrics):
    case = {"optimizer": "SGD", "options": {}, "lrs": [0.3, 0.1], "schedule": ("ReduceLROnPlateau", arguments)}
    case["metrics"] = metrics
    np.testing.assert_allclose(run_schedule(OURS, case), run_schedule(PYTORCH, case), rtol=1e-12)


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 20),
    st.floats(0.5, 4) | st.just(math.inf),
    st.sampled_from([None, math.nan, math.inf]),
)
def test_clips_as_pytorch_clips(seed, limit, norm_type, odd):
    rng = np.random.default_rng(seed)
    gradients = [rng.normal(size=shape) for shape in ((3, 4), (5,), (1, 2, 2))]
    if odd is not None:
        gradients[1][2] = odd
    clips: dict[str, Any] = {
        "norm": (optim.clip_grad_norm, torch.nn.utils.clip_grad_norm_, [limit, norm_type]),
        "value": (optim.clip_grad_value, torch.nn.utils.clip_grad_value_, [limit]),
    }
    for ours, theirs, arguments in clips.values():
        here = [Tensor(gradient, requires_grad=True) for gradient in gradients]
        there = [torch.tensor(gradient, requires_grad=True) for gradient in gradients]
        for a, b, gradient in zip(here, there, gradients, strict=True):
            a.grad, b.grad = Tensor(gradient), torch.tensor(gradient)
        found, expected = ours(here, *arguments), theirs(there, *arguments)
        if expected is not None:
            assert found == pytest.approx(float(expected), rel=1e-12, nan_ok=True)
        for a, b in zip(here, there, strict=True):
            assert a.grad is not None
            np.testing.assert_allclose(a.grad.raw, np.asarray(b.grad), rtol=1e-12)
