"""Reading WWW-Authenticate (RFC 9110, section 11.6.1): one or more challenges, each with parameters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from polyarch.limits import MAX_CHALLENGE
from polyarch_platforms.lazy_dataclass import dataclass

_SEPARATORS = re.compile(r"[ \t,]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9._~+/-]+=*)(?=[ \t]*(?:,|$))", re.ASCII)
_VALUE = re.compile(r'[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&\'*+.^_`|~0-9A-Za-z/:-]+))', re.ASCII | re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to say who one is. `scheme` and the names of the parameters are lower-case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token: str = ""


def parse_challenges(text: str) -> tuple[Challenge, ...]:
    """The challenges in a WWW-Authenticate field (several fields joined by commas); what is malformed ends the list."""
    text = text[:MAX_CHALLENGE]
    found: list[tuple[str, dict[str, str], str]] = []
    position = _skip(text, 0)
    while match := _TOKEN.match(text, position):
        value = _VALUE.match(text, match.end())
        if value and found:
            quoted, plain = value.groups()
            name = match.group().lower()
            found[-1][1].setdefault(name, plain if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted))
            position = _skip(text, value.end())
            continue
        token = _TOKEN68.match(text, match.end())
        # `Basic realm` would be a token too; but a scheme with a parameter has `=` and a value behind the name.
        found.append((match.group().lower(), {}, token[1] if token else ""))
        position = _skip(text, token.end() if token else match.end())
    return tuple(Challenge(scheme, parameters, token) for scheme, parameters, token in found)


def _skip(text: str, position: int) -> int:
    match = _SEPARATORS.match(text, position)
    return match.end() if match else position
