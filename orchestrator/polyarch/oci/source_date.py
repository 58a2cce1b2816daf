"""SOURCE_DATE_EPOCH: the time that what is made is to have, so that it can be made again byte for byte.

Source: https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

from collections.abc import Mapping

from polyarch.errors import UsageError, printable

_NAME = "SOURCE_DATE_EPOCH"
_LAST_SECOND = 253402300799  # the end of the year 9999, which RFC 3339 can write


def source_date(environ: Mapping[str, str]) -> int | None:
    """Seconds since 1970; None where the variable is not there, or empty. Raises UsageError for what is no number."""
    text = environ.get(_NAME, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text.lstrip("0")) < 13 and int(text) <= _LAST_SECOND):
        raise UsageError(
            f"{_NAME}='{printable(text, 40)}' is no number of seconds since 1970",
            "see https://reproducible-builds.org/specs/source-date-epoch/",
        )
    return int(text)
