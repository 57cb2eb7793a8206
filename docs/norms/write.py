"""Writes README.md of this folder, in a few minutes: python docs/norms/write.py [--rounds N].

Accuracies are those of every-norm.json here, which `tinygrad-norm experiment every-norm -o docs/norms` writes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.every_norm import SHAPE, measure
from benchmarks.options import Options
from benchmarks.report import milliseconds
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.experiments.every_norm import error_of
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.experiments.spread import percent
from tinygrad_norm.files import write_atomically
from tinygrad_norm.models.norm_catalog import norm_facts

HERE = Path(__file__).parent
PAGE = """# Norms

{count} norm layers, each a definition and what is derived from it; `tinygrad-norm norms` lists all with their
formulas, and `tinygrad-norm derive NAME -o norm.html` draws one: which values share what, the derivation, the kernels.

The table has those that `create_model(norm=...)` and `--norm` take. *Lines* are those of the definition. *Time* is
forward and backward in training with ReLU, on {shape} in float32: milliseconds, then the ratio of medians to batch norm
in the same minute and to the norm's own composition, in brackets the tenth and the ninetieth percentile over the
rounds. *Test error* is that of {model} at {width:g} of its width after {steps:,} steps on digits, mean over {seeds}
seeds and range, at two learning rates and nothing tuned; [every-norm.md](every-norm.md) says how. `{command}` wrote it.

{table}

## What the papers claim, and this table does not show

{claims}
"""
CLAIMS = {
    "renorm": "better than batch norm where batches are small or not drawn at random; here neither is so, and the "
    "limits of r and d hold from the first batch on, when the running statistics say little",
    "ghost": "better test error than batch norm in training with large batches; here they are small",
    "switchable": "better than its parts on ImageNet and in detection",
    "frn": "better than batch norm on ImageNet at every batch size, with a warm-up of the learning rate",
    "evonorm_b0": "better than batch norm with ReLU on ImageNet",
    "evonorm_s0": "nearly as good as batch norm with ReLU on ImageNet, without the batch",
    "power": "better than layer norm in Transformers for translation and language",
    "l1": "as good as batch norm on ImageNet, and able to train in half precision",
    "linf": "as good as batch norm on ImageNet, and able to train in half precision",
    "scale": "better than layer norm in small translation tasks, and faster",
    "prms": "as good as RMS norm in translation, and faster; kernels that read all of x anyway gain nothing",
    "dyt": "as good as layer norm in Transformers; its authors say themselves that it is no batch norm for a ResNet",
    "derf": "better than layer norm and DyT in Transformers",
}


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (as many as fit in two seconds)")
    rounds = parser.parse_args().rounds
    result = Measurements(json.loads((HERE / "every-norm.json").read_text(encoding="utf-8")))
    facts = {name: each for layer in norm_layers() for each in [norm_facts(layer)] for name in each.names}
    settings = result.settings
    header = ["norm", "layer", "lines", "ms", "over batch norm", "over its composition"]
    rows = [header + [f"test error at {lr:g}" for lr in settings.lrs], ["---"] * (len(header) + len(settings.lrs))]
    for norm, (own, over_batch, over_composed) in measure(Options([], rounds)).items():
        times = [milliseconds(own.median), str(over_batch), str(over_composed)]
        errors = [error_of(result, norm, lr).words(percent) for lr in settings.lrs]
        rows.append([f"`{norm}`", facts[norm].layer, str(facts[norm].lines), *times, *errors])
    page = PAGE.format(
        count=len(norm_layers()),
        shape="×".join(map(str, SHAPE)),
        model=settings.model,
        width=settings.width,
        steps=result["steps"],
        seeds=len(settings.seeds),
        command="python docs/norms/write.py" + (f" --rounds {rounds}" if rounds else ""),
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        claims="\n".join(f"- `{norm}` ({facts[norm].source}): {claim}." for norm, claim in CLAIMS.items()),
    )
    write_atomically(HERE / "README.md", page.encode())


if __name__ == "__main__":
    main()
