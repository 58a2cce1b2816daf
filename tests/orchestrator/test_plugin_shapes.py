"""What factories make, held against the Protocols: methods that lack, and arguments that do not fit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from polyarch.contract.fleet import FleetTask
from polyarch.plugin_host.shapes import SEARCH, abilities, faults


def made(**methods: object) -> object:
    return type("Made", (), methods)()


def convention(propose: object, **more: object) -> object:
    return made(propose=propose, **more)


@contextmanager
def managed(self: object, reference: object, blob: object, offset: int = 0) -> Iterator[None]:
    yield


REGISTRY: dict[str, object] = {
    "head": lambda self, reference: None,
    "get": lambda self, reference: None,
    "open_blob": managed,
    "close": lambda self: None,
}
STORAGE: dict[str, object] = {
    "has_blob": lambda self, blob: False,
    "write_blob": lambda self, blob: None,
    "commit": lambda self, image: None,
    "find": lambda self, reference: (),
    "close": lambda self: None,
}
LOADER: dict[str, object] = {
    "has": lambda self, image: False,
    "lacks": lambda self, image: (),
    "load": lambda self, image, blobs: None,
    "close": lambda self: None,
}


def run(
    self: object, script: str, tasks: list[FleetTask], *, forks: int, timeout: float, reach: int, must_reach: bool
) -> None: ...
def run_without_timeout(
    self: object, script: str, tasks: list[FleetTask], *, forks: int, reach: int, must_reach: bool
) -> None: ...
def run_with_more(
    self: object, script: str, tasks: object, *, forks: int, timeout: float, reach: int, must_reach: bool, colour: str
) -> None: ...
def run_with_a_default(
    self: object, script: str, tasks: object, *, forks: int, timeout: float, reach: int, must_reach: bool, c: int = 1
) -> None: ...
def run_with_any(self: object, script: str, tasks: object, **others: object) -> None: ...
def run_by_place(
    self: object,
    script: str,
    tasks: object,
    forks: int = 1,
    timeout: float = 1,
    reach: int = 1,
    must_reach: bool = True,
) -> None: ...


def engine(run: Callable[..., None]) -> object:
    return made(devices=lambda self, inventory, pattern: (), run=run)


BUILDER: dict[str, object] = {
    "missing": lambda self: "",
    "build": lambda self, build: None,
    "close": lambda self: None,
}


class Callable_:
    """Written in Python, but no function: nothing is known of it."""

    def __call__(self, *arguments: object) -> None: ...


FITTING: list[tuple[str, object]] = [
    ("tag_conventions", convention(lambda self, reference, platform: ())),
    ("tag_conventions", convention(lambda self, r, p, more=1: ())),
    ("tag_conventions", convention(lambda self, *names: ())),
    ("tag_conventions", convention(staticmethod(lambda reference, platform: ()))),
    ("tag_conventions", convention(classmethod(lambda cls, reference, platform: ()))),
    ("tag_conventions", convention(functools.partial(lambda reference, platform: ()))),
    ("tag_conventions", convention(Callable_())),
    ("tag_conventions", convention(print)),
    ("registries", made(**REGISTRY)),
    ("registries", made(**REGISTRY, tags=lambda self, reference: iter(()))),
    ("storages", made(**STORAGE)),
    ("storages", made(**LOADER)),
    ("fleet_engines", engine(run)),
    ("fleet_engines", engine(run_with_a_default)),
    ("fleet_engines", engine(run_with_any)),
    ("fleet_engines", engine(run_by_place)),
    ("builders", made(**BUILDER)),
    (SEARCH, made(search=lambda self, registry, term, limit: iter(()))),
]


@pytest.mark.parametrize(("kind", "thing"), FITTING)
def test_what_fits(kind: str, thing: object) -> None:
    assert faults(kind, thing) == []


UNFIT: list[tuple[str, object, str]] = [
    ("tag_conventions", None, "None has no propose(), which TagConvention asks for"),
    ("tag_conventions", made(), "Made has no propose(), which TagConvention asks for"),
    ("tag_conventions", made(propose=3), "Made has no propose(), which TagConvention asks for"),
    ("tag_conventions", convention(lambda self, reference: ()), "propose() of Made takes 1 argument and not 2"),
    ("tag_conventions", convention(lambda self: ()), "propose() of Made takes 0 arguments and not 2"),
    ("tag_conventions", convention(lambda self, a, b, c: ()), "propose() of Made wants 3 arguments where 2 may come"),
    ("tag_conventions", convention(lambda self, a, b, *, c: ()), "propose() of Made wants c, which nobody gives"),
    ("tag_conventions", convention(lambda self, a, b: (), read=lambda self: None), "read() of Made takes 0 arguments"),
    ("registries", made(**{**REGISTRY, "open_blob": lambda self, r, b: None}), "open_blob() of Made takes 2 arguments"),
    ("registries", made(**{**REGISTRY, "open_blob": lambda self, r, b, o: None}), "wants 3 arguments where 2 may come"),
    (
        "registries",
        made(**REGISTRY, tags=lambda self: iter(())),
        "tags() of Made takes 0 arguments and not 1, as Lists",
    ),
    (
        "storages",
        made(find=lambda self, reference: ()),
        "Made has no has_blob(), write_blob(), commit(), close(), which",
    ),
    (
        "storages",
        made(**{**LOADER, "load": lambda self, i: None}),
        "load() of Made takes 1 argument and not 2, as Image",
    ),
    ("fleet_engines", engine(run_without_timeout), "run() of Made does not take timeout by name"),
    ("fleet_engines", engine(run_with_more), "run() of Made wants colour, which nobody gives"),
    ("builders", made(**{**BUILDER, "close": None}), "Made has no close(), which Builder asks for"),
    ("builders", made(**{**BUILDER, "build": lambda self: None}), "build() of Made takes 0 arguments and not 1"),
    (SEARCH, made(), "Made has no search(), which Search asks for"),
]


@pytest.mark.parametrize(("kind", "thing", "said"), UNFIT, ids=[row[2] for row in UNFIT])
def test_what_does_not_fit(kind: str, thing: object, said: str) -> None:
    [fault] = faults(kind, thing)
    assert said in fault


ABLE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("storages", STORAGE, []),
    ("storages", {**STORAGE, "images": print, "open_blob": print}, ["lists", "reads blobs"]),
    ("storages", {**STORAGE, "remove": print}, []),
    ("storages", {**STORAGE, "remove": print, "prune": print}, ["removes"]),
    ("storages", {**LOADER, "summaries": print}, ["takes images whole", "lists in short"]),
    ("registries", {**REGISTRY, "tags": print, "kept_name": print}, ["lists tags", "names images"]),
    ("emulators", {"find": print, "offers": print, "fetch": print}, ["fetches emulators"]),
    ("observers", {"notify": print}, []),
]


@pytest.mark.parametrize(("kind", "methods", "can"), ABLE)
def test_abilities_are_told(kind: str, methods: dict[str, object], can: list[str]) -> None:
    assert abilities(kind, made(**methods)) == can
