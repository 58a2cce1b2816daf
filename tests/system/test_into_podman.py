"""Images pulled into podman, by its program and by its service, and read from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.engines import one_version

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.processes import await_true
from support.stacks import FOREIGN, MACHINES, blobs_asked_for, stack_layout, statuses
from support.users import OrdinaryUser

pytestmark = pytest.mark.system
BULK = 16 << 20


@dataclass(frozen=True)
class Commands:
    """polyarch, told which podman is meant."""

    polyarch: Polyarch
    settings: Path
    user: OrdinaryUser | None = None

    def __call__(self, *words: str | Path) -> Result:
        return self.polyarch("--config", self.settings, *words, user=self.user)

    def pull(self, *words: str) -> Result:
        return self("pull", "--into", "podman", "--format", "json", *words)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, foreign_busybox: Callable[[str], Path]) -> Layout:
    directory = tmp_path_factory.mktemp("stack") / "layout"
    return stack_layout(directory, "podmans", foreign_busybox(os.uname().machine.replace("x86_64", "amd64")), BULK)


@pytest.fixture(scope="module")
def source(registry: DockerRegistry, layout: Layout) -> DockerRegistry:
    """The sample registry, with the images of `layout` too."""
    registry.fill(layout)
    return registry


@pytest.fixture
def engine(podman: PodmanEngine) -> PodmanEngine:
    """podman, with no image in it."""
    podman.clear()
    return podman


@pytest.fixture
def commands(polyarch: Polyarch, engine: PodmanEngine, tmp_path: Path) -> Commands:
    return told(polyarch, engine.settings, tmp_path)


def told(polyarch: Polyarch, settings: str, folder: Path, user: OrdinaryUser | None = None) -> Commands:
    path = (user.home if user else folder) / "podman.toml"
    path.write_text(settings)
    path.chmod(0o644)
    return Commands(polyarch, path, user)


def test_podman_has_what_was_pulled(commands: Commands, engine: PodmanEngine, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    pulled = commands.pull("--platform", "linux/arm64", name).ok().json_lines[0]
    assert (pulled["status"], pulled["storage"]) == ("downloaded", "podman")
    commands("pull", "--platform", "linux/arm64", name).ok()
    (own,) = commands("image", "inspect", name, "--format", "json").ok().json_lines
    assert engine.images() == {name: own["id"]}
    described = engine.inspect(name)
    assert described["Architecture"] == "arm64"
    repository = registry.ref("busybox")
    assert set(described["RepoDigests"]) == {f"{repository}@{pulled[each]}" for each in ("digest", "manifest")}
    before = len(registry.access_log())
    again = commands.pull("--platform", "linux/arm64", name).ok().json_lines[0]
    assert again["status"] == "up-to-date"
    assert blobs_asked_for(registry, before) == set()
    listed = commands("image", "ls", "--storage", "podman", "--format", "json").ok().json_lines
    assert [(line["repository"], line["tag"], line["id"], line["platform"]) for line in listed] == [
        (repository, "1.36", own["id"], "linux/arm64")
    ]


@pytest.mark.parametrize("name", ["docker-list:1.0", "nested:1.0", "duplicates:1.0", "zstd:1.0"])
def test_every_shape_of_a_name(name: str, commands: Commands, engine: PodmanEngine, registry: DockerRegistry) -> None:
    pulled = commands.pull("--platform", "linux/arm64", registry.ref(name)).ok().json_lines[0]
    assert list(engine.images()) == [registry.ref(name)]
    assert pulled["manifest"] in {text.partition("@")[2] for text in engine.inspect(registry.ref(name))["RepoDigests"]}
    again = commands.pull("--platform", "linux/arm64", registry.ref(name)).ok().json_lines[0]
    assert again["status"] == "up-to-date"


def test_only_missing_layers_travel(
    commands: Commands, engine: PodmanEngine, source: DockerRegistry, layout: Layout
) -> None:
    commands.pull(source.ref("podmans/app:1.0")).ok()
    before = len(source.access_log())
    pulled = commands.pull(source.ref("podmans/app:1.1")).ok().json_lines[0]
    assert statuses(pulled["layers"]) == ["exists", "exists", "downloaded"]
    manifest = layout.json(layout.names["podmans/app:1.1"]["digest"])
    assert blobs_asked_for(source, before) == {manifest["config"]["digest"], manifest["layers"][2]["digest"]}
    words = ("run", "--rm", "--network=host", source.ref("podmans/app:1.1"), "/bin/busybox", "cat", "/etc/version")
    done = engine.try_podman(*words, prefix=one_version())
    assert done.stdout == "podmans 1.1", done.stderr


def test_podman_runs_the_foreign_variant_by_emulation(
    commands: Commands, engine: PodmanEngine, registry: DockerRegistry, tmp_path: Path
) -> None:
    name = registry.ref("busybox:1.36")
    commands.pull("--platform", FOREIGN, name).ok()
    emulate = (sys.executable, "-m", "polyarch", "--root", str(tmp_path / "emulate"), "emulate", "--platform", FOREIGN)
    tried = subprocess.run([*emulate, "--", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"nothing can be emulated here: {tried.stderr.strip()}")
    words = ("run", "--rm", "--network=host", "--platform", FOREIGN, name, "uname", "-m")
    done = engine.try_podman(*words, prefix=[*one_version(), *emulate, "--"])
    assert done.stdout == f"{MACHINES[FOREIGN]}\n", done.stderr


def test_the_service_loads_it(polyarch: Polyarch, engine: PodmanEngine, source: DockerRegistry, layout: Layout) -> None:
    name, storage = source.ref("podmans/app:1.0"), f"podman:{engine.serve()}"
    pulled = polyarch("pull", "--into", storage, name, "--format", "json").ok().json_lines[0]
    manifest = layout.json(layout.names["podmans/app:1.0"]["digest"])
    assert engine.images() == {name: manifest["config"]["digest"]}
    assert pulled["status"] == "downloaded"
    assert engine.inspect(name)["Digest"] == pulled["manifest"]
    words = ("pull", "--into", "podman", name, "--format", "json")
    again = polyarch(*words, env={"CONTAINER_HOST": f"unix://{engine.socket}"}).ok().json_lines[0]
    assert again["status"] == "up-to-date"


@pytest.mark.parametrize(
    ("way", "name"), [("program", "busybox:1.36"), ("program", "single:1.0"), ("service", "busybox:1.36")]
)
def test_an_image_is_read_from_podman(
    way: str, name: str, polyarch: Polyarch, engine: PodmanEngine, registry: DockerRegistry, tmp_path: Path
) -> None:
    settings = engine.settings if way == "program" else f'[options.podman]\nsocket = "{engine.serve()}"\n'
    commands = told(polyarch, settings, tmp_path)
    full = registry.ref(name)
    engine.podman("pull", "--quiet", "--tls-verify=false", "--platform", "linux/arm64", full)
    words = ("pull", "--platform", "linux/arm64", f"containers-storage:{full}", "--format", "json")
    commands(*words).ok()
    (own,) = commands("image", "inspect", full, "--format", "json").ok().json_lines
    assert own["id"] == f"sha256:{engine.inspect(full)['Id']}"
    assert commands(*words).ok().json_lines[0]["status"] == "up-to-date"
    assert list((polyarch.root / "temporary").iterdir()) == []
    commands("verify", full).ok()


def test_podman_does_not_have_every_image(commands: Commands) -> None:
    done = commands("pull", "containers-storage:registry.example/nobody/knows:1.0")
    assert done.code == 3
    assert done.stderr.startswith("error: podman has no image registry.example/nobody/knows:1.0\nhint: see")


def test_names_of_digests(commands: Commands, engine: PodmanEngine, source: DockerRegistry, layout: Layout) -> None:
    digest, repository = layout.names["podmans/app:1.0"]["digest"], source.ref("podmans/app")
    commands.pull(f"{repository}@{digest}").ok()
    assert engine.inspect(f"{repository}@{digest}")["Digest"] == digest
    assert commands.pull(f"{repository}@{digest}").ok().json_lines[0]["status"] == "up-to-date"
    commands.pull(f"{repository}:mine@{digest}").ok()
    assert f"{repository}:mine" in engine.images()


@pytest.mark.parametrize("words", [("--platform", "linux/amd64,linux/arm64"), ("--all-platforms",)], ids=" ".join)
def test_podman_keeps_one_platform_of_a_name(words: Sequence[str], commands: Commands) -> None:
    done = commands("pull", "--into", "podman", *words, "registry.example/busybox:1.36")
    assert done.code == 2
    assert done.stderr.startswith("error: podman keeps one platform of a name\nhint: ")


@pytest.fixture
def users_podman(unprivileged_user: OrdinaryUser) -> Iterator[PodmanEngine]:
    engine = PodmanEngine(unprivileged_user)
    yield engine
    engine.stop()


def test_an_ordinary_users_podman(
    polyarch: Polyarch, users_podman: PodmanEngine, source: DockerRegistry, layout: Layout, tmp_path: Path
) -> None:
    commands = told(polyarch, users_podman.settings, tmp_path, users_podman.user)
    name = source.ref("podmans/app:1.0")
    commands.pull(name).ok()
    manifest = layout.json(layout.names["podmans/app:1.0"]["digest"])
    assert users_podman.images() == {name: manifest["config"]["digest"]}
    before = len(source.access_log())
    pulled = commands.pull(source.ref("podmans/app:1.1")).ok().json_lines[0]
    assert statuses(pulled["layers"]) == ["exists", "exists", "downloaded"]
    assert len(blobs_asked_for(source, before)) == 2


def test_podman_is_not_there(polyarch: Polyarch, source: DockerRegistry, tmp_path: Path) -> None:
    words = ("pull", "--into", "podman", source.ref("podmans/app:1.0"))
    done = polyarch(*words, env={"PATH": "/nonexistent"})
    assert done.code == 8
    assert done.stderr.endswith(
        "error: there is no program podman here\nhint: install podman, such as with: apt install podman\n"
    )
    gone = f"unix://{tmp_path}/gone.sock"
    done = polyarch(*words, env={"CONTAINER_HOST": gone})
    assert done.code == 8
    assert f"error: podman's service does not run here: there is no socket {tmp_path}/gone.sock\nhint: start it" in (
        done.stderr
    )


def test_podman_may_not_write(polyarch: Polyarch, engine: PodmanEngine, source: DockerRegistry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [*engine.command, "--root", f"{tmp_path}/file/root"]
    settings = f"[options.podman]\ncommand = {json.dumps(command)}\n"
    done = told(polyarch, settings, tmp_path)("pull", "--into", "podman", source.ref("podmans/app:1.0"))
    assert done.code == 8
    assert "podman does not work here: " in done.stderr
    assert "hint: try it: podman info" in done.stderr


def test_podmans_disk_is_full(
    polyarch: Polyarch, source: DockerRegistry, small_tmpfs: Callable[[int], Path], tmp_path: Path
) -> None:
    disk, name = small_tmpfs(BULK // 2), source.ref("podmans/bulk:1.0")
    engine = PodmanEngine(data=disk / "root")
    try:
        commands = told(polyarch, engine.settings, tmp_path)
        done = commands("pull", "--into", "podman", name)
        assert done.code == 9, done.stderr
        assert "no space left on device" in done.stderr
        assert "hint: free some space where podman keeps its images" in done.stderr
        assert engine.images() == {}
        before = len(source.access_log())
        subprocess.run(["mount", "-o", f"remount,size={8 * BULK}", str(disk)], check=True)
        assert commands.pull(name).ok().json_lines[0]["status"] == "downloaded"
        assert list(engine.images()) == [name]
        assert len(blobs_asked_for(source, before)) <= 1  # the config
    finally:
        engine.stop()


def test_a_pull_that_comes_to_nothing(commands: Commands, engine: PodmanEngine, registry: DockerRegistry) -> None:
    """podman has begun by then."""
    done = commands.pull("--platform", "linux/arm64", registry.ref("liar:1.0"))
    assert done.code == 7
    assert engine.images() == {}
    assert list((commands.polyarch.root / "temporary").iterdir()) == []


def test_a_pull_that_is_killed(commands: Commands, engine: PodmanEngine, source: DockerRegistry) -> None:
    """While podman takes the layers. It fails for want of polyarch, and what came to that is not fetched again."""
    name, root = source.ref("podmans/bulk:1.0"), commands.polyarch.root
    process = commands.polyarch.start("--config", commands.settings, "pull", "--into", "podman", name)
    await_true(lambda: any((root / "temporary").glob("*/*.conf")), "podman is asked to pull")
    await_true(lambda: len(list((root / "staging" / "blobs" / "sha256").glob("*"))) == 2, "the layers are here")
    process.kill()
    process.communicate()
    before = len(source.access_log())
    commands.pull(name).ok()
    assert list(engine.images()) == [name]
    assert len(blobs_asked_for(source, before)) <= 1  # the config
    assert list((root / "temporary").iterdir()) == []
