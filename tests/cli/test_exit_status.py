from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings

import pytest

from tinygrad_norm.cli.exit_status import run_command

REFERENCE = {"TINYGRAD_NORM_KERNELS": "reference", "OPENBLAS_NUM_THREADS": "1"}


def shell(line, folder, **environment):
    """Runs a line of shell in which `tn` is the command; gives its status and what it wrote."""
    functions = f'tn() {{ "{sys.executable}" -m tinygrad_norm "$@"; }}; '
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {functions}{line}"],
        cwd=folder,
        env=own | REFERENCE | environment,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such norm"), 2, "name: no such norm\n"),
        (FileNotFoundError("no such file"), 2, "name: no such file\n"),
        (FileNotFoundError(2, "No such file", "no\x1bfile"), 2, "name: no\\x1bfile: No such file\n"),
        (ImportError("no matplotlib"), 2, "name: no matplotlib\n"),
        (FloatingPointError("the loss is nan"), 1, "name: the loss is nan\n"),
        (MemoryError(), 1, "name: out of memory: try a smaller --batch-size\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (ValueError("two\nlines of \x1b[31m\x9b\ud800"), 2, "name: two\nlines of \\x1b[31m\\x9b\\ud800\n"),
    ],
)
def test_what_went_wrong_is_one_line_and_a_status(capsys, error, status, message):
    def command():
        raise error

    assert run_command(command, "name") == status
    assert capsys.readouterr() == ("", message)


def test_a_bug_is_not_dressed_up_as_bad_input():
    def command():
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        run_command(command)


def test_all_is_well(capsys):
    assert run_command(lambda: print("done")) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_streams_warnings_and_the_path_are_afterwards_as_before(monkeypatch):
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.sep}bin")
    before = sys.stdout, sys.stdout.errors, sys.stderr, sys.stderr.errors, warnings.formatwarning
    seen = []
    assert run_command(lambda: seen.append(os.environ["PATH"])) == 0
    assert seen == [f"{os.sep}bin"]
    assert os.environ["PATH"] == f".{os.pathsep}{os.sep}bin"
    assert (sys.stdout, sys.stdout.errors, sys.stderr, sys.stderr.errors, warnings.formatwarning) == before


def test_a_warning_is_one_line(capsys):
    def command():
        print(warnings.formatwarning("class \x1b[2J has no image", UserWarning, "file.py", 3), end="")

    assert run_command(command, "name") == 0
    assert capsys.readouterr().out == "name: warning: class \\x1b[2J has no image\n"


def test_output_that_cannot_be_flushed_is_status_1(capsys, monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert run_command(lambda: print("done"), "name") == 1
    assert capsys.readouterr().err == "name: standard output: No space left on device\n"


@pytest.mark.parametrize("line", ["train --help", "info"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_status_1_however_it_is_buffered(line, unbuffered, tmp_path):
    done = shell(f"tn {line} >/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, b"tinygrad-norm: standard output: No space left on device\n")


@pytest.mark.parametrize("command", ["info", "train --help"])
def test_a_reader_that_has_seen_enough_gets_no_words(command, tmp_path):
    done = shell(f"tn {command} | true", tmp_path)
    assert (done.returncode, done.stderr) == (141, b"")


TRAIN = "tn train mlp --image-size 8 --norm layer --epochs 2 -o run"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"{TRAIN} 2> >(exec true)", 0),  # the result stands on standard output
        (f"{{ {TRAIN}; }} 2>&1 | head -1", 141),
        (f"{TRAIN} 2>/dev/full", 0),
        (f"{TRAIN} >&- 2>&- <&-", 0),
    ],
)
def test_training_goes_on_to_its_end_when_nobody_reads_its_progress(line, status, tmp_path):
    done = shell(line, tmp_path)
    assert done.returncode == status
    assert b"Traceback" not in done.stdout + done.stderr
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert '"event": "test"' in log[-1]
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_file_does_not_get_the_place_of_a_closed_stream(tmp_path):
    done = shell("tn graph mlp -o g.dot >&-; tn nothing >&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")
    assert (tmp_path / "g.dot").read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize(("encoding", "text"), [("ascii", b"3 x 32 x 32"), ("cp1252", b"3 \xd7 32 \xd7 32")])
def test_a_terminal_that_lacks_a_letter_gets_what_looks_like_it(encoding, text, tmp_path):
    done = shell("tn graph mlp -o $'\\u0142\\u2212.dot'", tmp_path, PYTHONIOENCODING=encoding, LC_ALL="C.UTF-8")
    assert (done.returncode, done.stderr) == (0, b"")
    assert text in done.stdout
    assert done.stdout.endswith(b"the drawing: \\u0142-.dot\n")
