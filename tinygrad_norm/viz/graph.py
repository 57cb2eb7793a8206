"""The graph as data: what ran, in which module, from what, at what cost; from a finished tensor, or from a call.

Nodes come in the order in which they were made, and are numbered in that order: two runs give the same graph.
"""

from __future__ import annotations

import inspect
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tinygrad_norm import modes, random, tape
from tinygrad_norm.nn.flops import work_of
from tinygrad_norm.nn.module import Module, Parameter
from tinygrad_norm.ops.elementwise import AsType
from tinygrad_norm.ops.matmul import Einsum
from tinygrad_norm.route import ops_behind
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.viz.ledger import Ledger

Kind = Literal["op", "parameter", "input", "tensor"]
PACKAGE = Path(__file__).parents[2]


@dataclass
class Node:
    """An op, or a tensor that no op of the graph made.

    Bytes are what the op keeps for the way back: arrays that several keep count for the first, views for all of the
    array that they keep alive, parameters and buffers for none. Seconds are of this run. The gradient is the Euclidean
    norm of that of the output.

    Example:
        >>> graph = viz.draw_graph(nn.Linear(4, 2), (1, 4)).graph
        >>> node = next(iter(graph.ops))
        >>> node.name, node.shape, node.flops
        ('Linear', (1, 2), 18)
    """

    id: str
    kind: Kind
    name: str
    """The class of an op, the path of a parameter or buffer, the place of an input."""
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
    flops: int | None = 0
    """All that the definition of an op takes, as `nn.flops.work_of` counts; None where nothing tells any more."""
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
        """The bytes of the output."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Arrow:
    """From what made a tensor to what took it, as that one's input number `place`."""

    source: str
    target: str
    place: int


@dataclass
class Graph:
    """Nodes in the order they were made, edges, the class of each module by path, and the nodes that are results.

    Each result has a name: its keys and places in what was returned, as "logits" or "boxes.0"; "" where it is all.

    Example:
        >>> graph = viz.draw_graph(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (1, 4)).graph
        >>> [node.name for node in graph.ops]
        ['Linear', 'Relu']
    """

    title: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Arrow] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)

    @property
    def ops(self) -> list[Node]:
        """The ops."""
        return [node for node in self.nodes.values() if node.kind == "op"]

    @property
    def layers(self) -> set[str]:
        """The paths of modules that have none in them."""
        return set(self.modules) - {path.rpartition(".")[0] for path in self.modules}

    @property
    def wires(self) -> list[tuple[str, str]]:
        """The ends of each edge, and of those from results to what stands for them: "output0", "output1", ..."""
        ends = [(edge.source, edge.target) for edge in self.edges]
        return ends + [(node, f"output{place}") for place, node in enumerate(self.outputs)]

    def to_json(self) -> dict[str, Any]:
        """The graph in dictionaries, lists, numbers and text."""
        return {
            "title": self.title,
            "nodes": [{**vars(node), "bytes": node.nbytes} for node in self.nodes.values()],
            "edges": [vars(edge) for edge in self.edges],
            "modules": self.modules,
            "outputs": self.outputs,
            "output_names": self.output_names,
        }


def total_flops(nodes: Iterable[Node]) -> int | None:
    """The FLOPs of several nodes together; None where those of one are unknown."""
    found = [node.flops for node in nodes]
    return None if None in found else sum(flops or 0 for flops in found)


def from_tensor(*outputs: Tensor, title: str = "", model: Module | None = None) -> Graph:
    """The graph of finished tensors, by a walk of the tape.

    Gradients are those that the leaves hold, the sum of all ways back so far; the tape keeps none of an op.

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
    roots: list[Any] = [output.creator for output in outputs]
    for op in sorted(set(ops_behind(roots)), key=lambda op: op.number):
        node = builder.add_op(op, op.edges, op, None)
        inputs = _inputs_of(op)
        node.flops = None if inputs is None else work_of(op, inputs)
    for leaf, node in builder.leaves:
        node.gradient = None if leaf.grad is None else _norm(leaf.grad)
    builder.name_outputs([(str(place) if len(roots) > 1 else "", root) for place, root in enumerate(roots)])
    return builder.graph


def from_call(
    model: Module, *inputs: Any, title: str = "", gradients: bool = False, composed: bool = False, casts: bool = False
) -> Graph:
    """The graph of one call of a model, by a hook that sees each op. Buffers and the random generator are as before.

    It is called twice, and the second time counts: in the first, kernels may have to be compiled.

    Args:
        model: called in its present mode, training or inference.
        inputs: its arguments: tensors, arrays, or the tuple of a shape, which stands for random numbers.
        title: a heading; the model's class, unless given. Its mode follows.
        gradients: whether to go back as well, from random cotangents, for the norm of each gradient and the time.
        composed: whether fused ops run as their definitions.
        casts: whether definitions show where they change between float32 and float64.

    Raises:
        ValueError: a shape is none, or there is no way back.
    """
    arguments = [as_input(given, model) for given in inputs]
    for _ in range(2):
        builder = _Builder(f"{title or type(model).__name__}, {mode_of(model)}", model)
        tracer = _Tracer(builder, casts=casts or not composed)
        with state_kept(model), modes.composed() if composed else nullcontext():
            tracer.trace(model, arguments, gradients)
    tracer.count_flops()
    return tracer.graph


def mode_of(model: Module) -> str:
    """The mode of a model in words: "training", "inference", or how many of its modules are in inference."""
    modes = [module.training for module in model.modules()]
    if all(modes) or not any(modes):
        return "training" if all(modes) else "inference"
    return f"training, {modes.count(False)} of {len(modes)} modules in inference"


@contextmanager
def state_kept(model: Module) -> Iterator[None]:
    """Leave a model's buffers and the random generator as they were."""
    state, buffers = random.state_dict(), [(buffer, buffer.raw) for buffer in model.buffers()]
    try:
        yield
    finally:
        random.load_state_dict(state)
        for buffer, raw in buffers:
            buffer.raw = raw


class _Builder:
    """Adds nodes and edges; `ids` tells which node is that of an object (tensor or op), which `_kept` keeps alive."""

    def __init__(self, title: str, model: Module | None) -> None:
        self.graph = Graph(title)
        self.ids: dict[int, str] = {}
        self.leaves: list[tuple[Any, Node]] = []
        self._kept: list[Any] = []
        self._counts: Counter[str] = Counter()
        self._ledger = Ledger()
        self._sources: dict[int, Any] = {}  # what a cast that is not shown was given, by its result
        self._names: dict[int, str] = {}
        self._root = "" if model is None else model.scope_name
        for path, module in () if model is None else _scopes(model):
            if path:
                self.graph.modules[path] = type(module).__name__
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                self._names.setdefault(id(tensor), f"{path}.{name}".lstrip("."))
                self._names.setdefault(id(tensor.raw), self._names[id(tensor)])
                self._ledger.exempt(tensor.raw)

    def add_leaf(self, tensor: Any, kind: Kind, name: str, module: str) -> str:
        """A tensor that no op of the graph made."""
        node = Node(self._new_id(kind), kind, name, module, tuple(tensor.shape), str(tensor.dtype))
        node.parameters = math.prod(node.shape) if kind == "parameter" else 0
        node.differentiable = bool(getattr(tensor, "requires_grad", False))
        self.graph.nodes[node.id] = node
        self.leaves.append((tensor, node))
        self.remember(tensor, node.id)
        return node.id

    def name_outputs(self, outputs: Iterable[tuple[str, Any]]) -> None:
        """Say which nodes are results, each under its name."""
        shown = [(name, self._sources.get(id(made), made)) for name, made in outputs]
        known = [(name, self.ids[id(made)]) for name, made in shown if id(made) in self.ids]
        self.graph.output_names, self.graph.outputs = [name for name, _ in known], [node for _, node in known]

    def pass_over(self, given: Any, made: Any) -> None:
        """Show whatever is made of `made` as if it were made of `given`."""
        self._sources[id(made)] = self._sources.get(id(given), given)
        self._kept.append(made)

    def remember(self, thing: Any, node: str) -> None:
        """Know it by this node."""
        self.ids[id(thing)] = node
        self._kept.append(thing)

    def add_op(self, op: tape.Op, inputs: Iterable[Any], made: Any, seconds: float | None) -> Node:
        """An op with its inputs; `made` is what stands for its result."""
        kind = type(op)
        code, source = code_of((kind.definition or kind.composed) if issubclass(kind, tape.FusedOp) else kind.forward)
        path = f"{op.scope}.".removeprefix(f"{self._root}.").rstrip(".")
        node = Node(self._new_id("op"), "op", kind.__name__, path, tuple(op.shape), str(op.dtype), code=code)
        node.source, node.fused, node.seconds = source, issubclass(kind, tape.FusedOp), seconds
        node.family, node.differentiable = kind.__module__.rpartition(".")[2], hasattr(op, "number")
        node.settings = {name: _short(value) for name, value in op.params.items()}
        for place, taken in enumerate(inputs):
            given = self._sources.get(id(taken), taken)
            known = self.ids.get(id(given))
            if known is None and (known := self._leaf(given, path)):
                node.parameters += self.graph.nodes[known].parameters
            if known:
                self.graph.edges.append(Arrow(known, node.id, place))
        arrays = [] if getattr(op, "freed", True) else [a for a in op.saved_arrays if isinstance(a, np.ndarray)]
        node.saved = [(array.shape, str(array.dtype)) for array in arrays]
        node.saved_bytes = self._ledger.add(op)
        self.graph.nodes[node.id] = node
        self.remember(made, node.id)
        return node

    def _new_id(self, kind: Kind) -> str:
        self._counts[kind] += 1
        return f"{kind}{self._counts[kind] - 1}"

    def _leaf(self, given: Any, module: str) -> str | None:
        """The node of an input that is new; numbers have none, unless they are trained."""
        if not isinstance(given, Tensor | np.ndarray):
            return None
        if given.size < 2 and id(given) not in self._names and not getattr(given, "requires_grad", False):
            return None
        kind: Kind = "tensor"
        if isinstance(given, Parameter):
            self._ledger.exempt(given.raw)
            kind = "parameter"
        return self.add_leaf(given, kind, self._names.get(id(given), kind), module)


class _Tracer(modes.Hook):
    """Sees each op of a call, and of the way back."""

    def __init__(self, builder: _Builder, casts: bool) -> None:
        self.graph = builder.graph
        self._builder = builder
        self._casts = casts
        self._began = 0.0
        self._called: list[tuple[Node, tape.Op, tuple[Any, ...]]] = []

    def trace(self, model: Module, arguments: list[Any], gradients: bool) -> None:
        """Call the model, and go back if gradients are wanted."""
        for path, given in tensors_in(arguments if len(arguments) > 1 else arguments[0] if arguments else ()):
            if id(given) not in self._builder.ids:
                self._builder.add_leaf(given, "input", f"input {path}".rstrip(), "")
        with modes.hooks(self):
            made = list(tensors_in(model(*arguments)))
            self._builder.name_outputs(made)
            if gradients:
                self._go_back([tensor for _, tensor in made])

    def count_flops(self) -> None:
        """For each op that was seen: afterwards, for a definition may have to run, which is not to be seen."""
        for node, op, inputs in self._called:
            node.flops = work_of(op, inputs)

    def before_forward(self, op: tape.Op, inputs: tuple[Any, ...]) -> None:
        self._began = time.perf_counter()

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        seconds = time.perf_counter() - self._began
        if type(op) is AsType and not self._casts:
            self._builder.pass_over(inputs[0], output)
            return
        node = self._builder.add_op(op, inputs, output, seconds)
        self._builder.remember(op, node.id)
        self._called.append((node, op, inputs))

    def before_backward(self, op: tape.Op, grad: Tensor) -> None:
        if (node := self._builder.ids.get(id(op))) is not None:
            self.graph.nodes[node].gradient = _norm(grad)
        self._began = time.perf_counter()

    def after_backward(self, op: tape.Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        if (node := self._builder.ids.get(id(op))) is not None:
            self.graph.nodes[node].backward_seconds = time.perf_counter() - self._began

    def _go_back(self, outputs: list[Tensor]) -> None:
        """Walk back from random cotangents; nobody's `.grad` is touched."""
        rng = np.random.default_rng(0)
        reached = [tensor for tensor in outputs if tensor.requires_grad]
        if not reached:
            cause = (
                "the output requires no gradient, as nothing that it was made from does, or no_grad() is in the model"
            )
            raise ValueError(
                f"graph: there is no way back: {cause if modes.is_recording() else 'this runs under no_grad()'}"
            )
        seeds = [rng.standard_normal(tensor.shape).astype(tensor.dtype) for tensor in reached]
        for leaf, grad in tape.backward_pass(reached, seeds).items():
            if (node := self._builder.ids.get(id(leaf))) is not None:
                self.graph.nodes[node].gradient = _norm(grad)


def _inputs_of(op: tape.Op) -> Sequence[Any] | None:
    """What an entry was called with, or what has the same shapes; None where nothing tells any more."""
    if isinstance(op, Einsum) or (isinstance(op, tape.FusedOp) and op.saves_inputs):
        return None if op.freed else op.saved_arrays[: len(op.edges)]
    if isinstance(op, tape.FusedOp):
        made = [np.zeros(edge.shape, edge.dtype) for edge in op.edges if edge is not None]
        return made if len(made) == len(op.edges) else None
    return op.edges


def _scopes(model: Module) -> Iterator[tuple[str, Module]]:
    """Each module with the path that its ops carry: one that is shared goes by its last name wherever it is called."""
    stack = [("", "", model)]
    while stack:
        path, caller, module = stack.pop()
        yield path, module
        base = path if type(module).forward is not Module.forward else caller
        inside = [(f"{base}.{child.scope_name}".lstrip("."), base, child) for child in module.children()]
        stack += reversed(inside)


def as_input(given: Any, model: Module) -> Any:
    """An input as the model takes it; of a shape, random numbers in the dtype of the parameters.

    Raises:
        ValueError: a length is negative or no whole number, or it is a tuple of shapes.
    """
    if _is_shape(given):
        if not all(isinstance(length, int | np.integer) and length >= 0 for length in given):
            raise ValueError(f"graph: a shape is whole numbers, none below 0, got {given}")
        dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
        return Tensor(np.random.default_rng(0).standard_normal(given).astype(dtype))
    if isinstance(given, tuple) and all(map(_is_shape, given)):
        raise ValueError(f"graph: an input has one shape; several inputs stand in a list, {list(given)}")
    return Tensor(given) if isinstance(given, np.ndarray) else given


def _is_shape(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(length, int | float | np.number) for length in given)


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Those in a value, also in tuples, lists and dictionaries, each with its keys and places."""
    if isinstance(value, Tensor):
        yield path, value
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in parts:
        yield from tensors_in(part, f"{path}.{name}" if path else str(name))


def _norm(gradient: Tensor) -> float:
    return float(np.linalg.norm(gradient.raw.astype(np.float64).ravel()))


@cache
def code_of(function: Callable[..., Any]) -> tuple[str, str]:
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
