"""How a registry is spoken with, where a file of podman's or containerd's says more than the settings do."""

from __future__ import annotations

from dataclasses import field

from polyarch.registry.certificates import Certificates
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Trust:
    """`insecure`: any certificate will do, and plain HTTP where the scheme is open.

    `certificates` take the place of those in the usual directories. `headers` go to this registry and to nobody that it
    sends us to. `connect_timeout` is in seconds, None for that of the settings.
    """

    insecure: bool = False
    certificates: Certificates | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    connect_timeout: float | None = None


USUAL = Trust()
"""What holds where no file says anything."""
