"""The commands of the zoo, called as the console script calls them, on a few digits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.cli import make_parser, zoo
from tinygrad_norm.models.registry import MODELS
from tinygrad_norm.plan import Captured
from tinygrad_norm.training import recipe_for
from tinygrad_norm.training import run as training_run
from tinygrad_norm.training.evaluation import Evaluation
from tinygrad_norm.training.safetensors import read_safetensors
from tinygrad_norm.training.saved_run import CHECKPOINT

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def small(few_digits):
    """Arguments for a run of half a second."""
    return "--data", str(few_digits), "--image-size", "16", "--batch-size", "32", "--epochs", "2"


@pytest.fixture
def checkpoint(run, small, tmp_path):
    assert run("train", "lenet5", *small, "-o", "run", "--quiet")[0] == 0
    return str(tmp_path / "run" / "checkpoint.safetensors")


def test_train_ends_in_a_summary_and_shows_progress_on_standard_error(run, small, tmp_path):
    status, out, err = run("train", "lenet5", *small, "--norm", "group")
    assert status == 0
    assert out.startswith("lenet5 on ")
    assert "2 epochs in " in out
    said = r"^lenet5 \(\d\d,\d{3} parameters\) on .*: 2 epochs, into runs.lenet5-group-few-digits$"
    assert re.search(said, err, re.MULTILINE)  # after a word on compiling, where nothing is in the cache yet
    assert [line.split()[1] for line in err.splitlines() if line.startswith("epoch")] == ["1/2", "2/2"]
    assert (tmp_path / "runs" / "lenet5-group-few-digits" / "log.jsonl").exists()


def test_train_json_is_all_that_standard_output_gets(run, small):
    changes = ("--lr", "0.02", "--mixup", "0.1", "--option", "width=0.5", "--augment", "flip", "shift")
    status, out, err = run("train", "baseline_cnn", *small, "--json", "--quiet", *changes)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["recipe"] | {"lr": 0.02, "mixup": 0.1, "augment": ["flip", "shift"]} == found["recipe"]
    assert found["recipe"]["options"] == {"width": 0.5}
    assert found["parameters"] < 2_000_000 / 3
    assert sum(map(sum, found["confusion"])) == 40
    assert len(found["history"]) == found["epochs"] == 2


def test_pictures_are_drawn_or_refused_before_training(run, small, tmp_path):
    status, out, err = run("train", "lenet5", *small, "--plot", "--confusion", "-o", "run", "--quiet")
    if find_spec("matplotlib") is None:
        assert (status, out) == (2, "")
        assert "pip install" in err
        assert not (tmp_path / "run").exists()
    else:
        assert status == 0
        assert "predicted" in out
        for name in ("curves.png", "confusion.png"):
            assert (tmp_path / "run" / name).read_bytes().startswith(PNG)


def test_results_are_told_even_if_a_picture_fails(run, small, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "new_figure", lambda *_: None)
    monkeypatch.setattr(training_run, "plot_curves", lambda *_: 1 / 0)
    with pytest.warns(RuntimeWarning, match=r"curves\.png could not be drawn: division by zero"):
        status, out, _ = run("train", "lenet5", *small, "--plot", "-o", "run", "--quiet")
    assert status == 1
    assert "test accuracy" in out


def test_names_of_data_and_classes_do_not_reach_the_terminal_as_they_are():
    names = ("\x1b[31mred", "two\nlines")
    recipe = recipe_for("lenet5", data="data \x1b[2J\n")
    said = zoo.describe_evaluation(recipe, Evaluation(0.5, 1.0, np.ones((2, 2), np.int64), names), confusion=True)
    assert said.startswith("lenet5 on data \\x1b[2J\\n: test accuracy 50.00%")
    assert "\x1b" not in said
    assert len(said.splitlines()) == 5


def test_evaluate_says_what_training_said(run, checkpoint, few_digits):
    status, out, err = run("evaluate", checkpoint, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["model"], found["images"]) == ("lenet5", 40)
    log = (few_digits.parent / "run" / "log.jsonl").read_text().splitlines()
    assert found["accuracy"] == json.loads(log[-1])["accuracy"]

    status, out, _ = run("evaluate", "run", "--confusion", "--data", "digits")
    assert status == 0
    assert ", 355 images" in out
    assert len(out.split("\n\n")[1].splitlines()) == 11


def test_diagnose_in_words_and_as_json(run, checkpoint):
    status, out, _ = run("diagnose", checkpoint)
    assert status == 0
    assert "2 norm layers" in out
    assert out.endswith("it leaves out a short last batch, and spares norms weight decay.\n")
    status, out, err = run("diagnose", checkpoint, "--json")
    assert (status, err) == (0, "")
    assert [layer["path"] for layer in json.loads(out)["layers"]] == ["features.1", "features.5"]


def test_resume_goes_on_or_says_why_not(run, small, checkpoint, tmp_path):
    status, out, err = run("train", "lenet5", "-o", "run", "--resume", "--quiet")
    assert (status, err) == (0, "")
    assert "2 epochs in " in out
    for arguments, message in (
        (("lenet5", *small, "-o", "run"), "run holds another run"),
        (("lenet5", "-o", "run", "--resume", "--epochs", "1"), "has begun 2 epochs; epochs=1 is fewer"),
        (("lenet5", "-o", "run", "--resume", "--lr", "0.5"), "lr=0.004 (here 0.5); only epochs and data_folder may"),
        (("mlp", "--resume", checkpoint), "is a checkpoint of lenet5, not of mlp"),
        (("lenet5", "--resume"), "there is no file or folder runs/lenet5, so no checkpoint to go on from"),
        (("mlp", "-o", "fresh", "--resume"), "there is no file or folder fresh, so no checkpoint to go on from"),
        (
            ("lenet5", "--resume", checkpoint, "-o", str(tmp_path / "few-digits" / "train_images.npy")),
            "train_images.npy is a file, not a f",
        ),
        (("lenet5", "--resume", "few-digits"), "few-digits holds no checkpoint to go on from"),
    ):
        status, out, err = run("train", *arguments, "--quiet")
        assert (status, out) == (2, ""), err
        assert message in err
        assert err.count("\n") == 1


def test_a_finished_run_is_trained_longer(run, checkpoint):
    status, out, err = run("train", "lenet5", "-o", "run", "--resume", "--epochs", "3")
    assert status == 0
    assert "3 epochs in " in out
    assert ": 3 epochs (2 done), into run\n" in err
    assert "and was to take 2: the learning rate goes on as in 3 (schedule: onecycle)\n" in err
    assert [line.split()[1] for line in err.splitlines() if line.startswith("epoch")] == ["3/3"]
    status, _, err = run("train", "lenet5", "-o", "run", "--resume")
    assert status == 0
    assert "was to take" not in err


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("", ""),
        ("--plot --confusion --quiet", " --plot --confusion --quiet"),
        ("--epochs 9 --json", " --json"),
        ("--resume old --epochs 9 --plot --data-folder=there", " --epochs=9 --data-folder=there --plot"),
    ],
)
def test_the_command_that_goes_on_keeps_what_was_asked_for(arguments, command):
    args = make_parser().parse_args(["train", "lenet5", *arguments.split()])
    expected = f"tinygrad-norm train lenet5 --resume run/checkpoint.safetensors{command}"
    assert zoo.resume_command(args, Path("run/checkpoint.safetensors")) == expected.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train resnet81", "did you mean resnet18?"),
        ("train mpl", "did you mean mlp?"),
        ("train lenet5 --epcohs 3", "--epcohs 3; did you mean --epochs?; try tinygrad-norm train --help"),
        ("train lenet5 --epcohs=3", "--epcohs=3; did you mean --epochs?; try tinygrad-norm train --help"),
        ("train lenet5 vgg16", "unrecognized arguments: vgg16; try tinygrad-norm train --help"),
        ("--versoin models", "did you mean --version?; try tinygrad-norm --help"),
        ("train lenet5 --norm bach", "did you mean batch?"),
        ("train lenet5 --data digit", "did you mean digits?"),
        ("train lenet5 --optimizer adamm", "did you mean adam"),
        ("train lenet5 --epochs 0", "epochs is an integer of at least 1, got 0"),
        ("train lenet5 --epochs many", "--epochs: invalid int value: 'many'"),
        ("train lenet5 --lr nan", "lr is a finite number above 0"),
        ("train lenet5 --image-size 8", "image_size is an integer of at least 16"),
        ("train lenet5 --option width", "an option is NAME=VALUE"),
        ("train lenet5 --option colour=red", "colour"),
        ("train lenet5 --option norm=none", "norm"),
        ("train lenet5 --data mnist", "mnist"),
        ("train lenet5 --option width=NaN", "options hold what JSON can say"),
        ("evaluate nowhere", "there is no file or folder nowhere, so no checkpoint to evaluate"),
        ("diagnose .", ". holds no checkpoint to diagnose"),
        ("evaluate cut", "cut"),
        ("diagnose cut", "cut"),
        ("train", "MODEL"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, tmp_path, arguments, message):
    (tmp_path / "cut").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_tuple_is_an_option_as_the_message_about_it_says(run, small):
    status, _, err = run("train", "mlp", *small, "--option", "hidden=3")
    assert status == 2
    assert "such as (256, 128), got int" in err
    status, out, _ = run("train", "mlp", *small, "--option", "hidden=(16, 8)", "--json", "--quiet")
    assert status == 0
    assert json.loads(out)["recipe"]["options"] == {"hidden": [16, 8]}


def test_a_run_into_a_read_only_folder_is_refused_in_words(run, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    status, _, err = run("train", "lenet5", "-o", "run/deep", "--quiet")
    assert (status, err) == (2, f"tinygrad-norm: run/deep cannot be written: the folder {tmp_path} is read-only\n")
    assert list(tmp_path.iterdir()) == []


def test_divergence_is_status_1(run, small):
    with np.errstate(all="ignore"):
        status, out, err = run("train", "lenet5", *small, "--lr", "1e38", "--optimizer", "sgd")
    assert (status, out) == (1, "")
    assert "try lr below" in err.splitlines()[-1]


def test_models_lists_the_zoo(run, monkeypatch):
    chosen = {name: MODELS[name] for name in ("lenet5", "resnet18")}  # the others take seconds
    monkeypatch.setattr(zoo, "MODELS", chosen)
    status, out, _ = run("models", "--json")
    assert status == 0
    small, large = json.loads(out)
    convolutions, products = 6 * 28**2 * 3 * 25 + 16 * 10**2 * 6 * 25, 400 * 120 + 120 * 84 + 84 * 10
    assert small == {"model": "lenet5", "parameters": 62_028, "flops": 2 * (convolutions + products)}
    assert (large["model"], large["parameters"]) == ("resnet18", 11_173_962)

    status, out, _ = run("models", "--imagenet")  # LeNet-5 has no such form
    assert out.splitlines()[1].split() == ["resnet18", "11,689,512", "3,628.1"]


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(small, tmp_path, wait_for_line):
    command = [sys.executable, "-m", "tinygrad_norm", "train", "lenet5", *small, "--epochs", "100000", "-o", "my run"]
    environment = os.environ | {"TINYGRAD_NORM_KERNELS": "reference", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, encoding="utf-8") as process:
        wait_for_line(process, "epoch")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "go on with: tinygrad-norm train lenet5 --resume 'my run/checkpoint.safetensors'"
    assert (tmp_path / "my run" / "checkpoint.safetensors").exists()


def test_eager_steps_leave_the_same_log_and_the_same_net(run, small, tmp_path):
    for folder, more in (("captured", ()), ("eager", ("--eager",))):
        assert run("train", "lenet5", *small, "--quiet", "-o", folder, *more)[0] == 0
    captured, eager = tmp_path / "captured", tmp_path / "eager"
    assert (captured / "log.jsonl").read_bytes() == (eager / "log.jsonl").read_bytes()
    ours, theirs = [read_safetensors(folder / CHECKPOINT)[0] for folder in (captured, eager)]
    assert ours.keys() == theirs.keys()
    assert all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())
    found = [run("evaluate", str(captured), *more, "--json")[1] for more in ((), ("--eager",))]
    assert found[0] == found[1]
    assert zoo.resume_command(make_parser().parse_args(["train", "lenet5", "--eager"]), captured)[-1] == "--eager"


def test_eager_reaches_every_captured_function(run, small, monkeypatch):
    seen = []
    monkeypatch.setattr(Captured, "_record", lambda self, *_: seen.append(self))
    assert run("train", "lenet5", *small, "--quiet", "-o", "eager", "--eager")[0] == 0
    assert seen == []
