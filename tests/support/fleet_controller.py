"""A machine from which an image is brought to devices, in folders of its own; and what it may not leave behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from polyarch.oci.digest import digest_of
from support.command import Polyarch, Result
from support.fleet_images import Witness
from support.fleet_lab import Device
from support.fleet_leftovers import await_gone, await_quiet, kept_on, listening, names_below
from support.fleet_site import FleetImage, FleetSite, at_hand

UNABLE = ("down", "full", "changed-key")
"""Devices that cannot be served."""

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Controller:
    """Brings `image` to `devices`; `witness` saw what the origin was asked since, `listened` who listened before."""

    site: FleetSite
    polyarch: Polyarch
    folder: Path
    image: FleetImage
    devices: Sequence[Device]
    witness: Witness
    listened: Mapping[str, frozenset[str]]

    @property
    def root(self) -> Path:
        """Its storage."""
        return self.folder / "root"

    @property
    def able(self) -> list[Device]:
        """The devices that can be served."""
        return [device for device in self.devices if device.name not in UNABLE]

    def start(self, *words: str) -> Popen[str]:
        """Begins to bring it; give it to `finish` or `kill`."""
        limit = ":".join(device.name for device in self.devices)
        asked = self.site.fleet("pull", "--format", "json", "--limit", limit, *words, self.image.name)
        return self.polyarch.start(*asked, root=self.root, env=self._environ())

    def finish(self, process: Popen[str]) -> Result:
        """Waits for its end."""
        return self.polyarch.finish(process, seconds=_SECONDS)

    def kill(self, process: Popen[str]) -> None:
        """Kills it, and nothing that it started."""
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 0, 10), f"{process.returncode}\n{stdout}{stderr}"

    def resume(self) -> Popen[str]:
        """Begins to go on with what was broken off; as `start`."""
        words = ("fleet", "pull", "--resume", "--format", "json")
        return self.polyarch.start(*words, root=self.root, env=self._environ())

    def journal(self) -> list[dict[str, Any]]:
        """What the last rollout's journal says so far."""
        for path in sorted(self.root.glob("fleet/rollouts/[0-9]*/journal.jsonl"))[-1:]:
            return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return []

    def happened(self, event: str) -> list[dict[str, Any]]:
        """The events of that name in it."""
        return [one for one in self.journal() if one["event"] == event]

    def whole_blobs(self) -> set[str]:
        """The digests of the blobs at hand here, each of them read and right."""
        folder, found = self.root / "oci" / "blobs" / "sha256", set()
        for path in folder.iterdir() if folder.is_dir() else ():
            if len(path.name) == 64:
                assert digest_of(path.read_bytes()) == f"sha256:{path.name}"
                found.add(f"sha256:{path.name}")
        return found

    def wanted(self) -> set[str]:
        """The blobs of the variants that its devices are to have."""
        variants = [self.image.on(device) for device in self.able]
        return {digest for one in variants for digest in (one.config, *one.layers)}

    def await_over(self) -> None:
        """Waits until nothing of it is at work, here and on the devices."""
        await_gone(self.root)
        await_quiet(self.able, self.listened)

    def left(self) -> list[str]:
        """What it left behind, though all has ended."""
        ansible = self._home / ".ansible"
        here = names_below(self._temporary, ansible / "tmp", ansible / "cp")
        return [*here, *(line for device in self.able for line in kept_on(device))]

    def prove(self) -> None:
        """Every device that can be served has exactly what was planned for it, and nothing is left behind."""
        for device in self.able:
            assert at_hand(device, self.image.name) == self.image.digest_on(device), device.name
        self.await_over()
        assert self.left() == []

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    @property
    def _temporary(self) -> Path:
        return self.folder / "tmp"

    def _environ(self) -> dict[str, str]:
        for path in (self._home, self._temporary):
            path.mkdir(parents=True, exist_ok=True)
        return {"HOME": str(self._home), "TMPDIR": str(self._temporary)}


def controller_of(site: FleetSite, polyarch: Polyarch, folder: Path, name: str, *devices: str, size: int) -> Controller:
    """One that is to bring a new image `fleet/NAME:1` with three layers of `size` bytes to these devices, or to all."""
    found = [site.lab.device(device) for device in devices] if devices else site.lab.devices
    image = site.push(
        f"fleet/{name}:1",
        f"brought: {name}",
        parts=[f"{name} {part}" for part in "abc"],
        size=size,
        architectures={device.kind.architecture for device in found},
    )
    listened = {device.name: listening(device) for device in found}
    return Controller(site, polyarch, folder / name, image, found, site.witness(), listened)
