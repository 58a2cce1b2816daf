"""Images pulled into a real docker engine, and read from one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.terminal import on_a_terminal

pytestmark = pytest.mark.system
HERE = "amd64" if os.uname().machine == "x86_64" else "arm64"
FOREIGN = "linux/arm64" if HERE == "amd64" else "linux/amd64"
MACHINES = {"linux/arm64": "aarch64", "linux/amd64": "x86_64"}
BIG = 6 << 20


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, foreign_busybox: Callable[[str], Path]) -> Layout:
    """`stack/one:1.0` and `stack/two:1.0` differ in their top layer; `stack/big:1.0` has two that do not compress."""
    directory = tmp_path_factory.mktemp("stack") / "layout"
    writer = LayoutWriter(directory)
    program = regular("bin/busybox", foreign_busybox(HERE).read_bytes(), 0o755)
    base = [writer.layer([program], "COPY busybox /bin/"), writer.layer([regular("etc/base", b"base")], "RUN base")]
    platform = {"os": "linux", "architecture": HERE}
    for name in ("one", "two"):
        own = writer.layer([regular(f"etc/{name}", name.encode())], f"RUN {name}")
        writer.name(f"stack/{name}:1.0", writer.image(platform, [*base, own]))
    bulk = [writer.layer([regular(f"bulk/{i}", os.urandom(BIG))], f"RUN bulk {i}") for i in range(2)]
    writer.name("stack/big:1.0", writer.image(platform, [*base, *bulk]))
    writer.finish()
    return Layout(directory)


@pytest.fixture(scope="module")
def stack(registry: DockerRegistry, layout: Layout) -> DockerRegistry:
    """The sample registry, and in it the images of `layout`."""
    registry.fill(layout)
    return registry


@pytest.fixture
def engine(dockerd: Dockerd) -> Dockerd:
    """The engine, with no image in it."""
    dockerd.clear()
    return dockerd


def fetched(registry: DockerRegistry, before: int) -> list[str]:
    """The blobs that were asked for since then."""
    return [access.path.rpartition("/")[2] for access in registry.access_log()[before:] if "/blobs/" in access.path]


def waiting(polyarch: Polyarch) -> list[Path]:
    """Blobs that wait for a load."""
    return [path for path in (polyarch.root / "staging" / "blobs").rglob("*") if path.is_file()]


def test_docker_runs_what_was_pulled(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    pulled = polyarch("pull", "--into", "docker", name, "--format", "json", env=engine.environ).ok().json_lines[0]
    config = engine.inspect(name)["Id"]
    assert engine.images() == {name: config}
    assert pulled["storage"] == "docker"
    assert pulled["status"] == "downloaded"
    assert {layer["status"] for layer in pulled["layers"]} == {"downloaded"}
    polyarch("pull", name).ok()
    (own,) = polyarch("image", "inspect", name, "--format", "json").ok().json_lines
    assert config == own["id"]
    assert engine.docker("run", "--rm", "--network=none", name, "cat", "/etc/motd") == "written by the second layer\n"
    assert waiting(polyarch) == []


def test_the_foreign_variant_runs_by_emulation(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "polyarch", "--root", str(tmp_path / "emulate"), "emulate", "--platform", FOREIGN]
    tried = subprocess.run([*words, "--", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"nothing can be emulated here: {tried.stderr.strip()}")
    engine = Dockerd(tmp_path / "dockerd", prefix=[*words, "--"])
    try:
        name = registry.ref("busybox:1.36")
        polyarch("pull", "--into", "docker", "--platform", FOREIGN, name, env=engine.environ).ok()
        said = engine.docker("run", "--rm", "--network=none", "--platform", FOREIGN, name, "uname", "-m")
        assert said == f"{MACHINES[FOREIGN]}\n"
    finally:
        engine.stop()


def test_docker_hubs_names_are_familiar(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry) -> None:
    """A name of Docker Hub is loaded as docker itself writes it."""
    polyarch("pull", stack.ref("stack/one:1.0")).ok()
    polyarch("image", "tag", stack.ref("stack/one:1.0"), "one:1.0").ok()
    source = f"oci:{polyarch.root / 'oci'}:docker.io/library/one:1.0"
    polyarch("pull", "--into", "docker", source, env=engine.environ).ok()
    assert list(engine.images()) == ["one:1.0"]


def test_what_docker_has_is_not_fetched_again(
    polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry, layout: Layout
) -> None:
    words = ("pull", "--into", "docker", stack.ref("stack/one:1.0"), "--format", "json")
    polyarch(*words, env=engine.environ).ok()
    before = len(stack.access_log())
    again = polyarch(*words, env=engine.environ).ok().json_lines[0]
    assert again["status"] == "up-to-date"
    assert {layer["status"] for layer in again["layers"]} == {"exists"}
    manifest = layout.json(layout.names["stack/one:1.0"]["digest"])
    assert set(fetched(stack, before)) == {manifest["config"]["digest"]}  # which tells what docker's ID has to be
    engine.docker("image", "rm", stack.ref("stack/one:1.0"))
    assert polyarch(*words, env=engine.environ).ok().json_lines[0]["status"] == "downloaded"


def test_only_missing_layers_travel(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry, layout: Layout) -> None:
    polyarch("pull", "--into", "docker", stack.ref("stack/one:1.0"), env=engine.environ).ok()
    before = len(stack.access_log())
    done = polyarch("pull", "--into", "docker", stack.ref("stack/two:1.0"), "--format", "json", env=engine.environ)
    layers = layout.layers(layout.names["stack/two:1.0"]["digest"])
    assert [layer["status"] for layer in done.ok().json_lines[0]["layers"]] == ["exists", "exists", "downloaded"]
    assert set(fetched(stack, before)) - {layer["digest"] for layer in layers[2:]} == {
        layout.json(layout.names["stack/two:1.0"]["digest"])["config"]["digest"]
    }
    assert "was not looked at" in done.stderr  # its program lies in a layer that did not come
    assert engine.docker("run", "--rm", "--network=none", stack.ref("stack/two:1.0"), "/bin/busybox", "cat", "/etc/two")


def test_what_the_own_storage_has_is_not_fetched(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry) -> None:
    polyarch("pull", stack.ref("stack/one:1.0")).ok()
    before = len(stack.access_log())
    polyarch("pull", "--into", "docker", stack.ref("stack/one:1.0"), env=engine.environ).ok()
    assert fetched(stack, before) == []
    assert list(engine.images()) == [stack.ref("stack/one:1.0")]


def test_zstd_layers_load_into_an_old_docker(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    polyarch("pull", "--into", "docker", registry.ref("zstd:1.0"), env=engine.environ).ok()
    assert engine.docker("run", "--rm", "--network=none", registry.ref("zstd:1.0"), "echo", "here") == "here\n"


def test_docker_says_that_it_loads(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry) -> None:
    name = stack.ref("stack/one:1.0")
    lines = polyarch("pull", "--into", "docker", name, env=engine.environ).ok().stdout.splitlines()
    complete = [number for number, line in enumerate(lines) if line.endswith("Pull complete")]
    assert complete
    assert lines.index(f"Loading {name} into docker") > complete[-1]
    assert lines[-2:] == [f"Status: Downloaded newer image for {name}", name]
    again = polyarch("pull", "--into", "docker", name, env=engine.environ).ok().stdout
    assert "Loading" not in again
    assert f"Status: Image is up to date for {name}" in again


def test_docker_says_that_it_loads_on_a_terminal(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry) -> None:
    name = stack.ref("stack/big:1.0")
    code, written = on_a_terminal(polyarch, "pull", "--into", "docker", name, env=engine.environ, width=120)
    assert code == 0, written
    assert written.index("Pull complete") < written.index(f"Loading {name} into docker") < written.index("Status: ")


def test_an_image_is_read_from_docker_by_its_id(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry) -> None:
    engine.docker("pull", "--quiet", stack.ref("stack/one:1.0"))
    identifier = engine.inspect(stack.ref("stack/one:1.0"))["Id"]
    polyarch("pull", f"docker-daemon:{identifier}", env=engine.environ).ok()
    (own,) = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert own["id"] == identifier
    assert own["repository"].startswith("localhost/")


@pytest.mark.parametrize("words", [("--platform", "linux/amd64,linux/arm64"), ("--all-platforms",)], ids=" ".join)
def test_docker_keeps_one_platform_of_a_name(
    words: Sequence[str], polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry
) -> None:
    before = len(registry.access_log())
    done = polyarch("pull", "--into", "docker", *words, registry.ref("busybox:1.36"), env=engine.environ)
    assert done.code == 2
    assert done.stderr.startswith("error: docker keeps one platform of a name\nhint: ")
    assert registry.access_log()[before:] == []


def test_a_dry_run_loads_nothing(polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry) -> None:
    before = len(stack.access_log())
    words = ("pull", "--into", "docker", "--dry-run", stack.ref("stack/one:1.0"), "--format", "json")
    planned = polyarch(*words, env=engine.environ).ok().json_lines[0]
    assert planned["status"] == "planned"
    assert {layer["status"] for layer in planned["layers"]} == {"missing"}
    assert len(set(fetched(stack, before))) == 1  # the config
    assert engine.images() == {}
    assert not (polyarch.root / "staging").exists()


def test_a_digest_alone_is_no_name_for_docker(
    polyarch: Polyarch, engine: Dockerd, stack: DockerRegistry, layout: Layout
) -> None:
    name, digest = stack.ref("stack/one"), layout.names["stack/one:1.0"]["digest"]
    before = len(stack.access_log())
    done = polyarch("pull", "--into", "docker", f"{name}@{digest}", env=engine.environ)
    assert done.code == 2
    assert done.stderr.splitlines()[-1] == f"hint: name a tag, too: {name}:TAG@{digest}"
    assert not set(fetched(stack, before)) & {layer["digest"] for layer in layout.layers(digest)}
    assert engine.images() == {}
    polyarch("pull", "--into", "docker", f"{name}:mine@{digest}", env=engine.environ).ok()
    assert list(engine.images()) == [f"{name}:mine"]


def test_a_mislabelled_image_is_not_loaded(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    words = ("pull", "--into", "docker", "--platform", "linux/arm64", registry.ref("liar:1.0"))
    done = polyarch(*words, env=engine.environ)
    assert done.code == 7
    assert engine.images() == {}
    polyarch(*words, "--allow-mislabelled", env=engine.environ).ok()
    assert list(engine.images()) == [registry.ref("liar:1.0")]


def test_what_docker_has_is_listed(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", "--into", "docker", "--platform", "linux/arm64", name, env=engine.environ).ok()
    engine.docker("pull", "--quiet", f"{registry.ref('single')}:1.0")
    listed = polyarch("image", "ls", "--storage", "docker", "--format", "json", env=engine.environ).ok().json_lines
    loaded, pulled = sorted(listed, key=lambda line: line["repository"])
    assert loaded == {
        "repository": registry.ref("busybox"),
        "tag": "1.36",
        "id": engine.inspect(name)["Id"],
        "digest": None,
        "manifest": None,
        "platform": "linux/arm64",
        "created": "2024-01-01T00:00:00Z",
        "size": engine.inspect(name)["Size"],
        "shared_size": None,
        "damaged": False,
    }
    assert pulled["digest"] == engine.inspect(registry.ref("single:1.0"))["RepoDigests"][0].partition("@")[2]
    table = polyarch("image", "ls", "--storage", "docker", env=engine.environ).ok().stdout.splitlines()
    assert table[0].split() == ["REPOSITORY", "TAG", "PLATFORM", "IMAGE", "ID", "CREATED", "SIZE"]
    assert sorted(line.split()[:3] for line in table[1:]) == [
        [registry.ref("busybox"), "1.36", "linux/arm64"],
        [registry.ref("single"), "1.0", "linux/arm64"],
    ]
    ids = polyarch("-q", "image", "ls", "--storage", f"docker:{engine.socket}").ok().stdout.split()
    assert ids == [loaded["id"][7:19]]  # the two are one image


def test_an_image_is_read_from_docker(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    name = registry.ref("single:1.0")
    engine.docker("pull", "--quiet", name)
    words = ("pull", "--platform", "linux/arm64", f"docker-daemon:{name}", "--format", "json")
    pulled = polyarch(*words, env=engine.environ).ok().json_lines[0]
    (own,) = polyarch("image", "inspect", name, "--format", "json").ok().json_lines
    assert own["id"] == engine.inspect(name)["Id"]
    assert own["manifest"] == pulled["manifest"]
    assert polyarch(*words, env=engine.environ).ok().json_lines[0]["status"] == "up-to-date"
    assert list((polyarch.root / "temporary").iterdir()) == []
    polyarch("verify", name).ok()


def test_docker_to_docker_changes_nothing(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    name = registry.ref("single:1.0")
    engine.docker("pull", "--quiet", name)
    before = engine.images()
    words = ("pull", "--into", "docker", "--platform", "linux/arm64", f"docker-daemon:{name}", "--format", "json")
    assert polyarch(*words, env=engine.environ).ok().json_lines[0]["status"] == "up-to-date"
    assert engine.images() == before


def test_docker_does_not_have_every_image(polyarch: Polyarch, engine: Dockerd) -> None:
    done = polyarch("pull", "docker-daemon:nobody/knows:1.0", env=engine.environ)
    assert done.code == 3
    assert done.stderr == "error: docker has no image nobody/knows:1.0\nhint: see: docker image ls\n"


def test_all_of_a_repository_is_not_meant(polyarch: Polyarch, engine: Dockerd, registry: DockerRegistry) -> None:
    """Without a tag it is `latest`, of which docker may have none; all tags at once are never handed out."""
    engine.docker("pull", "--quiet", registry.ref("single:1.0"))
    done = polyarch("pull", f"docker-daemon:{registry.ref('single')}", env=engine.environ)
    assert done.code == 3
    assert f"docker has no image {registry.ref('single:latest')}" in done.stderr
    engine.docker("tag", registry.ref("single:1.0"), registry.ref("single:latest"))
    words = ("pull", "--platform", "linux/arm64", f"docker-daemon:{registry.ref('single')}")
    polyarch(*words, env=engine.environ).ok()
    listed = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert [line["tag"] for line in listed] == ["latest"]


def test_podmans_imitation_of_docker_is_loaded_into(
    polyarch: Polyarch, podman: PodmanEngine, stack: DockerRegistry
) -> None:
    """DOCKER_HOST often names it. It takes an image only with all its layers."""
    storage = f"docker:{podman.serve()}"
    for name in ("stack/one:1.0", "stack/two:1.0"):
        polyarch("pull", "--into", storage, stack.ref(name)).ok()
    for name in ("stack/one:1.0", "stack/two:1.0"):
        assert podman.images()[stack.ref(name)]
    done = polyarch("pull", "--into", storage, stack.ref("stack/two:1.0"), "--format", "json").ok()
    assert done.json_lines[0]["status"] == "up-to-date"
    polyarch("pull", stack.ref("stack/two:1.0")).ok()
    (own,) = polyarch("image", "inspect", stack.ref("stack/two:1.0"), "--format", "json").ok().json_lines
    assert f"sha256:{podman.inspect(stack.ref('stack/two:1.0'))['Id']}" == own["id"]
