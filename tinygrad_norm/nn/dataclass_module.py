"""DataclassModule: a module whose constructor is made of its annotated attributes."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from inspect import get_annotations
from typing import Any, ClassVar, Self, dataclass_transform

from tinygrad_norm.nn.module import Module


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class DataclassModule(Module):
    """A module that is told by its annotated attributes, which are the arguments of its constructor, as in a dataclass.

    A derived class checks them in `__post_init__`, and makes there what it is made of. One that writes `__init__`
    itself, and those derived from it, are modules like any other.
    """

    _made_of_attributes: ClassVar[bool]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        self = super().__new__(cls, *arguments, **options)
        Module.__init__(self)
        return self

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
        if owner is Module or "_made_of_attributes" in vars(owner):
            arguments = _arguments_alone(cls)
            for name, kind in get_annotations(cls).items():
                if name in arguments and "InitVar" not in str(kind):
                    raise TypeError(
                        f"{cls.__name__}: {name} is an argument and no attribute, annotated as {arguments[name].type}, "
                        f"got {getattr(kind, '__name__', kind)}"
                    )
            dataclass(eq=False, repr=False)(cls)
            cls._made_of_attributes = True
            for name in _arguments_alone(cls).keys() & vars(cls).keys():
                delattr(cls, name)  # the default of an argument that is no attribute


def _arguments_alone(cls: type) -> dict[str, Field[Any]]:
    """Return what is an argument of the constructor, and no attribute afterwards."""
    known: dict[str, Field[Any]] = getattr(cls, "__dataclass_fields__", {})
    return {name: field for name, field in known.items() if "InitVar" in str(field.type)}
