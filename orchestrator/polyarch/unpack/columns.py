"""Tables kept as files that are read in a few milliseconds, however many rows they have: column behind column.

::

    polyarch table 1 NAME little 3\\n    the form, what it holds, the byte order, how many columns
    3 x 8 bytes                          the length of each column
    the columns
    4 bytes                              CRC-32 of all before

Neither pickle nor marshal, which a damaged file could make do anything, and several times as fast as JSON. The checksum
is for what a disk or a kill does to a file; whoever may write below polyarch's root could change the images as well.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence

_FORM = 1


def packed(name: str, columns: Sequence[bytes | array[int]]) -> bytes:
    """The file of a table."""
    sizes = array("Q", (memoryview(column).nbytes for column in columns))
    parts = [memoryview(part).cast("B") for part in (_head(name, len(columns)), sizes, *columns)]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b"".join((*parts, checksum.to_bytes(4, "little")))


def unpacked(name: str, count: int, data: bytes) -> list[bytes]:
    """The `count` columns of a table of that name. Raises ValueError where the file is of another form, or damaged."""
    head = _head(name, count)
    if not data.startswith(head) or zlib.crc32(memoryview(data)[:-4]).to_bytes(4, "little") != data[-4:]:
        raise ValueError("no such table")
    at = len(head) + 8 * count
    columns = []
    for length in _numbers("Q", data[len(head) : at]):
        columns.append(data[at : at + length])
        at += length
    if at != len(data) - 4:
        raise ValueError("no such table")
    return columns


def numbers(kind: str, data: bytes, rows: int) -> array[int]:
    """A column of numbers, of the kinds that `array` knows. Raises ValueError unless there is one a row."""
    column = _numbers(kind, data)
    if len(column) != rows:
        raise ValueError("a column of another length")
    return column


def texts(data: bytes, rows: int) -> list[bytes]:
    """A column of texts without zero bytes. Raises ValueError unless there is one a row."""
    check_texts(data, rows)
    return data.split(b"\0") if rows else []


def check_texts(data: bytes, rows: int) -> None:
    """Raises ValueError unless there is a text for each row."""
    if rows and data.count(b"\0") != rows - 1:
        raise ValueError("a column of another length")


def each_text(data: bytes) -> Iterator[bytes]:
    """A column of texts, one after the other; a list of them takes twice the memory of the column."""
    at = 0
    while (end := data.find(b"\0", at)) >= 0:
        yield data[at:end]
        at = end + 1
    yield data[at:]


def _numbers(kind: str, data: bytes) -> array[int]:
    column: array[int] = array(kind)
    column.frombytes(data)
    return column


def _head(name: str, count: int) -> bytes:
    return f"polyarch table {_FORM} {name} {sys.byteorder} {count}\n".encode()
