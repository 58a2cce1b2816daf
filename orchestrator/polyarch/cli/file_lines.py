"""The files of an image's layers as lines: a table, JSON, paths, a tree. Made for a hundred thousand of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from polyarch.cli.output import human_size, short_id
from polyarch.errors import printable

if TYPE_CHECKING:
    from polyarch.contract.storage import Image
    from polyarch.unpack.merged import Merged

TYPES: Mapping[str, str] = {
    "f": "file",
    "h": "hardlink",
    "l": "symlink",
    "d": "directory",
    "c": "character",
    "b": "block",
    "p": "fifo",
}
"""What a kind of `Merged` is called in JSON."""

_LONGEST = 10_000
_SAID_AGAIN = "="


def shown_paths(paths: bytes, rows: int) -> list[str]:
    """A column of paths, each with a slash in front, fit for a terminal."""
    if not rows:
        return []
    names = paths.decode("utf-8", "backslashreplace").split("\0")
    return ["/" + (name if name.isprintable() else printable(name, _LONGEST)) for name in names]


def table_lines(merged: Merged, layers: Sequence[int]) -> Iterator[str]:
    """A line a file under a line of titles."""
    sizes = {size: human_size(size) for size in {0, *merged.sizes}}
    width = max(4, *map(len, sizes.values()))
    shown = {size: f"{text:<{width}}   " for size, text in sizes.items()}
    yield f"LAYER   CHANGE   {'SIZE':<{width}}   PATH"
    paths = shown_paths(merged.paths, len(merged.changes))
    links = _shown_links(merged)
    for layer in layers:
        start = {change: f"{layer:<5}   {change:<6}   " for change in "ACD"}
        span = merged.span(layer)
        columns = (merged.changes, merged.kinds, merged.hidden_by, merged.sizes, paths)
        for row, (change, kind, hidden_by, size, path) in enumerate(
            zip(*(column[span] for column in columns), strict=True), span.start
        ):
            if kind == "f":
                line = start[change] + shown[size] + path
                yield f"{line} (hidden by layer {hidden_by})" if hidden_by else line
            elif change != _SAID_AGAIN:
                hidden = f" (hidden by layer {hidden_by})" if hidden_by and kind != "d" else ""
                end = "/" if kind == "d" else links.get(row, "")
                yield f"{start[change]}{shown[size if change == 'D' else 0]}{path}{end}{hidden}"


def _shown_links(merged: Merged) -> dict[int, str]:
    """Where links lead, of each row that is one, with an arrow in front."""
    return {
        row: f" -> {'/' if kind == 'h' else ''}{printable(_text(link), _LONGEST)}"
        for row, (kind, link) in enumerate(zip(merged.kinds, merged.link_texts(), strict=True))
        if link and kind in "lh"
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def path_lines(merged: Merged, layers: Iterable[int]) -> Iterator[str]:
    """The paths, each once in a layer."""
    paths = shown_paths(merged.paths, len(merged.changes))
    for layer in layers:
        span = merged.span(layer)
        for change, path in zip(merged.changes[span], paths[span], strict=True):
            if change != _SAID_AGAIN:
                yield path


def json_lines(merged: Merged, layers: Iterable[int]) -> Iterator[str]:
    """An object a file: `layer, kind, path, type, size, hidden_by, link`."""
    text = merged.paths.decode("utf-8", "backslashreplace")
    paths = ["/" + path for path in text.split("\0")] if merged.changes else []
    quoted: Iterable[str] = map(json.dumps, paths)
    if text.isascii() and text.replace("\0", "").isprintable() and '"' not in text and "\\" not in text:
        quoted = (f'"{path}"' for path in paths)
    named = list(quoted)
    links = merged.link_texts()
    for layer in layers:
        span = merged.span(layer)
        start = f'{{"layer": {layer}, "kind": "'
        columns = (merged.changes, merged.kinds, merged.hidden_by, merged.sizes, named)
        for row, (change, kind, hidden_by, size, path) in enumerate(
            zip(*(column[span] for column in columns), strict=True), span.start
        ):
            if kind == "f":
                yield (
                    f'{start}{change}", "path": {path}, "type": "file", "size": {size}, '
                    f'"hidden_by": {hidden_by or "null"}, "link": null}}'
                )
            elif change != _SAID_AGAIN:
                link = _json_link(kind, links[row])
                hidden = hidden_by if hidden_by and kind != "d" else "null"
                yield (
                    f'{start}{change}", "path": {path}, "type": "{TYPES[kind]}", '
                    f'"size": {size if change == "D" else 0}, "hidden_by": {hidden}, "link": {link}}}'
                )


def _json_link(kind: str, link: bytes) -> str:
    if not link or kind not in "lh":
        return "null"
    return json.dumps(("/" if kind == "h" else "") + _text(link))


def tree_lines(merged: Merged, image: Image, layers: Iterable[int]) -> Iterator[str]:
    """A tree a layer, under a line that says which one it is. A directory's size is that of all that is in it."""
    paths = shown_paths(merged.paths, len(merged.changes))
    links = _shown_links(merged)
    for layer in layers:
        span = merged.span(layer)
        top = _Node("/")
        for row in range(span.start, span.stop):
            change, kind = merged.changes[row], merged.kinds[row]
            if change != _SAID_AGAIN:
                hidden_by = merged.hidden_by[row] if kind != "d" else 0
                end = "/" if kind == "d" else links.get(row, "")
                size = merged.sizes[row] if kind == "f" or change == "D" else 0
                top.add(paths[row], change, size, f"{end} (hidden by layer {hidden_by})" if hidden_by else end)
        yield f"Layer {layer} ({short_id(image.manifest.layers[layer - 1].digest)}), {human_size(top.size)}"
        yield from top.lines()


class _Node:
    """A name in a tree: `change` is "" where only something below it changed; `end` is shown behind the name."""

    __slots__ = ("change", "end", "names", "size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.change = ""
        self.end = "/"
        self.size = 0
        self.names: dict[str, _Node] = {}

    def add(self, path: str, change: str, size: int, end: str) -> None:
        """Put what has this path, which begins with a slash, below this node. What is removed adds no bytes to it."""
        here = self
        counted = 0 if change == "D" else size
        for name in path[1:].split("/"):
            here.size += counted
            here = here.names.setdefault(name, _Node(name))
        here.change, here.end = change, end
        here.size += size

    def lines(self) -> Iterator[str]:
        """What is below, each with its change and size in front. Not by recursion: a path may have 2,000 names."""
        waiting = [(self, "", "")]
        while waiting:
            node, indent, branch = waiting.pop()
            if branch:
                yield f"{node.change or ' '}   {human_size(node.size):>7}   {indent}{branch}{node.text}{node.end}"
                indent += "│   " if branch == "├── " else "    "
            below = list(node.names.values())
            waiting += [(each, indent, "├── " if each is not below[-1] else "└── ") for each in reversed(below)]
