"""A fleet's device that is this machine, with its files in a folder: what is there, and what a rollout says of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.seen_layout import SeenLayout, seen_layout

DEVICE = "device"
_DOCUMENTS = 40_000


def on_device(root: Path) -> Path:
    """The OCI image layout of a fleet's device."""
    return root / DEVICE / "polyarch" / "oci"


def lose_device(root: Path) -> None:
    """The device has lost all but two blobs, which have no name."""
    place = on_device(root)
    (place / "index.json").unlink()
    (place / "oci-layout").unlink()
    blobs = sorted((place / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    for path in blobs[2:]:
        path.unlink()


def break_off(root: Path) -> None:
    """The rollout was broken off when it began with its device."""
    lose_device(root)
    (root / "report.html").unlink()
    (journal,) = (root / "fleet" / "rollouts").glob("[0-9]*/journal.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    begun = next(place for place, line in enumerate(lines) if "DeviceBegun" in line)
    journal.write_text("".join(lines[: begun + 1]))


def seen_device(root: Path) -> SeenLayout:
    """What the device has, all of it right; where it has no layout yet, none of it has a name."""
    place = on_device(root)
    if (place / "oci-layout").exists():
        return seen_layout(place)
    if (place / "index.json").exists():
        assert json.loads((place / "index.json").read_bytes())["manifests"] == []
    blobs = list((place / "blobs" / "sha256").glob("*"))
    for path in blobs:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    return SeenLayout({}, frozenset(), frozenset(), frozenset(f"sha256:{path.name}" for path in blobs))


def told_of(root: Path) -> list[dict[str, Any]]:
    """What the journals of all rollouts say, the oldest first."""
    journals = sorted((root / "fleet" / "rollouts").glob("[0-9]*/journal.jsonl"))
    lines = [line for path in journals for line in path.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def succeeded(told: list[dict[str, Any]]) -> bool:
    """Whether what was told last of the device is that it has what it should."""
    outcomes = [each["outcome"]["status"] for each in told if each["event"] == "DeviceFinished"]
    return bool(outcomes) and outcomes[-1] in ("pulled", "up-to-date")


def lacking(end: SeenLayout, now: SeenLayout, blobs: Mapping[str, int]) -> int:
    """The bytes of the blobs that are there in the end and not now."""
    return sum(blobs[digest] for digest in end.blobs - now.blobs)


def brought_twice(told: list[dict[str, Any]], missing: tuple[int, int]) -> list[str]:
    """Whether a rollout told of here brought more than the bytes that were missing here, and on the device.

    One that is gone on with counts what it brought before.
    """
    if any(each["event"] == "RolloutBegun" and each["resumed"] for each in told):
        return []
    came = sum(each["origin_bytes"] for each in told if each["event"] == "RolloutEnded")
    went = sum(each["outcome"]["bytes"] for each in told if each["event"] == "DeviceFinished")
    wrong = [f"{came} bytes came for {missing[0]}"] if came > missing[0] else []
    # An archive has its headers, and every time the documents.
    return wrong + ([f"{went} bytes went for {missing[1]}"] if went > missing[1] + _DOCUMENTS else [])


def left_behind(root: Path, *, device: bool) -> list[str]:
    """What a rollout leaves here that nobody needs, and on the `device`, if it had something to bring there: only then
    it comes there.
    """
    place = on_device(root)
    needed = {place.parent, place, place / "index.json", place / "oci-layout", place / ".polyarch"}
    left = [path for path in (root / DEVICE).rglob("*") if place / "blobs" not in (path, *path.parents)]
    wrong = [path for path in left if device and path not in needed | {place / ".polyarch" / "lock"}]
    wrong += (root / "fleet" / "rollouts").rglob(".*")
    # What is `.new` is written over by the next who keeps facts.
    wrong += [path for path in (root / "fleet" / "facts").glob("*/*") if path.suffix != ".json" and path.name != ".new"]
    return [f"{path} is left" for path in wrong]
