"""Modes: what a `with` block changes of how ops run, each thread for itself, and the module that is running."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_norm.settings import Block, Setting

if TYPE_CHECKING:
    from tinygrad_norm.tape import Op
    from tinygrad_norm.tensor import Tensor


class Hook:
    """Sees every op, forward and backward. Override what is wanted; `with hooks(hook):` turns it on.

    Example:
        >>> class Names(Hook):
        ...     def after_forward(self, op, inputs, output):
        ...         print(type(op).__name__, output.shape)
        >>> with hooks(Names()):
        ...     y = ops.exp(np.ones(3)) + 1
        Exp (3,)
        Add (3,)
    """

    def before_forward(self, op: Op, inputs: tuple[Any, ...]) -> None:
        """Before `op` computes its output from `inputs`."""

    def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        """After it, with the output."""

    def before_backward(self, op: Op, grad: Tensor) -> None:
        """Before the gradient of the output of `op` is taken back to its inputs."""

    def after_backward(self, op: Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        """After it, with a gradient (or None) for each input."""


class Mode(NamedTuple):
    """How the ops of this thread run."""

    recording: bool = True
    composed: bool = False
    replaying: bool = True
    hooks: tuple[Hook, ...] = ()
    in_backward: bool = False
    shared: bool = False
    """Whether it is an op's backward that runs: gradients and what was saved may be somebody else's as well."""


setting = Setting("tinygrad_norm.mode", Mode())
current = setting.get
"""The mode of the thread that asks."""


def no_grad() -> Block:
    """Record nothing: for inference. Also a decorator: `@no_grad()`.

    Example:
        >>> x = Tensor(3.0, requires_grad=True)
        >>> with no_grad():
        ...     y = x * x
        >>> y.requires_grad
        False
    """
    return change(recording=False)


def enable_grad() -> Block:
    """Record again, inside `no_grad`. Also a decorator: `@enable_grad()`.

    Example:
        >>> x = Tensor(3.0, requires_grad=True)
        >>> with no_grad(), enable_grad():
        ...     y = x * x
        >>> y.requires_grad
        True
    """
    return change(recording=True)


def composed(enabled: bool = True) -> Block:
    """Run every fused op as its definition, in primitives.

    Example:
        >>> x = Tensor([[0.0], [2.0]], requires_grad=True)
        >>> with composed():
        ...     y = ops.layer_norm(x, 1)
        >>> type(y.creator).__name__  # the last primitive of the definition
        'Reshape'
    """
    return change(composed=enabled)


def eager(enabled: bool = True) -> Block:
    """Let every captured function run as it is, op by op: nothing is recorded or replayed.

    Example:
        >>> @capture
        ... def double(x):
        ...     return ops.add(x, x)
        >>> with eager():
        ...     double(Tensor([1.0, 2.0]))
        Tensor([2., 4.])
    """
    return change(replaying=not enabled)


def hooks(*more: Hook) -> Block:
    """Let `more` see every op that runs, forward and backward.

    Example:
        >>> class Count(Hook):
        ...     ops = 0
        ...     def after_forward(self, op, inputs, output):
        ...         self.ops += 1
        >>> count = Count()
        >>> with hooks(count):
        ...     y = ops.exp(np.ones(3)) + 1
        >>> count.ops
        2
    """
    return Block(setting, lambda mode: mode._replace(hooks=(*mode.hooks, *more)))


def change(**fields: Any) -> Block:
    """Change `fields` of the mode, and leave the others."""
    return Block(setting, lambda mode: mode._replace(**fields))


def backward(create_graph: bool) -> Block:
    """Run a backward pass: its ops are recorded, and seen by hooks, only with `create_graph`."""
    mode = current()  # without it, what a node computes on the way back is its own affair
    hooks = mode.hooks if create_graph else ()
    inside = mode._replace(recording=create_graph, hooks=hooks, in_backward=True, shared=True)
    return Block(setting, lambda _: inside)


def is_recording() -> bool:
    """Whether ops called now are put on the tape.

    Example:
        >>> with no_grad():
        ...     print(is_recording())
        False
        >>> is_recording()
        True
    """
    return current().recording


# The module that is running

_scope: ContextVar[str] = ContextVar("tinygrad_norm.scope", default="")  # apart: it changes with every module
current_scope = _scope.get
"""The path of the module that is running, "" outside of any."""


def enter_scope(name: str) -> Token[str]:
    """Run the ops that follow as part of the module `name` of the current module."""
    outer = _scope.get()
    return _scope.set(f"{outer}.{name}" if outer and name else outer or name)


leave_scope = _scope.reset
"""End what `enter_scope` began, given what it returned."""

_layer: ContextVar[tuple[str, str]] = ContextVar("tinygrad_norm.layer", default=("", ""))


def enter_layer(name: str) -> Token[tuple[str, str]]:
    """Let errors of the ops that the running module calls name this layer, and not the op."""
    return _layer.set((_scope.get(), name))


leave_layer = _layer.reset
"""End what `enter_layer` began, given what it returned."""


def current_layer() -> str:
    """The layer that calls ops, if it asked to be named; "" inside of the modules that it calls, and outside of it."""
    scope, name = _layer.get()
    return name if scope == _scope.get() else ""
