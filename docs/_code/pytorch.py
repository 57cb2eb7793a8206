"""This project's public names beside PyTorch's, their arguments, and expressions whose results are alike or differ.

Nothing here imports PyTorch: what it answers is in `pytorch.json`, which `ask_pytorch.py` writes and a test holds to
the PyTorch that is installed. What this project answers is computed when the page is built.
"""

from __future__ import annotations

import ast
import html
import inspect
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_norm
from tinygrad_norm import Tensor, data, nn, ops, optim
from tinygrad_norm.nn import init, parametrizations

STORED = Path(__file__).with_name("pytorch.json")

PLACES = {
    "nn": ("torch.nn",),
    "nn.init": ("torch.nn.init",),
    "nn.parametrizations": ("torch.nn.utils.parametrizations",),
    "ops": ("torch.nn.functional", "torch", "torch.special"),
    "Tensor": ("torch.Tensor",),
    "optim": ("torch.optim", "torch.optim.lr_scheduler"),
    "data": ("torch.utils.data",),
    "tinygrad_norm": ("torch", "torch.autograd", "torch.func"),
}
"""For each group of our names, where PyTorch has its own of the same name."""

WHOLE = ("torch.nn", "torch.nn.functional", "torch.optim", "torch.optim.lr_scheduler")
"""Of these PyTorch's names are counted, so that what is absent here can be listed."""

OTHERS = {
    "nn.LayerNorm2D": "torchvision.models.convnext.LayerNorm2d",
    "nn.SqueezeExcite": "torchvision.ops.SqueezeExcitation",
    "nn.StochasticDepth": "torchvision.ops.StochasticDepth",
    "nn.recalibrate": "torch.optim.swa_utils.update_bn",
    "ops.cumulative_sum": "torch.cumsum",
    "ops.expand_dims": "torch.unsqueeze",
    "ops.layer_norm_2d": "torchvision.models.convnext.LayerNorm2d",
    "ops.matrix_transpose": "torch.Tensor.mT",
    "ops.pad": "torch.nn.functional.pad",
    "ops.permute_dims": "torch.permute",
    "ops.stochastic_depth": "torchvision.ops.stochastic_depth",
    "ops.stop_gradient": "torch.Tensor.detach",
    "ops.take_along_axis": "torch.take_along_dim",
    "Tensor.astype": "torch.Tensor.to",
    "Tensor.copy": "torch.Tensor.clone",
    "Tensor.creator": "torch.Tensor.grad_fn",
    "Tensor.expand_dims": "torch.Tensor.unsqueeze",
    "Tensor.permute_dims": "torch.Tensor.permute",
    "optim.LinearWarmup": "torch.optim.lr_scheduler.LinearLR",
    "optim.clip_grad_norm": "torch.nn.utils.clip_grad_norm_",
    "optim.clip_grad_value": "torch.nn.utils.clip_grad_value_",
    "data.ArrayDataset": "torch.utils.data.TensorDataset",
    "data.Compose": "torchvision.transforms.Compose",
    "data.CutMix": "torchvision.transforms.v2.CutMix",
    "data.Mixup": "torchvision.transforms.v2.MixUp",
    "data.RandomCrop": "torchvision.transforms.RandomCrop",
    "data.RandomFlip": "torchvision.transforms.RandomHorizontalFlip",
    "data.RandomRotation": "torchvision.transforms.RandomRotation",
    "data.cifar10": "torchvision.datasets.CIFAR10",
    "data.cifar100": "torchvision.datasets.CIFAR100",
    "data.image_folder": "torchvision.datasets.ImageFolder",
    "data.mnist": "torchvision.datasets.MNIST",
    "tinygrad_norm.Op": "torch.autograd.Function",
    "tinygrad_norm.capture": "torch.compile",
    "tinygrad_norm.is_recording": "torch.is_grad_enabled",
    "tinygrad_norm.hessian_vector_product": "torch.autograd.functional.hvp",
    "tinygrad_norm.load_checkpoint": "torch.load",
    "tinygrad_norm.save_checkpoint": "torch.save",
}
"""What has another name there, or does the same work in another form."""

ANOTHER_FORM = {
    "DataLoader",
    "Op",
    "capture",
    "hessian_vector_product",
    "jvp",
    "load_checkpoint",
    "save_checkpoint",
    "vjp",
}
ANOTHER_FORM |= {"recalibrate"}
"""Names whose arguments are not compared, as the same work is asked for in another way."""

MACHINERY = {
    "capturable",
    "device",
    "differentiable",
    "dtype",
    "foreach",
    "fused",
    "inplace",
    "orig_func",
    "pin_memory",
}
MACHINERY |= {"reduce", "requires_grad", "size_average"}
"""Arguments that say where and how a thing is computed, or that PyTorch keeps for old programs: not compared."""

SPELLINGS = {"dim": "axis", "keepdim": "keepdims", "start_dim": "start_axis", "end_dim": "end_axis", "dims": "axis"}
"""PyTorch's words for an argument, and those of NumPy, which are used here."""


class Pair(NamedTuple):
    """A public name of ours, and PyTorch's, or "" where it has none."""

    group: str
    ours: str
    theirs: str


def public() -> Iterator[tuple[str, str]]:
    """The public names of this project that can be written in a program, with their group."""
    for name in nn.__all__:
        if not inspect.ismodule(getattr(nn, name)):
            yield "nn", name
    for name, found in vars(init).items():
        if inspect.isfunction(found) and found.__module__ == init.__name__ and not name.startswith("_"):
            yield "nn.init", name
    for name, found in vars(parametrizations).items():
        if inspect.isfunction(found) and found.__module__ == parametrizations.__name__ and not name.startswith("_"):
            yield "nn.parametrizations", name
    for name, found in sorted(vars(ops).items()):
        if inspect.isfunction(found) and not name.startswith(("_", "from_numpy_")):
            yield "ops", name
    for name in sorted(vars(Tensor)):
        if not name.startswith("_"):
            yield "Tensor", name
    for name in optim.__all__:
        yield "optim", name
    for name in data.__all__:
        yield "data", name
    for name in tinygrad_norm.__all__:
        if not inspect.ismodule(getattr(tinygrad_norm, name)):
            yield "tinygrad_norm", name


def candidates(group: str, name: str) -> list[str]:
    """Where PyTorch would have a name, the likeliest first: under another name, or under its own, with a small d."""
    if other := OTHERS.get(f"{group}.{name}"):
        return [other]
    small = name[:-1] + "d" if group == "nn" and name[-2:] in ("1D", "2D", "3D") else name
    return [f"{place}.{small}" for place in PLACES[group]]


def stored() -> dict[str, Any]:
    """What PyTorch answered: its "version", "names" with their arguments, "counted" names, and "results"."""
    found: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    return found


def pairs() -> list[Pair]:
    """Every public name of ours with PyTorch's."""
    there = stored()["names"]
    return [
        Pair(group, name, next((each for each in candidates(group, name) if each in there), ""))
        for group, name in public()
    ]


def ours(pair: Pair) -> Any:
    """The function or class that a pair speaks of."""
    owner: Any = tinygrad_norm
    path = "" if pair.group == "tinygrad_norm" else pair.group
    for part in (*filter(None, path.split(".")), pair.ours):
        owner = getattr(owner, part)
    return owner


def arguments(found: Any) -> dict[str, str] | None:
    """The arguments of a function or class, with the text of their defaults, "" for none; None if it tells nothing."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_POSITIONAL and each.name == "args" for each in parameters):
        return None
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return {
        each.name: "" if each.default is each.empty else text(each.default)
        for each in named
        if each.name not in ("self", *MACHINERY) and not each.name.startswith("_")
    }


def text(value: Any) -> str:
    """A default as text, the same for 0, 0.0 and an object whose text would hold its place in memory."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return repr(value) if isinstance(value, str | bool | tuple | type(None)) else type(value).__name__


class Differences(NamedTuple):
    """How the arguments of a pair differ: those with a default that only one has, and other defaults."""

    here: list[str]
    there: list[str]
    defaults: list[tuple[str, str, str]]


def differences(mine: dict[str, str], theirs: dict[str, str]) -> Differences:
    """Compare arguments that have a default on either side; what a thing is given to work on has none."""
    mine = {SPELLINGS.get(name, name): default for name, default in reversed(mine.items())}  # `axis`, then `dim`
    theirs = {SPELLINGS.get(name, name): default for name, default in theirs.items()}
    both = [name for name in mine if name in theirs]
    return Differences(
        [name for name, default in mine.items() if default and name not in theirs],
        [name for name, default in theirs.items() if default and name not in mine],
        [(name, mine[name] or "none", theirs[name] or "none") for name in both if mine[name] != theirs[name]],
    )


def arguments_differ(pair: Pair) -> Differences | None:
    """How the arguments of a pair differ; None where one side tells nothing of its arguments."""
    mine, theirs = arguments(ours(pair)), stored()["names"].get(pair.theirs)
    untold = mine is None or theirs is None or pair.ours in ANOTHER_FORM
    return None if untold else differences(mine, theirs)


class Row(NamedTuple):
    """One question to both: what it is about, and an expression in the words of each."""

    about: str
    here: str
    there: str


ALIKE = [
    Row(
        "Momentum weighs the new value: 0.9 · 0 + 0.1 · 2",
        "norm = nn.BatchNorm1D(1); norm(Tensor([[1.0], [3.0]])); norm.running_mean",
        "norm = nn.BatchNorm1d(1); norm(tensor([[1.0], [3.0]])); norm.running_mean",
    ),
    Row(
        "The unbiased variance is kept: 0.9 · 1 + 0.1 · 2",
        "norm = nn.BatchNorm1D(1); norm(Tensor([[1.0], [3.0]])); norm.running_var",
        "norm = nn.BatchNorm1d(1); norm(tensor([[1.0], [3.0]])); norm.running_var",
    ),
    Row(
        "The biased one normalizes, with eps inside the root: ±1 / √(1 + eps)",
        "nn.BatchNorm1D(1, eps=3.0)(Tensor([[1.0], [3.0]]))",
        "nn.BatchNorm1d(1, eps=3.0)(tensor([[1.0], [3.0]]))",
    ),
    Row(
        "`momentum=None` keeps the mean of all batches",
        "norm = nn.BatchNorm1D(1, momentum=None)\nfor v in (1.0, 5.0): norm(Tensor([[v], [v]]))\nnorm.running_mean",
        "norm = nn.BatchNorm1d(1, momentum=None)\nfor v in (1.0, 5.0): norm(tensor([[v], [v]]))\nnorm.running_mean",
    ),
    Row("RMS norm's eps, where none is given, is that of the dtype", "nn.RMSNorm(4).eps", "nn.RMSNorm(4).eps"),
    Row("Keys of a state", "list(nn.BatchNorm2D(4).state_dict())", "list(nn.BatchNorm2d(4).state_dict())"),
    Row(
        "Keys in a net",
        "list(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).state_dict())",
        "list(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).state_dict())",
    ),
    Row("Shape of a linear weight", "nn.Linear(2, 3).weight.shape", "nn.Linear(2, 3).weight.shape"),
    Row(
        "Shape of a filter",
        "nn.Conv2D(4, 6, (3, 5), groups=2).weight.shape",
        "nn.Conv2d(4, 6, (3, 5), groups=2).weight.shape",
    ),
    Row("A list of floats is float32", "Tensor([1.0, 2.0]).dtype", "tensor([1.0, 2.0]).dtype"),
    Row("A list of integers is int64", "Tensor([1, 2]).dtype", "tensor([1, 2]).dtype"),
    Row("An array keeps its dtype", "Tensor(np.ones(2)).dtype", "tensor(np.ones(2)).dtype"),
    Row(
        "A loss is a mean over examples",
        "ops.cross_entropy(Tensor([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))",
        "F.cross_entropy(tensor([[0.0, 0.0], [0.0, 0.0]]), tensor([0, 1]))",
    ),
    Row(
        "… weighed by the classes' weights, and divided by their sum",
        "ops.cross_entropy(Tensor([[1.0, 0.0], [2.0, 0.0]]), np.array([0, 1]), np.array([1.0, 3.0], 'float32'))",
        "F.cross_entropy(tensor([[1.0, 0.0], [2.0, 0.0]]), tensor([0, 1]), tensor([1.0, 3.0]))",
    ),
    Row(
        "… without the targets −100",
        "ops.cross_entropy(Tensor([[1.0, 0.0], [2.0, 0.0]]), np.array([0, -100]))",
        "F.cross_entropy(tensor([[1.0, 0.0], [2.0, 0.0]]), tensor([0, -100]))",
    ),
    Row(
        "The squared error is a mean over all entries",
        "nn.MSELoss()(Tensor([[1.0, 2.0]]), Tensor([[0.0, 0.0]]))",
        "nn.MSELoss()(tensor([[1.0, 2.0]]), tensor([[0.0, 0.0]]))",
    ),
    Row(
        "Momentum of SGD: v ← 0.9 v + g, and the rate is outside: 1 − 0.1 − 0.19",
        "w = nn.Parameter([1.0]); sgd = optim.SGD([w], lr=0.1, momentum=0.9)\n"
        "for _ in range(2): sgd.zero_grad(); w.sum().backward(); sgd.step()\nw",
        "w = nn.Parameter(tensor([1.0])); sgd = optim.SGD([w], lr=0.1, momentum=0.9)\n"
        "for _ in range(2): sgd.zero_grad(); w.sum().backward(); sgd.step()\nw",
    ),
    Row(
        "Decay of AdamW stands beside the gradient",
        "w = nn.Parameter([1.0]); adam = optim.AdamW([w], 0.1, weight_decay=0.5)\nw.sum().backward(); adam.step(); w",
        "w = nn.Parameter(tensor([1.0])); adam = optim.AdamW([w], 0.1, weight_decay=0.5)\n"
        "w.sum().backward(); adam.step(); w",
    ),
    Row("GELU is the exact one", "ops.gelu(Tensor([1.0]))", "F.gelu(tensor([1.0]))"),
    Row("Halves are rounded to even", "ops.round(Tensor([0.5, 1.5]))", "torch.round(tensor([0.5, 1.5]))"),
    Row(
        "First weights of a layer: uniform up to 1 / √inputs",
        "w = nn.Linear(10_000, 20).weight; round(float(abs(w.numpy()).max()), 4)",
        "w = nn.Linear(10_000, 20).weight; round(float(w.abs().max()), 4)",
    ),
    Row(
        "An even window with `padding='same'` stands further right",
        "ops.conv2d(Tensor([[[[1.0, 2.0, 4.0]]]]), Tensor([[[[1.0, 10.0]]]]), padding='same')",
        "F.conv2d(tensor([[[[1.0, 2.0, 4.0]]]]), tensor([[[[1.0, 10.0]]]]), padding='same')",
    ),
    Row(
        "A second way back over a tape",
        "w = nn.Parameter([2.0]); y = (w * w).sum(); y.backward(); y.backward()",
        "w = nn.Parameter(tensor([2.0])); y = (w * w).sum(); y.backward(); y.backward()",
    ),
    Row(
        "In place, on a leaf that wants a gradient",
        "w = nn.Parameter([2.0]); w += 1",
        "w = nn.Parameter(tensor([2.0])); w += 1",
    ),
    Row(
        "Batch norm of one value in training",
        "nn.BatchNorm1D(2)(Tensor([[1.0, 2.0]]))",
        "nn.BatchNorm1d(2)(tensor([[1.0, 2.0]]))",
    ),
]
"""Results that are the same."""

DIFFERENT = [
    Row("Classes end in a capital D", "nn.BatchNorm2D.__name__", "nn.BatchNorm2d.__name__"),
    Row(
        "Arguments have NumPy's names, `axis` and `keepdims`",
        "Tensor([[1.0, 2.0]]).sum(dim=1)",
        "tensor([[1.0, 2.0]]).sum(dim=1)",
    ),
    Row("`var` and `std` divide by n, as NumPy's do", "ops.var(Tensor([1.0, 3.0]))", "torch.var(tensor([1.0, 3.0]))"),
    Row(
        "`max` along an axis has no indices with it",
        "Tensor([1.0, 3.0]).max(axis=0)",
        "tuple(tensor([1.0, 3.0]).max(axis=0))",
    ),
    Row("`size` is a number", "Tensor([[1.0, 2.0]]).size", "tensor([[1.0, 2.0]]).size()"),
    Row(
        "`split` is told how many parts",
        "[len(each.numpy()) for each in ops.split(ops.ones(6), 2)]",
        "[len(each) for each in torch.split(torch.ones(6), 2)]",
    ),
    Row(
        "`pad` counts axes from the first",
        "ops.pad(ops.ones((2, 3)), ((0, 0), (1, 0))).shape",
        "F.pad(torch.ones(2, 3), (0, 0, 1, 0)).shape",
    ),
    Row("Steps backwards", "Tensor([1.0, 2.0])[::-1]", "tensor([1.0, 2.0])[::-1]"),
    Row(
        "Softmax is along the last axis",
        "nn.Softmax()(ops.ones((2, 3, 4))).numpy()[0, 0, 0]",
        "nn.Softmax()(torch.ones(2, 3, 4))[0, 0, 0]",
    ),
    Row(
        "Labels may be of any integers",
        "ops.cross_entropy(Tensor([[0.0, 0.0]]), np.array([1], 'int32'))",
        "F.cross_entropy(tensor([[0.0, 0.0]]), torch.tensor([1], dtype=torch.int32))",
    ),
    Row(
        "A class that is not there",
        "ops.cross_entropy(Tensor([[0.0, 0.0]]), np.array([2]))",
        "F.cross_entropy(tensor([[0.0, 0.0]]), tensor([2]))",
    ),
    Row(
        "Two shapes in a loss",
        "nn.MSELoss()(Tensor([1.0, 2.0]), Tensor([[1.0], [2.0]]))",
        "nn.MSELoss()(tensor([1.0, 2.0]), tensor([[1.0], [2.0]]))",
    ),
    Row(
        "Features that do not fit",
        "nn.Linear(2, 3)(Tensor([[1.0, 2.0, 3.0]]))",
        "nn.Linear(2, 3)(tensor([[1.0, 2.0, 3.0]]))",
    ),
    Row(
        "float64 into a float32 layer",
        "nn.Linear(2, 2)(Tensor(np.ones((1, 2))))",
        "nn.Linear(2, 2)(tensor(np.ones((1, 2))))",
    ),
    Row(
        "`astype` makes a layer float64",
        "nn.Linear(2, 2).astype('float64').weight.dtype",
        "nn.Linear(2, 2).astype('float64').weight.dtype",
    ),
    Row("Half precision", "Tensor(np.ones(2, 'float16')).dtype", "tensor(np.ones(2, 'float16')).dtype"),
    Row("Gradients of integers", "Tensor([1, 2], requires_grad=True)", "tensor([1, 2], requires_grad=True)"),
    Row(
        "A vector goes back without a gradient",
        "nn.Parameter([1.0, 2.0]).backward()",
        "nn.Parameter(tensor([1.0, 2.0])).backward()",
    ),
    Row("`numpy()` of what wants a gradient", "nn.Parameter([1.0]).numpy()", "nn.Parameter(tensor([1.0])).numpy()"),
    Row(
        "A state holds",
        "type(nn.Linear(1, 1).state_dict()['weight']).__name__",
        "type(nn.Linear(1, 1).state_dict()['weight']).__name__",
    ),
    Row(
        "A loader hands out",
        "type(next(iter(data.DataLoader(data.ArrayDataset(np.ones((2, 1)), np.ones(2, int)), 2)))[0]).__name__",
        "type(next(iter(data.DataLoader(data.TensorDataset(torch.ones(2, 1), torch.ones(2)), 2)))[0]).__name__",
    ),
    Row("Ops that end in _ and change a tensor", "Tensor([1.0]).add_(1.0)", "tensor([1.0]).add_(1.0)"),
    Row("`view`; here it is `reshape`", "Tensor([1.0, 2.0]).view(2, 1)", "tensor([1.0, 2.0]).view(2, 1)"),
    Row("Devices", "hasattr(nn.Linear(1, 1), 'to')", "hasattr(nn.Linear(1, 1), 'to')"),
    Row(
        "The norm that clipping returns is a",
        "type(optim.clip_grad_norm([nn.Parameter([1.0])], 1.0)).__name__",
        "type(nn.utils.clip_grad_norm_([nn.Parameter(tensor([1.0]))], 1.0)).__name__",
    ),
    Row(
        "The same seed, other numbers",
        "manual_seed(0); nn.Linear(1, 1).weight",
        "manual_seed(0); nn.Linear(1, 1).weight",
    ),
]
"""Results that differ."""

NAMES = {"np": np, "nn": nn, "ops": ops, "optim": optim, "data": data, "Tensor": Tensor}
NAMES |= {"manual_seed": tinygrad_norm.manual_seed}
"""What our expressions may name."""


def plain(value: Any) -> Any:
    """A result as JSON can hold it, alike for both: numbers of four digits, lists, names of dtypes."""
    if isinstance(value, dict | list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value if isinstance(value, str | bool | int | type(None)) else str(value).removeprefix("torch.")


def answer(expression: str, names: dict[str, Any]) -> tuple[Any, str]:
    """The result of the last expression of a few lines, or the name of the error that they raise; and what it says."""
    *lines, last = ast.parse(expression).body
    names = dict(names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(ast.Module(lines, []), "row", "exec"), names)
            if not isinstance(last, ast.Expr):
                exec(compile(ast.Module([last], []), "row", "exec"), names)
                return None, ""
            return plain(eval(compile(ast.Expression(last.value), "row", "eval"), names)), ""
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        return type(error).__name__, str(error)


class Table:
    """Rows as a notebook shows them: `code` between backquotes, the first row as the head."""

    def __init__(self, rows: Iterable[Iterable[str]]) -> None:
        self.rows = [list(row) for row in rows]

    def _repr_html_(self) -> str:
        def line(cells: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{_marked(each)}</{tag}>" for each in cells) + "</tr>"

        head, *body = (line(row, "td" if number else "th") for number, row in enumerate(self.rows))
        rows = "\n".join(body)
        # As wide as the page, or as much as can be read; of this class, the theme leaves the colours in the dark.
        style = "display: table; table-layout: fixed; width: 100%; min-width: 38rem; overflow-wrap: anywhere"
        table = f'<table class="table dataframe" style="{style}; font-size: 0.85em; text-align: left">'
        return f"{table}\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _marked(cell: str) -> str:
    parts = html.escape(cell).split("`")
    inside = (f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return "".join(inside).replace("\n", "<br>")


def names_table(group: str) -> Table:
    """The pairs of a group, with how their arguments differ."""
    rows = [("here", "PyTorch", "arguments with a default that differ")]
    for pair in pairs():
        if pair.group == group and pair.theirs:
            another = "in another form" if pair.ours in ANOTHER_FORM else ""
            rows.append((f"`{pair.ours}`", f"`{pair.theirs}`", another or _told(arguments_differ(pair))))
    return Table(rows)


def _told(found: Differences | None) -> str:
    if found is None:
        return ""
    said = [f"`{name}` {mine}, there {theirs}" for name, mine, theirs in found.defaults]
    said += ["here alone " + ", ".join(f"`{name}`" for name in found.here)] if found.here else []
    said += ["there alone " + ", ".join(f"`{name}`" for name in found.there)] if found.there else []
    return "; ".join(said)


def counts_table() -> Table:
    """How many names each group of ours has, and how many of them PyTorch has too."""
    rows = [("here", "names", "with one of PyTorch's", "of our own")]
    for group in PLACES:
        mine = [bool(pair.theirs) for pair in pairs() if pair.group == group]
        rows.append((f"`{group}`", str(len(mine)), str(sum(mine)), str(len(mine) - sum(mine))))
    return Table(rows)


def their_counts_table() -> Table:
    """How many names PyTorch's modules have, and how many of them have one here."""
    counted = stored()["counted"]
    rows = [("PyTorch", "names", "with one here", "absent here")]
    for place in WHOLE:
        missing = len(absent(place))
        there = len(counted[place])
        rows.append((f"`{place}`", str(there), str(there - missing), str(missing)))
    return Table(rows)


def absent(place: str) -> list[str]:
    """The names of PyTorch that have none here."""
    offered = {pair.theirs for pair in pairs()}
    return [name for name in stored()["counted"][place] if f"{place}.{name}" not in offered]


def own(group: str) -> list[str]:
    """Our names that have none in PyTorch."""
    return [pair.ours for pair in pairs() if pair.group == group and not pair.theirs]


def results_table(rows: list[Row], alike: bool = False) -> Table:
    """Questions to both, with what each answers: ours now, PyTorch's as stored. What is alike stands once."""
    there, pytorch = stored()["results"], f"PyTorch {stored()['version']}"
    shown = [("", "here and in PyTorch", "answer") if alike else ("", "here", pytorch)]
    for row in rows:
        mine, theirs = answer(row.here, NAMES)[0], there[row.there]
        if alike:
            both = f"`{row.here}`" if row.here == row.there else f"`{row.here}`\n`{row.there}`"
            shown.append((row.about, both, f"`{mine}`"))
        else:
            shown.append((row.about, f"`{row.here}`\n→ `{mine}`", f"`{row.there}`\n→ `{theirs}`"))
    return Table(shown)
