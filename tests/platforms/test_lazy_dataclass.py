"""A class made by `lazy_dataclass` and the same made by the standard library do the same."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polyarch
import polyarch_platforms
from polyarch_platforms import lazy_dataclass

_lazy: Any = lazy_dataclass.dataclass


class Family:
    """The same classes, made by one decorator."""

    def __init__(self, decorator: Any) -> None:
        @decorator(frozen=True, slots=True)
        class Plain:
            """Its own words."""

            KINDS: ClassVar[int] = 3
            number: int
            text: str = "x"
            labels: Mapping[str, str] = field(default_factory=dict)
            secret: str = field(default="s", repr=False)
            note: str = field(default="", compare=False)

            def doubled(self) -> int:
                return self.number * 2

        @decorator(frozen=True, slots=True, order=True)
        class Ordered:
            first: int
            second: str = "b"

        @decorator(frozen=True, slots=True)
        class Child(Ordered):
            third: tuple[int, ...] = ()

        @decorator(frozen=True, slots=True)
        class Empty:
            pass

        @decorator(frozen=True, slots=True)
        class Checked:
            number: int

            def __post_init__(self) -> None:
                if self.number < 0:
                    raise ValueError("negative")

            def __str__(self) -> str:
                return f"#{self.number}"

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Checked)

        @dataclasses.dataclass(frozen=True)
        class OfAStranger(Plain):
            more: int = 7

        class Undecorated(Plain):
            pass

        @decorator(frozen=True, slots=True)
        class Hashed:
            number: int

            def __hash__(self) -> int:
                return 11

        self.Plain: Any = Plain
        self.Ordered: Any = Ordered
        self.Child: Any = Child
        self.Empty: Any = Empty
        self.Checked: Any = Checked
        self.Hashed: Any = Hashed
        self.OfAStranger: Any = OfAStranger
        self.Undecorated: Any = Undecorated


LAZY, STANDARD = "lazy", "standard"
ACTS: dict[str, Callable[[Family], object]] = {
    "repr": lambda of: repr([of.Plain(1), of.Child(1), of.Empty(), of.OfAStranger(2), of.Undecorated(3)]),
    "str": lambda of: str(of.Checked(4)),
    "repr of a class with itself inside": lambda of: repr(_knotted(of)),
    "defaults": lambda of: (of.Plain(1).text, of.Plain(1).labels, of.OfAStranger(1).more),
    "each its own default": lambda of: of.Plain(1).labels is of.Plain(1).labels,
    "by name": lambda of: (of.Plain(text="t", number=5).text, of.Child(1, third=(2,)).third),
    "methods": lambda of: (of.Plain(4).doubled(), of.Plain.KINDS, of.Plain(4).KINDS),
    "equal": lambda of: (of.Plain(1) == of.Plain(1), of.Plain(1, note="n") == of.Plain(1), of.Plain(1) == of.Plain(2)),
    "unequal kinds": lambda of: (of.Ordered(1) == of.Child(1), of.Plain(1) == 1, of.Plain(1) != of.Undecorated(1)),
    "own equality": lambda of: of.Checked(1) == of.Checked(2),
    "hash": lambda of: (hash(of.Ordered(1)) == hash(of.Ordered(1)), len({of.Child(1), of.Child(1), of.Child(2)})),
    "hash of values": lambda of: (hash(of.Ordered(1)), hash(of.Empty()), hash(of.Checked(1)), hash(of.Hashed(1))),
    "order": lambda of: (sorted([of.Ordered(2), of.Ordered(1, "z")])[0].first, of.Ordered(1) <= of.Ordered(1)),
    "order of others": lambda of: of.Plain(1) < of.Plain(2),
    "order of kinds": lambda of: of.Ordered(1) < of.Child(2),
    "assign": lambda of: setattr(of.Plain(1), "text", "y"),
    "assign a field below": lambda of: setattr(of.Undecorated(1), "text", "y"),
    "delete": lambda of: delattr(of.Plain(1), "text"),
    "too few": lambda of: of.Plain(),
    "too many": lambda of: of.Ordered(1, 2, 3),
    "twice": lambda of: of.Ordered(1, "b", second="c"),
    "unknown": lambda of: of.Ordered(1, fourth=2),
    "checked": lambda of: of.Checked(-1),
    "replace": lambda of: (dataclasses.replace(of.Child(1), third=(9,)), dataclasses.replace(of.Plain(1), text="q")),
    "replace checks": lambda of: dataclasses.replace(of.Checked(1), number=-1),
    "fields": lambda of: [
        [(each.name, each.type, each.default, each.repr, each.compare) for each in dataclasses.fields(kind)]
        for kind in (of.Plain, of.Child, of.Empty, of.OfAStranger)
    ],
    "asdict": lambda of: (dataclasses.asdict(of.Plain(1)), dataclasses.astuple(of.Child(1))),
    "is_dataclass": lambda of: [dataclasses.is_dataclass(kind) for kind in (of.Plain, of.Empty, of.Undecorated)],
    "params": lambda of: [repr(kind.__dataclass_params__) for kind in (of.Plain, of.Ordered, of.Child)],
    "match args": lambda of: (of.Plain.__match_args__, of.Child.__match_args__, of.OfAStranger.__match_args__),
    "match": lambda of: _matched(of),
    "signature": lambda of: [_without_factory(inspect.signature(kind)) for kind in (of.Plain, of.Child, of.Empty)],
    "hints": lambda of: [typing.get_type_hints(kind.__init__) for kind in (of.Plain, of.Child)],
    "names": lambda of: (of.Plain.__init__.__qualname__, of.Plain.__qualname__, of.Plain.__name__, of.Plain.__doc__),
    "slots": lambda of: (of.Plain.__slots__, of.Child.__slots__, hasattr(of.Plain(1), "__dict__")),
    "copy": lambda of: (copy.copy(of.Plain(1, "c")), copy.deepcopy(of.Child(1, third=(4,)))),
    "init by hand": lambda of: of.Undecorated.__init__.__name__,
}


def _knotted(of: Family) -> object:
    inner: dict[str, Any] = {}
    inner["me"] = of.Plain(1, labels=inner)
    return inner["me"]


def _matched(of: Family) -> object:
    match of.Child(1, "two", (3,)):
        case of.Child(first, second, third=(inner,)):
            return (first, second, inner)
    return None


def _without_factory(signature: inspect.Signature) -> str:
    """The default of what a factory makes is a word that says so, of each library its own."""
    return str(signature).replace("<factory>", "…").replace(repr(dataclasses.MISSING), "…")


def _outcome(act: Callable[[Family], object], decorator: Any, *, compiled: bool = False) -> str:
    family = Family(decorator)
    if compiled:
        for kind in vars(family).values():
            assert callable(kind.__init__)
    try:
        return repr(act(family))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("act", ACTS)
def test_the_same_as_the_standard_librarys(act: str) -> None:
    expected = _outcome(ACTS[act], dataclasses.dataclass)
    assert _outcome(ACTS[act], _lazy) == expected
    assert _outcome(ACTS[act], _lazy, compiled=True) == expected


@_lazy(frozen=True, slots=True)
class Kept:
    """At a place where pickle finds it."""

    number: int
    words: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)


def test_pickled_and_read_where_none_was_made() -> None:
    kept = Kept(3, ("a", "b"), "s")
    assert pickle.loads(pickle.dumps(kept)) == kept
    code = (
        "import pickle, sys\n"
        "from polyarch_platforms.platform import Platform\n"
        "made = pickle.loads(sys.stdin.buffer.read())\n"
        "print(made == Platform('linux', 'arm', 'v7'), hash(made) == hash(Platform('linux', 'arm', 'v7')))\n"
    )
    from polyarch_platforms.platform import Platform

    data = pickle.dumps(Platform("linux", "arm", "v7"))
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.split() == [b"True", b"True"]


@given(st.builds(Kept))
def test_hypothesis_builds_it(kept: Any) -> None:
    assert isinstance(kept.number, int)
    assert isinstance(kept.words, tuple)


def test_what_is_no_field_may_be_assigned_below_only() -> None:
    """The standard library's slotted classes raise TypeError here, by mistake."""
    made = Family(_lazy)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.Plain(1).nothing = 5
    below = made.Undecorated(1)
    below.more = 5
    assert below.more == 5


def test_nothing_is_made_before_it_is_used() -> None:
    kind = Family(_lazy).Checked
    assert isinstance(vars(kind)["__init__"], lazy_dataclass._Later)
    for number in range(lazy_dataclass._FEW):
        assert kind(number).number == number
    assert isinstance(vars(kind)["__init__"], lazy_dataclass._Later)
    assert kind(number=5).number == 5
    assert not isinstance(vars(kind)["__init__"], lazy_dataclass._Later)
    for name in ("__hash__", "__dataclass_fields__", "__match_args__"):
        assert isinstance(vars(kind)[name], lazy_dataclass._Later)


@pytest.mark.parametrize(
    "given",
    [{"slots": True}, {"frozen": True}, {"frozen": True, "slots": True, "eq": False}],
    ids=["not frozen", "no slots", "no equality"],
)
def test_what_is_of_another_kind_is_the_standard_librarys(given: dict[str, bool]) -> None:
    @_lazy(**given)
    class Other:
        number: int = 1

    assert not isinstance(vars(Other)["__init__"], lazy_dataclass._Later)


def test_what_inherits_from_a_strangers_is_the_standard_librarys() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Stranger:
        number: int = field(default=3, init=False)

    @_lazy(frozen=True, slots=True)
    class Other(Stranger):
        text: str

    assert not isinstance(vars(Other)["__init__"], lazy_dataclass._Later)
    assert (Other("x").text, Other("x").number) == ("x", 3)


def test_unusual_fields_are_the_standard_librarys() -> None:
    @_lazy(frozen=True, slots=True)
    class Other:
        number: int = field(default=1, kw_only=True)
        second: int = field(init=False, default=2)

    assert not isinstance(vars(Other)["__init__"], lazy_dataclass._Later)
    assert repr(Other(number=5)).endswith("Other(number=5, second=2)")


def _product() -> Iterator[type]:
    for package in (polyarch_platforms, polyarch):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".testing" in module.name or module.name.endswith("__main__"):
                continue
            try:
                loaded = importlib.import_module(module.name)
            except ImportError:
                continue  # an extra that is not installed
            yield from (kind for kind in vars(loaded).values() if getattr(kind, "__module__", "") == loaded.__name__)


def test_every_class_of_the_product_can_be_made() -> None:
    """A mistake in a class is told when it is first used: here, of all of them."""
    kinds = [kind for kind in _product() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    assert len(kinds) > 200
    for kind in kinds:
        assert list(inspect.signature(kind.__init__).parameters)[1:] == [
            each.name for each in dataclasses.fields(kind) if each.init
        ]
        assert callable(kind.__eq__)
