"""What a fleet's pull may leave behind, on the devices and on this machine: whatever ended it, nothing of it stays."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from support.fleet_lab import Device
from support.fleet_site import OCI_PLACE, one_time_names
from support.processes import await_true

_LISTEN = "0A"  # proc(5), /proc/net/tcp
_OWN = {"version", "lock"}
"""What polyarch keeps beside a layout for good."""


def listening(device: Device) -> frozenset[str]:
    """The addresses that somebody listens on there, in the kernel's hexadecimal."""
    if not device.on:
        return frozenset()
    found = set()
    for name in ("tcp", "tcp6"):
        _, *rows = (device.root.parent / "net" / name).read_text().splitlines()
        found |= {row.split()[1] for row in rows if row.split()[3] == _LISTEN}
    return frozenset(found)


def at_work(device: Device, before: frozenset[str] = frozenset()) -> list[str]:
    """Sessions, scripts and what they started; and who listens there that did not `before`."""
    return [
        *(f"{device.name}: {' '.join(one.words)[:300]}" for one in device.busy()),
        *(f"{device.name}: somebody listens on {address}" for address in listening(device) - before),
    ]


def kept_on(device: Device) -> list[str]:
    """Temporary names and files, locks, and blobs that are not what their names say."""
    if not device.on:
        return []
    named = [f"{device.name}: {line}" for line in one_time_names(device)]
    found = names_below(device.root / "tmp", device.root / "var/tmp")
    place = device.root / OCI_PLACE
    if place.is_dir():
        found += [str(path) for path in (place / ".polyarch").iterdir() if path.name not in _OWN]
        found += [str(path) for path in _blobs(place) if not _right(path)]
        found += [str(path) for path in place.iterdir() if path.name not in _OF_LAYOUT]
    return named + found


_OF_LAYOUT = {"blobs", "index.json", "oci-layout", ".polyarch"}


def blobs_of(device: Device) -> set[str]:
    """The digests of the layers and documents that the device has whole by itself, without a name.

    docker keeps nothing of an image that is not there as a whole.
    """
    engine = device.kind.engine
    if engine == "oci":
        return {f"sha256:{path.name}" for path in _blobs(device.root / OCI_PLACE) if _right(path)}
    if engine == "containerd":
        return set(device.ok(["ctr", "content", "ls", "--quiet"]).split())
    if engine == "podman":
        top = device.root / "var/lib/containers/storage"
        layers = [one for path in top.glob("*-layers/layers.json") for one in json.loads(path.read_text())]
        whole = [one for one in layers if not (one.get("flags") or {}).get("incomplete")]
        return {one["compressed-diff-digest"] for one in whole if "compressed-diff-digest" in one}
    return set()


def await_quiet(devices: Iterable[Device], before: Mapping[str, frozenset[str]], seconds: float = 240) -> None:
    """Waits until nothing of a pull is at work on any of them. AssertionError that tells what is."""
    for device in devices:
        _await_none(lambda device=device: at_work(device, before[device.name]), seconds)  # type: ignore[misc]


def await_gone(root: Path, seconds: float = 60) -> None:
    """Waits until no process has this storage for its own. AssertionError that tells which has."""
    _await_none(lambda: list(processes_of(root)), seconds)


def _await_none(found: Callable[[], list[str]], seconds: float) -> None:
    try:
        await_true(lambda: not found(), "nothing is at work any more", seconds, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}: {found()}") from None


def processes_of(root: Path) -> Iterator[str]:
    """The processes of this machine that were started by a polyarch with this storage, and itself."""
    mark = f"POLYARCH_ROOT={root}\0".encode()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (path / "environ").read_bytes():
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield f"{path.name}: {words[:300]}"


def _blobs(place: Path) -> list[Path]:
    folder = place / "blobs" / "sha256"
    return list(folder.iterdir()) if folder.is_dir() else []


def _right(path: Path) -> bool:
    with suppress(OSError):
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == path.name
    return False


def names_below(*folders: Path) -> list[str]:
    """What is in these folders, which need not be there."""
    return [str(folder / name) for folder in folders if folder.is_dir() for name in os.listdir(folder)]  # noqa: PTH208
