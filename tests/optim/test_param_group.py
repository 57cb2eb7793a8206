from __future__ import annotations

import pytest

from tinygrad_norm import generation, launch
from tinygrad_norm.optim.param_group import ParamGroup, ParamState
from tinygrad_norm.plan.recorder import Recorder


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda group: group.__setitem__("lr", 2), {"lr": 2, "eps": 0}),
        (lambda group: group.__delitem__("lr"), {"eps": 0}),
        (lambda group: group.__ior__({"lr": 3}), {"lr": 3, "eps": 0}),
        (lambda group: group.update(lr=4), {"lr": 4, "eps": 0}),
        (lambda group: group.setdefault("new", 5), {"lr": 1, "eps": 0, "new": 5}),
        (lambda group: group.pop("eps"), {"lr": 1}),
        (lambda group: group.popitem(), {"lr": 1}),
        (lambda group: group.clear(), {}),
    ],
)
def test_every_change_is_made_and_told(change, wanted):
    group = ParamGroup({"lr": 1, "eps": 0})
    before = generation.number()
    change(group)
    assert group == wanted
    assert generation.number() > before


def test_a_look_tells_nothing():
    group = ParamGroup({"lr": 1})
    before = generation.number()
    assert group["lr"] == group.get("lr") == group.copy()["lr"] == 1
    assert [*group] == ["lr"]
    assert generation.number() == before


@pytest.mark.parametrize(
    ("look", "keys"),
    [
        (lambda state: state["step"], {"step"}),
        (lambda state: state.get("step"), {"step"}),
        (lambda state: state.pop("step"), {"step"}),
        (lambda state: state.setdefault("step", 0), {"step"}),
        (lambda state: state.popitem(), {"step", "rest"}),
        (lambda state: [*state.items()], {"step", "rest"}),
        (lambda state: [*state.values()], {"step", "rest"}),
        (lambda state: state == {}, {"step", "rest"}),
        (lambda state: state != {}, {"step", "rest"}),
        (lambda state: state | {}, {"step", "rest"}),
        (lambda state: {} | state, {"step", "rest"}),
        (lambda state: state.copy(), {"step", "rest"}),
        (lambda state: dict(state), {"step", "rest"}),
        (lambda state: {**state}, {"step", "rest"}),
        (repr, {"step", "rest"}),
        (lambda state: launch.item(state, "step"), set()),
        (lambda state: dict.get(state, "step"), set()),
        (lambda state: "step" in state, set()),
        (lambda state: launch.host(lambda changed: changed["step"], state), set()),
    ],
)
@pytest.mark.parametrize("kind", [ParamGroup, ParamState])
def test_who_records_a_plan_is_told_what_python_looks_up(kind, look, keys):
    state, recorder = kind(step=1, rest=2), Recorder([])
    look(kind(state))
    assert launch.watch(recorder)
    try:
        look(state)
    finally:
        launch.unwatch()
    assert {key for _, key in recorder.read_early} == keys
