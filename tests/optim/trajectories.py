"""One way to run an optimizer or a schedule, ours or PyTorch's, and to write down where it went.

A case is what JSON can hold: the names and arguments that both libraries share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def optimizer_trajectory(library: Any, case: dict[str, Any], start: list[Array], gradients: list[list[Any]]) -> Array:
    """All parameters, flat and side by side, after each step.

    Args:
        library: has `tensor`, `optim` and `schedules`.
        case: "optimizer", its "options", its "groups" with parameters by number, perhaps a "schedule".
        start: the parameters.
        gradients: for each step, for each parameter, an array or None.
    """
    parameters = [library.tensor(array, requires_grad=True) for array in start]
    groups = [{**group, "params": [parameters[number] for number in group["params"]]} for group in case["groups"]]
    optimizer = getattr(library.optim, case["optimizer"])(groups, **case["options"])
    schedule = make_schedule(library, optimizer, case["schedule"]) if "schedule" in case else None
    rows = []
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = None if gradient is None else library.tensor(gradient)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        rows.append(np.concatenate([np.asarray(parameter.detach()).ravel() for parameter in parameters]))
    return np.array(rows)


def schedule_trajectory(library: Any, case: dict[str, Any]) -> list[list[float]]:
    """The learning rate (and momentum, if a group has it) of each group, before each step and after the last.

    Args:
        library: as above.
        case: "optimizer", "options", "lrs" of the groups, one "schedule" or several "schedules", "steps" or the
            "metrics" to step with, and perhaps "events", each a step after which something happens: the rates are
            multiplied ("scale"), a group is added with a rate ("group"), or another schedule is made ("schedule").
    """
    groups = [a_group(library, lr) for lr in case["lrs"]]
    optimizer = getattr(library.optim, case["optimizer"])(groups, **case["options"])
    schedules = [make_schedule(library, optimizer, item) for item in case.get("schedules") or [case["schedule"]]]
    events = case.get("events", [])
    most = len(groups) + sum(kind == "group" for _, kind, _ in events)
    rows = [written(optimizer, most)]
    metrics = case.get("metrics") or [None] * case["steps"]
    for number, metric in enumerate(metrics, 1):
        optimizer.step()
        for schedule in schedules:
            schedule.step(*([metric] if type(schedule).__name__ == "ReduceLROnPlateau" else []))
        for _, kind, value in (event for event in events if event[0] == number):
            if kind == "scale":
                for group in optimizer.param_groups:
                    group["lr"] *= value
            elif kind == "group":
                optimizer.add_param_group(a_group(library, value))
            else:
                schedules.append(make_schedule(library, optimizer, value))
        rows.append(written(optimizer, most))
    return rows


def a_group(library: Any, lr: float) -> dict[str, Any]:
    return {"params": [library.tensor(np.zeros(1), requires_grad=True)], "lr": lr}


def written(optimizer: Any, most: int) -> list[float]:
    """The rates and the momenta of up to `most` groups; NaN where there are fewer yet."""
    groups = optimizer.param_groups
    momenta = [group["betas"][0] if "betas" in group else group["momentum"] for group in groups]
    missing = [np.nan] * (most - len(groups))
    return [*(float(group["lr"]) for group in groups), *missing, *map(float, momenta), *missing]


def make_schedule(library: Any, optimizer: Any, schedule: list[Any]) -> Any:
    """A schedule from its name and arguments; those of SequentialLR hold schedules themselves."""
    name, arguments = schedule
    if name == "SequentialLR":
        inner = [make_schedule(library, optimizer, item) for item in arguments["schedulers"]]
        return library.schedules.SequentialLR(optimizer, inner, arguments["milestones"])
    return getattr(library.schedules, name)(optimizer, **arguments)
