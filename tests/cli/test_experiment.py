from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tinygrad_norm import experiments
from tinygrad_norm.cli import main


def test_without_a_name_all_are_listed_with_their_questions(capsys):
    assert main(["experiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(experiments.names())
    assert all(line.endswith("?") for line in lines)


def test_an_unknown_experiment_is_refused_with_what_was_meant(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "small-batch"]) == 2
    assert "did you mean small-batches?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_says_what_is_lost(capsys, monkeypatch):
    def run(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", run)
    assert main(["experiment", "swap-norm"]) == 130
    assert capsys.readouterr().err == "interrupted: nothing is kept of swap-norm, whose files are written at its end\n"


def test_the_folder_of_a_paper_has_no_colon_in_its_name(monkeypatch):
    asked: list[Path] = []

    def run(name, folder, **_):
        asked.append(folder)
        return experiments.Report(folder, folder / "paper-x.md", ())

    monkeypatch.setattr(experiments, "run", run)
    assert main(["experiment", "paper:x", "--quick"]) == 0
    assert asked == [Path("runs/paper-x-quick")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--quick"], {"folder": Path("runs/swap-norm-quick"), "quick": True, "seeds": None, "progress": True}),
        ([], {"folder": Path("runs/swap-norm"), "quick": False, "seeds": None, "progress": True}),
        (
            ["--quick", "--seeds", "2", "-o", "there", "--quiet"],
            {"folder": Path("there"), "quick": True, "seeds": 2, "progress": False},
        ),
    ],
)
def test_arguments_reach_the_experiment(monkeypatch, capsys, arguments, expected):
    called: dict[str, Any] = {}

    def run(name, folder, **options):
        called.update(options, name=name, folder=folder)
        return experiments.Report(folder, folder / "swap-norm.md", ("it was found that",))

    monkeypatch.setattr(experiments, "run", run)
    assert main(["experiment", "swap-norm", *arguments]) == 0
    assert called == {"name": "swap-norm", **expected}
    out = capsys.readouterr().out
    assert "it was found that" in out
    assert str(expected["folder"] / "swap-norm.md") in out
