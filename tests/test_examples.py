"""The examples, run as a user runs them: each in a process of its own, in an empty folder."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor
from tinygrad_norm.data import load
from tinygrad_norm.training import evaluate, load_checkpoint, load_safetensors, load_trained

EXAMPLES = Path(__file__).parent.parent / "examples"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # small matrices gain nothing from more
NUMPY = {"TINYGRAD_NORM_KERNELS": "reference"}  # nothing to compile
SMALL = ("--batchnorm", "--hidden-sizes", "16", "--dropout", "0.2")


def start(folder: Path, name: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=os.environ | ONE_THREAD | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def run(folder: Path, name: str, *arguments: str, status: int = 0, **environment: str) -> tuple[str, str]:
    """What an example wrote to standard output and standard error."""
    process = start(folder, name, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    return out, err


def small(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[dict[str, Any], str]:
    """The figures of one small run of mlp_bn.py, and what it printed."""
    out, _ = run(folder, "mlp_bn", *SMALL, "--json", "figures.json", *arguments, **environment)
    return json.loads((folder / "figures.json").read_text()), out


def is_drawn(picture: Path, out: str) -> bool:
    """Whether the picture is there; without matplotlib, whether the run said that it is not."""
    if find_spec("matplotlib") is None:
        return "no picture: " in out and not picture.exists()
    return picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, str]:
    """An environment in which an example starts fast: kernels in plain NumPy, and no matplotlib to import."""
    hidden = tmp_path / "hidden" / "matplotlib.py"
    hidden.parent.mkdir()
    hidden.write_text("raise ImportError\n")
    return {**NUMPY, "PYTHONPATH": str(hidden.parent)}


def test_mlp_as_in_the_readme(tmp_path):
    out, _ = run(tmp_path, "mlp_bn", "--batchnorm", "--json", "deep/figures.json")
    found = json.loads((tmp_path / "deep" / "figures.json").read_text())
    assert found["test_accuracy"] >= 0.97
    assert f"test accuracy {found['test_accuracy']:.2%}" in out
    assert len(found["train_loss"]) == len(found["val_accuracy"]) == found["epochs"]
    assert found["train_loss"][-1] < found["train_loss"][0] / 10
    assert 0 < found["seconds"] < 120
    assert is_drawn(tmp_path / "runs" / "mlp_bn.png", out)
    lines = [json.loads(line) for line in (tmp_path / "runs" / "mlp_bn.jsonl").read_text().splitlines()]
    assert [line["train_loss"] for line in lines if line["event"] == "epoch"] == found["train_loss"]


def test_mlp_compares(tmp_path):
    arguments = ("--compare", "--hidden-sizes", "16", "--epochs", "2", "--json", "figures.json")
    out, _ = run(tmp_path, "mlp_bn", *arguments, **NUMPY)
    found = json.loads((tmp_path / "figures.json").read_text())
    assert list(found) == ["with batch norm", "without batch norm"]
    for name, result in found.items():
        first, last = result["train_loss"]
        assert result["batchnorm"] == (name == "with batch norm")
        assert re.search(rf"^{name} +{result['test_accuracy']:.2%} +{first:.4f} +{last:.4f} ", out, re.MULTILINE)
    assert is_drawn(tmp_path / "runs" / "mlp_bn_compare.png", out)
    assert not (tmp_path / "runs" / "mlp_bn.safetensors").exists()


def test_mlp_resumes_bit_for_bit_and_trains_without_matplotlib(tmp_path, quick):
    whole, out = small(tmp_path, quick, "--epochs", "3")
    assert 'no picture: matplotlib cannot be imported; pip install "tinygrad-norm[viz]"' in out
    half, _ = small(tmp_path, quick, "--epochs", "1", "--checkpoint", "half.safetensors")
    resumed, _ = small(tmp_path, quick, "--epochs", "3", "--resume", "half.safetensors")
    assert half["train_loss"] == whole["train_loss"][:1]
    assert resumed["train_loss"] == whole["train_loss"]
    assert resumed["test_accuracy"] == whole["test_accuracy"]

    after, out = small(tmp_path, quick, "--epochs", "2", "--resume", "half.safetensors", "--lr", "0.5")
    assert "after 3 epochs, with learning rate 0.5\n" in out
    assert "the checkpoint has already done 3 epochs; --epochs is the total goal\n" in out
    assert after["train_loss"] == whole["train_loss"]


def test_mlp_ctrl_c_leaves_a_checkpoint(tmp_path, quick, wait_for_line):
    process = start(tmp_path, "mlp_bn", *SMALL, "--epochs", "100000", **quick)
    wait_for_line(process, "epoch ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"^interrupted after \d+ epochs? .* resume from runs.mlp_bn\.safetensors$", err, re.MULTILINE)
    assert "Traceback" not in err
    assert "trainer" in load_checkpoint(tmp_path / "runs" / "mlp_bn.safetensors")["parts"]


@pytest.mark.parametrize(
    "arguments",
    [
        "--epochs 0",
        "--hidden-sizes 100000000000",
        "--lr -1",
        "--data mnist",
        "--compare --resume half.safetensors",
        "--plot curves.bmp",
        "--plot curves.png",  # matplotlib is hidden
        "--json .",
        "--log file/below/a/file",
    ],
)
def test_mlp_refuses_nonsense_before_training(tmp_path, quick, arguments):
    (tmp_path / "file").touch()
    out, err = run(tmp_path, "mlp_bn", *arguments.split(), status=2, **quick)
    assert not out
    option = re.findall(r"--[a-z-]+", arguments)[-1]
    assert option in err.rpartition("error: ")[2]


ZOO = ("lenet5", "mlp", "--image-size", "16", "--epochs", "2", "--batch-size", "32")


def test_zoo_trains_each_net_and_ends_in_a_table(tmp_path, few_digits):
    pictures = ("--plot", "--confusion") if find_spec("matplotlib") else ()
    arguments = ("lenet5", *ZOO, "--norm", "group", "--data", str(few_digits), *pictures)
    out, err = run(tmp_path, "cnn_zoo", *arguments, "-o", "zoo", **NUMPY)
    assert out.count("predicted") == len(pictures)
    rows = [line.split() for line in out.splitlines()[-3:]]
    assert rows[0] == ["model", "norm", "parameters", "epochs", "seconds", "test", "accuracy"]
    assert [(row[0], row[1], row[3]) for row in rows[1:]] == [("lenet5", "group", "2"), ("mlp", "group", "2")]
    assert len(re.findall(r"^epoch [12]/2 ", err, re.MULTILINE)) == 4
    for row in rows[1:]:
        model, recipe = load_trained(tmp_path / "zoo" / row[0] / "checkpoint.safetensors")
        found = evaluate(model, load(few_digits, "test", image_size=recipe.image_size))
        assert row[-1] == f"{found.accuracy:.2%}"
    for name in ("lenet5/confusion.png", "mlp/curves.png", "curves.png"):
        picture = tmp_path / "zoo" / name
        assert picture.read_bytes().startswith(b"\x89PNG") if pictures else not picture.exists()


def test_zoo_goes_on_after_ctrl_c(tmp_path, few_digits, quick, wait_for_line):
    arguments = (*ZOO, "--data", str(few_digits))
    run(tmp_path, "cnn_zoo", *arguments, "-o", "whole", **quick)
    process = start(tmp_path, "cnn_zoo", *arguments, "-o", "part", **quick)
    wait_for_line(process, "epoch 1/2")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    _, err = run(tmp_path, "cnn_zoo", *arguments, "-o", "part", status=2, **quick)
    assert err.count("\n") == 1
    assert "lenet5 holds another run" in err
    assert "--resume" in err
    run(tmp_path, "cnn_zoo", *arguments, "-o", "part", "--resume", **quick)
    for name in ("lenet5", "mlp"):
        whole, part = (load_safetensors(tmp_path / run / name / "checkpoint.safetensors") for run in ("whole", "part"))
        assert all((part[key] == whole[key]).all() for key in whole)


@pytest.mark.parametrize(
    "arguments", ["--lr 0", "--norm bach", "resnet81", "mlp --norm instance", "--data digit", "--plot"]
)
def test_zoo_refuses_nonsense_before_training(tmp_path, quick, arguments):
    out, err = run(tmp_path, "cnn_zoo", *arguments.split(), status=2, **quick)
    assert not out
    assert err.count("\n") == 1
    assert arguments != "mlp --norm instance" or err.startswith("mlp: norm of rows is one of batch,")
    assert not (tmp_path / "runs").exists()


PLANS = """
import sys
sys.path.insert(0, sys.argv[1])
import cnn_zoo
cnn_zoo.list_models = lambda: ["mlp", "lenet5"]
sys.argv = ["cnn_zoo", "--norm", "instance"]
print([plan.recipe.model for plan in cnn_zoo.make_plans(cnn_zoo.parse_arguments())])
"""


def test_zoo_leaves_out_a_net_that_has_no_such_norm(tmp_path):
    command = [sys.executable, "-c", PLANS, str(EXAMPLES)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | NUMPY, capture_output=True, text=True, check=True)
    assert done.stdout == "['lenet5']\n"
    assert done.stderr.startswith("left out, mlp: norm of rows is one of batch,")


def test_autodiff_tour(tmp_path):
    out, err = run(tmp_path, "autodiff_tour", **NUMPY)
    assert not err
    loss = re.search(r"The loss is (\S+)\. It knows", out)
    assert f"The loss is {loss[1]}, as before." in out
    differences = re.findall(r"by differences (\S+), by the tape (\S+)", out)
    assert len(differences) == 2
    for difference, tape in differences:
        assert float(difference) == pytest.approx(float(tape), abs=2e-4)
    assert "d² loss / d gamma² = 2.0000" in out


def test_custom_norm(tmp_path):
    out, _ = run(tmp_path, "custom_norm", **NUMPY)
    assert "  through size: A[size] · sign(x)\n" in out
    assert "derived: gradient and second gradient agree with finite differences" in out
    assert "wrong:   refused, as it should be: derivative 1, input 0" in out
    assert float(re.search(r"reads (\S+)% of the test digits right", out)[1]) > 95


def test_sharpness(tmp_path):
    out, err = run(tmp_path, "sharpness", **NUMPY)
    assert not err
    row = r"^(no|batch) norm +(\d+) +(\S+) +(\S+) +(\S+) +(\S+) ± (\S+)$"
    rows = [[float(number) for number in found[1:]] for found in re.findall(row, out, re.MULTILINE)]
    assert [int(step) for step, *_ in rows] == [0, 10, 30, 100, 300] * 2
    for step, _, sharpness, largest_step, trace, _ in rows:
        assert largest_step == pytest.approx(2 / sharpness, rel=0.02)
        assert not step or 0 < sharpness < trace
    losses = [row[1] for row in rows]
    assert losses[:5] == sorted(losses[:5], reverse=True)
    assert losses[8] < losses[3]


def test_the_sharpness_of_a_quadratic(rng):
    example = run_path(str(EXAMPLES / "sharpness.py"))
    curvatures = np.array([1.0, 3.0, -5.0], np.float32)
    w = Tensor(np.ones(3, np.float32), requires_grad=True)

    def loss() -> Any:
        return 0.5 * (curvatures * w * w).sum()

    assert example["furthest_eigenvalue"](loss, [w], rng) == pytest.approx(-5, rel=1e-3)
    assert example["largest_eigenvalue"](loss, [w], rng) == pytest.approx(3, rel=1e-3)
    assert example["trace"](loss, [w], rng) == pytest.approx((-1, 0), abs=1e-5)


@pytest.mark.parametrize("name", ["autodiff_tour", "custom_norm"])
def test_a_reader_that_has_seen_enough_gets_no_words(tmp_path, name):
    process = start(tmp_path, name, **NUMPY)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert "BrokenPipe" not in err


def test_the_graph_of_a_net(tmp_path, quick):
    _, out = small(tmp_path, quick, "--epochs", "1", "--graph", "net.dot")
    assert "graph: net.dot\n" in out
    assert "<B>BatchNorm</B>" in (tmp_path / "net.dot").read_text()
    _, err = run(tmp_path, "mlp_bn", "--graph", "net.gif", status=2, **quick)
    assert "--graph draws .svg, .png, .pdf, .dot, .mmd, .html, not .gif" in err


def test_render_graph(tmp_path, quick):
    out, _ = run(tmp_path, "render_graph", "--output", "graphs", **quick)
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == [
        "batch-norm.svg",
        "loss.svg",
        "resnet18-backward.svg",
        "resnet18.html",
        "resnet18.svg",
    ]
    assert "parameters 11,173,962" in out
    assert re.search(r"^fused +1 op, .*^composed +16 ops, ", out, re.MULTILINE | re.DOTALL)


def shown_by(cell: dict[str, Any], number: int, names: dict[str, Any], capsys: Any) -> str:
    """What a cell of a notebook prints, and the text of its last expression, when it is run."""
    *lines, last = ast.parse("".join(cell["source"])).body
    value = None
    exec(compile(ast.Module(lines, []), f"cell {number}", "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    else:
        exec(compile(ast.Module([last], []), f"cell {number}", "exec"), names)
    text: str = getattr(value, "_repr_mimebundle_", dict)().get("text/plain", "")
    printed: str = capsys.readouterr().out
    return printed + text


def stored_in(cell: dict[str, Any]) -> str:
    """The text among the outputs that a notebook holds of a cell."""
    texts = [each["text"] if "text" in each else each["data"]["text/plain"] for each in cell["outputs"]]
    return "".join("".join(text) for text in texts)


def without_measures(text: str) -> str:
    """The text without what is another in each run or without Numba: times, bytes, differences in the last bits."""
    return re.sub(r"[\d.]+ (?:ms|µs|s|B|kB|MB)\b|(?<=differ by )[\de.-]+|\de-\d\d", "…", text).strip()


def test_the_notebook_holds_what_its_cells_show_when_they_run_in_order(capsys):
    notebook = json.loads((EXAMPLES / "graphs.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    drawn = 0
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            shown = shown_by(cell, number, names, capsys)
            assert without_measures(shown) == without_measures(stored_in(cell)), (
                f"cell {number}: docs/graphs/run_notebook.py"
            )
            drawn += sum("image/svg+xml" in output.get("data", {}) for output in cell["outputs"])
    assert drawn == 4
    assert names["loss"].graph().summary().startswith("graph: 5 ops")
    assert names["norm"].sides["fused"].ops == 1
