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
        case: "optimizer", "options", "lrs" of the groups, "schedule", and "steps" or the "metrics" to step with.
    """
    groups = [{"params": [library.tensor(np.zeros(1), requires_grad=True)], "lr": lr} for lr in case["lrs"]]
    optimizer = getattr(library.optim, case["optimizer"])(groups, **case["options"])
    schedule = make_schedule(library, optimizer, case["schedule"])
    rows = [written(optimizer)]
    for arguments in [[metric] for metric in case["metrics"]] if "metrics" in case else [[]] * case["steps"]:
        optimizer.step()
        schedule.step(*arguments)
        rows.append(written(optimizer))
    return rows


def written(optimizer: Any) -> list[float]:
    momenta = [group["betas"][0] if "betas" in group else group["momentum"] for group in optimizer.param_groups]
    return [*(float(group["lr"]) for group in optimizer.param_groups), *map(float, momenta)]


def make_schedule(library: Any, optimizer: Any, schedule: list[Any]) -> Any:
    """A schedule from its name and arguments; those of SequentialLR hold schedules themselves."""
    name, arguments = schedule
    if name == "SequentialLR":
        inner = [make_schedule(library, optimizer, item) for item in arguments["schedulers"]]
        return library.schedules.SequentialLR(optimizer, inner, arguments["milestones"])
    return getattr(library.schedules, name)(optimizer, **arguments)
