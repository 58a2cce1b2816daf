"""Layers that are hostile or odd, and what is to come of each: data for tests, and for what other programs do."""

from __future__ import annotations

from support.hostile_layers import attributes, headers, names, streams, whiteouts
from support.hostile_layers.case import Case

CASES: dict[str, Case] = {
    case.name: case for each in (names, whiteouts, attributes, headers, streams) for case in each.CASES
}
"""All of them by name."""
