"""The campaign finds what fails, says so, and runs; its cases by the thousand are for `python -m tests.campaigns`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.campaigns import campaign
from tests.campaigns.campaign import Kind, run_case

ROOT = Path(__file__).parents[2]


def draws(rng, folder):
    """Fails in about half of the cases, which depend on the seed."""
    assert not list(folder.iterdir())
    (folder / "file").touch()
    number = rng.random()
    assert number < 0.5, f"drew {number}"


def run(*arguments, **options):
    command = [sys.executable, "-m", "tests.campaigns", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **options)


def test_a_case_depends_on_seed_kind_and_number_alone():
    kind = Kind("family", "kind", 20, draws)
    first, again = ([run_case(kind, 3, number) for number in range(20)] for _ in range(2))
    assert first == again
    assert first != [run_case(kind, 4, number) for number in range(20)]
    assert first != [run_case(Kind("family", "other", 20, draws), 3, number) for number in range(20)]
    assert {complaint[:21] for complaint in first if complaint} == {"AssertionError: drew "}


def test_failures_are_counted_told_and_the_exit_status(capsys):
    from tests.campaigns.__main__ import main

    kinds = [Kind("one", "draws", 40, draws), Kind("two", "passes", 4, lambda rng, folder: None)]
    complaints = [run_case(kinds[0], 5, number) for number in range(20)]
    failed = [number for number, complaint in enumerate(complaints) if complaint]
    assert main(["--seed", "5", "--scale", "0.5"], kinds) == 1
    out, err = capsys.readouterr()
    rows = [line.split()[:-1] for line in out.splitlines()]
    expected = [["one", "draws", "20", f"{len(failed)}"], ["two", "passes", "2", "0"], ["all", "22", f"{len(failed)}"]]
    assert rows == [["family", "kind", "cases", "failures"], *expected]
    assert f"case {failed[0]}: AssertionError: drew 0." in err
    assert main(["two"], kinds) == 0
    assert main(["one", "--kind", "draws", "--case", str(failed[0]), "--seed", "5"], kinds) == 1
    for wrong in (["three"], ["--kind", "other"]):
        with pytest.raises(SystemExit, match="2"):
            main(wrong, kinds)


def test_a_case_that_hangs_fails(monkeypatch):
    monkeypatch.setattr(campaign, "SECONDS", 0.05)
    complaint = run_case(Kind("family", "hangs", 1, lambda rng, folder: time.sleep(60)), 0, 0)
    assert complaint.startswith("TimeoutError: it takes more than 0.05 s")
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


CHILDREN = """
import os, signal, sys, time
from pathlib import Path
from tests.campaigns.campaign import end, start, wait

assert wait(start(lambda: None)) == 0
assert wait(start(lambda: 3)) == 3
assert wait(start(lambda: 1 / 0, Path(sys.argv[1]))) == 70
assert "ZeroDivisionError" in Path(sys.argv[1]).read_text()
assert wait(start(lambda: os.kill(os.getpid(), signal.SIGTERM))) == -signal.SIGTERM
assert wait(start(lambda: signal.raise_signal(signal.SIGINT))) == 130
assert end(start(lambda: time.sleep(60))) == -signal.SIGKILL
try:
    wait(start(lambda: time.sleep(60)), 0.05)
except TimeoutError:
    print("all is well")
"""


def test_children_are_started_and_waited_for(tmp_path):
    """In a process of its own, for this one may have threads that a fork would not survive."""
    command = [sys.executable, "-c", CHILDREN, str(tmp_path / "output")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "all is well\n"


def test_files_kills_and_full_disks_are_borne():
    done = run("files", "kills", "full disks", "--scale", "0.001", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split()[:1] == ["all"]
