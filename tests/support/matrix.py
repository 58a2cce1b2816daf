"""The sources and the storages of the matrix: where an image comes from, and what the place it went to says of it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.containerd_engine import ContainerdEngine
from support.docker_registry import DockerRegistry, skopeo
from support.dockerd import Dockerd
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.s3_server import S3Server

ARM64 = ("--override-os", "linux", "--override-arch", "arm64")
OWN = "example.org/matrix"
"""The repositories of the images that do not come from a registry."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The real parts. An engine is started when it is first asked for."""

    layout: Layout
    folder: Path
    registry: DockerRegistry
    engine: Callable[[str], Any]

    @property
    def docker(self) -> Dockerd:
        """Docker's engine."""
        engine: Dockerd = self.engine("dockerd")
        return engine

    @property
    def podman(self) -> PodmanEngine:
        """podman."""
        engine: PodmanEngine = self.engine("podman")
        return engine

    @property
    def containerd(self) -> ContainerdEngine:
        """containerd."""
        engine: ContainerdEngine = self.engine("containerd")
        return engine

    @property
    def s3(self) -> S3Server:
        """An S3 server."""
        server: S3Server = self.engine("s3")
        return server


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image is: the text that names it for polyarch, and the name under which it is to be kept."""

    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Target:
    """A storage: what the user writes, what leads there, and the config digests that its own means show, by name."""

    into: str
    configs: Callable[[], Mapping[str, str]]
    environ: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""


# Each makes the image `matrix/SOURCE:1.0` of the layout available with the tools of that place.


def _registry(parts: Parts) -> Origin:
    parts.registry.fill(parts.layout, ["matrix/registry:1.0"])
    name = parts.registry.ref("matrix/registry:1.0")
    return Origin(name, name)


def _oci(parts: Parts) -> Origin:
    place = f"oci:{parts.folder / 'layout'}:{OWN}/oci:1.0"
    skopeo("copy", "--all", _in(parts, "oci"), place)
    return Origin(place, f"{OWN}/oci:1.0")


def _oci_archive(parts: Parts) -> Origin:
    place = f"oci-archive:{parts.folder / 'oci.tar'}"
    skopeo("copy", "--all", _in(parts, "oci-archive"), f"{place}:{OWN}/oci-archive:1.0")
    return Origin(place, f"{OWN}/oci-archive:1.0")


def _docker_archive(parts: Parts) -> Origin:
    place = f"docker-archive:{parts.folder / 'docker.tar'}"
    skopeo(*ARM64, "copy", _in(parts, "docker-archive"), f"{place}:{OWN}/docker-archive:1.0")
    return Origin(place, f"{OWN}/docker-archive:1.0")


def _docker_daemon(parts: Parts) -> Origin:
    name, engine = f"{OWN}/docker-daemon:1.0", f"docker-daemon:{OWN}/docker-daemon:1.0"
    skopeo(*ARM64, "copy", "--dest-daemon-host", f"unix://{parts.docker.socket}", _in(parts, "docker-daemon"), engine)
    return Origin(engine, name)


def _containers_storage(parts: Parts) -> Origin:
    name, file = f"{OWN}/containers-storage:1.0", parts.folder / "for-podman.tar"
    skopeo(*ARM64, "copy", _in(parts, "containers-storage"), f"docker-archive:{file}:{name}")
    parts.podman.podman("load", "--input", str(file))
    return Origin(f"containers-storage:{name}", name)


def _s3(parts: Parts) -> Origin:
    folder = parts.folder / "for-s3"
    skopeo("copy", "--all", _in(parts, "s3"), f"oci:{folder}:{OWN}/s3:1.0")
    bucket = parts.s3.bucket()
    for path in folder.rglob("*"):
        if path.is_file():
            parts.s3.put(f"/{bucket}/images/{path.relative_to(folder)}", path.read_bytes())
    return Origin(f"s3://{bucket}/images:{OWN}/s3:1.0", f"{OWN}/s3:1.0")


SOURCES: dict[str, Callable[[Parts], Origin]] = {
    "registry": _registry,
    "oci": _oci,
    "oci-archive": _oci_archive,
    "docker-archive": _docker_archive,
    "docker-daemon": _docker_daemon,
    "containers-storage": _containers_storage,
    "s3": _s3,
}


def _in(parts: Parts, source: str) -> str:
    return f"oci:{parts.layout.directory}:matrix/{source}:1.0"


# Each leads to an empty place of the kind, or to an engine.


def _to_oci(parts: Parts, folder: Path) -> Target:
    return Target("oci", lambda: layout_configs(Layout(folder / "root" / "oci")))


def _to_another_layout(parts: Parts, folder: Path) -> Target:
    directory = folder / "layout"
    subprocess.run(["umoci", "init", "--layout", directory], check=True, capture_output=True)
    return Target(f"oci:{directory}", lambda: layout_configs(Layout(directory)))


def _to_oci_archive(parts: Parts, folder: Path) -> Target:
    file = folder / "images.tar"

    def configs() -> Mapping[str, str]:
        (folder / "unpacked").mkdir()
        subprocess.run(["tar", "-xf", file, "-C", folder / "unpacked"], check=True)
        return layout_configs(Layout(folder / "unpacked"))

    return Target(f"oci-archive:{file}", configs)


def _to_docker_archive(parts: Parts, folder: Path) -> Target:
    file = folder / "images.tar"

    def configs() -> Mapping[str, str]:
        with tarfile.open(file) as archive:
            listed = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        for name in listed[0]["RepoTags"]:  # as somebody else reads it
            raw = json.loads(skopeo("inspect", "--raw", f"docker-archive:{file}:{name}"))
            assert raw["config"]["digest"] == _config_of(listed[0])
        return {name: _config_of(item) for item in listed for name in item["RepoTags"]}

    return Target(f"docker-archive:{file}", configs)


def _config_of(item: Mapping[str, str]) -> str:
    return f"sha256:{item['Config'].rpartition('/')[2].removesuffix('.json')}"


def _to_s3(parts: Parts, folder: Path) -> Target:
    bucket = parts.s3.bucket()
    return Target(
        f"s3://{bucket}/images",
        lambda: layout_configs(Layout(parts.s3.copy(bucket, "images", folder / "copied"))),
        parts.s3.environ,
    )


def _to_docker(parts: Parts, folder: Path) -> Target:
    return Target("docker", parts.docker.images, parts.docker.environ)


def _to_podman(parts: Parts, folder: Path) -> Target:
    return Target("podman", parts.podman.images)


def _to_containerd(parts: Parts, folder: Path) -> Target:
    engine = parts.containerd

    def configs() -> Mapping[str, str]:
        def config(digest: str) -> str:
            document = json.loads(engine.ctr("content", "get", digest))
            entries = [each for each in document.get("manifests", ()) if each["platform"]["architecture"] == "arm64"]
            return config(entries[0]["digest"]) if entries else str(document["config"]["digest"])

        return {name: config(digest) for name, digest in engine.images().items() if "matrix/" in name}

    return Target("containerd", configs, engine.environ)


STORAGES: dict[str, Callable[[Parts, Path], Target]] = {
    "oci": _to_oci,
    "another layout": _to_another_layout,
    "oci-archive": _to_oci_archive,
    "docker-archive": _to_docker_archive,
    "s3": _to_s3,
    "docker": _to_docker,
    "podman": _to_podman,
    "containerd": _to_containerd,
}

KEEP_SEVERAL = ("oci", "another layout", "oci-archive", "s3", "containerd")
"""The storages that keep several platforms of a name."""


def layout_configs(layout: Layout) -> dict[str, str]:
    """The config digests that skopeo finds for arm64 in a layout, by name."""
    found = {}
    for name in layout.names:
        raw = json.loads(skopeo(*ARM64, "inspect", "--raw", f"oci:{layout.directory}:{name}"))
        for entry in raw.get("manifests", ()):
            if entry.get("platform", {}).get("architecture") == "arm64":
                raw = layout.json(entry["digest"])
        found[name] = str(raw["config"]["digest"])
    return found


def all_configs(layout: Layout, name: str) -> Sequence[str]:
    """The config digests of every platform under a name of a layout, sorted."""
    document = layout.json(layout.names[name]["digest"])
    manifests = [layout.json(entry["digest"]) for entry in document["manifests"]]
    return sorted(str(manifest["config"]["digest"]) for manifest in manifests)
