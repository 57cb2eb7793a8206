"""What every optimizer is made of: groups of parameters with options, a state for each parameter, and one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from tinygrad_norm import definitions, generation, integrity, kernels
from tinygrad_norm.checks import RefusesUnknownKeywords, check_type, refuse_unknown
from tinygrad_norm.dtypes import Array, beyond
from tinygrad_norm.launch import host, launch
from tinygrad_norm.optim.options import check_option
from tinygrad_norm.optim.param_group import ParamGroup, ParamState
from tinygrad_norm.schema import ANYTHING, COUNT, MAPPING, check_form
from tinygrad_norm.tensor import Tensor, forget_gradients

Group = dict[str, Any]
State = dict[str, Any]
Parameters = Iterable[Tensor | Mapping[str, Any]]


class Optimizer(RefusesUnknownKeywords, ABC):
    """The parameters to update, in groups with options of their own.

    A subclass names its options and buffers, and writes `update`. The options are in `param_groups`, where a schedule
    or a user may change them between steps; what is remembered of each parameter is in `state`.

    Args:
        params: tensors, or groups: dicts with "params" and any options that differ from the defaults.
        defaults: the options of a group that does not say otherwise.
        buffers: the arrays kept for each parameter, of its shape, each with the option that asks for it; None if
            it is always kept.

    Raises:
        TypeError: something that is no tensor, an option of the wrong type, or one that does not exist.
        ValueError: no parameters, one given twice, or an option out of range.

    Example:
        >>> class Signs(optim.Optimizer):
        ...     def __init__(self, params, lr=0.1):
        ...         super().__init__(params, {"lr": lr, "maximize": False}, {})
        ...     def update(self, parameter, gradient, state, group):
        ...         parameter -= group["lr"] * np.sign(gradient)
        >>> w = nn.Parameter([3.0])
        >>> w.grad = Tensor([50.0])
        >>> Signs([w]).step()
        >>> w.numpy()
        array([2.9], dtype=float32)
    """

    def __init__(self, params: Parameters, defaults: Group, buffers: Mapping[str, str | None]) -> None:
        self.defaults = defaults
        self.buffers = buffers
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        self.first_lrs: dict[int, float] = {}  # by group: what schedules wrote as they were made, before any step
        self._checked: dict[int, Group] = {}
        for group in _as_groups(params):
            self.add_param_group(group)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}("]
        for group in self.param_groups:
            options = ", ".join(f"{name}={value}" for name, value in _options(group).items())
            lines.append(f"  {len(group['params'])} parameters: {options}")
        return "\n".join([*lines, ")"])

    def add_param_group(self, param_group: Group) -> None:
        """Update these parameters too, from now on: for layers that are unfrozen later."""
        check_type("a parameter group", param_group, dict, "a dict with 'params'")
        number = len(self.param_groups)
        refuse_unknown(f"parameter group {number}", param_group, self._known_options())
        if "params" not in param_group:
            raise ValueError(f"parameter group {number} has no 'params'")
        group = ParamGroup({**self.defaults, **param_group, "params": _as_list(param_group["params"], number)})
        group.update({name: check_option(name, value) for name, value in _options(group).items()})
        self.check(group)
        places = {id(parameter): place for place, parameter in _placed([*self.param_groups, group])}
        for place, parameter in _placed([*self.param_groups, group]):
            _check_parameter(parameter, place)
            if places[id(parameter)] != place:
                raise ValueError(f"{place} and {places[id(parameter)]} are the same tensor; an optimizer takes it once")
        self.param_groups.append(group)
        generation.advance()

    def check(self, group: Group) -> None:
        """Raise a ValueError or TypeError if the options of a group are not allowed, alone or together."""
        for name, value in _options(group).items():
            check_option(name, value)

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        Raises:
            TypeError: a gradient is no Tensor; nothing was updated then.
            ValueError: a gradient has another shape than its parameter, or an option was set to what is not allowed.
                Nothing was updated then.
        """
        host(_check_options, self._checked, self)
        for place, parameter in _placed(self.param_groups):
            gradient = gradient_of(parameter, place)
            if gradient is not None and gradient.shape != parameter.shape:
                raise ValueError(f"{place} has shape {parameter.shape} and a gradient of shape {gradient.shape}")
        given = [
            (parameter, parameter.grad.raw, self._state_of(parameter), group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        host(_count, [state for _, _, state, _ in given])
        for parameter, gradient, state, group in given:
            if gradient.dtype != parameter.dtype:
                gradient = launch(gradient.astype, parameter.dtype)
            self.update(parameter.raw, launch(np.negative, gradient) if group["maximize"] else gradient, state, group)
        launch(integrity.mark_changed, *[parameter.raw for parameter, *_ in given])

    def _state_of(self, parameter: Tensor) -> State:
        """What is remembered of a parameter, from its first step on."""
        state = self.state.get(parameter)
        if state is None:
            state = self.state[parameter] = ParamState(step=0)
        return state

    @abstractmethod
    def update(self, parameter: Array, gradient: Array, state: State, group: Group) -> None:
        """Update one parameter in place, given its state, which already counts this step, and its group's options."""

    def run(self, name: str, parameter: Array, gradient: Array, buffers: list[Array | None], **options: Any) -> None:
        """Call the kernel of that name; options that may be others at the next step are `late`."""
        update = getattr(kernels.of(parameter), name)
        if update is getattr(definitions, name):
            launch(_with_names, update, (*options,), (*options.values(),), parameter, gradient, *buffers)
        else:
            update(parameter, gradient, *buffers, **options)

    def buffer(self, name: str, like: Array, state: State, group: Group) -> Array | None:
        """Return what `state` keeps under `name`, an array of zeros at first; None if no option asks for it."""
        if not _is_used(self.buffers[name], group):
            return None
        array: Array | None = dict.get(state, name)
        if array is None:
            array = state[name] = launch(np.zeros, like.shape, like.dtype)
        if array.shape != like.shape:
            raise ValueError(f"{name} has shape {array.shape}, but its parameter now has shape {like.shape}")
        if array.dtype != like.dtype:  # the model was converted since
            if lost := beyond(array, like.dtype):
                raise ValueError(f"{name} of a parameter of shape {like.shape} {lost}")
            array = state[name] = array.astype(like.dtype)
        return array

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: each `.grad` becomes None, or with False zeros."""
        forget_gradients([parameter for _, parameter in _placed(self.param_groups)], set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Copy what a run needs to go on: the states by the number of their parameter, and the groups' options."""
        numbers = {id(parameter): number for number, (_, parameter) in enumerate(_placed(self.param_groups))}
        return {
            "state": {
                numbers[id(parameter)]: {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in state.items()}
                for parameter, state in self.state.items()
            },
            "param_groups": self._numbered_groups(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: it is for other parameters or another optimizer; it says where, and nothing has changed.
        """
        try:
            parameters = self._check_state(state_dict)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{type(self).__name__}.load_state_dict: {error}") from error
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: check_option(name, value) for name, value in _options(saved).items()})
        self.state.clear()
        for number, saved in state_dict["state"].items():
            _, parameter, _ = parameters[str(number)]
            self.state[parameter] = ParamState(
                {
                    name: int(value) if name == "step" else np.array(value, parameter.dtype, order="C")
                    for name, value in saved.items()
                }
            )

    def _known_options(self) -> list[str]:
        return ["params", *self.defaults, "initial_lr"]

    def _check_state(self, state_dict: Mapping[str, Any]) -> dict[str, tuple[str, Tensor, Group]]:
        """Return the place, the parameter and the saved options of each number, as JSON writes it.

        Raises:
            TypeError, ValueError: the state is not one of this optimizer; says in what.
        """
        check_form(state_dict, {"state": MAPPING, "param_groups": [MAPPING], ...: ANYTHING}, "the state")
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError(f"it has {len(groups)} parameter groups, this optimizer {len(self.param_groups)}")
        for number, (group, saved) in enumerate(zip(self._numbered_groups(), groups, strict=True)):
            names = [name for name in self._known_options() if name != "initial_lr" or name in saved]
            check_form(saved, dict.fromkeys(names, ANYTHING), f"group {number}")
            if saved["params"] != (wanted := group["params"]):
                given = np.size(saved["params"])
                raise ValueError(
                    f"group {number} has {given} parameters, not the {len(wanted)} numbered from {wanted[0]}"
                )
            self.check(saved)
        options = [group for group in groups for _ in group["params"]]
        owners = enumerate(zip(_placed(self.param_groups), options, strict=True))
        parameters = {str(number): (*placed, group) for number, (placed, group) in owners}
        for key, saved in state_dict["state"].items():
            if str(key) not in parameters:
                raise ValueError(f"it has a state for parameter {key}, which is in no group")
            place, parameter, group = parameters[str(key)]
            names = [name for name, option in self.buffers.items() if name in saved or _is_used(option, group)]
            check_form(saved, {"step": COUNT, **dict.fromkeys(names, ANYTHING)}, f"the state of {place}")
            for name in names:
                array = np.asarray(saved[name])
                if array.shape != parameter.shape or array.dtype.kind != "f":
                    found = f"{array.dtype} of shape {array.shape}"
                    raise ValueError(f"{name!r} of {place} is floating point of shape {parameter.shape}, got {found}")
                if lost := beyond(array, parameter.dtype):
                    raise ValueError(f"{name!r} of {place} {lost}")
        return parameters

    def _numbered_groups(self) -> list[Group]:
        """Return the groups, with each parameter's number in the place of the parameter."""
        number = count()
        return [{**group, "params": [next(number) for _ in group["params"]]} for group in self.param_groups]


def _with_names(update: Callable[..., None], names: Sequence[str], options: Sequence[Any], *arrays: Any) -> None:
    update(*arrays, **dict(zip(names, options, strict=True)))


def _check_options(checked: dict[int, Group], optimizer: Optimizer) -> None:
    """Check the groups that a schedule or a user changed since the last step."""
    for number, group in enumerate(optimizer.param_groups):
        if checked.get(number) != (options := _options(group)):
            optimizer.check(group)
            checked[number] = options


def _count(states: list[State]) -> None:
    for state in states:
        state["step"] += 1


def gradient_of(parameter: Tensor, place: str) -> Array | None:
    """Return the array of a parameter's gradient, if it has one; a TypeError calls the parameter by its place."""
    if parameter.grad is None:
        return None
    check_type(f"the gradient of {place}", parameter.grad, Tensor, "a Tensor, as Tensor(array) makes one")
    return parameter.grad.raw


def _as_groups(params: Parameters) -> list[Group]:
    """Return one group of all tensors, or the groups as given."""
    if isinstance(params, (Tensor, dict, set, str)) or not isinstance(params, Iterable):
        raise TypeError(f"params is a list of tensors, or of groups (dicts), got one {type(params).__name__}")
    given: list[Any] = list(params)
    if given and all(isinstance(item, dict) for item in given):
        return given
    return [{"params": given}]


def _as_list(params: Any, number: int) -> list[Any]:
    if isinstance(params, (set, frozenset)):
        raise TypeError("a set of parameters has no fixed order, and a saved state is found by it; use a list")
    parameters = [params] if isinstance(params, Tensor) else list(params)
    if not parameters:
        raise ValueError(
            f"parameter group {number} is empty: no parameters were given, or a generator that was already used up "
            "(model.parameters() makes a new one at each call)"
        )
    return parameters


def _options(group: Group) -> Group:
    return {name: value for name, value in group.items() if name != "params"}


def _is_used(option: str | None, group: Group) -> bool:
    return option is None or bool(dict.get(group, option))  # that it is 0 or not, a plan has seen


def _placed(groups: list[Group]) -> Iterator[tuple[str, Tensor]]:
    """Return every parameter, in order, and what an error calls it."""
    for number, group in enumerate(groups):
        for index, parameter in enumerate(group["params"]):
            yield f"parameter {index} of group {number}", parameter


def _check_parameter(parameter: Any, place: str) -> None:
    if not isinstance(parameter, Tensor):
        hint = "; of (name, parameter) pairs, give the parameters" if isinstance(parameter, tuple) else ""
        raise TypeError(f"{place} is a Tensor, got {type(parameter).__name__}{hint}")
    if not parameter.is_leaf:
        raise ValueError(f"{place} was made by a recorded op; only leaves are updated (see detach)")
    if parameter.dtype.kind != "f":
        raise TypeError(f"{place} holds {parameter.dtype}; only float32 and float64 have gradients")
