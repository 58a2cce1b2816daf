"""Finds the entry points of plugins among the installed distributions, and loads a plugin in earnest."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib import import_module
from operator import attrgetter

from polyarch.contract.hooks import MARK
from polyarch.contract.version import CONTRACT_VERSION, ENTRY_POINT_GROUP, MAJOR, NEEDED, unmet
from polyarch.errors import InterruptedPull
from polyarch.plugin_host.kinds import KINDS, Point, Registered, check_fields

Items = tuple[tuple[str, Registered], ...]
"""What a plugin registers: kind and description of each."""

_GROUP = re.compile(r"polyarch\.v([0-9]{1,4})", re.ASCII)
_CONTRACT = "polyarch.contract"


class NeedsAnotherContract(Exception):
    """The plugin was written for a contract that is not here. The text is for people."""


def installed() -> tuple[Point, ...]:
    """The entry points of all plugins of all distributions; of one plugin for several contracts the fitting one.

    Of two distributions of one name the first on `sys.path` counts, as for every import.
    """
    from importlib.metadata import entry_points  # slow to load: only where the cache does not have the answer

    found = entry_points()
    points = []
    projects: dict[int, tuple[str, str]] = {}
    for group in found.groups:
        if not _GROUP.fullmatch(group):
            continue
        for entry in found.select(group=group):
            distribution = entry.dist
            if distribution is not None and id(distribution) not in projects:
                projects[id(distribution)] = (distribution.name, distribution.version)
            project, version = projects.get(id(distribution), ("", ""))
            points.append(Point(entry.name, entry.value, group, project, version))
    return in_order(points)


def in_order(points: Iterable[Point]) -> tuple[Point, ...]:
    """Sorted by name, so that the order of installation decides nothing, and one for each plugin."""
    fitting: dict[tuple[str, str], Point] = {}
    for point in sorted(points, key=lambda point: (point.name, point.project, point.group, point.value)):
        key = (point.name, point.project)
        if key not in fitting or point.group == ENTRY_POINT_GROUP:
            fitting[key] = point
    return tuple(fitting.values())


def foreign_major(point: Point) -> str:
    """Why an entry point of another major version's group is of no use here; "" for one of this version's."""
    match = _GROUP.fullmatch(point.group)
    if point.group == ENTRY_POINT_GROUP or match is None:
        return ""
    return unmet(f"{int(match[1])}.0")


def load(point: Point) -> Items:
    """Import the plugin and ask its hooks.

    Raises NeedsAnotherContract, and whatever the plugin's code raises. Ctrl-C becomes an InterruptedPull that names the
    plugin: it may be the one that hangs.
    """
    if reason := foreign_major(point):
        raise NeedsAnotherContract(reason)
    with named_when_interrupted(point), _stdout_kept():
        try:
            plugin = _imported(point.value)
        except ImportError as error:
            if error.name == _CONTRACT:
                raise NeedsAnotherContract(
                    f"it needs a newer contract than the {CONTRACT_VERSION} of this polyarch: {error.msg}"
                ) from error
            raise
        if reason := unmet(getattr(plugin, NEEDED, f"{MAJOR}.0")):
            raise NeedsAnotherContract(reason)
        return tuple(_asked(plugin, point.name))


@contextlib.contextmanager
def named_when_interrupted(point: Point) -> Iterator[None]:
    """Around a stranger's code that may hang. Whoever presses Ctrl-C early meets polyarch's own, which does not."""
    try:
        yield
    except KeyboardInterrupt:
        if point.built_in:
            raise
        raise InterruptedPull(
            f"interrupted in plugin {point}",
            f'if it hangs, switch it off in the settings: disabled_plugins = ["{point.name}"]',
        ) from None


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """What a plugin prints while it loads goes to stderr: stdout is for answers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _imported(value: str) -> object:
    """The module, or the object of one, that an entry point names (PyPA's entry points specification, data model)."""
    module, _, rest = value.partition(":")
    attribute = rest.partition("[")[0].strip()  # extras, which nobody uses any more
    loaded = import_module(module.strip())
    return attrgetter(attribute)(loaded) if attribute else loaded


def load_again(point: Point, kind: str) -> tuple[Registered, ...]:
    """What a plugin registers of a kind, of one that was loaded before and has not changed since.

    Raises what `load` raises.
    """
    with named_when_interrupted(point), _stdout_kept():
        plugin = _imported(point.value)
        hook = getattr(plugin, f"polyarch_{kind}", None)
        if getattr(hook, MARK, None) == {}:  # a plain one: pluggy would do nothing but call it
            return tuple(_each(f"polyarch_{kind}", kind, hook()))  # type: ignore[misc]
    return tuple(item for word, item in load(point) if word == kind)


def _asked(plugin: object, name: str) -> Iterator[tuple[str, Registered]]:
    from polyarch.plugin_host.manager import manager_of

    manager = manager_of()
    manager.register(plugin, name=name)
    callers = manager.get_hookcallers(plugin) or []
    hooks = {f"polyarch_{kind}": kind for kind in KINDS}
    for caller in callers:
        if caller.name not in hooks:
            raise NeedsAnotherContract(
                f"it has a hook {caller.name}, which contract {CONTRACT_VERSION} does not know: "
                "it needs a newer one, or the name is misspelt"
            )
    if not callers:
        raise ValueError("it has no hook: no function of it is marked by hookimpl")
    seen: set[tuple[str, str]] = set()
    for caller in sorted(callers, key=lambda caller: caller.name):
        kind = hooks[caller.name]
        for result in caller():
            for item in _each(caller.name, kind, result):
                if (kind, item.name) in seen:
                    raise ValueError(f"{caller.name}: the name {item.name} is there twice")
                seen.add((kind, item.name))
                yield kind, item


def _each(hook: str, kind: str, result: object) -> Iterator[Registered]:
    wanted = KINDS[kind]
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise TypeError(f"{hook} has to yield {wanted.__name__}, not {type(result).__name__}")
    for item in result:
        if not isinstance(item, wanted):
            raise TypeError(f"{hook} has to yield {wanted.__name__}, not {type(item).__name__}")
        check_fields(kind, item)
        yield item
