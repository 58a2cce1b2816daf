"""Images to be brought to devices, the plans that say so, and engines of tests as devices' engines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from polyarch.contract.layout_images import LayoutImages
from polyarch.contract.layout_names import reference_of
from polyarch.contract.storage import Image
from polyarch.fleet.attempts import FleetRunner, PullSettings
from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage
from polyarch.fleet.outcomes import DeviceOutcome, Transport
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.runner import Attempt, Happening, Sent
from polyarch.oci.digest import Digest
from polyarch.oci.layout import Layout
from polyarch.reference import parse_reference
from polyarch.serve.one_time import OneTimeServer
from polyarch_platforms.named import named
from support.containerd_engine import ContainerdEngine
from support.dockerd import Dockerd
from support.podman_engine import PodmanEngine
from support.shell_fleet import Shell, ShellFleet

SETTINGS = PullSettings(forks=4, timeout=60, rollout="r-1", holder="somebody@controller")


class Shelf:
    """The images of an OCI image layout, by name and by manifest; its blobs are files."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        reader = LayoutImages(self.layout)
        self.named: dict[str, Image] = {}
        for entry in self.layout.entries():
            for image in reader.of(entry):
                self.named.setdefault(entry.annotations["org.opencontainers.image.ref.name"], image)
        assert {reference_of(entry).name for entry in self.layout.entries()}

    @property
    def images(self) -> Mapping[Digest, Image]:
        return {image.manifest.digest: image for image in self.named.values()}

    def blob_path(self, digest: Digest) -> Path:
        return self.layout.blob_path(digest)

    def line(self, name: str, reference: str | None = None, *, repository: str = "") -> ImagePlan:
        """The line of a plan that brings an image of this shelf under a whole name, by itself its own."""
        image = self.named[name]
        return ImagePlan(
            reference=str(parse_reference(reference or name)),
            digest=image.root.digest,
            manifest=image.manifest.digest,
            repository=repository or "registry.example/app",
            platform=str(image.platform),
            match="exact",
            missing_bytes=image.manifest.size,
        )


def plan_of(engine: Engine, *lines: ImagePlan, device: str = "device") -> DevicePlan:
    """The plan of a device."""
    platform = "linux/amd64"
    return DevicePlan(device, platform, None, "exact", engine.kind, lines, None, 0, "will-pull", "it is missing")


def facts_of(engine: Engine, device: str = "device") -> DeviceFacts:
    """A device with this engine."""
    return DeviceFacts(device, named("x86-64-v2"), (engine,))


@dataclass
class Device:
    """An engine of the tests': as facts tell of it, what a shell needs to use it, and the engine itself."""

    engine: Engine
    environ: dict[str, str]
    real: Dockerd | PodmanEngine | ContainerdEngine

    def at_hand(self) -> dict[str, str]:
        """Its names as it tells of them, and the digest of each: with `sha256:` in front everywhere."""
        return {name: f"sha256:{digest.removeprefix('sha256:')}" for name, digest in self.real.images().items()}

    def knowing(self, *images: Image) -> Device:
        """The same, its facts telling that it has these images, without a name."""
        known = tuple(
            EngineImage((), image.manifest.config.digest, (), tuple(image.config.diff_ids)) for image in images
        )
        blobs = tuple(blob.digest for image in images for blob in image.manifest.blobs)
        return replace(self, engine=replace(self.engine, images=known, blobs=blobs))


def device_of(real: Dockerd | PodmanEngine | ContainerdEngine, folder: Path) -> Device:
    """`folder` is for the locks and the temporary files of this device."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    if isinstance(real, Dockerd):
        return Device(Engine("docker", "20.10", ("docker",)), {**environ, **real.environ}, real)
    if isinstance(real, PodmanEngine):
        return Device(Engine("podman", "4.3", real.command), environ, real)
    return Device(Engine("containerd", "1.6", ("ctr",), address=str(real.socket), namespace="default"), environ, real)


def names(images: Sequence[str]) -> list[str]:
    """Those that a pull gives in passing."""
    return [name for name in images if "/polyarch/" in name]


def runner_of(
    device: Device, shelf: Shelf, server: OneTimeServer, fleet: ShellFleet, settings: PullSettings
) -> FleetRunner:
    """What brings images of `shelf` to the one device of `fleet`."""
    return FleetRunner(
        fleet,
        server,
        shelf.images,
        shelf,
        {"device": facts_of(device.engine)},
        {each.name: each for each in fleet.devices((), "")},
        settings,
    )


def pull(
    device: Device,
    shelf: Shelf,
    server: OneTimeServer,
    *lines: ImagePlan,
    settings: PullSettings = SETTINGS,
    shell: Sequence[str] = ("/bin/sh",),
    transport: Transport | None = None,
    forwards: bool = True,
    sent: list[int] | None = None,
) -> DeviceOutcome:
    """One attempt. What is told of bytes is added to `sent`."""
    fleet = ShellFleet({"device": Shell(device.environ, tuple(shell), forwards=forwards)})
    runner = runner_of(device, shelf, server, fleet, replace(settings, transport=transport))
    with runner.attempt([plan_of(device.engine, *lines)]) as attempt:
        (outcome,) = [event for event in _told(attempt, sent) if isinstance(event, DeviceOutcome)]
    return outcome


def _told(attempt: Attempt, sent: list[int] | None) -> Iterator[Happening]:
    for event in attempt:
        if isinstance(event, Sent) and sent is not None:
            sent.append(event.bytes)
        yield event
