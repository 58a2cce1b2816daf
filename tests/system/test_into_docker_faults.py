"""What stops a pull into docker in the middle: nothing is visible then, and the next pull goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.faults import cut_after
from support.faulty_registry import FaultyRegistry
from support.layout_files import Layout
from support.unix_relay import UnixRelay
from support.users import OrdinaryUser

pytestmark = pytest.mark.system
HERE = {"os": "linux", "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64"}
NAME = "faults/bulk:1.0"
BULK = 16 << 20


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, foreign_busybox: Callable[[str], Path]) -> Layout:
    """`faults/bulk:1.0` has two layers, the lower of 16 MiB that do not compress."""
    directory = tmp_path_factory.mktemp("bulk") / "layout"
    writer = LayoutWriter(directory)
    bulk = writer.layer([regular("bulk", os.urandom(BULK))], "RUN bulk")
    program = regular("bin/busybox", foreign_busybox(HERE["architecture"]).read_bytes(), 0o755)
    writer.name(NAME, writer.image(HERE, [bulk, writer.layer([program], "COPY busybox /bin/")]))
    writer.finish()
    return Layout(directory)


@pytest.fixture(scope="module")
def source(registry: DockerRegistry, layout: Layout) -> DockerRegistry:
    """The sample registry, with the image of `layout` too."""
    registry.fill(layout)
    return registry


@pytest.fixture
def engine(dockerd: Dockerd) -> Dockerd:
    """The engine, with no image in it."""
    dockerd.clear()
    return dockerd


def refused(result: Result, code: int, message: str, hint: str) -> None:
    assert result.code == code, result.stderr
    assert message in result.stderr
    assert f"hint: {hint}" in result.stderr


def pull(polyarch: Polyarch, engine: Dockerd, reference: str) -> Result:
    return polyarch("pull", "--into", "docker", reference, "--format", "json", env=engine.environ)


def blobs_asked_for(registry: DockerRegistry, before: int, layout: Layout) -> set[str]:
    """The layers that were asked for since then."""
    layers = {layer["digest"] for layer in layout.layers(layout.names[NAME]["digest"])}
    return layers & {access.path.rpartition("/")[2] for access in registry.access_log()[before:]}


def test_an_engine_that_does_not_run(polyarch: Polyarch, source: DockerRegistry, tmp_path: Path) -> None:
    gone = {"DOCKER_HOST": f"unix://{tmp_path}/gone.sock"}
    for words in (("pull", "--into", "docker", source.ref(NAME)), ("image", "ls", "--storage", "docker")):
        message = f"error: docker does not run here: there is no socket {tmp_path}/gone.sock"
        refused(polyarch(*words, env=gone), 8, message, "start it, such as with: systemctl start docker")
    refused(polyarch("pull", "docker-daemon:busybox", env=gone), 8, "docker does not run here", "start it")
    assert not (polyarch.root / "staging" / "blobs").exists()


def test_an_engine_that_left_its_socket(polyarch: Polyarch, source: DockerRegistry, tmp_path: Path) -> None:
    left = UnixRelay(tmp_path / "left.sock", tmp_path / "none", 0)
    left.stop()
    done = polyarch("pull", "--into", f"docker:{left.path}", source.ref(NAME))
    refused(done, 8, "docker does not answer: ", "start it, such as with: systemctl start docker")


def test_an_engine_that_is_closed_to_the_user(
    polyarch: Polyarch, engine: Dockerd, source: DockerRegistry, unprivileged_user: OrdinaryUser
) -> None:
    engine.socket.parent.chmod(0o755)
    words = ("pull", "--into", "docker", source.ref(NAME))
    done = polyarch(*words, env=engine.environ, user=unprivileged_user)
    refused(done, 8, f"this user may not speak with docker: {engine.socket} is not open to it", "add the user to")


def test_an_engine_over_the_network(polyarch: Polyarch, source: DockerRegistry) -> None:
    done = polyarch("pull", "--into", "docker", source.ref(NAME), env={"DOCKER_HOST": "tcp://127.0.0.1:2375"})
    refused(done, 2, "DOCKER_HOST is 'tcp://127.0.0.1:2375'", "name the socket")


def test_dockers_disk_is_full(
    polyarch: Polyarch,
    source: DockerRegistry,
    layout: Layout,
    small_tmpfs: Callable[[int], Path],
    tmp_path: Path,
) -> None:
    disk = small_tmpfs(BULK // 2)
    engine = Dockerd(tmp_path / "dockerd", data=disk / "data")
    try:
        done = pull(polyarch, engine, source.ref(NAME))
        refused(done, 9, "docker cannot load it: ", "free some space where docker keeps its images")
        assert "no space left on device" in done.stderr
        assert engine.images() == {}
        before = len(source.access_log())
        # dockerd has the disk in a mount namespace of its own; the file system is one and the same.
        subprocess.run(["mount", "-o", f"remount,size={8 * BULK}", str(disk)], check=True)
        assert pull(polyarch, engine, source.ref(NAME)).ok().json_lines[0]["status"] == "downloaded"
        assert list(engine.images()) == [source.ref(NAME)]
        assert blobs_asked_for(source, before, layout) == set()
    finally:
        engine.stop()


def test_the_own_disk_is_full(
    polyarch: Polyarch,
    engine: Dockerd,
    source: DockerRegistry,
    small_tmpfs: Callable[[int], Path],
) -> None:
    disk = small_tmpfs(BULK // 2)
    words = ("pull", "--into", "docker", source.ref(NAME), "--format", "json")
    done = polyarch(*words, env=engine.environ, root=disk / "root")
    refused(done, 9, "No space left on device", "free some space")
    assert engine.images() == {}
    subprocess.run(["mount", "-o", f"remount,size={4 * BULK}", str(disk)], check=True)
    pulled = polyarch(*words, env=engine.environ, root=disk / "root").ok().json_lines[0]
    assert pulled["layers"][0]["status"] == "resumed"
    assert list(engine.images()) == [source.ref(NAME)]


def test_a_load_that_is_killed(
    polyarch: Polyarch, engine: Dockerd, source: DockerRegistry, layout: Layout, tmp_path: Path
) -> None:
    relay = UnixRelay(tmp_path / "relay.sock", engine.socket, BULK // 4)
    process = polyarch.start("pull", "--into", f"docker:{relay.path}", source.ref(NAME))
    assert relay.reached.wait(60)
    os.killpg(process.pid, signal.SIGKILL)
    polyarch.finish(process)
    relay.stop()
    assert engine.images() == {}
    before = len(source.access_log())
    assert pull(polyarch, engine, source.ref(NAME)).ok().json_lines[0]["status"] == "downloaded"
    assert list(engine.images()) == [source.ref(NAME)]
    assert blobs_asked_for(source, before, layout) == set()
    assert [path for path in (polyarch.root / "staging" / "blobs").rglob("*") if path.is_file()] == []


def test_a_load_that_is_interrupted(
    polyarch: Polyarch, engine: Dockerd, source: DockerRegistry, tmp_path: Path
) -> None:
    relay = UnixRelay(tmp_path / "relay.sock", engine.socket, BULK // 4)
    process = polyarch.start("pull", "--into", f"docker:{relay.path}", source.ref(NAME))
    assert relay.reached.wait(60)
    process.send_signal(signal.SIGINT)
    assert polyarch.finish(process).code == 130
    relay.stop()
    assert engine.images() == {}


def test_a_transfer_that_breaks_off(polyarch: Polyarch, engine: Dockerd, layout: Layout, tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text("retries = 0\n")
    faulty = FaultyRegistry(layout)
    try:
        layer = layout.layers(layout.names[NAME]["digest"])[0]
        faulty.script("GET", layer["digest"], cut_after(1 << 20), cut_after(0))
        words = ("--config", settings, "pull", "--into", "docker", faulty.ref(NAME), "--format", "json")
        assert polyarch(*words, env=engine.environ).code == 6
        assert engine.images() == {}
        pulled = polyarch(*words, env=engine.environ).ok().json_lines[0]
        assert pulled["layers"][0]["status"] == "resumed"
        assert list(engine.images()) == [faulty.ref(NAME)]
    finally:
        faulty.stop()


def test_what_others_left_waits_for_them(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    """A pull that is done takes its own blobs out of the waiting room; `image prune` takes the others."""
    other = polyarch.root / "staging" / "blobs" / "sha256" / ("0" * 64)
    pull(polyarch, engine, registry.ref("busybox:1.36")).ok()
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"of another pull")
    engine.clear()
    pull(polyarch, engine, registry.ref("busybox:1.36")).ok()
    assert [path for path in other.parent.iterdir() if path != other] == []
    removed = polyarch("image", "prune", "--format", "json").ok().json_lines
    assert [(line["digest"], line["size"]) for line in removed] == [(f"sha256:{'0' * 64}", len(b"of another pull"))]
    assert not other.exists()


def test_layers_that_are_not_what_was_promised(
    polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry, layout: Layout, tmp_path: Path
) -> None:
    """Docker holds each layer against its diff ID; what it refuses is told in its words, and nothing is visible."""
    writer = LayoutWriter(tmp_path / "layout")
    real = writer.layer([regular("file", b"content")], "RUN")
    image = writer.image(HERE, [type(real)(real.digest, real.size, "gzip", f"sha256:{'0' * 64}", "RUN")])
    writer.name("faults/wrong:1.0", image)
    writer.finish()
    Layout(tmp_path / "layout").push("faults/wrong:1.0", registry.address)
    done = pull(polyarch, engine, registry.ref("faults/wrong:1.0"))
    assert done.code == 7
    assert "invalid diffID for layer 0" in json.loads(done.stdout)["error"]["message"]
    assert engine.images() == {}
