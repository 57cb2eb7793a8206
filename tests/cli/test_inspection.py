"""`tinygrad-norm profile`, called as the console script calls it."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from tinygrad_norm import modes, nn
from tinygrad_norm.cli import inspection
from tinygrad_norm.training.recipe import recipe_for

SMALL = ("lenet5", "--batch-size", "4", "--image-size", "16", "--repeats", "3")


def test_profile_prints_totals_peak_and_both_ranks(run):
    status, out, _ = run("profile", *SMALL, "--top", "4")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "lenet5, input 4×3×16×16: the median of 3 training steps"
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:7]}
    assert list(rows) == ["forward", "backward", "optimizer", "step"]
    forward, backward, optimizer, step = (float(row[0]) for row in rows.values())
    assert forward + backward + optimizer == pytest.approx(step, abs=0.02)
    for row in (rows["forward"], rows["backward"]):
        assert float(row[2]) + float(row[3]) == pytest.approx(float(row[0]), abs=0.02)
    assert any(line.startswith("the tape keeps at most ") for line in lines)
    slowest = next(i for i, line in enumerate(lines) if line.startswith("slowest"))
    assert lines[slowest + 5] == ""
    assert lines[slowest + 6].startswith("keeps most")
    assert len(lines) == slowest + 11


def test_profile_json_holds_the_same(run):
    status, out, _ = run("profile", *SMALL, "--json", "--norm", "group", "--top", "3")
    assert status == 0
    found = json.loads(out)
    assert (found["model"], found["norm"], found["repeats"]) == ("lenet5", "group", 3)
    assert found["seconds"].keys() == {"forward", "backward", "optimizer"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["peak_bytes"] == found["peak_after"]["live_bytes"] > max(e["saved_bytes"] for e in found["largest"])
    assert [len(found[key]) for key in ("slowest", "largest")] == [3, 3]
    assert found["slowest"][0]["seconds"] >= found["slowest"][1]["seconds"]


def test_profile_composed_keeps_more(run):
    fused, composed = [
        json.loads(run("profile", *SMALL, "--json", "--repeats", "1", *more)[1])["peak_bytes"]
        for more in ((), ("--composed",))
    ]
    assert composed > 1.5 * fused


def test_profile_writes_a_file(run, tmp_path):
    status, out, _ = run("profile", *SMALL, "-o", "new/time.json")
    assert status == 0
    assert out.endswith("written: new/time.json\n")
    assert json.loads((tmp_path / "new" / "time.json").read_text())["events"]
    status, out, err = run("profile", *SMALL, "-o", "time.png")
    if find_spec("matplotlib") is None:
        assert (status, out) == (2, "")
        assert "pip install" in err
    else:
        assert status == 0
        assert (tmp_path / "time.png").read_bytes().startswith(b"\x89PNG")


def test_a_step_is_a_training_step():
    step = inspection.make_step(recipe_for("lenet5", batch_size=4, image_size=16))
    ops = [(event.op, event.phase) for event in step().timeline.events]
    assert ("CrossEntropy", "forward") in ops
    assert ("Conv2D", "backward") in ops
    assert [(event.op, event.phase) for event in step().timeline.events] == ops


def test_a_step_that_fails_leaves_no_hook(run, monkeypatch):
    def forward(self, x):
        x.exp()
        raise ValueError("midway")

    monkeypatch.setattr(nn.Linear, "forward", forward)
    status, out, err = run("profile", *SMALL)
    assert (status, out, err) == (2, "", "tinygrad-norm: midway\n")
    assert modes.setting.get() == modes.Mode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("profile resnet81", "did you mean resnet18?"),
        ("profile mlp --norm bach", "did you mean batch?"),
        ("profile mlp --batch-size 0", "batch_size is an integer of at least 1, got 0"),
        ("profile mlp --repeats 0", "--repeats is an integer of at least 1, got 0"),
        ("profile mlp --top 0", "--top is an integer of at least 1, got 0"),
        ("profile lenet5 --image-size 4", "image_size"),
        ("profile mlp -o time.gif", "is .json, .pdf, .png, .svg, got '.gif'"),
        ("profile mlp -o folder.json", "folder.json is a folder; name a file"),
        ("profile mlp -o file/time.json", "is a file, not a folder"),
        ("profile", "MODEL"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, tmp_path, arguments, message):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").write_text("")
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"folder.json", "file"}


def test_a_folder_that_cannot_be_written_is_refused_first(run, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    status, out, err = run("profile", "mlp", "-o", "time.json")
    assert (status, out) == (2, "")
    assert "is read-only" in err
