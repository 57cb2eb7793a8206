"""Train a multi-layer perceptron on handwritten digits, with or without batch norm.

    python examples/mlp_bn.py --batchnorm
    python examples/mlp_bn.py --compare            # with and without, everything else equal
    python examples/mlp_bn.py --batchnorm --graph mlp.html   # what is computed, to explore

The curves, the log and a checkpoint to go on from after Ctrl-C go to runs/, unless other files are named.
Read it from top to bottom: the network, the data, one run, the comparison, the command line.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_norm import Tensor, manual_seed, nn, ops, optim
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.data import ArrayDataset, DataLoader, digits, mnist
from tinygrad_norm.files import write_atomically
from tinygrad_norm.training import History, Trainer, plot_curves

OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], float]] = {  # and the learning rate unless one is given
    "adam": (optim.Adam, 1e-3),
    "adamw": (optim.AdamW, 1e-3),
    "rmsprop": (optim.RMSprop, 1e-3),
    "sgd": (lambda params, **options: optim.SGD(params, momentum=0.9, **options), 0.05),
}
GRAPHS = ".svg", ".png", ".pdf", ".dot", ".mmd", ".html"
NO_MATPLOTLIB = 'matplotlib cannot be imported; pip install "tinygrad-norm[viz]"'
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def build_mlp(features: int, classes: int, args: argparse.Namespace, batchnorm: bool) -> nn.Sequential:
    """Hidden blocks of Linear, batch norm (or not), activation and dropout (or not), and a last Linear."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in args.hidden_sizes:
        layers.append(nn.Linear(features, width))
        if batchnorm:  # the activation is applied in the batch norm's own kernel
            layers.append(nn.BatchNorm1D(width, momentum=args.bn_momentum, activation=args.activation))
        else:
            layers.append(ACTIVATIONS[args.activation]())
        if args.dropout:
            layers.append(nn.Dropout(args.dropout))
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


def load_data(args: argparse.Namespace) -> tuple[ArrayDataset, ArrayDataset, ArrayDataset]:
    """Training, validation (every tenth training image of each class) and test images."""
    train, test = (
        digits(split) if args.data == "digits" else mnist(args.data_dir, split) for split in ("train", "test")
    )
    train, validation = train.split(every=10)
    return train, validation, test


def run(args: argparse.Namespace, batchnorm: bool) -> tuple[dict[str, Any], History]:
    """Train once, and measure the result on the test images."""
    manual_seed(args.seed)
    train, validation, test = load_data(args)
    model = build_mlp(train.inputs[0].size, train.num_classes, args, batchnorm)
    make, default_lr = OPTIMIZERS[args.optimizer]
    optimizer = make(
        optim.decay_groups(model, args.weight_decay), lr=default_lr if args.lr is None else args.lr
    )  # weight decay spares biases and norms
    trainer = Trainer(
        model, optimizer, ops.cross_entropy, log=args.log, checkpoint=args.checkpoint, capture=not args.eager
    )
    # A short last batch of one image would have no variance, so it is left out.
    loader = DataLoader(train, args.batch_size, shuffle=True, drop_last=True, seed=args.seed)
    if args.resume:
        trainer.resume(args.resume, loader)
        if args.lr is not None:  # or else the checkpoint's goes on
            for group in optimizer.param_groups:
                group["lr"] = args.lr
        lr = optimizer.param_groups[0]["lr"]
        print(f"resumed from {args.resume} after {trainer.epoch} epochs, with learning rate {lr:g}")
        if trainer.epoch >= args.epochs:
            print(f"the checkpoint has already done {trainer.epoch} epochs; --epochs is the total goal")
    else:
        print(model.summary(train.inputs[:1]))
    if args.graph:
        from tinygrad_norm.viz import draw_graph  # takes a while to import

        print(f"graph: {draw_graph(model, Tensor(train.inputs[: args.batch_size])).save(args.graph)}")
    before, started = trainer.epoch, time.perf_counter()
    history = trainer.fit(loader, args.epochs, validation=DataLoader(validation, 256))
    seconds = time.perf_counter() - started
    result = {
        "batchnorm": batchnorm,
        "test_accuracy": trainer.evaluate(DataLoader(test, 256))["accuracy"],
        "train_loss": history.column("train_loss"),
        "val_accuracy": history.column("val_accuracy"),
        "epochs": len(history),
        "seconds": seconds,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "seed": args.seed,
    }
    print(f"test accuracy {result['test_accuracy']:.2%}, {trainer.epoch - before} epochs in {seconds:.1f} s")
    return result, history


def compare(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, History]]:
    """Train with and without batch norm, everything else equal, and print one table."""
    results, histories = {}, {}
    for name, batchnorm in (("with batch norm", True), ("without batch norm", False)):
        print(f"\n{name}")
        results[name], histories[name] = run(args, batchnorm)
    print(f"\n{'':20}{'test accuracy':>14}{'first loss':>12}{'last loss':>12}{'epochs to 95 %':>16}{'seconds':>9}")
    for name, result in results.items():
        reached = [epoch for epoch, accuracy in enumerate(result["val_accuracy"], 1) if accuracy >= 0.95]
        losses = result["train_loss"]
        print(
            f"{name:20}{result['test_accuracy']:>14.2%}{losses[0]:>12.4f}{losses[-1]:>12.4f}"
            f"{reached[0] if reached else '-':>16}{result['seconds']:>9.1f}"
        )
    return results, histories


def main() -> None:
    """Read the command line, run, and write what was asked for."""
    args = parse_arguments()
    results, history = compare(args) if args.compare else run(args, args.batchnorm)
    if args.json:
        write_atomically(args.json, (json.dumps(results, indent=2) + "\n").encode())
        print(f"figures: {args.json}")
    if args.plot:
        plot_curves(history, args.plot, title=f"MLP {'-'.join(map(str, args.hidden_sizes))} on {args.data}")
        print(f"curves: {args.plot}")
    else:
        print(f"no picture: {NO_MATPLOTLIB}")


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batchnorm", action="store_true", help="batch norm between Linear and activation")
    parser.add_argument("--compare", action="store_true", help="train with and without batch norm")
    parser.add_argument("--bn-momentum", type=number(0, 1), default=0.1, help="weight of the new value (0.1)")
    parser.add_argument("--hidden-sizes", type=sizes, default=[256, 128], metavar="256,128", help="widths")
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    parser.add_argument("--dropout", type=number(0, 1, open_end=True), default=0.0, help="probability (0)")
    parser.add_argument("--epochs", type=whole(1), default=20, help="the goal, with those of a resumed run (20)")
    parser.add_argument("--batch-size", type=whole(2), default=64)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    parser.add_argument("--lr", type=number(0, math.inf, open_end=True), help="learning rate (the optimizer's own)")
    parser.add_argument("--weight-decay", type=number(0, math.inf, open_end=True), default=1e-2)
    parser.add_argument("--seed", type=whole(0, 2**64), default=0)
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--data-dir", type=Path, help="folder of the four MNIST files")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="curves (runs/mlp_bn.png, mlp_bn_compare.png)")
    parser.add_argument("--graph", type=Path, metavar="FILE", help=f"what is computed ({', '.join(GRAPHS)})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures")
    parser.add_argument("--log", type=Path, default=Path("runs/mlp_bn.jsonl"), metavar="FILE", help="a line an epoch")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="state (--resume's, or runs/mlp_bn.safetensors)"
    )
    parser.add_argument("--resume", type=Path, metavar="FILE", help="a checkpoint to go on from")
    parser.add_argument("--eager", action="store_true", help="run each step op by op, not recorded and replayed")
    args = parser.parse_args()
    if args.data == "mnist" and args.data_dir is None:
        parser.error("--data mnist needs --data-dir, the folder of its four files")
    if args.compare and (args.checkpoint or args.resume):
        parser.error("--compare makes two runs; --checkpoint and --resume are for one")
    if args.graph and args.compare:
        parser.error("--compare makes two nets; --graph draws one")
    if args.graph and args.graph.suffix.lower() not in GRAPHS:
        parser.error(f"--graph draws {', '.join(GRAPHS)}, not {args.graph.suffix or 'a file without suffix'}")
    if args.plot and args.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        parser.error(f"--plot draws .png, .svg or .pdf, not {args.plot.suffix or 'a file without suffix'}")
    if args.plot and not can_draw():
        parser.error(f"--plot: {NO_MATPLOTLIB}")
    if not args.plot and can_draw():
        args.plot = Path("runs/mlp_bn_compare.png" if args.compare else "runs/mlp_bn.png")
    if not args.compare and not args.checkpoint:
        args.checkpoint = args.resume or Path("runs/mlp_bn.safetensors")
    for option in ("json", "plot", "graph", "log", "checkpoint"):  # before training, not after it
        if (path := getattr(args, option)) and (obstacle := obstacle_to_writing(path)):
            parser.error(f"--{option} cannot write {path}: {obstacle}")
    return args


def can_draw() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def obstacle_to_writing(path: Path) -> str | None:
    """What would keep a file from being written there, if anything; its folder is made."""
    try:
        if path.exists() and not path.is_file():
            return "it is a folder" if path.is_dir() else "it is no regular file"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return None if os.access(path, os.W_OK) or not path.exists() else "it is read-only"
    except OSError as error:
        return str(error)


def whole(lowest: int, highest: int = 1_000_000) -> Callable[[str], int]:
    """A parser of whole numbers from `lowest` to `highest`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"a whole number from {lowest} to {highest:,} is needed, not {text!r}")
        return int(text)

    return parse


def number(lowest: float, highest: float, open_end: bool = False) -> Callable[[str], float]:
    """A parser of numbers from `lowest` to `highest`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not lowest <= value <= highest or (open_end and value == highest):
            raise argparse.ArgumentTypeError(f"a number from {lowest} to {highest} is needed, not {text!r}")
        return value

    return parse


def sizes(text: str) -> list[int]:
    """The widths of the hidden layers, from "256,128"."""
    return [whole(1)(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(run_command(main))
