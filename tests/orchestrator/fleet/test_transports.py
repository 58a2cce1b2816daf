"""Which way images go to a device: a table."""

from __future__ import annotations

import pytest

from polyarch.fleet.facts import EngineKind
from polyarch.fleet.outcomes import Transport
from polyarch.fleet.transports import NoWay, choose_transport, falls_back


@pytest.mark.parametrize(
    ("kind", "forwarding", "sends", "asked", "way"),
    [
        ("docker", None, True, None, "tunnel"),
        ("docker", True, True, None, "tunnel"),
        ("docker", False, True, None, "stream"),
        ("docker", True, False, None, "tunnel"),
        ("docker", None, False, None, "tunnel"),
        ("docker", False, False, None, "no-forwarding"),
        ("docker", False, True, "tunnel", "no-forwarding"),
        ("podman", None, True, "tunnel", "tunnel"),
        ("podman", True, True, "stream", "stream"),
        ("podman", True, False, "stream", "no-engine"),
        ("containerd", False, False, "direct", "direct"),
        ("containerd", True, True, "direct", "direct"),
        ("oci", True, True, None, "stream"),
        ("oci", False, True, None, "stream"),
        ("oci", True, False, None, "no-engine"),
        ("oci", True, True, "tunnel", "no-engine"),
        ("oci", True, True, "direct", "no-engine"),
        ("oci", False, True, "stream", "stream"),
    ],
)
def test_ways(kind: EngineKind, forwarding: bool | None, sends: bool, asked: Transport | None, way: str) -> None:
    chosen = choose_transport(kind, forwarding=forwarding, sends_input=sends, asked=asked)
    assert (chosen.reason_code if isinstance(chosen, NoWay) else chosen) == way
    assert not isinstance(chosen, NoWay) or chosen.reason


@pytest.mark.parametrize(
    ("sends", "asked", "again"), [(True, None, True), (True, "tunnel", False), (False, None, False)]
)
def test_a_tunnel_that_is_forbidden_after_all(sends: bool, asked: Transport | None, again: bool) -> None:
    assert falls_back("docker", sends_input=sends, asked=asked) is again
