"""`tinygrad-norm norms`: the norm layers, each with its formula, its axes, its state, its cost and its source."""

from __future__ import annotations

import argparse
import itertools
import json
import re

from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.checks import did_you_mean
from tinygrad_norm.cli.arguments import Commands, add_command, add_flags
from tinygrad_norm.models.norm_catalog import NormFacts, norm_facts


def add_commands(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands, "norms", run_norms, "list the norms: formula, axes, state, parameters, cost, source"
    )
    command.add_argument("layer", nargs="*", metavar="NAME", help="a norm layer of nn, or a name that --norm takes")
    add_flags(command, json="print JSON")


def run_norms(args: argparse.Namespace) -> None:
    """List all norms, or those that are named.

    Raises:
        ValueError: there is no norm of that name.
    """
    facts = [norm_facts(layer) for layer in norm_layers()]
    known = [name for each in facts for name in (each.layer, *each.names)]
    for name in args.layer:
        if name not in known:
            hint = did_you_mean(name, known) or f" (they are {', '.join(dict.fromkeys(known))})"
            raise ValueError(f"norms: {name!r} is no norm{hint}")
    if args.layer:
        facts = [each for each in facts if {each.layer, *each.names} & {*args.layer}]
    if args.json:
        print(json.dumps([each._asdict() for each in facts], indent=2, ensure_ascii=False))
        return
    alike = itertools.groupby(facts, lambda each: (_family(each), _family(each) == each.layer))
    print("\n\n".join(described([*family]) for _, family in alike))


def described(family: list[NormFacts]) -> str:
    """Return what there is to know of layers that differ in the rank of their inputs, in a few lines."""
    last = family[-1]
    names = dict.fromkeys(name for each in family for name in each.names)
    title = ", ".join(each.layer for each in family) + "".join(f"  --norm {name}" for name in names)
    figures = {
        "over": last.shared if len(family) == 1 else "; ".join(f"{each.shared} ({each.layer[-2:]})" for each in family),
        "learns": ", ".join(last.parameters) or "nothing",
        "keeps": ", ".join(last.state) or "nothing",
        "cost": last.cost,
    }
    if last.underivable:
        figures["not derived"] = last.underivable
    lines = [*last.formula.splitlines(), *(f"{word}: {what}" for word, what in figures.items()), last.source]
    return "\n".join([title, *(f"    {line}" for line in lines)])


def _family(facts: NormFacts) -> str:
    """The name of a layer without the rank of its inputs."""
    return re.sub(r"\dD$", "", facts.layer)
