"""Holds what a factory made against the Protocols of its kind: are the methods there, do they take what they are given?

Cheap enough for every command: it looks at code objects, and calls nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from types import FunctionType, MappingProxyType

from polyarch.contract.builders import Builder
from polyarch.contract.fleet import FleetEngine, SendsInput
from polyarch.contract.others import (
    EmulatorSource,
    ExplainsRules,
    FetchesEmulators,
    Observer,
    ReadsTags,
    TagConvention,
    Verifier,
    VerifiesVariants,
)
from polyarch.contract.registry import (
    ListsReferrers,
    ListsRepositories,
    ListsTags,
    NamesImages,
    Registry,
    Search,
)
from polyarch.contract.storage import (
    HasBlobFiles,
    ImageLoader,
    KeepsUnnamed,
    ListsImages,
    ReadsBlobs,
    RemovesImages,
    Storage,
    SummarisesImages,
)
from polyarch.errors import foreign, printable
from polyarch_platforms.lazy_dataclass import dataclass

SEARCH = "search"
"""Beside the kinds: what a registry's `search` makes."""

_NEEDED: dict[str, tuple[type, ...]] = {
    "registries": (Registry,),
    "storages": (Storage, ImageLoader),
    "tag_conventions": (TagConvention,),
    "emulators": (EmulatorSource,),
    "verifiers": (Verifier,),
    "fleet_engines": (FleetEngine,),
    "builders": (Builder,),
    "observers": (Observer,),
    SEARCH: (Search,),
}
"""What is asked of each kind; of several Protocols one is enough, the last if it has all methods of that."""

ABILITIES: Mapping[str, Mapping[type, str]] = MappingProxyType(
    {
        "registries": {
            ListsTags: "lists tags",
            ListsRepositories: "lists repositories",
            ListsReferrers: "lists referrers",
            NamesImages: "names images",
        },
        "storages": {
            ImageLoader: "takes images whole",
            ListsImages: "lists",
            SummarisesImages: "lists in short",
            RemovesImages: "removes",
            KeepsUnnamed: "keeps what lost its name",
            ReadsBlobs: "reads blobs",
            HasBlobFiles: "has blobs as files",
        },
        "tag_conventions": {ReadsTags: "reads tags"},
        "emulators": {FetchesEmulators: "fetches emulators"},
        "verifiers": {VerifiesVariants: "looks at variants", ExplainsRules: "explains its rules"},
        "fleet_engines": {SendsInput: "sends input"},
    }
)
"""What some of a kind can do beyond that, in words."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a function may be called: with how many positional arguments (`most` None: any number), and which by name."""

    fewest: int
    most: int | None
    by_name: frozenset[str]
    needed_by_name: frozenset[str]
    any_name: bool


class Misfit(Exception):
    """What a factory made is not what its kind has to be. The text is for people."""


def told(error: BaseException) -> str:
    """What a plugin raised, or what was found out of it, for people."""
    return printable(str(error) if isinstance(error, Misfit) else foreign(error))


def check(kind: str, made: object) -> None:
    """Raises Misfit where `faults` finds any."""
    if found := faults(kind, made):
        raise Misfit("; ".join(found))


def faults(kind: str, made: object) -> list[str]:
    """What `made`, a plugin's object of this kind, lacks of its Protocol and of the abilities that it seems to have."""
    *others, last = _NEEDED[kind]
    protocol = last if not others or _has_all(made, last) else others[0]
    found = list(_faults(protocol, made))
    for ability in ABILITIES.get(kind, {}):
        if ability is not protocol and _has_all(made, ability):
            found += [fault for fault in _faults(ability, made) if fault not in found]
    return found


def abilities(kind: str, made: object) -> list[str]:
    """What `made` can do beyond what is asked of its kind, in words."""
    return [words for ability, words in ABILITIES.get(kind, {}).items() if _has_all(made, ability)]


def _has_all(made: object, protocol: type) -> bool:
    return all(hasattr(made, name) for name in _methods(protocol))


def _faults(protocol: type, made: object) -> Iterator[str]:
    missing = [name for name in _methods(protocol) if not callable(getattr(made, name, None))]
    if missing:
        names = ", ".join(f"{name}()" for name in missing)
        yield f"{_kind_of(made)} has no {names}, which {protocol.__name__} asks for"
    for name, asked in _methods(protocol).items():
        given = _shape(getattr(made, name, None))
        if given is not None and (fault := _misfit(asked, given)):
            yield f"{name}() of {_kind_of(made)} {fault}, as {protocol.__name__} asks"


def _kind_of(made: object) -> str:
    return "None" if made is None else type(made).__name__


@cache
def _methods(protocol: type) -> dict[str, _Shape]:
    """The Protocol's own methods, as they are called."""
    found = {}
    for name, member in vars(protocol).items():
        if isinstance(member, FunctionType) and not name.startswith("_"):
            shape = _shape_of(member, bound=True)
            found[name] = shape
    return found


def _shape(method: object) -> _Shape | None:
    """None for what is not written in Python: nothing is known of it."""
    function = getattr(method, "__func__", method)
    while hasattr(function, "__wrapped__"):  # contextmanager and the like
        function = function.__wrapped__
    if not isinstance(function, FunctionType):
        return None
    return _shape_of(function, bound=hasattr(method, "__func__"))


def _shape_of(function: FunctionType, *, bound: bool) -> _Shape:
    code = function.__code__
    names = code.co_varnames
    positional = code.co_argcount - bound
    keywords = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    defaults = function.__kwdefaults__ or {}
    return _Shape(
        fewest=max(positional - len(function.__defaults__ or ()), 0),
        most=None if code.co_flags & inspect.CO_VARARGS else positional,
        by_name=frozenset(names[bound : code.co_argcount]) | frozenset(keywords),
        needed_by_name=frozenset(name for name in keywords if name not in defaults),
        any_name=bool(code.co_flags & inspect.CO_VARKEYWORDS),
    )


def _misfit(asked: _Shape, given: _Shape) -> str:
    """Why a function of the shape `given` cannot be called as one of the shape `asked`; "" if it can."""
    most = asked.most or 0
    if given.most is not None and given.most < most:
        return f"takes {_count(given.most)} and not {most}"
    if given.fewest > asked.fewest:
        return f"wants {_count(given.fewest)} where {asked.fewest} may come"
    lacking = asked.needed_by_name - given.by_name
    if lacking and not given.any_name:
        return f"does not take {', '.join(sorted(lacking))} by name"
    if strange := given.needed_by_name - asked.by_name:
        return f"wants {', '.join(sorted(strange))}, which nobody gives"
    return ""


def _count(number: int) -> str:
    return "1 argument" if number == 1 else f"{number} arguments"
