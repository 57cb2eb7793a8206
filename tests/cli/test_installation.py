from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tinygrad_norm import __version__, kernels
from tinygrad_norm.cli import main
from tinygrad_norm.training import save_safetensors


def test_info_names_versions_and_processors(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"tinygrad-norm {__version__}, Python 3.")
    assert np.__version__ in out
    assert "processors" in out


def test_info_says_why_kernels_are_not_the_fast_ones(capsys, monkeypatch):
    def said():
        assert main(["info"]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kernels ")]
        return line

    monkeypatch.setattr(kernels, "missing", lambda: ["scipy", "threadpoolctl"])
    assert "plain NumPy, for want of scipy, threadpoolctl (pip install 'tinygrad-norm[fast]')" in said()
    monkeypatch.setattr(kernels, "missing", list)
    monkeypatch.setenv("TINYGRAD_NORM_KERNELS", "reference")
    assert "plain NumPy, as TINYGRAD_NORM_KERNELS says" in said()


def test_inspect_lists_the_arrays_of_a_file(capsys, tmp_path):
    save_safetensors(tmp_path / "file", {"weight": np.zeros((2, 3), np.float32), "step": np.array(5)})
    assert main(["inspect", str(tmp_path / "file")]) == 0
    assert "weight  float32  (2, 3)" in (out := capsys.readouterr().out)
    assert out.endswith("2 arrays, 32 bytes\n")


def test_inspect_shows_names_that_a_terminal_would_obey(capsys, tmp_path):
    arrays = {"\x1b[2Jclear": np.zeros(1), "two\nlines": np.zeros(2), "n" * 20_000: np.zeros(3)}
    save_safetensors(tmp_path / "file", arrays)
    assert main(["inspect", str(tmp_path / "file")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines[:3]) == ["\\x1b[2Jclear", "n" * 20_000, "two\\nlines"]
    assert min(map(len, lines[:3])) < 100


def test_inspect_reads_no_array(capsys, tmp_path):
    save_safetensors(tmp_path / "file", {"large": np.zeros((1000, 1000))})
    tracemalloc.start()
    assert main(["inspect", str(tmp_path / "file")]) == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert "1 arrays, 8,000,000 bytes" in capsys.readouterr().out


def test_inspect_refuses_another_file(capsys, tmp_path):
    (tmp_path / "file").write_bytes(b"no arrays")
    assert main(["inspect", str(tmp_path / "file")]) == 2
    assert "file is cut short, was altered or is no safetensors file" in capsys.readouterr().err


def test_a_command_that_there_is_not_is_answered_with_the_one_that_was_meant(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["trian"])
    assert capsys.readouterr().err == (
        "tinygrad-norm: argument COMMAND: there is no 'trian', only train, evaluate, diagnose, models, norms, "
        "experiment, graph, profile, certify, conformance, derive, info, inspect; did you mean train?; "
        "try tinygrad-norm --help\n"
    )


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"tinygrad-norm {__version__}\n"
