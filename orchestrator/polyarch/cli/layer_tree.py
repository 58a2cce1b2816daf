"""The images at hand drawn as a tree of their layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyarch.cli.output import human_size, short_id
from polyarch.contract.storage import is_unnamed
from polyarch.errors import printable

if TYPE_CHECKING:
    from polyarch.contract.storage import Image
    from polyarch.verbs.images.layer_tree import Stack

_GAP = "   "
_LONGEST = 500
_LONGEST_STEP = 45
_SHORTEST = 20


def tree_lines(stacks: Sequence[Stack], width: int | None) -> list[str]:
    """A line a stack, with the bytes that it adds, and one a container. On a terminal of `width` names are cut."""
    platforms = len({str(image.platform) for image in _images(stacks)}) > 1
    rows: list[tuple[str, str]] = []
    waiting = [(stack, "", "") for stack in reversed(stacks)]
    while waiting:
        stack, indent, branch = waiting.pop()
        rows.append((indent + branch + _label(stack, platforms), human_size(stack.size) if stack.layers else ""))
        if branch:
            indent += "│   " if branch == "├── " else "    "
        leaves = len(stack.containers) + len(stack.above)
        for container in stack.containers:
            leaves -= 1
            end = "├── " if leaves else "└── "
            text = f"(read-write layer) {container.name}, {container.status}"
            rows.append((indent + end + printable(text, _LONGEST), ""))
        waiting += [
            (above, indent, "├── " if above is not stack.above[-1] else "└── ") for above in reversed(stack.above)
        ]
    sizes = max((len(size) for _, size in rows), default=0)
    left = max((len(text) for text, _ in rows), default=0)
    if width is not None:
        left = min(left, max(width - len(_GAP) - sizes, _SHORTEST))
    return [f"{_cut(text, left):<{left}}{_GAP}{size}".rstrip() for text, size in rows]


def _images(stacks: Sequence[Stack]) -> list[Image]:
    found: list[Image] = []
    waiting = list(stacks)
    while waiting:
        stack = waiting.pop()
        found += stack.images
        waiting += stack.above
    return found


def _label(stack: Stack, platforms: bool) -> str:
    if stack.gone:
        return printable(f"{stack.gone} (not at hand)" if stack.gone != "scratch" else "scratch", _LONGEST)
    if not stack.images:
        count = "1 layer" if len(stack.layers) == 1 else f"{len(stack.layers)} layers"
        return _cut(printable(f"<{count}> {stack.made_by}".rstrip(), _LONGEST), _LONGEST_STEP)
    names = dict.fromkeys(map(_name, stack.images))
    these = dict.fromkeys(str(image.platform) for image in stack.images)
    return printable(", ".join(names) + (f" ({', '.join(these)})" if platforms else ""), _LONGEST)


def _name(image: Image) -> str:
    return f"<none> {short_id(image.config.digest)}" if is_unnamed(image.reference) else image.reference.familiar


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
