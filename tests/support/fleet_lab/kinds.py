"""The kinds of devices that a lab can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

LabEngine: TypeAlias = Literal["docker", "podman", "containerd", "oci"]

_SMALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """What a device is.

    architecture  Debian's name; amd64 runs this machine's own programs, the others run emulated
    engine        the one that is to be seen there; `oci` is none, so that an OCI layout is all that there can be
    board         what /proc/cpuinfo tells of: a name of `BOARDS`; foreign ones have one
    store         bytes of the file system where the engine keeps images; None is as much as there is
    forwards      sshd lets ports be forwarded
    listens       there is an sshd
    known_key     the controller knows the host key
    """

    architecture: Literal["amd64", "arm64", "armhf", "armel"] = "amd64"
    engine: LabEngine = "oci"
    board: str = ""
    store: int | None = None
    forwards: bool = True
    listens: bool = True
    known_key: bool = True


KINDS: Mapping[str, Kind] = {
    "docker": Kind(engine="docker"),
    "podman": Kind(engine="podman"),
    "containerd": Kind(engine="containerd"),
    "oci": Kind(),
    "no-forwarding": Kind(engine="podman", forwards=False),
    "full": Kind(engine="podman", store=_SMALL),
    "down": Kind(listens=False),
    "changed-key": Kind(known_key=False),
    "pi-4": Kind("arm64", board="pi-4"),
    "pi-2": Kind("armhf", board="pi-2"),
    "pi-zero": Kind("armel", board="pi-zero"),
}
"""Name -> kind. Devices are called after it."""

SAMPLE = ("docker", "no-forwarding", "pi-4", "pi-zero")
"""Four devices of three platforms, for `make test` and the demo."""

WHOLE = tuple(KINDS)
"""Able and unable ones: three engines and none, four platforms."""

PLATFORMS: Mapping[str, str] = {
    "amd64": "linux/amd64",
    "arm64": "linux/arm64",
    "armhf": "linux/arm/v7",
    "armel": "linux/arm/v6",
}
"""Debian's name of an architecture -> the platform that a device of it is."""

MACHINES: Mapping[str, str] = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "armel": "armv6l"}
"""Debian's name of an architecture -> what `uname -m` says on such a device."""

_ARMV6 = "half thumb fastmult vfp edsp java tls"
_ARMV7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"


@dataclass(frozen=True, slots=True)
class Board:
    """A Raspberry Pi as its maker's kernels describe it in /proc/cpuinfo, where no device tree is to be had.

    `said` is what they say for "CPU architecture": 7 for the ARMv6 of the first ones, too.
    """

    model: str
    revision: str
    part: str
    said: int
    cores: int
    features: str

    def cpuinfo(self) -> str:
        """The file's text."""
        core = "\n".join(
            (
                "BogoMIPS\t: 108.00",
                f"Features\t: {self.features}",
                "CPU implementer\t: 0x41",
                f"CPU architecture: {self.said}",
                "CPU variant\t: 0x0",
                f"CPU part\t: {self.part}",
                "CPU revision\t: 3",
            )
        )
        parts = [f"processor\t: {number}\n{core}\n" for number in range(self.cores)]
        end = f"Hardware\t: BCM2835\nRevision\t: {self.revision}\nSerial\t\t: 0\nModel\t\t: {self.model}\n"
        return "\n".join([*parts, end])


# Raspberry Pi documentation, "Raspberry Pi revision codes"
BOARDS: Mapping[str, Board] = {
    "pi-4": Board("Raspberry Pi 4 Model B Rev 1.4", "c03114", "0xd08", 8, 4, "fp asimd evtstrm crc32 cpuid"),
    "pi-2": Board("Raspberry Pi 2 Model B Rev 1.1", "a21041", "0xc07", 7, 4, _ARMV7),
    "pi-zero": Board("Raspberry Pi Zero W Rev 1.1", "9000c1", "0xb76", 7, 1, _ARMV6),
}
