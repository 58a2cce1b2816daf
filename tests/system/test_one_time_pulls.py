"""Real engines pull by digest from a rollout's server: what travels is what they lack, and is counted to the byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.contract.storage import Image
from polyarch.oci.config import parse_config
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.layout import Layout
from polyarch.reference import parse_reference
from polyarch.serve.one_time import OneTimeServer
from polyarch.testing.layout_writer import Layer, LayoutWriter, regular
from polyarch_platforms.platform import parse
from support.containerd_engine import ContainerdEngine
from support.dockerd import Dockerd
from support.podman_engine import PodmanEngine

pytestmark = pytest.mark.system


@pytest.fixture
def pull(
    request: pytest.FixtureRequest, dockerd: Dockerd, podman: PodmanEngine, containerd: ContainerdEngine
) -> Callable[[str], object]:
    """Pulls a name into the engine that the test is for; AssertionError where it fails."""
    commands: dict[str, Callable[[str], object]] = {
        "docker": lambda name: dockerd.docker("pull", "-q", name),
        "podman": lambda name: podman.podman("pull", "-q", "--tls-verify=false", name),
        "containerd": lambda name: containerd.ctr("images", "pull", "--plain-http", name),
    }
    return commands[request.param]


def image_of(writer: LayoutWriter, *layers: Layer) -> Image:
    made = writer.image({"os": "linux", "architecture": "amd64"}, layers)
    layout = Layout(writer.directory)
    manifest = parse_document(layout.blob_path(made["digest"]).read_bytes())
    assert isinstance(manifest, Manifest)
    config = parse_config(layout.blob_path(manifest.config.digest).read_bytes())
    return Image(parse_reference("one-time.example/app:1"), manifest, manifest, config, parse("amd64"))


@pytest.mark.parametrize("pull", ["docker", "podman", "containerd"], indirect=True)
def test_only_what_is_missing_travels(pull: Callable[[str], object], tmp_path: Path) -> None:
    writer, salt = LayoutWriter(tmp_path / "layout"), tmp_path.parent.name
    base, one, two = (
        writer.layer([regular(f"etc/{name}", f"{name} {salt} {tmp_path.name}".encode() * 5000)], f"RUN {name}")
        for name in ("base", "one", "two")
    )
    first, second = image_of(writer, base, one), image_of(writer, base, two)
    blobs = Layout(writer.directory)
    with OneTimeServer() as server:
        paths = [server.admit([image], blobs) for image in (first, second)]
        for path, image in zip(paths, (first, second), strict=True):
            pull(f"127.0.0.1:{server.port}/{path}@{image.manifest.digest}")
        documents = [len(image.manifest.raw) + len(image.config.raw) for image in (first, second)]
        assert server.sent(paths[0]) == documents[0] + base.size + one.size
        assert server.sent(paths[1]) == documents[1] + two.size
        server.dismiss(paths[1])
        third = image_of(writer, base, writer.layer([regular("etc/three", salt.encode())], "RUN three"))
        path = server.admit([third], blobs)
        server.dismiss(path)
        with pytest.raises(AssertionError):
            pull(f"127.0.0.1:{server.port}/{path}@{third.manifest.digest}")
        assert (server.sent(path), server.fault(path)) == (0, None)
