"""What a registry wants its users to know: Warning fields (distribution-spec 1.1, "Warnings"; RFC 7234, 5.5)."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

from polyarch.errors import printable
from polyarch.events import Emit, Warned

LONGEST = 4096
"""Bytes of these fields in an answer that are looked at: the specification allows no more."""

MOST = 10
"""Notices of one registry that are told."""

_SHOWN = 300
_NOTICE = re.compile(r'(?:^|,)\s*299\s+-\s+"((?:[^"\\]|\\.)*)"')


def notices(field: str) -> tuple[str, ...]:
    """The texts in a Warning field. Those of caches and proxies, which have other codes and agents, are not told."""
    return tuple(re.sub(r"\\(.)", r"\1", text).strip() for text in _NOTICE.findall(field[:LONGEST]))


class NoticeWatch:
    """Tells each notice of a registry once, and does nothing else about it. For any number of threads."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._told: dict[str, set[str]] = {}

    def look(self, host: str, headers: Mapping[str, str]) -> None:
        """An answer of a registry has come."""
        field = headers.get("warning", "")
        for notice in notices(field) if field else ():
            with self._lock:
                told = self._told.setdefault(host, set())
                if not notice or notice in told or len(told) >= MOST:
                    continue
                told.add(notice)
            self._emit(Warned(f"{host} says: {printable(notice, _SHOWN)}"))
