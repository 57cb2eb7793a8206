"""What `python -m benchmarks` is asked for, and how it ends."""

from __future__ import annotations

import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import machine, targets
from benchmarks.nets import NETS
from tinygrad_norm.models import list_models


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The command with one part, whose finding is given; returns the exit code."""
    monkeypatch.setattr(command, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(machine, "describe", lambda: "- a machine")
    for name in ("OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def call(part, *arguments):
        monkeypatch.setattr(command, "PARTS", {"training": part})
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        return command.main()

    return call


def found(value):
    return lambda report, options: report.judge("a net", value, 0.5)


def interrupted(report, options):
    report.say("a table")
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("names", "parts", "nets"),
    [
        ([], list(command.PARTS), list(NETS)),
        (["models"], command.GROUPS["models"], list(NETS)),
        (["resnet18", "mlp"], command.GROUPS["models"], ["mlp", "resnet18"]),
        (["threads", "resnet18"], ["threads"], ["resnet18"]),
        (["scaling", "norms"], ["norms", *command.GROUPS["scaling"]], list(NETS)),
    ],
)
def test_chooses_parts_and_nets(names, parts, nets):
    assert command.chosen(names) == (parts, nets)


def test_check_fails_where_a_target_is_missed(run, capsys):
    assert run(found(0.6), "--check") == 1
    assert "| a net |" in capsys.readouterr().out
    assert run(found(0.6)) == 0
    assert run(found(0.4), "--check") == 0


def test_only_a_full_run_writes_the_results_unasked(run, tmp_path):
    run(found(0.4), "--only", "training")
    assert not list(tmp_path.iterdir())
    run(found(0.4), "--only", "training", "--output", str(tmp_path / "some.md"))
    assert [path.name for path in tmp_path.iterdir()] == ["some.md"]
    run(found(0.4))
    assert (tmp_path / "RESULTS.md").exists()


def test_ctrl_c_ends_it_and_leaves_what_is_printed(run, tmp_path, capsys):
    assert run(interrupted) == 130
    assert "a table" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_settings_of_blas_are_refused(run, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    with pytest.raises(SystemExit, match="OPENBLAS_CORETYPE"):
        run(found(0.4))


def test_every_net_but_the_smallest_is_measured_and_has_targets():
    assert list(NETS) == [name for name in list_models() if name != "lenet5"]
    for table in (targets.TRAINING, targets.INFERENCE, targets.MEMORY):
        assert list(table) == list(NETS)
