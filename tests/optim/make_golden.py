"""Write what PyTorch does into golden/: by hand, where torch is installed, with `python tests/optim/make_golden.py`."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
STEPS = 25
KEPT = [0, 1, 2, 4, 9, 14, 19, 24]  # the steps whose result is stored

trajectories = run_path(str(HERE / "trajectories.py"))

PYTORCH = SimpleNamespace(
    tensor=torch.tensor,
    optim=torch.optim,
    schedules=SimpleNamespace(**vars(torch.optim.lr_scheduler), LinearWarmup=torch.optim.lr_scheduler.LinearLR),
)

ONE_GROUP = [{"params": [0, 1]}]
TWO_GROUPS = [{"params": [1], "weight_decay": 0.0}, {"params": [0], "lr": 0.02}]


def case(optimizer: str, groups: list[dict[str, Any]] | None = None, schedule: Any = None, **options: Any) -> Any:
    found = {"optimizer": optimizer, "options": options, "groups": groups or ONE_GROUP}
    return found if schedule is None else {**found, "schedule": schedule}


OPTIMIZERS = {
    "sgd": case("SGD", lr=0.1),
    "sgd_decay": case("SGD", lr=0.1, weight_decay=0.3),
    "sgd_momentum": case("SGD", lr=0.1, momentum=0.9),
    "sgd_dampening": case("SGD", lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.1),
    "sgd_nesterov": case("SGD", lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "sgd_maximize": case("SGD", lr=0.01, momentum=0.5, maximize=True, weight_decay=0.1),
    "sgd_groups": case("SGD", TWO_GROUPS, ["StepLR", {"step_size": 7, "gamma": 0.5}], lr=0.1, weight_decay=0.2),
    "adam": case("Adam", lr=0.01),
    "adam_betas": case("Adam", lr=0.03, betas=[0.4, 0.7], eps=1e-3),
    "adam_decay": case("Adam", lr=0.01, weight_decay=0.3),
    "adam_amsgrad": case("Adam", lr=0.02, betas=[0.9, 0.9], amsgrad=True, weight_decay=0.1),
    "adam_maximize": case("Adam", lr=0.01, maximize=True),
    "adamw": case("AdamW", lr=0.02),
    "adamw_decay": case("AdamW", lr=0.02, weight_decay=0.5, betas=[0.8, 0.95]),
    "adamw_amsgrad": case("AdamW", lr=0.02, weight_decay=0.1, amsgrad=True, betas=[0.5, 0.5]),
    "adamw_groups": case(
        "AdamW", TWO_GROUPS, ["OneCycleLR", {"max_lr": [0.05, 0.1], "total_steps": STEPS}], lr=0.1, weight_decay=0.2
    ),
    "rmsprop": case("RMSprop", lr=0.01),
    "rmsprop_alpha": case("RMSprop", lr=0.02, alpha=0.8, eps=1e-4, weight_decay=0.2),
    "rmsprop_momentum": case("RMSprop", lr=0.01, momentum=0.7),
    "rmsprop_centered": case("RMSprop", lr=0.005, centered=True),
    "rmsprop_everything": case(
        "RMSprop", TWO_GROUPS, lr=0.005, alpha=0.9, centered=True, momentum=0.6, weight_decay=0.1, maximize=True
    ),
}


def composed(*schedules: Any, steps: int = 30, **more: Any) -> Any:
    found = {"optimizer": "SGD", "options": {}, "lrs": [0.1, 0.7], "schedules": list(schedules), "steps": steps}
    return {**found, **more}


def schedule(name: str, steps: int = 30, momentum: float = 0.0, metrics: Any = None, **arguments: Any) -> Any:
    found = {"optimizer": "SGD", "options": {"momentum": momentum}, "lrs": [0.1, 0.7], "schedule": [name, arguments]}
    return {**found, "steps": steps} if metrics is None else {**found, "metrics": metrics}


WARM, FALL = ["LinearWarmup", {"total_iters": 6, "start_factor": 0.1}], ["CosineAnnealingLR", {"T_max": 20}]
STEP, PLATEAU = ["StepLR", {"step_size": 5, "gamma": 0.5}], ["ReduceLROnPlateau", {"patience": 1, "factor": 0.5}]
BUMPY = [5, 4, 4.1, 3.9999, 4, 4.2, 3, 3, 3, 3.0001, 2.9, 2.95, 2.9, 2.8999, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1]

SCHEDULES = {
    "step": schedule("StepLR", step_size=4),
    "step_gamma": schedule("StepLR", step_size=1, gamma=0.9),
    "cosine": schedule("CosineAnnealingLR", T_max=30),
    "cosine_wave": schedule("CosineAnnealingLR", T_max=8, eta_min=0.01),
    "warmup": schedule("LinearWarmup"),
    "warmup_slow": schedule("LinearWarmup", start_factor=0.001, total_iters=20),
    "sequence": schedule("SequentialLR", schedulers=[WARM, FALL], milestones=[6]),
    "sequence_of_three": schedule(
        "SequentialLR", schedulers=[WARM, FALL, ["StepLR", {"step_size": 3}]], milestones=[4, 17]
    ),
    "one_cycle": schedule("OneCycleLR", steps=29, max_lr=0.5, total_steps=30),
    "one_cycle_linear": schedule(
        "OneCycleLR", steps=29, max_lr=[0.5, 0.1], epochs=6, steps_per_epoch=5, anneal_strategy="linear", pct_start=0.45
    ),
    "one_cycle_three_phases": schedule(
        "OneCycleLR", steps=29, max_lr=0.5, total_steps=30, three_phase=True, div_factor=10.0, final_div_factor=100.0
    ),
    "one_cycle_no_momentum": schedule(
        "OneCycleLR", steps=9, momentum=0.3, max_lr=1.0, total_steps=10, cycle_momentum=False
    ),
    "one_cycle_betas": {
        **schedule("OneCycleLR", steps=9, max_lr=1.0, total_steps=10, base_momentum=0.6, max_momentum=0.99),
        "optimizer": "Adam",
        "options": {},
    },
    "plateau": schedule("ReduceLROnPlateau", metrics=BUMPY, patience=2),
    "plateau_cooldown": schedule(
        "ReduceLROnPlateau", metrics=BUMPY, patience=0, cooldown=3, factor=0.5, min_lr=[0.0, 0.2]
    ),
    "plateau_absolute": schedule(
        "ReduceLROnPlateau", metrics=BUMPY, patience=1, threshold=0.5, threshold_mode="abs", eps=0.01
    ),
    "plateau_max": schedule("ReduceLROnPlateau", metrics=[-m for m in BUMPY], mode="max", patience=1, threshold=0.1),
    "plateau_max_absolute": schedule(
        "ReduceLROnPlateau", metrics=[9 - m for m in BUMPY], mode="max", patience=2, threshold_mode="abs", threshold=0.2
    ),
    "composed_step_and_cosine": composed(STEP, ["CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01}]),
    "composed_step_and_waves": composed(STEP, ["CosineAnnealingLR", {"T_max": 7}]),
    "composed_warmup_and_step": composed(WARM, STEP),
    "composed_cosine_and_warmup": composed(FALL, WARM),
    "composed_of_three": composed(WARM, STEP, FALL),
    "composed_step_and_plateau": composed(STEP, PLATEAU, metrics=BUMPY),
    "composed_plateau_and_cosine": composed(PLATEAU, FALL, metrics=BUMPY),
    "composed_by_hand": composed(STEP, events=[[3, "scale", 0.3], [7, "scale", 4.0], [15, "scale", 0.5]]),
    "composed_warmup_by_hand": composed(WARM, events=[[2, "scale", 0.3]]),
    "composed_cosine_by_hand": composed(FALL, events=[[3, "scale", 0.3], [24, "scale", 0.5]]),
    "composed_second_made_later": composed(STEP, events=[[12, "schedule", FALL], [14, "schedule", WARM]]),
    "composed_group_added": composed(STEP, events=[[7, "group", 0.4]]),
    "composed_groups_added": composed(WARM, FALL, steps=20, events=[[2, "group", 0.4], [11, "group", 0.2]]),
}


def main() -> None:
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(2, 3)), rng.normal(size=3)]
    # From step to step the gradients change in size as well as direction, and the second parameter misses some.
    sizes = np.exp(rng.normal(size=(STEPS, 1)))
    gradients = [rng.normal(size=(STEPS, *array.shape)) * sizes.reshape(-1, *[1] * array.ndim) for array in start]
    missing = np.arange(STEPS) % 4 == 2
    steps = [[first, None if skip else second] for first, second, skip in zip(*gradients, missing, strict=True)]
    found = {
        name: trajectories["optimizer_trajectory"](PYTORCH, case, start, steps) for name, case in OPTIMIZERS.items()
    }
    kept: dict[str, Any] = {name: rows[KEPT] for name, rows in found.items()}
    inputs: dict[str, Any] = {f"start{i}": array for i, array in enumerate(start)} | {
        f"gradient{i}": g for i, g in enumerate(gradients)
    }
    np.savez_compressed(GOLDEN / "optimizers.npz", missing=missing, kept=KEPT, **inputs, **kept)

    rates: dict[str, Any] = {
        name: trajectories["schedule_trajectory"](PYTORCH, case) for name, case in SCHEDULES.items()
    }
    np.savez_compressed(GOLDEN / "schedules.npz", **rates)
    (GOLDEN / "cases.json").write_text(json.dumps({"optimizers": OPTIMIZERS, "schedules": SCHEDULES}, indent=1) + "\n")


if __name__ == "__main__":
    main()
