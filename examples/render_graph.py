"""Draw what a net computes, and one norm as one op beside its definition.

    python examples/render_graph.py                      # runs/graphs: pictures, a page, a text
    python examples/render_graph.py --output elsewhere

Read it from top to bottom: a net in two levels, a page to explore, the way back, a norm both ways, any tensor.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.models import create_model
from tinygrad_norm.viz import compare_graphs, draw_graph


def main(folder: Path) -> None:
    """Draw all of it into a folder."""
    model = create_model("resnet18", num_classes=10)
    net = draw_graph(model, (2, 3, 32, 32), depth=2)  # modules of two levels; equal blocks are drawn once
    print(net.summary())
    print(net.save(folder / "resnet18.svg"))
    print(net.save(folder / "resnet18.html"))  # open it in a browser: each module opens, each op tells its formula

    back = draw_graph(model, (2, 3, 32, 32), depth=2, direction="backward", show=("gradient", "saved", "time"))
    print(back.save(folder / "resnet18-backward.svg"))

    norm = compare_graphs(nn.BatchNorm2D(8, activation="relu"), (4, 8, 6, 6))
    print(norm.summary())
    print(norm.save(folder / "batch-norm.svg"))

    x = Tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    loss = ops.mean(ops.square(ops.relu(x @ x.mT)))
    print(loss.graph().save(folder / "loss.svg"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("runs/graphs"), metavar="FOLDER")
    sys.exit(run_command(lambda: main(parser.parse_args().output)))
