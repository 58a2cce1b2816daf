"""What a device of a fleet is, which engines it has, and what they have at hand."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from polyarch.oci.digest import Digest
from polyarch_platforms.device import Device
from polyarch_platforms.lazy_dataclass import dataclass

EngineKind: TypeAlias = Literal["docker", "podman", "containerd", "oci"]
ENGINE_KINDS: tuple[EngineKind, ...] = get_args(EngineKind)


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image that an engine has.

    names    whole names, tags and digests alike (`docker.io/library/busybox:1.36`); none for a dangling one
    id       the digest of its config; "" where the engine does not tell (containerd, oci)
    digests  the manifest or index that its names stand for in a registry; docker forgets it when an archive is loaded
    layers   diff IDs, bottom first; none where the engine does not tell
    """

    names: tuple[str, ...] = ()
    id: Digest = ""
    digests: tuple[Digest, ...] = ()
    layers: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine of a device, as the user who connects can use it.

    program    the words that start it (`("/usr/local/bin/k3s", "ctr")`); none for an OCI layout
    sudo       it is used by `sudo -n`
    address    the socket that is named to it, "" where it finds its own; `namespace` likewise (containerd)
    place      where it keeps images, and `free` the bytes that are free there; None is unknown
    blobs      digests in its content store (containerd, oci)
    by_digest  docker with containerd's image store: an image's ID is the digest of its manifest or index
    in_use     False for an OCI layout that would have to be made
    refused    why it cannot be used, in its own words; "" where it can
    complete   False where it did not tell all its images
    """

    kind: EngineKind
    version: str = ""
    program: tuple[str, ...] = ()
    sudo: bool = False
    address: str = ""
    namespace: str = ""
    place: str = ""
    free: int | None = None
    images: tuple[EngineImage, ...] = ()
    blobs: tuple[Digest, ...] = ()
    by_digest: bool = False
    in_use: bool = True
    refused: str = ""
    complete: bool = True

    @property
    def command(self) -> tuple[str, ...]:
        """The words in front of what the engine is to do, on the device."""
        words = ("sudo", "-n", *self.program) if self.sudo else self.program
        if self.address:
            words += ("--address", self.address)
        return (*words, "--namespace", self.namespace) if self.namespace else words


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device of a fleet, as it was at `taken` (seconds since 1970 by the clock of this machine).

    `engines` are in the order of preference. `clock_skew` is how many seconds the device's clock is ahead (negative:
    behind) beyond what asking took; None where it did not tell the time. `forwarding` is whether a port of its
    loopback led to this machine; None where that was not tried, or it cannot tell. `outdated` are those of a device
    that was brought images since: what it has is not known.
    """

    name: str
    device: Device
    engines: tuple[Engine, ...] = ()
    clock_skew: int | None = None
    taken: float = 0
    forwarding: bool | None = None
    outdated: bool = False

    def engine(self, kind: EngineKind | None = None) -> Engine | None:
        """The engine of that kind; without one, the first that is in use and can be used, else the first in use.

        One that refuses is answered, too: its `refused` says why. None if there is none.
        """
        if kind is not None:
            return next((engine for engine in self.engines if engine.kind == kind), None)
        in_use = [engine for engine in self.engines if engine.in_use]
        return next((engine for engine in in_use if not engine.refused), in_use[0] if in_use else None)
