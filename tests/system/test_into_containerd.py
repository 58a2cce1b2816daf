"""Images pulled into a real containerd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.containerd_engine import ContainerdEngine
from support.docker_registry import DockerRegistry
from support.layout_files import Layout
from support.processes import await_true
from support.stacks import FOREIGN, HERE, MACHINES, blobs_asked_for, stack_layout, statuses
from support.users import OrdinaryUser

pytestmark = pytest.mark.system
BULK = 16 << 20


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, foreign_busybox: Callable[[str], Path]) -> Layout:
    return stack_layout(tmp_path_factory.mktemp("stack") / "layout", "containerds", foreign_busybox(HERE), BULK)


@pytest.fixture(scope="module")
def source(registry: DockerRegistry, layout: Layout) -> DockerRegistry:
    """The sample registry, with the images of `layout` too."""
    registry.fill(layout)
    return registry


@pytest.fixture
def engine(containerd: ContainerdEngine) -> ContainerdEngine:
    """The engine, with no image in it."""
    containerd.clear()
    return containerd


def pull(polyarch: Polyarch, engine: ContainerdEngine, *words: str, into: str = "containerd") -> Result:
    return polyarch("pull", "--into", into, "--format", "json", *words, env=engine.environ)


def run(engine: ContainerdEngine, name: str, *words: str, platform: str = f"linux/{HERE}") -> str:
    """The output of a container that `ctr run` starts from what is there."""
    # Without --null-io shims keep FIFOs below a folder of the machine's: it is told through a mount what it says.
    folder = engine.folder / uuid.uuid4().hex
    folder.mkdir()
    command = ("/bin/busybox", "sh", "-c", 'exec > /said/it; exec "$@"', "sh", *words)
    mount = f"type=bind,src={folder},dst=/said,options=rbind:rw"
    options = ("--rm", "--null-io", "--platform", platform, "--mount", mount)
    done = engine.try_ctr("run", *options, name, folder.name, *command)
    assert done.returncode == 0, done.stderr
    return (folder / "it").read_text()


def test_containerd_has_what_was_pulled(polyarch: Polyarch, engine: ContainerdEngine, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    pulled = pull(polyarch, engine, "--platform", "linux/arm64", name).ok().json_lines[0]
    assert (pulled["status"], pulled["storage"]) == ("downloaded", "containerd")
    assert engine.images() == {name: pulled["digest"]}
    polyarch("pull", "--platform", "linux/arm64", name).ok()
    (own,) = polyarch("image", "inspect", name, "--format", "json").ok().json_lines
    config = json.loads(engine.ctr("content", "get", own["id"]))
    assert config["architecture"] == "arm64"
    before = len(registry.access_log())
    again = pull(polyarch, engine, "--platform", "linux/arm64", name).ok().json_lines[0]
    assert again["status"] == "up-to-date"
    assert blobs_asked_for(registry, before) == set()
    words = ("image", "ls", "--storage", "containerd", "--format", "json")
    listed = polyarch(*words, env=engine.environ).ok().json_lines
    assert [(line["repository"], line["tag"], line["id"], line["digest"], line["platform"]) for line in listed] == [
        (registry.ref("busybox"), "1.36", own["id"], pulled["digest"], "linux/arm64")
    ]


def test_several_platforms_of_a_name(polyarch: Polyarch, engine: ContainerdEngine, registry: DockerRegistry) -> None:
    """They come one after the other, and stay when containerd collects its garbage."""
    name = registry.ref("busybox:1.36")
    pull(polyarch, engine, "--platform", "linux/amd64,linux/arm64", name).ok()
    (later,) = pull(polyarch, engine, "--platform", "linux/arm/v7", name).ok().json_lines
    assert engine.images() == {name: later["digest"]}
    other = registry.ref("arm-only:1.0")
    pull(polyarch, engine, "--platform", "linux/arm", other)
    engine.ctr("images", "rm", "--sync", other)  # which waits for the garbage collection
    words = ("image", "ls", "--storage", "containerd", "--format", "json")
    listed = polyarch(*words, env=engine.environ).ok().json_lines
    assert {line["platform"] for line in listed} == {"linux/amd64", "linux/arm64", "linux/arm/v7"}
    for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7"):
        again = pull(polyarch, engine, "--platform", platform, name).ok().json_lines[0]
        assert (again["status"], statuses(again["layers"])) == ("up-to-date", ["exists", "exists"])


@pytest.mark.parametrize("name", ["docker-list:1.0", "nested:1.0", "duplicates:1.0", "no-platform:1.0", "zstd:1.0"])
def test_every_shape_of_a_name(
    name: str, polyarch: Polyarch, engine: ContainerdEngine, registry: DockerRegistry
) -> None:
    pulled = pull(polyarch, engine, "--platform", "linux/arm64", registry.ref(name)).ok().json_lines[0]
    assert engine.images()[registry.ref(name)] in (pulled["digest"], pulled["manifest"])
    again = pull(polyarch, engine, "--platform", "linux/arm64", registry.ref(name)).ok().json_lines[0]
    assert again["status"] == "up-to-date"


def test_only_missing_layers_travel(
    polyarch: Polyarch, engine: ContainerdEngine, source: DockerRegistry, layout: Layout
) -> None:
    pull(polyarch, engine, source.ref("containerds/app:1.0")).ok()
    before = len(source.access_log())
    pulled = pull(polyarch, engine, source.ref("containerds/app:1.1")).ok().json_lines[0]
    assert statuses(pulled["layers"]) == ["exists", "exists", "downloaded"]
    manifest = layout.json(layout.names["containerds/app:1.1"]["digest"])
    assert blobs_asked_for(source, before) == {manifest["config"]["digest"], manifest["layers"][2]["digest"]}
    said = run(engine, source.ref("containerds/app:1.1"), "/bin/busybox", "cat", "/etc/version")
    assert said == "containerds 1.1"


def test_what_no_image_needs_is_fetched_again(
    polyarch: Polyarch, engine: ContainerdEngine, source: DockerRegistry, layout: Layout
) -> None:
    """A blob that only lies there may be collected before the image that is to need it is whole."""
    layer = layout.layers(layout.names["containerds/app:1.0"]["digest"])[2]
    path = layout.path(layer["digest"])
    with path.open("rb") as blob:
        words = ["ctr", "content", "ingest", "--expected-digest", layer["digest"], "test"]
        subprocess.run(words, stdin=blob, env={**os.environ, **engine.environ}, check=True)
    assert layer["digest"] in engine.blobs()
    pulled = pull(polyarch, engine, source.ref("containerds/app:1.0")).ok().json_lines[0]
    assert statuses(pulled["layers"]) == ["downloaded"] * 3


def test_ctr_runs_the_foreign_variant_by_emulation(
    polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "polyarch", "--root", str(tmp_path / "emulate"), "emulate", "--platform", FOREIGN]
    tried = subprocess.run([*words, "--", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"nothing can be emulated here: {tried.stderr.strip()}")
    engine = ContainerdEngine(prefix=[*words, "--"])
    try:
        name = registry.ref("busybox:1.36")
        pull(polyarch, engine, "--platform", FOREIGN, name).ok()
        assert run(engine, name, "uname", "-m", platform=FOREIGN) == f"{MACHINES[FOREIGN]}\n"
    finally:
        engine.stop()


def test_namespaces(polyarch: Polyarch, engine: ContainerdEngine, source: DockerRegistry, tmp_path: Path) -> None:
    name = source.ref("containerds/app:1.0")
    pull(polyarch, engine, name, into="containerd:elsewhere").ok()
    assert engine.images() == {}
    assert engine.ctr("--namespace", "elsewhere", "images", "ls", "--quiet").split() == [name]
    settings = tmp_path / "containerd.toml"
    settings.write_text(f'[options.containerd]\naddress = "{engine.socket}"\nnamespace = "elsewhere"\n')
    words = ("pull", "--into", "containerd", name, "--format", "json")
    assert polyarch("--config", settings, *words).ok().json_lines[0]["status"] == "up-to-date"
    engine.ctr("--namespace", "elsewhere", "images", "rm", "--sync", name)
    done = pull(polyarch, engine, name, into="containerd:no/namespace")
    assert done.code == 2
    assert "'no/namespace' is no namespace of containerd's" in done.stderr


@pytest.fixture
def node() -> Iterator[ContainerdEngine]:
    engine = ContainerdEngine(kubernetes=True)
    yield engine
    engine.stop()


def test_kubernetes_finds_what_was_pulled(polyarch: Polyarch, node: ContainerdEngine, registry: DockerRegistry) -> None:
    """The kubelet asks for images by name and by ID: containerd's plugin for it gives the ID to each image it sees."""
    name = registry.ref("busybox:1.36")
    polyarch("pull", name).ok()
    polyarch("image", "tag", name, "busybox:1.36").ok()
    hub = f"oci:{polyarch.root}/oci:docker.io/library/busybox:1.36"
    pull(polyarch, node, "--platform", f"linux/{HERE}", hub, into="containerd:k8s.io").ok()
    (own,) = polyarch("image", "inspect", name, "--format", "json").ok().json_lines

    def names() -> set[str]:
        return set(node.ctr("--namespace", "k8s.io", "images", "ls", "--quiet").split())

    await_true(lambda: names() == {"docker.io/library/busybox:1.36", own["id"]}, "the image is known by its ID")
    listed = polyarch("image", "ls", "--storage", "containerd:k8s.io", "--format", "json", env=node.environ).ok()
    assert [(line["repository"], line["tag"]) for line in listed.json_lines] == [("docker.io/library/busybox", "1.36")]


def test_names_of_digests(polyarch: Polyarch, engine: ContainerdEngine, source: DockerRegistry, layout: Layout) -> None:
    digest, repository = layout.names["containerds/app:1.0"]["digest"], source.ref("containerds/app")
    pull(polyarch, engine, f"{repository}@{digest}").ok()
    pull(polyarch, engine, f"{repository}:mine@{digest}").ok()
    assert engine.images() == {f"{repository}@{digest}": digest, f"{repository}:mine": digest}


def test_containerd_is_not_there(
    polyarch: Polyarch,
    engine: ContainerdEngine,
    source: DockerRegistry,
    unprivileged_user: OrdinaryUser,
    tmp_path: Path,
) -> None:
    words = ("pull", "--into", "containerd", source.ref("containerds/app:1.0"))
    done = polyarch(*words, env={"PATH": "/nonexistent"})
    assert done.code == 8
    assert "error: there is no program ctr here\nhint: install containerd" in done.stderr
    done = polyarch(*words, env={"CONTAINERD_ADDRESS": f"{tmp_path}/gone.sock"})
    assert done.code == 8
    assert "error: containerd does not answer: " in done.stderr
    assert "hint: start it, such as with: systemctl start containerd" in done.stderr
    engine.folder.chmod(0o755)
    done = polyarch(*words, env=engine.environ, user=unprivileged_user)
    assert done.code == 8
    assert "error: this user may not speak with containerd: " in done.stderr
    assert done.stderr.endswith("hint: call polyarch as root\n")


def test_containerds_disk_is_full(
    polyarch: Polyarch, source: DockerRegistry, small_tmpfs: Callable[[int], Path]
) -> None:
    disk, name = small_tmpfs(BULK * 3 // 2), source.ref("containerds/bulk:1.0")  # room for the blob, not to unpack it
    engine = ContainerdEngine(data=disk / "data")
    try:
        done = polyarch("pull", "--into", "containerd", name, env=engine.environ)
        assert done.code == 9, done.stderr
        assert "no space left on device" in done.stderr
        assert "hint: free some space where containerd keeps its images" in done.stderr
        assert engine.images() == {}
        before = len(source.access_log())
        subprocess.run(["mount", "-o", f"remount,size={8 * BULK}", str(disk)], check=True)
        assert pull(polyarch, engine, name).ok().json_lines[0]["status"] == "downloaded"
        assert list(engine.images()) == [name]
        assert len(blobs_asked_for(source, before)) <= 1  # the config
    finally:
        engine.stop()


def test_a_pull_that_is_killed(polyarch: Polyarch, engine: ContainerdEngine, source: DockerRegistry) -> None:
    """While containerd takes the layers. What came to polyarch is not fetched again."""
    name = source.ref("containerds/bulk:1.0")
    process = polyarch.start("pull", "--into", "containerd", name, env=engine.environ)
    await_true(lambda: any((polyarch.root / "temporary").glob("*/*/_default")), "containerd is asked to pull")
    blobs = polyarch.root / "staging" / "blobs" / "sha256"
    await_true(lambda: len(list(blobs.glob("*"))) == 2, "the layers are here")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = len(source.access_log())
    pull(polyarch, engine, name).ok()
    assert list(engine.images()) == [name]
    assert len(blobs_asked_for(source, before)) <= 1  # the config


def test_a_pull_that_comes_to_nothing(polyarch: Polyarch, engine: ContainerdEngine, registry: DockerRegistry) -> None:
    """containerd has begun by then; all of it goes."""
    done = pull(polyarch, engine, "--platform", "linux/arm64", registry.ref("liar:1.0"))
    assert done.code == 7
    assert engine.images() == {}
    assert list((polyarch.root / "temporary").iterdir()) == []


def test_what_killed_pulls_left_goes(
    polyarch: Polyarch, engine: ContainerdEngine, source: DockerRegistry, registry: DockerRegistry
) -> None:
    pull(polyarch, engine, source.ref("containerds/app:1.0")).ok()
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, others = (f"polyarch.invalid/loading-{pid}/{uuid.uuid4().hex}:latest" for pid in (dead.pid, os.getpid()))
    for each in (left, others):
        engine.ctr("images", "tag", source.ref("containerds/app:1.0"), each)
    words = ("image", "ls", "--storage", "containerd", "--format", "json")
    assert len(polyarch(*words, env=engine.environ).ok().json_lines) == 1
    pull(polyarch, engine, registry.ref("busybox:1.36")).ok()
    assert left not in engine.images()
    assert others in engine.images()
