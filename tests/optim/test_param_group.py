from __future__ import annotations

import pytest

from tinygrad_norm import generation
from tinygrad_norm.optim.param_group import ParamGroup


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
