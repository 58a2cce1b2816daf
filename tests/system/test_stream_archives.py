"""Archives for devices that forbid forwarding, loaded by real engines: what is left out, and what they have then."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract.storage import Image
from polyarch.fleet.archive import image_archive
from polyarch.fleet.facts import Engine, EngineKind
from polyarch.oci.config import parse_config
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.layout import Layout
from polyarch.reference import parse_reference
from polyarch.testing.layout_writer import Layer, LayoutWriter, regular
from polyarch_platforms.platform import parse
from support.containerd_engine import ContainerdEngine
from support.dockerd import Dockerd
from support.podman_engine import PodmanEngine

pytestmark = pytest.mark.system
KINDS: tuple[EngineKind, ...] = ("docker", "podman", "containerd")
REPOSITORY = "stream.example:5000/team"
Engines = tuple[Dockerd, PodmanEngine, ContainerdEngine]


@pytest.fixture
def engines(dockerd: Dockerd, podman: PodmanEngine, containerd: ContainerdEngine) -> Engines:
    return dockerd, podman, containerd


class Images:
    """Images of a few files; each layer is one that no other test has."""

    def __init__(self, folder: Path) -> None:
        self.writer, self._salt = LayoutWriter(folder), folder.parent.name

    def layer(self, name: str) -> Layer:
        """A layer with one file."""
        return self.writer.layer([regular(f"etc/{name}", f"{name} {self._salt}".encode())], f"RUN {name}")

    def image(self, name: str, *layers: Layer, docker: bool = False, architecture: str = "amd64") -> Image:
        """An image of these layers; with Docker's media types, if so said."""
        platform = {"os": "linux", "architecture": architecture}
        return self._read(name, self.writer.image(platform, layers, docker=docker))

    def with_sha512(self, image: Image) -> Image:
        """The same with layers that are named by sha512."""
        document = json.loads(image.manifest.raw)
        blobs = self.writer.directory / "blobs"
        (blobs / "sha512").mkdir(exist_ok=True)
        for layer in document["layers"]:
            raw = (blobs / layer["digest"].replace(":", "/")).read_bytes()
            layer["digest"] = f"sha512:{hashlib.sha512(raw).hexdigest()}"
            (blobs / layer["digest"].replace(":", "/")).write_bytes(raw)
        return self._read(image.reference.tag, self.writer.document(document))

    def _read(self, tag: str, made: dict[str, Any]) -> Image:
        layout = Layout(self.writer.directory)
        manifest = parse_document(layout.blob_path(made["digest"]).read_bytes())
        assert isinstance(manifest, Manifest)
        config = parse_config(layout.blob_path(manifest.config.digest).read_bytes())
        return Image(parse_reference(f"{REPOSITORY}/app:{tag}"), manifest, manifest, config, parse("amd64"))


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "layout")


class Device:
    """An engine that loads what it is sent, as a device's script does."""

    def __init__(self, kind: EngineKind, engines: Engines, images: Images) -> None:
        self._blobs = Layout(images.writer.directory)
        dockerd, podman, containerd = engines
        self.engine = Engine(kind, "20.10" if kind == "docker" else "")
        self._podman = podman
        self._argv: Sequence[str]
        self._told: Callable[[str], Digest]
        self._names: Callable[[], Collection[str]]
        if kind == "docker":
            self._argv = ("env", f"DOCKER_HOST={dockerd.environ['DOCKER_HOST']}", "docker", "load", "-q")
            self._told, self._names = lambda name: dockerd.inspect(name)["Id"], dockerd.images
        elif kind == "podman":
            self._argv = (*podman.command, "load", "-q")
            self._told, self._names = lambda name: f"sha256:{podman.inspect(name)['Id']}", podman.images
        else:
            self._argv = ("ctr", "--address", str(containerd.socket), "images", "import", "--all-platforms", "-")
            self._told, self._names = lambda name: containerd.images()[name], containerd.images

    def load(self, raw: bytes) -> subprocess.CompletedProcess[bytes]:
        """Loads an archive, however that ends."""
        return subprocess.run(self._argv, input=raw, capture_output=True, timeout=120)

    def archive(self, images: Sequence[Image], leave_out: Collection[Layer]) -> bytes:
        """What is sent to bring these under their names."""
        named = [(image, str(image.reference)) for image in images]
        return b"".join(image_archive(named, self._blobs, [layer.digest for layer in leave_out], self.engine))

    def take(self, *images: Image, leave_out: Collection[Layer] = ()) -> None:
        """Loads them; AssertionError unless each is what it should be."""
        raw = self.archive(images, leave_out)
        for archive in members(raw) if self.engine.kind == "podman" and len(images) > 1 else [raw]:
            done = self.load(archive)
            assert done.returncode == 0, done.stderr
        for image in images:
            name, manifest = str(image.reference), image.manifest
            assert self._told(name) == (manifest.digest if self.engine.kind == "containerd" else manifest.config.digest)
            if self.engine.kind == "podman":
                assert self._podman.inspect(name)["Digest"] == manifest.digest

    def has(self, image: Image) -> bool:
        """Whether anything has the image's name."""
        return str(image.reference) in self._names()


def members(raw: bytes) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as opened:
        for each in opened:
            yield opened.extractfile(each).read()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_takes_what_it_lacks(kind: EngineKind, engines: Engines, images: Images) -> None:
    device = Device(kind, engines, images)
    base = [images.layer("base"), images.layer("more")]
    one = images.image("one", *base, images.layer("one"))
    device.take(one)
    device.take(images.image("two", *base, images.layer("two")), leave_out=base)
    device.take(images.image("docker", *base, images.layer("docker"), docker=True), leave_out=base)
    device.take(images.image("foreign", *base, images.layer("foreign"), architecture="arm64"), leave_out=base)
    # Nothing but a name is missing.
    again = replace(one, reference=parse_reference(f"{REPOSITORY}/again:1"))
    device.take(again, leave_out=[Layer(each.digest, 0, "gzip", "", "") for each in one.manifest.layers])
    # A layer with nothing in it, and one that is there twice.
    empty, twice = images.writer.layer([], "RUN true"), images.layer("twice")
    device.take(images.image("twice", *base, empty, twice, twice), leave_out=base)
    zstd = images.writer.zstd_layer(images.layer("zstd"))
    device.take(images.image("zstd", *base, zstd), leave_out=base)
    device.take(images.image("zstd-below", *base, zstd, images.layer("above")), leave_out=[*base, zstd])


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_takes_several_images(kind: EngineKind, engines: Engines, images: Images) -> None:
    device = Device(kind, engines, images)
    base, shared = images.layer("base"), images.layer("shared")
    device.take(images.image("several", base))
    several = [images.image(f"several-{i}", base, shared, images.layer(f"own-{i}")) for i in range(3)]
    device.take(*several, leave_out=[base])


@pytest.mark.parametrize("kind", KINDS)
def test_layers_named_by_sha512(kind: EngineKind, engines: Engines, images: Images) -> None:
    device = Device(kind, engines, images)
    image = images.with_sha512(images.image("sha512", images.layer("one"), images.layer("two")))
    if kind == "containerd":  # its content store knows no other digests than sha256 (1.6)
        assert device.load(device.archive([image], ())).returncode != 0
    else:
        device.take(image)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_is_missing_after_all_is_a_failure(kind: EngineKind, engines: Engines, images: Images) -> None:
    device = Device(kind, engines, images)
    base = images.layer("base")
    image = images.image("missing", base, images.layer("top"))
    assert device.load(device.archive([image], [base])).returncode != 0
    assert device.has(image) == (kind == "containerd")
    device.take(image)


@pytest.mark.parametrize("kind", KINDS)
def test_what_breaks_off_has_no_name(kind: EngineKind, engines: Engines, images: Images) -> None:
    """The most that can come without the names: an archive that ends between two members."""
    device = Device(kind, engines, images)
    image = images.image("broken", images.layer("base"), images.layer("top"))
    raw = device.archive([image], ())
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as opened:
        end = opened.getmember("index.json").offset
    assert device.load(raw[:end]).returncode != 0
    assert not device.has(image)
