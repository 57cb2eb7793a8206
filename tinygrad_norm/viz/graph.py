"""The graph as data: what ran, in which module, from what, at what cost; from a finished tensor, or from a call.

Nodes come in the order in which they were made, and are numbered in that order: two runs give the same graph.
"""

from __future__ import annotations

import inspect
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm import random, tape
from tinygrad_norm.nn.flops import flops_of
from tinygrad_norm.nn.module import Module, Parameter
from tinygrad_norm.tensor import Tensor

Kind = Literal["op", "parameter", "input", "tensor"]
PACKAGE = Path(__file__).parents[2]


@dataclass
class Node:
    """An op, or a tensor that no op of the graph made.

    Bytes are what the op keeps for the way back; memory that several keep counts for the first, and that of parameters
    and buffers for none. Seconds are of this run. The gradient is the Euclidean norm of that of the output.
    """

    id: str
    kind: Kind
    name: str
    """Of an op its class; of a parameter or buffer its path; of an input its place."""
    module: str
    """The path of the module that ran it, "" outside of any."""
    shape: tuple[int, ...]
    dtype: str
    settings: dict[str, str] = field(default_factory=dict)
    """What the op was called with besides tensors."""
    differentiable: bool = True
    """Whether a gradient comes back to its output."""
    parameters: int = 0
    """Numbers in a parameter; of an op, in those that no op before it took."""
    flops: int = 0
    saved: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    """Shape and dtype of each array that is kept."""
    saved_bytes: int = 0
    seconds: float | None = None
    backward_seconds: float | None = None
    gradient: float | None = None
    code: str = ""
    """The definition: of a fused op the composition, of a primitive the forward."""
    source: str = ""
    """File and line where that stands."""
    family: str = ""
    """The file of its op: elementwise, reduction, shape, ..."""
    fused: bool = False

    @property
    def nbytes(self) -> int:
        """Of the output."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Edge:
    """From what made a tensor to what took it, as that one's input number `place`."""

    source: str
    target: str
    place: int


@dataclass
class Graph:
    """Nodes in the order they were made, edges, the class of each module by path, and the nodes that are results."""

    title: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    @property
    def ops(self) -> list[Node]:
        """The ops."""
        return [node for node in self.nodes.values() if node.kind == "op"]

    def to_json(self) -> dict[str, Any]:
        """The graph in dictionaries, lists, numbers and text."""
        return {
            "title": self.title,
            "nodes": [{**vars(node), "bytes": node.nbytes} for node in self.nodes.values()],
            "edges": [vars(edge) for edge in self.edges],
            "modules": self.modules,
            "outputs": self.outputs,
        }


def from_tensor(*outputs: Tensor, title: str = "", model: Module | None = None) -> Graph:
    """The graph of finished tensors, by a walk of the tape.

    Args:
        outputs: tensors that ops made.
        title: a heading.
        model: names the parameters.

    Raises:
        ValueError: a tensor has no tape.
    """
    builder = _Builder(title, model)
    for output in outputs:
        if not isinstance(output.creator, tape.Op):
            raise ValueError(
                f"graph: this tensor of shape {output.shape} has no tape: nothing it was made from has "
                "requires_grad=True, or it was made under no_grad(); draw_graph(model, x) needs none"
            )
    ops, roots = _reachable([output.creator for output in outputs]), [output.creator for output in outputs]
    for op in sorted(ops, key=lambda op: op.number):
        builder.add_op(op, [edge for edge in op.edges if edge is not None], op, None)
    builder.graph.outputs = [builder.ids[id(root)] for root in roots]
    return builder.graph


def from_call(model: Module, *inputs: Any, title: str = "", gradients: bool = False, composed: bool = False) -> Graph:
    """The graph of one call of a model, by a hook that sees each op. Buffers and the random generator are as before.

    It is called twice, and the second time counts: in the first, kernels may have to be compiled.

    Args:
        model: called in its present mode, training or inference.
        inputs: its arguments: tensors, arrays, or the tuple of a shape, which stands for random numbers.
        title: a heading; the model's class, unless given.
        gradients: whether to go back as well, from random cotangents, for the norm of each gradient and the time.
        composed: whether fused ops run as their definitions.
    """
    arguments = [as_input(given, model) for given in inputs]
    graphs = [_traced(model, arguments, title or type(model).__name__, gradients, composed) for _ in range(2)]
    return graphs[1]


def _traced(model: Module, arguments: list[Any], title: str, gradients: bool, composed: bool) -> Graph:
    builder = _Builder(title, model)
    for number, given in enumerate(arguments):
        if isinstance(given, Tensor):
            builder.add_leaf(given, "input", f"input {number}" if len(arguments) > 1 else "input", "")
    with ExitStack() as stack:
        stack.callback(random.load_state_dict, random.state_dict())
        for buffer in model.buffers():
            stack.callback(setattr, buffer, "raw", buffer.raw)
        tracer = _Tracer(builder)
        stack.enter_context(tape.hooks(tracer))
        if composed:
            stack.enter_context(tape.composed())
        made = _tensors(model(*arguments))
        builder.graph.outputs = [builder.ids[id(tensor)] for tensor in made if id(tensor) in builder.ids]
        if gradients:
            tracer.go_back(made)
    return builder.graph


class _Builder:
    """Adds nodes and edges; `ids` tells which node is that of an object (tensor or op), which `_kept` keeps alive."""

    def __init__(self, title: str, model: Module | None) -> None:
        self.graph = Graph(title)
        self.ids: dict[int, str] = {}
        self._kept: list[Any] = []
        self._counts: Counter[str] = Counter()
        self._spans: set[tuple[int, int]] = set()
        self._names: dict[int, str] = {}
        if model is not None:
            self.graph.modules = {path: type(module).__name__ for path, module in model.named_modules() if path}
            for name, tensor in (*model.named_parameters(), *model.named_buffers()):
                self._names[id(tensor)] = self._names[id(tensor.raw)] = name
                self._spans.add(byte_bounds(tensor.raw))

    def add_leaf(self, tensor: Any, kind: Kind, name: str, module: str) -> str:
        """A tensor that no op of the graph made."""
        node = Node(self._new_id(kind), kind, name, module, tuple(tensor.shape), str(tensor.dtype))
        node.parameters = math.prod(node.shape) if kind == "parameter" else 0
        node.differentiable = bool(getattr(tensor, "requires_grad", False))
        if (gradient := getattr(tensor, "grad", None)) is not None:
            node.gradient = _norm(gradient)
        self.graph.nodes[node.id] = node
        self.remember(tensor, node.id)
        return node.id

    def remember(self, thing: Any, node: str) -> None:
        """Know it by this node."""
        self.ids[id(thing)] = node
        self._kept.append(thing)

    def add_op(self, op: tape.Op, inputs: Iterable[Any], made: Any, seconds: float | None) -> Node:
        """An op with its inputs; `made` is what stands for its result."""
        kind = type(op)
        code, source = _definition(kind.composed if issubclass(kind, tape.FusedOp) else kind.forward)
        node = Node(self._new_id("op"), "op", kind.__name__, op.scope, tuple(op.shape), str(op.dtype), code=code)
        node.source, node.fused, node.seconds = source, issubclass(kind, tape.FusedOp), seconds
        node.family, node.differentiable = kind.__module__.rpartition(".")[2], hasattr(op, "number")
        node.settings = {name: _short(value) for name, value in op.params.items()}
        for place, given in enumerate(inputs):
            known = self.ids.get(id(given))
            if known is None and (known := self._leaf(given, op.scope)):
                node.parameters += self.graph.nodes[known].parameters
            if known:
                self.graph.edges.append(Edge(known, node.id, place))
        arrays = [] if getattr(op, "freed", True) else [a for a in op.saved_arrays if isinstance(a, np.ndarray)]
        for array in arrays:
            node.saved.append((array.shape, str(array.dtype)))
            if (span := byte_bounds(array)) not in self._spans:
                self._spans.add(span)
                node.saved_bytes += span[1] - span[0]
        self.graph.nodes[node.id] = node
        self.remember(made, node.id)
        return node

    def _new_id(self, kind: Kind) -> str:
        self._counts[kind] += 1
        return f"{kind}{self._counts[kind] - 1}"

    def _leaf(self, given: Any, scope: str) -> str | None:
        """The node of an input that is new; numbers have none."""
        if not isinstance(given, Tensor | np.ndarray) or given.size < 2:
            return None
        if isinstance(given, Parameter):
            self._spans.add(byte_bounds(given.raw))
        kind: Kind = "parameter" if isinstance(given, Parameter) else "tensor"
        return self.add_leaf(given, kind, self._names.get(id(given), kind), scope)


class _Tracer(tape.Hook):
    """Sees each op of a call, and of the way back."""

    def __init__(self, builder: _Builder) -> None:
        self._builder = builder
        self._began = 0.0

    def before_forward(self, op: tape.Op, inputs: tuple[Any, ...]) -> None:
        self._began = time.perf_counter()

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        seconds = time.perf_counter() - self._began
        node = self._builder.add_op(op, inputs, output, seconds)
        node.flops = flops_of(op, inputs, output)
        self._builder.remember(op, node.id)

    def before_backward(self, op: tape.Op, grad: Tensor) -> None:
        node = self._builder.graph.nodes[self._builder.ids[id(op)]]
        node.gradient = _norm(grad)
        self._began = time.perf_counter()

    def after_backward(self, op: tape.Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        self._builder.graph.nodes[self._builder.ids[id(op)]].backward_seconds = time.perf_counter() - self._began

    def go_back(self, outputs: list[Tensor]) -> None:
        """Walk back from random cotangents; nobody's `.grad` is touched."""
        rng = np.random.default_rng(0)
        reached = [tensor for tensor in outputs if tensor.requires_grad]
        if not reached:
            raise ValueError("graph: there is no way back: the model's output requires no gradient")
        seeds = [rng.standard_normal(tensor.shape).astype(tensor.dtype) for tensor in reached]
        for leaf, grad in tape.walk(reached, seeds).items():
            if (node := self._builder.ids.get(id(leaf))) is not None:
                self._builder.graph.nodes[node].gradient = _norm(grad)


def _reachable(roots: Iterable[Any]) -> set[tape.Op]:
    """The entries from which the roots were made, and they themselves."""
    seen: set[tape.Op] = set()
    stack = list(roots)
    while stack:
        entry = stack.pop()
        if isinstance(entry, tape.Op) and entry not in seen:
            seen.add(entry)
            stack.extend(entry.edges)
    return seen


def as_input(given: Any, model: Module) -> Any:
    """An input as the model takes it; of a shape, random numbers in the dtype of the parameters."""
    if isinstance(given, tuple) and all(isinstance(length, int) for length in given):
        dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
        return Tensor(np.random.default_rng(0).standard_normal(given).astype(dtype))
    return Tensor(given) if isinstance(given, np.ndarray) else given


def _tensors(output: Any) -> list[Tensor]:
    """Those that a model returned, also in tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _norm(gradient: Tensor) -> float:
    return float(np.linalg.norm(gradient.raw.astype(np.float64).ravel()))


@cache
def _definition(function: Callable[..., Any]) -> tuple[str, str]:
    """The code of the function that says what an op computes, and where it stands."""
    try:
        lines, first = inspect.getsourcelines(function)
        path = Path(inspect.getsourcefile(function) or "")
    except (OSError, TypeError):  # typed in by hand
        return "", ""
    name = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path.name
    return textwrap.dedent("".join(lines)).rstrip(), f"{name}:{first}"


def _short(value: Any) -> str:
    """A setting in a few characters."""
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
