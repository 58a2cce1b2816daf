"""YAML as nodes that know their place in the text. Nothing is constructed from tags, no alias is copied.

PyYAML's events are put together here, not by its composer: aliases stay references to one node, so that no alias bomb
goes off, and depth and number of nodes are bounded before anything recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, TypeAlias

from polyarch.errors import HostError, printable
from polyarch.lock.named import Fault
from polyarch_platforms.lazy_dataclass import dataclass

MAX_DEPTH = 100
MAX_NODES = 1_000_000
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)+")


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A text. `start` to `end` are its characters, quotes included; `style` is YAML's: "", ', ", | or >."""

    text: str
    line: int
    start: int
    end: int
    style: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A list."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Keys and values as they are written; see `entries`."""

    line: int
    pairs: list[tuple[Node, Node]] = field(default_factory=list)

    def entries(self) -> dict[str, Node]:
        """Values by key, with those that merge keys (`<<: *other`) bring; its own go before them."""
        found: dict[str, Node] = {}
        seen: set[int] = set()
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, Sequence):
                waiting += reversed(node.items)
            elif isinstance(node, Mapping):
                own = {key.text: value for key, value in node.pairs if isinstance(key, Scalar)}
                merged = [value for key, value in node.pairs if isinstance(key, Scalar) and _merges(key)]
                for name, value in own.items():
                    if name != "<<":
                        found.setdefault(name, value)
                waiting += reversed(merged)
        return found


Node: TypeAlias = Scalar | Sequence | Mapping


def _merges(key: Scalar) -> bool:
    return key.text == "<<" and not key.style


def documents(text: str) -> list[Node]:
    """The documents of a YAML stream. `text` has no byte order mark.

    Raises Fault: no YAML, too deep, too much; HostError where PyYAML is missing.
    """
    try:
        import yaml
    except ImportError as error:
        raise HostError("reading YAML needs PyYAML", "install it: pip install 'polyarch[compose]'") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _composed(yaml, text, yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = printable(error.problem or error.context or "no YAML", 200)
        raise Fault(mark.line + 1 if mark else 1, f"no YAML: {what}", _hint(text)) from error
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        reason = getattr(error, "reason", "no YAML")
        raise Fault(text.count("\n", 0, position) + 1, f"no YAML: {printable(str(reason), 200)}") from error


def _hint(text: str) -> str:
    if "\x7b\x7b" in text:
        return "render the template first, as with: helm template"
    return "look there, and just before, for indentation, brackets and quotes"


def _composed(yaml: Any, text: str, events: Iterator[Any]) -> list[Node]:
    roots: list[Node] = []
    anchors: dict[str, Node] = {}
    open_nodes: list[Sequence | Mapping] = []
    keys: list[Node | None] = []  # for each open node: the key whose value comes next
    count = 0

    def put(node: Node) -> None:
        if not open_nodes:
            roots.append(node)
        elif isinstance(parent := open_nodes[-1], Sequence):
            parent.items.append(node)
        elif (key := keys[-1]) is None:
            keys[-1] = node
        else:
            parent.pairs.append((key, node))
            keys[-1] = None

    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            anchors.clear()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise Fault(line, f"no YAML: there is no anchor '{printable(event.anchor, 80)}'")
            put(anchors[event.anchor])
        elif isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
            keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            node = _node(yaml, text, event, line)
            if event.anchor:
                anchors[event.anchor] = node
            put(node)
            if not isinstance(node, Scalar):
                open_nodes.append(node)
                keys.append(None)
            if len(open_nodes) > MAX_DEPTH:
                raise Fault(line, f"this nests deeper than {MAX_DEPTH} levels")
            if count > MAX_NODES:
                raise Fault(line, f"these are more than {MAX_NODES} nodes")
    return roots


def _node(yaml: Any, text: str, event: Any, line: int) -> Node:
    if isinstance(event, yaml.SequenceStartEvent):
        return Sequence(line)
    if isinstance(event, yaml.MappingStartEvent):
        return Mapping(line)
    start, end = event.start_mark.index, event.end_mark.index
    if properties := _PROPERTIES.match(text, start, end):  # anchor and tag are among an event's characters
        start = properties.end()
    return Scalar(event.value, text.count("\n", 0, start) + 1 if properties else line, start, end, event.style or "")
