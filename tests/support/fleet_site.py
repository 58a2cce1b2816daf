"""A lab of devices, the registry that their images come from, and what each device's own engine says of them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyarch.testing.layout_writer import Json, LayoutWriter, folder, link, regular
from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.fleet_images import Witness
from support.fleet_lab import Device, Lab
from support.layout_files import Layout

OCI_PLACE = "var/lib/polyarch/oci"
"""Where a device without an engine keeps images."""

ABLE = "all:!down:!full:!changed-key"
"""A pattern of the devices that can be served."""

# Debian's name of a device's architecture -> what the images state for it, and whose busybox is inside.
_VARIANTS = {
    "amd64": ({"os": "linux", "architecture": "amd64"}, "amd64"),
    "arm64": ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "arm64"),
    "armhf": ({"os": "linux", "architecture": "arm", "variant": "v7"}, "armhf"),
    "armel": ({"os": "linux", "architecture": "arm", "variant": "v6"}, "armel"),
}
_APPLETS = ("sh", "cat", "echo", "sleep", "uname")


@dataclass(frozen=True, slots=True)
class Variant:
    """What an image is on devices of one architecture. `layers` are digests and sizes in bytes."""

    manifest: str
    config: str
    layers: dict[str, int]
    documents: int

    @property
    def size(self) -> int:
        """Bytes of the layers, the config and the manifest."""
        return sum(self.layers.values()) + self.documents

    def lacking(self, other: Variant) -> int:
        """Bytes of it that who has the other lacks."""
        return sum(size for digest, size in self.layers.items() if digest not in other.layers) + self.documents


@dataclass(frozen=True, slots=True)
class FleetImage:
    """An image with a variant for each architecture of a lab, by Debian's names; `name` is whole.

    Each variant runs, and `cat /etc/image` in it tells `words`.
    """

    name: str
    words: str
    variants: dict[str, Variant]

    def on(self, device: Device) -> Variant:
        """What it is on a device."""
        return self.variants[device.kind.architecture]

    def digest_on(self, device: Device) -> str:
        """What the device's engine is to tell of it: the config's digest, or the manifest's."""
        variant = self.on(device)
        return variant.config if device.kind.engine in ("docker", "podman") else variant.manifest

    @property
    def blobs(self) -> dict[str, int]:
        """The configs and layers of all variants are among these keys; layers with their sizes."""
        layers = {digest: size for variant in self.variants.values() for digest, size in variant.layers.items()}
        return {**dict.fromkeys((variant.config for variant in self.variants.values()), 0), **layers}


class FleetSite:
    """`lab` and `registry`; `folder` is for files of the tests."""

    def __init__(self, lab: Lab, registry: DockerRegistry, folder: Path, busybox: Callable[[str], Path]) -> None:
        self.lab, self.registry, self.folder = lab, registry, folder
        self._busybox = busybox

    def push(
        self,
        name: str,
        words: str,
        *,
        size: int = 20_000,
        parts: Sequence[str] = (),
        architectures: Iterable[str] = (),
    ) -> FleetImage:
        """Puts an image into the registry under `name` (`fleet/pull:1`), and tells of it.

        Its layers: the programs, another one for each repository; one for each of `parts`, of `size` bytes that do not
        become smaller, and the same wherever the part is called so; the words. Without `architectures` it is for those
        of the lab.
        """
        wanted = {*architectures} or {device.kind.architecture for device in self.lab.devices}
        architectures = [one for one in _VARIANTS if one in wanted]
        directory = self.folder / f"layout-{hashlib.sha256(f'{name} {words}'.encode()).hexdigest()[:16]}"
        layout = LayoutWriter(directory)
        entries: list[Json] = []
        for architecture in architectures:
            labels, program = _VARIANTS[architecture]
            layers = [
                layout.layer(
                    [
                        *(folder(path) for path in ("bin", "dev", "etc", "proc", "sys", "tmp")),
                        regular("bin/busybox", self._busybox(program).read_bytes(), 0o755),
                        *(link(f"bin/{applet}", "busybox") for applet in _APPLETS),
                        regular("etc/repository", name.partition(":")[0].encode()),
                    ],
                    "ADD programs /",
                )
            ]
            for part in parts:
                data = random.Random(f"{architecture} {part}").randbytes(size)
                layers.append(layout.layer([folder("srv"), regular(f"srv/{part}", data)], f"ADD {part} /srv"))
            layers.append(layout.layer([folder("etc"), regular("etc/image", words.encode())], "ADD image /etc"))
            entries.append({**layout.image(labels, layers), "platform": labels})
        layout.name(name, layout.index(entries))
        layout.finish()
        written = Layout(directory)
        written.push(name, self.registry.address)
        named = dict(zip(architectures, (_variant(written, entry["digest"]) for entry in entries), strict=True))
        return FleetImage(self.registry.ref(name), words, named)

    def witness(self) -> Witness:
        """What the registry is asked from now on."""
        return Witness(self.registry)

    def fleet(self, verb: str, *words: str | Path) -> list[str | Path]:
        """The words of a fleet's command over the lab's devices."""
        return ["fleet", verb, "-i", self.lab.inventory, *words]


def inventory(site: FleetSite, path: Path, listed: Mapping[str, tuple[Device, Mapping[str, object]]]) -> Path:
    """Writes an inventory with names of its own: each a device of the lab, and further variables."""
    hosts = {name: {"ansible_host": device.spec.address, **more} for name, (device, more) in listed.items()}
    common = {"ansible_user": "root", "ansible_ssh_common_args": f"-F {site.lab.ssh_config}"}
    path.write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    return path


def at_hand(device: Device, name: str) -> str | None:
    """What the device's own engine tells of a name, asked on the device: a digest; None where it does not have it."""
    engine = device.kind.engine
    if engine == "oci":
        place = device.root / OCI_PLACE
        index = place / "index.json"
        if not index.exists():
            return None
        key = "org.opencontainers.image.ref.name"
        listed = json.loads(index.read_bytes())["manifests"]
        if not any(entry.get("annotations", {}).get(key) == name for entry in listed):
            return None
        with tempfile.TemporaryDirectory() as copy:  # skopeo takes /proc/PID/root for what it is a link to
            shutil.copytree(place, copy, dirs_exist_ok=True)
            raw = skopeo("inspect", "--raw", f"oci:{copy}:{name}")
        return f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"
    if engine == "containerd":
        rows = [line.split() for line in device.ok(["ctr", "images", "check", f"name=={name}"]).splitlines()[1:]]
        assert all("complete" in row for row in rows), rows
        return rows[0][2] if rows else None
    done = device.run([engine, "image", "inspect", "--format", "{{.Id}}", name])
    return f"sha256:{done.stdout.strip().removeprefix('sha256:')}" if done.returncode == 0 else None


def remove_image(device: Device, name: str) -> None:
    """Takes the image away by hand, as somebody who is logged in there."""
    words = {
        "docker": ["docker", "rmi", name],
        "podman": ["podman", "rmi", name],
        "containerd": ["ctr", "images", "rm", "--sync", name],
    }
    device.ok(words[device.kind.engine])


def run_there(device: Device, name: str, *words: str) -> str:
    """What a container of the image says; of a device of this machine's architecture, with an engine."""
    commands = {
        "docker": ["docker", "run", "--rm", "--network=none", name],
        "podman": ["podman", "run", "--rm", "--network=host", name],
        "containerd": ["ctr", "run", "--rm", name, f"run-{hashlib.sha256(name.encode()).hexdigest()[:8]}"],
    }
    return device.ok([*commands[device.kind.engine], *words])


def one_time_names(device: Device) -> list[str]:
    """The temporary names that the device's engine still knows."""
    lists = {
        "docker": ["docker", "image", "ls", "--digests", "--no-trunc"],
        "podman": ["podman", "image", "ls", "--all", "--digests", "--no-trunc"],
        "containerd": ["ctr", "images", "ls"],
    }
    words = lists.get(device.kind.engine)
    return [line for line in device.ok(words).splitlines() if "/polyarch/" in line] if words else []


def files_of(site: FleetSite, device: Device) -> Iterator[Path]:
    """All files of the device's own: those that it did not begin with, what its engine keeps, what is in memory."""
    processes = device.processes()
    known = {one.pid for one in processes}
    (supervisor,) = {one.parent for one in processes} - known
    own = Path(f"/proc/{supervisor}/root{site.lab.folder}/disk/{device.name}")
    for top in (own / "upper", own / "store", *(device.root / name for name in ("run", "tmp", "dev/shm"))):
        assert top.is_dir(), top
        yield from (path for path in top.rglob("*") if path.is_file() and not path.is_symlink())


def by_device(lines: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The lines of a command's JSON by device, without the summary; each device once."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        if "device" in line:
            assert line["device"] not in found, f"{line['device']} is told twice"
            found[line["device"]] = line
    return found


def summary_of(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The one summary, which is the last line."""
    *_, last = lines
    summary: dict[str, Any] = last["summary"]
    return summary


def embedded(page: Path) -> dict[str, Any]:
    """The data of a rollout's HTML page, each device a mapping under its name."""
    text = page.read_text()
    begin = text.index("{", text.index('type="application/json"'))
    document: dict[str, Any] = json.JSONDecoder().raw_decode(text[begin:])[0]
    columns = document["columns"]
    document["devices"] = {row[0]: dict(zip(columns, row, strict=True)) for row in document["devices"]}
    return document


def rollouts(polyarch: Polyarch) -> list[str]:
    """The rollouts on the controller's disk."""
    place = polyarch.root / "fleet" / "rollouts"
    return sorted(path.name for path in place.glob("[0-9]*")) if place.exists() else []


def _variant(layout: Layout, manifest: str) -> Variant:
    document = layout.json(manifest)
    config = document["config"]
    return Variant(
        manifest,
        config["digest"],
        {layer["digest"]: layer["size"] for layer in document["layers"]},
        config["size"] + len(layout.path(manifest).read_bytes()),
    )
