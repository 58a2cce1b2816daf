"""SOURCE_DATE_EPOCH, by a table."""

from __future__ import annotations

import pytest

from polyarch.errors import UsageError
from polyarch.oci.source_date import source_date


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, None), ("", None), ("0", 0), ("1700000000", 1_700_000_000), ("0" * 30 + "7", 7)]
)
def test_a_time(text: str | None, seconds: int | None) -> None:
    assert source_date({} if text is None else {"SOURCE_DATE_EPOCH": text}) == seconds


@pytest.mark.parametrize("text", ["yesterday", "-1", "1.5", "1e9", "٣", "253402300800", "9" * 30, "0" * 25 + "9" * 15])
def test_a_time_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of seconds"):
        source_date({"SOURCE_DATE_EPOCH": text})
