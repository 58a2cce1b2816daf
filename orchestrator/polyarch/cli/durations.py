"""Times on the command line: `90`, `90s`, `30m`, `2h`, `1h30m`, `30d`."""

from __future__ import annotations

import re
from typing import Any

import click

_FORM = re.compile(
    r"(?:(?P<d>[0-9]{1,5})d)?(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<s>[0-9]{1,9}(?:\.[0-9]{1,3})?)s?)?"
)


class Duration(click.ParamType):  # type: ignore[type-arg]  # click 8.2 has it without
    """Seconds. A number alone is seconds; `least` is the shortest that is taken."""

    name = "time"

    def __init__(self, least: float = 0) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Fails, which ends the command with a usage error, for what is no time."""
        if isinstance(value, int | float):
            return float(value)
        found = _FORM.fullmatch(str(value).strip()) if str(value).strip() else None
        if found is None:
            self.fail(f"{value!r} is no time: write 90, 90s, 30m, 2h, 1h30m or 30d", param, ctx)
        hours = 24 * int(found["d"] or 0) + int(found["h"] or 0)
        seconds = 3600 * hours + 60 * int(found["m"] or 0) + float(found["s"] or 0)
        if seconds < self._least:
            self.fail(f"{value!r} is less than {self._least:g} seconds", param, ctx)
        return seconds
