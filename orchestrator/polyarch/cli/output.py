"""Writing to standard output and error: lines, tables and JSON, with everything from outside made printable."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from click.exceptions import Exit

from polyarch.errors import StorageError, printable

READER_GONE = 141
"""The exit code of a program that SIGPIPE ended (128 + 13), as in `polyarch tags x | head -1`."""

_GAP = "   "
_BELOW = "    "
_NARROWEST = 40
_LONGEST_LINE = 10_000


def write(text: str, stream: TextIO | None = None) -> None:
    """Write `text` to `stream` (stdout) at once.

    Raises Exit, which ends the command quietly, if nobody reads on; StorageError if the disk is full.
    """
    out = stream or sys.stdout
    with _told(out):
        out.write(text)
        out.flush()


def write_bytes(data: bytes, stream: TextIO) -> None:
    """Write another program's output as it came, at once; raises as `write`."""
    with _told(stream):
        stream.buffer.write(data)
        stream.buffer.flush()


@contextlib.contextmanager
def _told(out: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _give_up(out)
        raise Exit(READER_GONE) from None
    except OSError as error:
        _give_up(out)
        why = "standard output is closed" if error.errno == errno.EBADF else error.strerror
        raise StorageError(f"the output cannot be written: {why}") from error


def _give_up(stream: TextIO) -> None:
    """Lead the stream to nowhere: what it still holds would fail once more at the end of the process."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def line(text: str = "", stream: TextIO | None = None) -> None:
    """One line for people."""
    write(printable(text, _LONGEST_LINE) + "\n", stream)


def json_line(document: Mapping[str, object], stream: TextIO | None = None) -> None:
    """One line of JSON. What is not ASCII is escaped, so that no terminal and no locale can be upset by it."""
    write(json.dumps(document, default=str) + "\n", stream)


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None if it is none."""
    if not sys.stdout.isatty():
        return None
    import shutil  # with all compressions that Python knows

    return shutil.get_terminal_size().columns


def columns(rows: Iterable[Sequence[str]], width: int | None = None) -> list[str]:
    """The lines of a table with columns as wide as their content.

    `width` is that of the terminal: where a last cell does not fit, it is wrapped in its column, or set below the
    others if that is narrow. Where the others alone do not fit, every row goes on below, from the same column on.
    None leaves every row on one line.
    """
    grid = [[printable(cell, _LONGEST_LINE) for cell in row] for row in rows]
    if not grid:
        return []
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]) - 1)]
    left = sum(widths) + len(_GAP) * len(widths)
    if width is not None and left - len(_GAP) > width:
        return _folded(grid, width)
    lines: list[str] = []
    for *cells, last in grid:
        start = "".join(f"{cell:{size}}{_GAP}" for cell, size in zip(cells, widths, strict=True))
        if width is None or left + len(last) <= width:
            lines.append((start + last).rstrip())
        elif width - left >= _NARROWEST:
            first, *others = _wrapped(last, width - left)
            lines += [start + first, *(" " * left + more for more in others)]
        else:
            below = _wrapped(last, max(width - len(_BELOW), _NARROWEST))
            lines += [start.rstrip(), *(_BELOW + more for more in below)]
    return lines


def _folded(grid: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows on several lines each, all broken before the same columns."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    starts, used = [0], widths[0]
    for column, size in enumerate(widths[1:], 1):
        used += len(_GAP) + size
        if used > width:
            starts.append(column)
            used = len(_BELOW) + size
    lines = []
    for row in grid:
        cells = [f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)]
        for start, end in zip(starts, [*starts[1:], len(cells)], strict=True):
            lines.append(((_BELOW if start else "") + _GAP.join(cells[start:end])).rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`; a longer word starts on a line of its own."""
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [line[i : i + width] for line in lines for i in range(0, len(line), width)] or [""]


def fields(value: Any) -> dict[str, object]:
    """The fields of a flat dataclass, for one JSON line."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def human_size(size: int) -> str:
    """Bytes as docker shows them: three digits, powers of 1000 (`4.27MB`)."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(units) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{units[unit]}"


def short_id(digest: str) -> str:
    """The first twelve hex digits of a digest."""
    return digest.partition(":")[2][:12]
