"""Where the bytes of a file are: in the archive, in a lower layer, nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Unfit(Exception):
    """This form cannot hold the layer just as unpacking would write it: it is to be unpacked. Says why."""


class Stored(NamedTuple):
    """`size` bytes of a lower layer; `read` gives some of them, from an offset on."""

    size: int
    read: Callable[[int, int], bytes]


class Chunks(NamedTuple):
    """A file with holes: chunks of 1 << `bits` bytes, each at an offset of the archive, of a lower layer, or a hole."""

    bits: int
    places: tuple[int | Stored | None, ...]


Data: TypeAlias = "int | bytes | Stored | Chunks"
