"""Which way images go to a device. Pure.

tunnel  the device's engine pulls them from here, through a port of its own loopback that leads to this machine's
stream  they are sent to it as one archive: where no port may be forwarded, and to an OCI layout, for which nothing on
        the device is known to speak HTTP
direct  the device's engine pulls them from their registry, with its own settings and credentials
"""

from __future__ import annotations

from polyarch.fleet.facts import EngineKind
from polyarch.fleet.outcomes import Transport
from polyarch.fleet.reasons import ReasonCode
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class NoWay:
    """Why nothing can be brought to a device."""

    reason_code: ReasonCode
    reason: str


def choose_transport(
    kind: EngineKind, *, forwarding: bool | None, sends_input: bool, asked: Transport | None = None
) -> Transport | NoWay:
    """The way for an engine of that kind, or why there is none.

    `forwarding` is whether the device lets a port be forwarded; None is unknown, and then it is tried. `sends_input` is
    whether the fleet engine can send bytes to a script. What the user `asked` for is never replaced by another way.
    """
    wanted: Transport = asked or ("stream" if kind == "oci" or forwarding is False else "tunnel")
    if kind == "oci" and wanted != "stream":
        return NoWay(
            "no-engine", f"an OCI layout pulls nothing by itself, neither by {wanted}: only a stream goes there"
        )
    if wanted == "tunnel" and forwarding is False:
        return NoWay("no-forwarding", "the device lets no port be forwarded, and only the tunnel is asked for")
    if wanted == "stream" and not sends_input:
        why = "what reaches the device sends no input to it, so that no stream can go there"
        return NoWay("no-forwarding" if forwarding is False and asked is None else "no-engine", why)
    return wanted


def falls_back(kind: EngineKind, *, sends_input: bool, asked: Transport | None) -> bool:
    """Whether a device whose tunnel proved to be forbidden is to be served by a stream."""
    return asked is None and isinstance(choose_transport(kind, forwarding=False, sends_input=sends_input), str)
