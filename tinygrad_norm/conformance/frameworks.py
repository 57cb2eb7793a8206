"""The frameworks whose norms can be judged, each brought to the same few verbs; none is imported before it is asked."""

from __future__ import annotations

import importlib
import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from tinygrad_norm import ops, tape
from tinygrad_norm.certificate.case import case_of_module
from tinygrad_norm.certificate.targets import load_target
from tinygrad_norm.checks import did_you_mean
from tinygrad_norm.conformance.arguments import Bound, arguments_of_class, bind_function, parameter_roles
from tinygrad_norm.conformance.kinds import NORM_KINDS, NormKind, kind_by_name
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tensor import Tensor

Scalar = Callable[..., Any]
"""A function of the framework's tensors to one number, as a tensor."""


class NoGradientsError(Exception):
    """A framework computes no gradients."""


class Framework(ABC):
    """What is asked of a framework.

    Raises:
        ImportError: it is not installed.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """What is imported, and installed; the last has the version."""
    norms: ClassVar[dict[str, tuple[str, ...]]]
    """Those of its own norms that the table of all frameworks holds, for each kind."""

    def __init__(self) -> None:
        if lacking := self.lacking():
            raise ImportError(f"certify: --from {self.name} needs {self.title}: pip install {' '.join(lacking)}")

    @classmethod
    def lacking(cls) -> list[str]:
        """Return which of its packages are not installed; a mere folder of such a name in this one is none."""
        return [name for name in cls.packages if (spec := find_spec(name)) is None or spec.origin is None]

    def __str__(self) -> str:
        return f"{self.title} {importlib.import_module(self.packages[-1]).__version__}"

    def find(self, what: str) -> Any:
        """Return what a name means: package.module.Name, package.module:Name or path/to/file.py:Name.

        Raises:
            ValueError: there is no such thing.
        """
        place, _, name = what.rpartition(":" if ":" in what else ".")
        if not place:
            raise ValueError(f"certify: {what!r} is no norm of {self.title}; give package.module.Name or file.py:Name")
        return load_target(f"{place}:{name}")

    def kind(self, name: str) -> NormKind | None:
        """Return the kind of a norm, if its name tells it."""
        return kind_by_name(name.rpartition(":" if ":" in name else ".")[2])

    def bind(self, what: Any, kind: NormKind, shape: Shape, eps: float, dtype: str, columns: bool) -> Bound:
        """Return a norm as a function of x and its parameters, for an x of this shape.

        Args:
            what: the class of a module, or a function.
            kind: of norm.
            shape: that of x.
            eps: for the norm, if it takes one.
            dtype: of parameters.
            columns: whether a function's weight has the shape in which it broadcasts, rather than one axis.

        Raises:
            ValueError: it cannot be called with what is known.
        """
        if not inspect.isclass(what):
            return bind_function(what, kind, shape, eps, columns)
        arguments, takes_eps = arguments_of_class(what, kind, shape, eps)
        function, shapes = self.module(what(**arguments), dtype)
        return Bound(function, parameter_roles(what.__name__, shapes), takes_eps)

    def module(self, module: Any, dtype: str) -> tuple[Callable[..., Any], dict[str, Shape]]:
        """Return a module as a function of x and its parameters, in training, and their shapes by name."""
        raise ValueError(f"certify: {self.title} has functions, and no modules that are known here; certify a function")

    @abstractmethod
    def tensor(self, array: Array) -> Any:
        """Return the framework's tensor of an array, with respect to which can be differentiated."""

    @abstractmethod
    def array(self, tensor: Any) -> Array:
        """Return the array of a tensor.

        Raises:
            TypeError: it is none.
        """

    def gradient(self, function: Scalar, again: bool) -> Callable[..., Sequence[Any]]:
        """Return the function of the gradients for all inputs; `again` if they are to be differentiated.

        Raises:
            NoGradientsError: the framework computes none.
        """
        raise NoGradientsError(f"{self.title} has no gradients")

    @abstractmethod
    def threads(self, count: int) -> AbstractContextManager[None]:
        """Return a context in which the framework computes with so many threads."""


class PyTorch(Framework):
    """Modules in training, and functions of tensors."""

    name, title, packages = "torch", "PyTorch", ("torch",)
    norms: ClassVar = {
        "layer": ("torch.nn.LayerNorm",),
        "rms": ("torch.nn.RMSNorm",),
        "batch": ("torch.nn.BatchNorm2d",),
        "group": ("torch.nn.GroupNorm",),
        "instance": ("torch.nn.InstanceNorm2d",),
    }

    def __init__(self) -> None:
        super().__init__()
        self.torch = importlib.import_module("torch")

    def module(self, module: Any, dtype: str) -> tuple[Callable[..., Any], dict[str, Shape]]:
        module.to(getattr(self.torch, dtype)).train()
        shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}

        def function(x: Any, *parameters: Any) -> Any:
            return self.torch.func.functional_call(module, dict(zip(shapes, parameters, strict=True)), (x,))

        return function, shapes

    def tensor(self, array: Array) -> Any:
        return self.torch.from_numpy(array.copy()).requires_grad_()

    def array(self, tensor: Any) -> Array:
        if not isinstance(tensor, self.torch.Tensor):
            raise TypeError(f"one tensor is returned, got {type(tensor).__name__}")
        found: Array = tensor.detach().numpy()
        return found

    def gradient(self, function: Scalar, again: bool) -> Callable[..., Sequence[Any]]:
        def gradients(*inputs: Any) -> Any:
            options = {"create_graph": again, "allow_unused": True, "materialize_grads": True}
            return self.torch.autograd.grad(function(*inputs), inputs, **options)

        return gradients

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(count)
        try:
            yield
        finally:
            self.torch.set_num_threads(before)


class JAX(Framework):
    """Functions of arrays, on the CPU."""

    name, title, packages = "jax", "JAX", ("jax",)
    norms: ClassVar = dict.fromkeys(("layer", "batch", "instance"), ("jax.nn.standardize",))

    def __init__(self) -> None:
        super().__init__()
        self.jax = importlib.import_module("jax")
        self.jax.config.update("jax_platforms", "cpu")
        self.jax.config.update("jax_enable_x64", True)

    def tensor(self, array: Array) -> Any:
        return self.jax.numpy.asarray(array)

    def array(self, tensor: Any) -> Array:
        if not isinstance(tensor, self.jax.Array):
            raise TypeError(f"one array is returned, got {type(tensor).__name__}")
        return np.asarray(tensor)

    def gradient(self, function: Scalar, again: bool) -> Callable[..., Sequence[Any]]:
        def gradients(*inputs: Any) -> Any:
            return self.jax.grad(function, argnums=tuple(range(len(inputs))))(*inputs)

        return gradients

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Restart XLA, as it reads its number of threads when it starts."""
        backend, variable = importlib.import_module("jax.extend.backend"), "PJRT_NPROC"
        before = os.environ.get(variable)
        os.environ[variable] = str(count)
        backend.clear_backends()
        try:
            yield
        finally:
            del os.environ[variable]
            if before is not None:
                os.environ[variable] = before
            backend.clear_backends()


class ONNX(Framework):
    """Single nodes in onnxruntime, on the CPU; it has no gradients."""

    name, title, packages = "onnx", "onnxruntime", ("onnx", "onnxruntime")
    operators: ClassVar[dict[str, tuple[str, int, str]]] = {
        "LayerNormalization": ("layer", 17, "x weight bias"),
        "RMSNormalization": ("rms", 23, "x weight"),
        "SimplifiedLayerNormalization": ("rms", 17, "x weight"),
        "BatchNormalization": ("batch", 15, "x weight bias mean var"),
        "GroupNormalization": ("group", 21, "x weight bias"),
        "InstanceNormalization": ("instance", 6, "x weight bias"),
    }
    """The kind of each, the version of the operator set that has it, and its inputs."""
    norms: ClassVar = {kind: (name,) for name, (kind, *_) in operators.items() if not name.startswith("Simplified")}

    def __init__(self) -> None:
        super().__init__()
        self.onnx, self.runtime = (importlib.import_module(name) for name in self.packages)
        self._threads = 0  # as many as it chooses

    def find(self, what: str) -> Any:
        if what not in self.operators:
            hint = did_you_mean(what, self.operators) or f" (they are {', '.join(self.operators)})"
            raise ValueError(f"certify: {what!r} is no norm of ONNX{hint}")
        return what

    def kind(self, name: str) -> NormKind | None:
        return NORM_KINDS[self.operators[name][0]]

    def bind(self, what: Any, kind: NormKind, shape: Shape, eps: float, dtype: str, columns: bool) -> Bound:
        own, version, inputs = self.operators[what]
        if kind.name != own:
            raise ValueError(f"certify: {what} is a {NORM_KINDS[own].title}, and no {kind.title}")
        count = int(np.prod(kind.affine(shape)))
        more = {"layer": {"axis": -1}, "rms": {"axis": -1}, "group": {"num_groups": kind.groups}}.get(own, {})
        training = {"training_mode": 1} if own == "batch" else {}
        names = inputs.split()

        def function(*given: Array) -> Array:
            feeds = dict(zip(names, given, strict=False)) | {
                name: np.full(count, name == "var", given[0].dtype) for name in names[len(given) :]
            }
            session = self._session(what, version, feeds, {"epsilon": eps, **more, **training})
            found: Array = session.run(None, feeds)[0]
            return found

        return Bound(function, dict.fromkeys(names[1:3], (count,)), takes_eps=True)

    def _session(self, operator: str, version: int, feeds: dict[str, Array], attributes: dict[str, Any]) -> Any:
        """Return a session that runs a graph of one node."""
        make, kind = self.onnx.helper, self.onnx.helper.np_dtype_to_tensor_dtype
        outputs = ["y", "mean_out", "var_out"] if "training_mode" in attributes else ["y"]
        node = make.make_node(operator, list(feeds), outputs, **attributes)
        given = [make.make_tensor_value_info(name, kind(each.dtype), each.shape) for name, each in feeds.items()]
        result = make.make_tensor_value_info("y", kind(feeds["x"].dtype), feeds["x"].shape)
        opset = [make.make_opsetid("", version)]
        model = make.make_model(make.make_graph([node], operator, given, [result]), opset_imports=opset, ir_version=8)
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 4  # what is wrong is raised as well
        return self.runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def tensor(self, array: Array) -> Any:
        return array

    def array(self, tensor: Any) -> Array:
        return np.asarray(tensor)

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        self._threads = count
        try:
            yield
        finally:
            self._threads = 0


class TinygradNorm(Framework):
    """Layers of `nn`, ops, and functions of tensors, by the same measure."""

    name, title, packages = "tinygrad_norm", "tinygrad_norm", ("tinygrad_norm",)
    norms: ClassVar = {
        "layer": ("LayerNorm",),
        "layer-2d": ("LayerNorm2D",),
        "rms": ("RMSNorm",),
        "rms-2d": ("RMSNorm2D",),
        "batch": ("BatchNorm2D",),
        "group": ("GroupNorm",),
        "instance": ("InstanceNorm2D",),
    }

    def find(self, what: str) -> Any:
        if "." in what or ":" in what:
            return super().find(what)
        return load_target(f"tinygrad_norm.ops:{what}" if hasattr(ops, what) else f"tinygrad_norm.nn:{what}")

    def module(self, module: Module, dtype: str) -> tuple[Callable[..., Any], dict[str, Shape]]:
        shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        function = case_of_module("", module, [None], np.random.default_rng(0)).function
        module.astype(dtype)
        return function, shapes

    def tensor(self, array: Array) -> Any:
        return Tensor(array.copy(), requires_grad=True)

    def array(self, tensor: Any) -> Array:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"one tensor is returned, got {type(tensor).__name__}")
        return tensor.raw

    def gradient(self, function: Scalar, again: bool) -> Callable[..., Sequence[Any]]:
        def gradients(*inputs: Any) -> Any:
            found = tape.grad(function(*inputs), inputs, create_graph=again, allow_unused=True)
            return [x * 0.0 if each is None else each for each, x in zip(found, inputs, strict=True)]

        return gradients

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        """Change the number of Numba's threads; NumPy's own code has one whatever is set."""
        if find_spec("numba") is None:
            yield
            return
        numba = importlib.import_module("numba")
        before = numba.get_num_threads()
        numba.set_num_threads(count)
        try:
            yield
        finally:
            numba.set_num_threads(before)


FRAMEWORKS: dict[str, type[Framework]] = {each.name: each for each in (TinygradNorm, PyTorch, JAX, ONNX)}
