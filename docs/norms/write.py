"""Writes README.md of this folder, in some minutes: python docs/norms/write.py [--rounds N].

Accuracies are those of every-norm.json here, which `tinygrad-norm experiment every-norm -o docs/norms` writes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.every_norm import SIZES, SMALL, Measured, measure
from benchmarks.options import Options
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.experiments.every_norm import error_of
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.experiments.spread import percent
from tinygrad_norm.files import write_atomically
from tinygrad_norm.models.norm_catalog import norm_facts, why_unnamed, zoo_name

HERE = Path(__file__).parent
PAGE = """# Norms

{count} norm layers, each a definition and what is derived from it; `tinygrad-norm norms` lists all with their
formulas, and `tinygrad-norm derive NAME -o norm.html` draws one: which values share what, the derivation, the kernels.

*Norm* is the name that `create_model(norm=...)` and `--norm` take. *Lines* are those of the definition. *Time* is
forward and backward in training with ReLU, on {shape} in float32, and on sequences and volumes of as many values:
milliseconds, then the ratio to batch norm in the same round and to the layer's own composition: the median over the
rounds, in brackets the tenth and the ninetieth percentile. A layer of images stands for that of sequences too. *Test
error* is that of {model} at {width:g} of its width after {steps:,} steps on digits, mean over {seeds} seeds and range,
at two learning rates and nothing tuned; [every-norm.md](every-norm.md) says how. `{command}` wrote it.

{table}

## What the papers claim, and this table does not show

{claims}
"""
CLAIMS = {
    "BatchRenorm2D": "better than batch norm where batches are small or not drawn at random; here neither is so, and "
    "for the first 100 batches the zoo's is batch norm",
    "GhostBatchNorm2D": "better test error than batch norm in training with large batches; here they are small",
    "SwitchableNorm2D": "better than its parts on ImageNet and in detection",
    "FilterResponseNorm2D": "better than batch norm on ImageNet at every batch size, with a warm-up of the rate",
    "EvoNormB0": "better than batch norm with ReLU on ImageNet",
    "EvoNormS0": "nearly as good as batch norm with ReLU on ImageNet, without the batch",
    "IBN": "better than batch norm on ImageNet, and on images of another look than those that trained it",
    "IterNorm2D": "better than batch norm on ImageNet and CIFAR-10, and faster than whitening by an eigendecomposition",
    "LocalResponseNorm": "1.4 % less error of AlexNet on ImageNet, in which two layers have it; here all have",
    "GlobalResponseNorm": "better than ConvNeXt without it, once that was trained by masked images",
    "AdaIN": "any style for an image by one net, and control over what a generator draws",
    "FiLM": "half the error of the nets before in questions about pictures",
    "ConditionalBatchNorm2D": "32 styles by one net; better answers to questions about pictures",
    "SPADE": "images from maps of classes, more like those meant than where the map is an input of the net",
    "PowerNorm": "better than layer norm in Transformers for translation and language",
    "L1Norm": "as good as batch norm on ImageNet, and able to train in half precision",
    "LInfNorm": "as good as batch norm on ImageNet, and able to train in half precision",
    "ScaleNorm": "better than layer norm in small translation tasks, and faster",
    "PartialRMSNorm": "as good as RMS norm in translation, and faster; kernels that read all of x anyway gain nothing",
    "DynamicTanh": "as good as layer norm in Transformers; its authors say that it is no batch norm for a ResNet",
    "DynamicErf": "better than layer norm and DyT in Transformers",
}


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (as many as fit in two seconds)")
    parser.add_argument("--small", type=Path, metavar="FILE", help="small inputs, into another file: to see it work")
    args = parser.parse_args()
    result = Measurements(json.loads((HERE / "every-norm.json").read_text(encoding="utf-8")))
    sizes = SMALL if args.small else SIZES
    command = "python docs/norms/write.py" + (f" --rounds {args.rounds}" if args.rounds else "")
    text = page(measure(Options([], args.rounds), sizes), result, sizes, command)
    write_atomically(args.small or HERE / "README.md", text.encode())


def page(measured: dict[str, Measured], result: Measurements, sizes: dict[str, int], command: str) -> str:
    """The page of these figures."""
    settings = result.settings
    header = ["norm", "layer", "lines", "ms", "over batch norm", "over its composition"]
    rows = [header + [f"test error at {lr:g}" for lr in settings.lrs], ["---"] * (len(header) + len(settings.lrs))]
    for layer in sorted(measured, key=lambda layer: [*norm_layers()].index(layer) - 1000 * bool(zoo_name(layer))):
        name, lines = zoo_name(layer), str(norm_facts(layer).lines)
        errors = [error_of(result, name, lr).words(percent) for lr in settings.lrs if name in settings.norms]
        if not errors:
            errors = [f"– ({'not measured yet' if name else why_unnamed(layer)})", *["–"] * (len(settings.lrs) - 1)]
        rows.append([f"`{name}`" if name else "–", layer, lines, *measured[layer].cells(), *errors])
    sources = {layer: norm_facts(layer).source for layer in CLAIMS}
    return PAGE.format(
        count=len(norm_layers()),
        shape="×".join(str(sizes[axis]) for axis in "NCHW"),
        model=settings.model,
        width=settings.width,
        steps=result["steps"],
        seeds=len(settings.seeds),
        command=command,
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        claims="\n".join(f"- {layer} ({sources[layer]}): {claim}." for layer, claim in CLAIMS.items()),
    )


if __name__ == "__main__":
    main()
