"""The Range header of a request for bytes: RFC 9110, section 14."""

from __future__ import annotations

import re

# ranges-specifier of RFC 9110, 14.1.1 and 14.1.2, for a single range.
_SINGLE = re.compile(r"bytes=[ \t]*(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The range asked for holds no byte of the blob: status 416."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """What `header` asks of `size` bytes: (first byte, number of bytes); None for the whole.

    The whole is also the answer to what is no valid single range of bytes: a server may ignore the header (RFC 9110,
    14.2), and several ranges at once are not served. Raises RangeNotSatisfiable.
    """
    match = _SINGLE.fullmatch(header or "")
    if not match or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        wanted = min(int(match["last"]), size)
        if not wanted:
            raise RangeNotSatisfiable
        return size - wanted, wanted
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable
    return first, min(last, size - 1) - first + 1
