"""Limits of a registry: how much may still be asked for, told before it is too late.

Docker Hub answers requests for manifests with `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 20;w=21600` and
`docker-ratelimit-source: ADDRESS` (docs.docker.com, "Docker Hub pull usage and limits"; `w` is the window in seconds;
a HEAD request is told, but not counted). Others add `ratelimit-reset`, the seconds until the limit is whole again
(draft-ietf-httpapi-ratelimit-headers, up to version 07). No such field: no limit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from polyarch.errors import printable
from polyarch.events import Emit, Warned
from polyarch.registry.origin import address_of
from polyarch_platforms.lazy_dataclass import dataclass

FEW = 10
"""Percent of a limit that are few."""

_FIELD = re.compile(r"\s*([0-9]{1,9})\s*(?:;.*?\bw\s*=\s*([0-9]{1,9})\b.*|[,;].*)?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`remaining` of `limit` pulls are left in a window of `window` seconds, for `source` (an address or account).

    `reset` is the seconds until all of them are back, at the latest; 0 where nobody says. `window` is 0, `source` ""
    where the registry does not say.
    """

    limit: int
    remaining: int
    window: int = 0
    reset: int = 0
    source: str = ""

    @property
    def few(self) -> bool:
        """True if it is time to tell."""
        return self.remaining * 100 <= self.limit * FEW

    @property
    def of_nobody(self) -> bool:
        """True if the limit is that of an address, so that a login may raise it."""
        return address_of(self.source.partition("/")[0]) is not None

    def __str__(self) -> str:
        """`92 of 100 pulls left in 6 h for 192.0.2.1`."""
        window = f" in {_span(self.window)}" if self.window else ""
        return f"{self.remaining} of {self.limit} pulls left{window}" + (f" for {self.source}" if self.source else "")

    def until(self, now: datetime) -> str:
        """When all are back: `all are back at 18:40 UTC at the latest`; "" where nobody says."""
        return f"all are back {when(self.reset, now)} at the latest" if self.reset else ""


def parse_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """The limit that an answer's header tells of; None if it tells of none."""
    limit = _FIELD.fullmatch(headers.get("ratelimit-limit", ""))
    remaining = _FIELD.fullmatch(headers.get("ratelimit-remaining", ""))
    if limit is None or remaining is None:
        return None
    window = int(remaining[2] or limit[2] or 0)
    reset = _FIELD.fullmatch(headers.get("ratelimit-reset", ""))
    source = printable(headers.get("docker-ratelimit-source", "").strip(), 80)
    return RateLimit(int(limit[1]), int(remaining[1]), window, int(reset[1]) if reset else window, source)


def when(seconds: float, now: datetime) -> str:
    """`at 18:40 UTC`, with the date if it is another day's; so many seconds after `now`."""
    then = (now + timedelta(seconds=seconds)).astimezone(UTC)
    return f"at {then:%H:%M} UTC" if then.date() == now.astimezone(UTC).date() else f"at {then:%Y-%m-%d %H:%M} UTC"


def _span(seconds: int) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


class LimitWatch:
    """Warns, once for each registry and source, when few are left. For any number of threads."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()
        self._last: dict[str, RateLimit] = {}

    def look(self, registry: str, headers: Mapping[str, str]) -> None:
        """An answer of a registry for a manifest has come. `registry` is what users call it."""
        limit = parse_limit(headers)
        if limit is None:
            return
        with self._lock:
            self._last[registry] = limit
            if not limit.few or (registry, limit.source) in self._told:
                return
            self._told.add((registry, limit.source))
        parts = [f"{registry}: {limit}", limit.until(datetime.now(UTC))]
        parts += [f"polyarch login {registry} may raise the limit"] if limit.of_nobody else []
        self._emit(Warned("; ".join(part for part in parts if part)))

    def last(self, registry: str) -> RateLimit | None:
        """What the registry's last answer with a limit told; None if there was none."""
        with self._lock:
            return self._last.get(registry)
