"""`dataclass` as the standard library's, whose methods are made when one of a class is first used.

A short command loads a hundred classes and makes objects of a few of them; to write and compile the methods of all took
a third of its time. What comes out is the same: `fields`, `replace`, `asdict`, `match`, `pickle`, `inspect.signature`,
and classes of either kind may inherit from each other. Only that a mistake in a class is told when it is first used.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, TypeAlias

_Field: TypeAlias = "dataclasses.Field[Any]"
_STANDARD: Any = dataclasses.dataclass
_COMPARED = ("__eq__", "__hash__")
_ORDER = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}
_TABLES = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")
_FEW = 8
"""Objects that are made without an __init__ of their class's own: to compile one takes as long as twenty do."""

_NOT_OURS = frozenset(("__slots__", "__setattr__", "__delattr__", *_ORDER))


def _lazily(
    *, frozen: bool = False, slots: bool = False, order: bool = False, **others: bool
) -> Callable[[type], type]:
    """The decorator; what is not frozen, has no slots or is otherwise unusual is the standard library's at once."""

    def decorate(cls: type) -> type:
        if frozen and slots and not others and _is_usual(cls):
            return _with_slots(cls, order)
        made: type = _STANDARD(frozen=frozen, slots=slots, order=order, **others)(cls)
        return made

    return decorate


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # for whoever checks types it is nothing else
else:
    dataclass = _lazily


def _is_usual(cls: type) -> bool:
    space = cls.__dict__
    annotations = space.get("__annotations__")
    if annotations is None and any(name.startswith("__annotat") for name in space):
        return False  # they are not at hand as words (Python 3.14)
    for kind in (annotations or {}).values():
        if not isinstance(kind, str) or "InitVar" in kind or "KW_ONLY" in kind:
            return False  # they change what __init__ takes
    for name, value in space.items():
        if name in _NOT_OURS:
            return False
        if isinstance(value, dataclasses.Field) and (not value.init or value.kw_only is True):
            return False
    return not any("__dataclass_fields__" in vars(base) and not _is_ours(base) for base in cls.__mro__[1:])


def _is_ours(cls: type) -> bool:
    return vars(cls).get("__setstate__") is _setstate


def _with_slots(cls: type, order: bool) -> type:
    """The class once more, with slots, and with what makes its methods in their place."""
    space = dict(cls.__dict__)
    annotations: dict[str, str] = space.get("__annotations__", {})
    names = [name for name, kind in annotations.items() if "ClassVar" not in kind]
    given = {name: space.pop(name) for name in names if name in space}
    inherited = {slot for base in cls.__mro__[1:-1] for slot in base.__dict__.get("__slots__", ())}
    space["__slots__"] = tuple(name for name in names if name not in inherited)
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    if space.get("__hash__") is None:
        space.pop("__hash__", None)  # it is there because of an __eq__ of the class's own
    later = _Maker({name: annotations[name] for name in names}, given, order)
    for name in ("__init__", *_COMPARED, *_TABLES, *(_ORDER if order else ())):
        space.setdefault(name, _Later(later, name))
    for name, method in _SHARED.items():
        space.setdefault(name, method)
    later.cls = made = type(cls)(cls.__name__, cls.__bases__, space)
    made.__qualname__ = cls.__qualname__
    return made


class _Later:
    """Stands in a class for what is made when it is first looked up."""

    __slots__ = ("_maker", "_name")

    def __init__(self, maker: _Maker, name: str) -> None:
        self._maker, self._name = maker, name

    def __get__(self, instance: object, owner: type) -> Any:
        # inspect.signature comes with the class itself in the place of an object (Python 3.13).
        if self._name == "__init__" and isinstance(instance, self._maker.cls) and self._maker.few():
            return partial(self._maker.fill, instance)
        self._maker.make(self._name)
        made = vars(self._maker.cls)[self._name]
        return made.__get__(instance, owner) if hasattr(made, "__get__") else made

    def fields(self) -> dict[str, _Field]:
        """The fields of the class that it stands in, by name."""
        return self._maker.fields


class _Maker:
    """Knows how a class was written, and makes what belongs to it."""

    cls: type

    def __init__(self, annotations: dict[str, str], given: dict[str, object], order: bool) -> None:
        self._annotations, self._given, self._order = annotations, given, order
        self._uses = 0

    def few(self) -> bool:
        """Whether so few objects were made that to compile an __init__ for them would take longer than they do."""
        self._uses += 1
        return self._uses <= _FEW

    def fill(self, made: object, *args: object, **more: object) -> None:
        """What __init__ does."""
        values = dict(zip(self.fields, args, strict=False))
        for name, field in self.fields.items():
            if name in values:
                continue
            if name in more:
                values[name] = more.pop(name)
            elif field.default is not dataclasses.MISSING:
                values[name] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                values[name] = field.default_factory()
            else:
                break
        if more or len(values) != len(self.fields) or len(args) > len(values):
            self.make("__init__")  # of a wrong call Python itself says what is wrong
            vars(self.cls)["__init__"](made, *args, **more)
            return
        for name, value in values.items():
            object.__setattr__(made, name, value)
        if (check := getattr(made, "__post_init__", None)) is not None:
            check()

    def make(self, name: str) -> None:
        """Make this one, and what is made together with it."""
        if name == "__dataclass_params__":
            self._put({name: _params(self._order)})
        elif name == "__match_args__":
            self._put({name: tuple(self.fields)})
        elif name == "__dataclass_fields__":
            self._put({name: self._table()})
        elif name == "__init__":
            self._put(_init(self.cls, list(self.fields.values())))
        else:
            self._put(_comparisons(self.cls, list(self.fields.values()), self._order))

    @cached_property
    def fields(self) -> dict[str, _Field]:
        """By name, those of the classes that it inherits from first."""
        found: dict[str, _Field] = {}
        for base in self.cls.__mro__[-1:0:-1]:
            known = vars(base).get("__dataclass_fields__")
            if isinstance(known, _Later):
                found |= known.fields()
            elif known is not None:
                found |= {each.name: each for each in dataclasses.fields(base)}
        for name, kind in self._annotations.items():
            value: Any = self._given.get(name, dataclasses.MISSING)
            field: _Field = value if isinstance(value, dataclasses.Field) else dataclasses.field(default=value)
            field.name, field.type = name, kind
            found[name] = field
        return found

    def _table(self) -> dict[str, _Field]:
        space = {**self._given, "__annotations__": self._annotations, "__module__": self.cls.__module__, "__doc__": "-"}
        own: type = _STANDARD(init=False, repr=False, eq=False)(type(self.cls.__name__, (), space))
        table: dict[str, _Field] = {}
        for base in self.cls.__mro__[-1:0:-1]:
            table.update(getattr(base, "__dataclass_fields__", {}))
        table.update({each.name: each for each in dataclasses.fields(own)})
        return table

    def _put(self, made: dict[str, Any]) -> None:
        for name, value in made.items():
            if isinstance(vars(self.cls).get(name), _Later):
                setattr(self.cls, name, value)


def _params(order: bool) -> object:
    """How a class says that it is frozen, to those that inherit from it."""

    return vars(_STANDARD(frozen=True, slots=True, order=order)(type("Model", (), {})))["__dataclass_params__"]


def _init(cls: type, fields: Sequence[_Field]) -> dict[str, Any]:
    values: dict[str, object] = {"__set": object.__setattr__, "__unset": dataclasses.MISSING}
    arguments, body = ["self"], []
    for field in fields:
        name = value = argument = field.name
        if field.default is not dataclasses.MISSING:
            values[f"__default_{name}"] = field.default
            argument = f"{name}=__default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            values[f"__factory_{name}"] = field.default_factory
            argument = f"{name}=__unset"
            value = f"__factory_{name}() if {name} is __unset else {name}"
        arguments.append(argument)
        body.append(f"  __set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("  self.__post_init__()")
    made = _compiled(cls, ["__init__"], values, [f" def __init__({', '.join(arguments)}):", *(body or ["  pass"])])
    made["__init__"].__annotations__ = {**{field.name: field.type for field in fields}, "return": None}
    return made


def _comparisons(cls: type, fields: Sequence[_Field], order: bool) -> dict[str, Any]:
    compared = [field.name for field in fields if field.compare]
    hashed = [field.name for field in fields if (field.compare if field.hash is None else field.hash)]
    ours, theirs = _tuple("self", compared), _tuple("other", compared)
    lines = [f" def __hash__(self):\n  return hash({_tuple('self', hashed)})"]
    for name, sign in {"__eq__": "==", **(_ORDER if order else {})}.items():
        lines.append(f" def {name}(self, other):\n  if other.__class__ is self.__class__:")
        lines.append(f"   return {ours}{sign}{theirs}\n  return NotImplemented")
    return _compiled(cls, [*_COMPARED, *(_ORDER if order else ())], {}, lines)


def _compiled(cls: type, names: list[str], values: dict[str, object], lines: list[str]) -> dict[str, Any]:
    """The functions `names` that the lines define, with `values` at hand, as if they stood in the class's module."""
    text = "\n".join([f"def __create({', '.join(values)}):", *lines, f" return ({', '.join(names)},)"])
    module = sys.modules.get(cls.__module__)
    space: dict[str, Any] = {}
    exec(text, vars(module) if module else {}, space)
    made = dict(zip(names, space["__create"](**values), strict=True))
    for name, method in made.items():
        method.__qualname__ = f"{cls.__qualname__}.{name}"
    return made


def _tuple(who: str, names: list[str]) -> str:
    return f"({''.join(f'{who}.{name},' for name in names)})"


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _setattr(self: Any, name: str, value: object) -> None:
    if _is_held(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _delattr(self: Any, name: str) -> None:
    if _is_held(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _is_held(self: Any, name: str) -> bool:
    """What a class that is no dataclass adds to one that is may be changed."""
    return "__dataclass_fields__" in vars(type(self)) or name in self.__dataclass_fields__


def _getstate(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _setstate(self: Any, state: list[object]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _replace(self: Any, /, **changes: object) -> Any:
    return dataclasses.replace(self, **changes)


_SHARED: dict[str, Any] = {
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
    "__replace__": _replace,
}
