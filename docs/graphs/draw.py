"""Draws the pictures of this folder: python docs/graphs/draw.py."""

from __future__ import annotations

from pathlib import Path

from tinygrad_norm import manual_seed, nn
from tinygrad_norm.models import create_model, list_models
from tinygrad_norm.viz import compare_graphs, draw_graph

HERE = Path(__file__).parent
NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "batch-norm-1d": (nn.BatchNorm1D(8), (16, 8)),
    "batch-norm-2d": (nn.BatchNorm2D(8, activation="relu"), (4, 8, 6, 6)),
    "batch-norm-3d": (nn.BatchNorm3D(8), (2, 8, 4, 4, 4)),
    "layer-norm": (nn.LayerNorm(8), (16, 8)),
    "layer-norm-2d": (nn.LayerNorm2D(8), (4, 8, 6, 6)),
    "group-norm": (nn.GroupNorm(2, 8), (4, 8, 6, 6)),
    "instance-norm-1d": (nn.InstanceNorm1D(8, affine=True), (4, 8, 16)),
    "instance-norm": (nn.InstanceNorm2D(8, affine=True), (4, 8, 6, 6)),
    "instance-norm-3d": (nn.InstanceNorm3D(8, affine=True), (2, 8, 4, 4, 4)),
    "rms-norm": (nn.RMSNorm(8), (16, 8)),
    "rms-norm-2d": (nn.RMSNorm2D(8), (4, 8, 6, 6)),
}

if __name__ == "__main__":
    manual_seed(0)
    for name, (norm, shape) in NORMS.items():
        comparison = compare_graphs(norm, shape)
        print(comparison.save(HERE / f"{name}.svg"), comparison.summary(), sep="\n")
    for name in list_models():
        print(draw_graph(create_model(name, 10), (2, 3, 32, 32), depth=2, title=name).save(HERE / f"{name}.svg"))
    way_back = draw_graph(
        create_model("resnet18", 10), (2, 3, 32, 32), depth=2, direction="backward", show=("gradient", "saved")
    )
    print(way_back.save(HERE / "resnet18-backward.svg"))
