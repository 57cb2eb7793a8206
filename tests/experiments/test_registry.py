from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import pytest

from tinygrad_norm import experiments
from tinygrad_norm.experiments import one_pass_variance, registry
from tinygrad_norm.experiments.papers.catalog import PAPERS

SMALL = replace(one_pass_variance.QUICK, means=(1.0, 1e4), batch=8, channels=8, pixels=4, seeds=(0, 1))


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(one_pass_variance, "QUICK", SMALL)
    monkeypatch.setattr(one_pass_variance, "FULL", replace(SMALL, batch=16))


def run(folder, **options):
    return experiments.run("one-pass-variance", folder, quick=True, progress=False, **options)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_names_and_questions():
    assert experiments.names() == (
        *("no-batchnorm", "swap-norm", "running-stats"),
        *("steps-to-loss", "small-batches", "one-pass-variance", "every-norm"),
        *(f"paper:{name}" for name in PAPERS),
    )
    questions = {experiments.describe(name) for name in experiments.names()}
    assert len(questions) == 7 + len(PAPERS)
    assert all(re.fullmatch(r"[A-Z].{20,120}\?", question) for question in questions)


def test_a_report_is_left_in_the_folder(tmp_path):
    report = run(tmp_path / "new" / "folder")
    assert report.folder == tmp_path / "new" / "folder"
    assert files(report.folder) == ["one-pass-variance.json", "one-pass-variance.md", "one-pass-variance.png"]
    result = json.loads((report.folder / "one-pass-variance.json").read_text())
    assert result["experiment"] == "one-pass-variance"
    assert result["settings"]["seeds"] == [0, 1]
    page = report.path.read_text()
    assert all(f"- {sentence}\n" in page for sentence in report.summary)
    assert "`tinygrad-norm experiment one-pass-variance --quick` took" in page
    assert (report.folder / "one-pass-variance.png").read_bytes().startswith(b"\x89PNG")


def test_no_file_of_a_paper_has_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.EXPERIMENTS, "paper:one", one_pass_variance)
    report = experiments.run("paper:one", tmp_path, quick=True, progress=False)
    assert report.path == tmp_path / "paper-one.md"
    assert files(tmp_path) == ["paper-one.json", "paper-one.md", "paper-one.png"]
    page = report.path.read_text()
    assert page.startswith("# paper:one\n")
    assert "](paper-one.png)" in page
    assert "[paper-one.json](paper-one.json)" in page
    assert "`tinygrad-norm experiment paper:one --quick` took" in page


def test_same_seeds_same_files(tmp_path):
    texts = [(run(tmp_path / name).folder / "one-pass-variance.json").read_bytes() for name in "ab"]
    assert texts[0] == texts[1]
    other = (run(tmp_path, seeds=[0, 7]).folder / "one-pass-variance.json").read_bytes()
    assert other != texts[0]


def test_quick_and_full_differ(tmp_path):
    report = experiments.run("one-pass-variance", tmp_path, progress=False)
    assert json.loads((tmp_path / "one-pass-variance.json").read_text())["settings"]["batch"] == 16
    assert "--quick" not in report.path.read_text()


@pytest.mark.parametrize(("given", "used"), [(3, [0, 1, 2]), ((5, 2), [5, 2])])
def test_seeds(tmp_path, given, used):
    run(tmp_path, seeds=given)
    assert json.loads((tmp_path / "one-pass-variance.json").read_text())["settings"]["seeds"] == used


def test_the_page_says_the_whole_command(tmp_path):
    assert (
        "`tinygrad-norm experiment one-pass-variance --quick --seeds 3` took" in run(tmp_path, seeds=3).path.read_text()
    )


@pytest.mark.parametrize(
    ("seeds", "error", "words"),
    [
        (0, ValueError, "seeds"),
        ([], ValueError, "one or more different"),
        ([1, 1], ValueError, "different"),
        ([-1], ValueError, "a seed"),
        (1.5, TypeError, "seeds"),
        ("12", TypeError, "a seed"),
    ],
)
def test_bad_seeds_are_refused_before_the_work(tmp_path, seeds, error, words):
    with pytest.raises(error, match=words):
        run(tmp_path / "unmade", seeds=seeds)
    assert not (tmp_path / "unmade").exists()


def test_an_unknown_name_gets_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.EXPERIMENTS, "paper:two", one_pass_variance)
    with pytest.raises(ValueError, match=r"there is no experiment 'swap-norms'.*did you mean swap-norm"):
        experiments.run("swap-norms", tmp_path)
    with pytest.raises(ValueError, match=r"did you mean swap-norm\?"):
        experiments.describe("swap")
    with pytest.raises(ValueError, match=r"did you mean paper:two\?"):
        experiments.describe("two")
    with pytest.raises(ValueError, match="no experiment"):
        experiments.describe("nothing like it")


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("part", ["run", "tell", "draw"])
def test_nothing_is_left_half_written(tmp_path, monkeypatch, capsys, failure, part):
    run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise failure

    monkeypatch.setattr(one_pass_variance, part, fail)
    with pytest.raises(failure):
        run(tmp_path, seeds=[4, 5])
    kept = tmp_path / "one-pass-variance.runs.json"
    if part != "run" and failure is MemoryError:  # the runs were done
        assert json.loads(kept.read_text())["settings"]["seeds"] == [4, 5]
        assert str(kept) in capsys.readouterr().err
        kept.unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_empty_folder_is_left(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(one_pass_variance, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())


def test_nan_is_written_down(tmp_path, monkeypatch):
    measured = one_pass_variance.run

    def run_with_nan(*arguments):
        return measured(*arguments) | {"lost": [float("nan")]}

    monkeypatch.setattr(one_pass_variance, "run", run_with_nan)
    report = run(tmp_path)
    assert json.loads((report.folder / "one-pass-variance.json").read_text())["lost"] == ["NaN"]


@pytest.fixture
def no_work(monkeypatch):
    def refuse(*_):
        raise AssertionError("the work began")

    monkeypatch.setattr(one_pass_variance, "run", refuse)


@pytest.mark.usefixtures("no_work")
def test_missing_matplotlib_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad-norm\[viz\]"'):
        run(tmp_path)


@pytest.mark.usefixtures("no_work")
def test_a_folder_that_cannot_be_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        run(tmp_path / "file" / "folder")
