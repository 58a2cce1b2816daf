"""Mirrors, rewrites, blocked registries and short names through the real command; podman is the second opinion.

The mirror is docker-registry as a pull-through cache of another one; the registries' logs tell who asked whom.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from polyarch.registry.machine_files import MachineFiles
from polyarch.settings import load_settings
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.processes import free_port

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cache(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A pull-through cache of the registry."""
    server = DockerRegistry(tmp_path_factory.mktemp("cache"), {"proxy": {"remoteurl": f"http://{registry.address}"}})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def podman() -> Iterator[PodmanEngine]:
    engine = PodmanEngine()
    yield engine
    engine.stop()


@pytest.fixture
def by_file(polyarch: Polyarch, tmp_path: Path) -> Callable[[str], Callable[..., Result]]:
    """The text of a registries.conf -> the command, for which it is the file of this machine."""
    path = tmp_path / "registries.conf"

    def write(text: str) -> Callable[..., Result]:
        path.write_text(text)
        return lambda *arguments: polyarch(*arguments, env={"POLYARCH_REGISTRIES_CONF": str(path)})

    return write


def test_a_dead_mirror_and_a_cache(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, cache: DockerRegistry
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    polyarch = by_file(
        f'[[registry]]\nlocation = "{registry.address}"\n'
        f'[[registry.mirror]]\nlocation = "{dead}"\n[[registry.mirror]]\nlocation = "{cache.address}"\n'
    )
    name = registry.ref("busybox:1.36")
    seen, cached = len(registry.access_log()), len(cache.access_log())
    [line] = polyarch("pull", "--format", "json", name).ok().json_lines
    assert (line["reference"], line["served_by"], line["status"]) == (name, cache.address, "downloaded")
    assert all("served_by" not in layer for layer in line["layers"])  # all from one host
    ours = [access for access in cache.access_log()[cached:] if access.agent.startswith("polyarch")]
    assert {access.path.split("/")[3] for access in ours} == {"manifests", "blobs"}
    assert not [access for access in registry.access_log()[seen:] if access.agent.startswith("polyarch")]

    resolved = polyarch("resolve", name).ok()
    assert f"Served by {cache.address} (for {registry.address})\n" in resolved.stdout
    because = "cannot be reached: connection refused"  # told once, though several things were read
    assert resolved.stderr == f"warning: mirror {dead} did not serve {name}: {because}; asking {cache.address}\n"
    [line] = polyarch("resolve", "--format", "json", name).ok().json_lines
    assert line["served_by"] == cache.address


def test_without_the_registry_its_cache_serves(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, cache: DockerRegistry, polyarch: Polyarch
) -> None:
    polyarch("pull", cache.ref("docker-list:1.0")).ok()
    gone = f"127.0.0.1:{free_port()}"
    command = by_file(f'[[registry]]\nlocation = "{gone}"\n[[registry.mirror]]\nlocation = "{cache.address}"')
    [line] = command("pull", "--format", "json", f"{gone}/docker-list:1.0").ok().json_lines
    assert (line["served_by"], line["status"]) == (cache.address, "downloaded")
    assert line["downloaded_bytes"] == 0  # the layers are at hand, under another name


def test_layers_of_several_hosts_are_told_one_by_one(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, sample_layout: Path, tmp_path: Path
) -> None:
    layout = Layout(sample_layout)
    missing = layout.layers(layout.manifest("busybox:1.36", "amd64"))[0]["digest"]
    shutil.copytree(registry.storage, tmp_path / "mirror" / "storage")
    mirror = DockerRegistry(tmp_path / "mirror")
    try:
        connection = HTTPConnection(mirror.address, timeout=10)
        connection.request("DELETE", f"/v2/busybox/blobs/{missing}")
        assert connection.getresponse().status == 202
        connection.close()
        polyarch = by_file(
            f'[[registry]]\nlocation = "{registry.address}"\n[[registry.mirror]]\nlocation = "{mirror.address}"'
        )
        name = registry.ref("busybox:1.36")
        result = polyarch("pull", "--platform", "linux/amd64", "--format", "json", name).ok()
        [line] = result.json_lines
        assert line["served_by"] == mirror.address
        assert [layer["served_by"] for layer in line["layers"]] == [registry.address, mirror.address]
        assert f"mirror {mirror.address} did not serve {name}: has no blob {missing[7:19]}" in result.stderr
    finally:
        mirror.stop()


def test_a_blocked_registry(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, podman: PodmanEngine, tmp_path: Path
) -> None:
    polyarch = by_file(f'[[registry]]\nlocation = "{registry.address}/busybox"\nblocked = true')
    seen = len(registry.access_log())
    name = registry.ref("busybox:1.36")
    for command in (("pull",), ("resolve",), ("tags",)):
        result = polyarch(*command, name)
        assert result.code == 5
        assert f"{tmp_path}/registries.conf blocks {registry.address}/busybox\n" in result.stderr
    [line] = polyarch("pull", "--format", "json", name).json_lines
    assert line["error"]["code"] == "unauthorized"
    assert line["error"]["details"]["prefix"] == f"{registry.address}/busybox"
    assert "is blocked in" in by_podman(podman, tmp_path, "pull", "--tls-verify=false", name, fails=True)
    assert len(registry.access_log()) == seen
    polyarch("pull", "--dry-run", registry.ref("library/busybox:1.36")).ok()


def test_rewrites_and_aliases_are_podmans(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, podman: PodmanEngine, tmp_path: Path
) -> None:
    polyarch = by_file(
        f'[[registry]]\nprefix = "app.example/team"\nlocation = "{registry.address}"\ninsecure = true\n'
        '[aliases]\n"mine" = "app.example/team/busybox"\n'
    )
    pulled = polyarch("pull", "mine:1.36").ok()
    assert pulled.stdout.startswith(
        f"mine:1.36: app.example/team/busybox:1.36 (by an alias in {tmp_path}/registries.conf)\n"
    )
    assert f"Served by {registry.address} (for app.example)\n" in pulled.stdout
    assert pulled.stdout.endswith("\napp.example/team/busybox:1.36\n")
    [image] = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert f"{image['repository']}:{image['tag']}" == "app.example/team/busybox:1.36"

    theirs = by_podman(podman, tmp_path, "pull", "mine:1.36")
    assert image["id"].removeprefix("sha256:") == theirs.strip()
    assert podman.images()["app.example/team/busybox:1.36"] == image["id"]

    for command in (
        ("image", "inspect", "mine:1.36"),
        ("run", "--rm", "--pull", "never", "mine:1.36", "true"),
        ("verify", "mine:1.36"),
    ):
        polyarch(*command).ok()
    polyarch("image", "rm", "mine:1.36").ok()
    assert polyarch("image", "ls", "-q").ok().stdout == ""


def test_search_registries_are_asked_in_their_order(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, cache: DockerRegistry, tmp_path: Path
) -> None:
    empty = DockerRegistry(tmp_path / "empty")
    try:
        polyarch = by_file(
            f"unqualified-search-registries = ['{empty.address}', '{registry.address}', '{cache.address}']"
        )
        seen = len(cache.access_log())
        pulled = polyarch("pull", "busybox:1.36").ok()
        full = registry.ref("busybox:1.36")
        assert pulled.stdout.startswith(
            f"busybox:1.36: {full} (by the search registries in {tmp_path}/registries.conf)\n"
        )
        assert [access.status for access in empty.access_log()] == [404]
        assert len(cache.access_log()) == seen
        asked = len(registry.access_log())
        assert polyarch("run", "--rm", "busybox:1.36", "echo", "found").ok().stdout == "found\n"
        tagged = polyarch("image", "tag", "-q", "busybox:1.36", "mine").ok()
        assert tagged.stdout == "docker.io/library/mine:latest\n"
        assert polyarch("run", "--rm", "mine", "echo", "mine").ok().stdout == "mine\n"  # kept as docker names it
        assert len(registry.access_log()) == asked
        polyarch("image", "rm", "busybox:1.36").ok()
        polyarch("image", "rm", "mine").ok()
        assert polyarch("image", "ls", "-q").ok().stdout == ""

        missing = polyarch("pull", "--format", "json", "nowhere")
        assert missing.code == 3
        assert missing.json_lines[0]["error"]["details"]["tried"][0] == f"{empty.address}/nowhere:latest"
    finally:
        empty.stop()


def test_a_broken_file_is_told_and_doctor_puts_it_aside(
    by_file: Callable[[str], Callable[..., Result]], registry: DockerRegistry, tmp_path: Path
) -> None:
    polyarch = by_file("[[registry]]\nlocation = 'a.b'\nblocked = 'no'")
    for arguments in (("pull", registry.ref("busybox:1.36")), ("resolve", "busybox")):
        result = polyarch(*arguments)
        assert result.code == 2
        assert (
            f"{tmp_path}/registries.conf: [[registry]] 1 (prefix 'a.b'): blocked has to be true or false"
            in result.stderr
        )
    polyarch("image", "ls").ok()
    checks = [check for check in polyarch("doctor", "--format", "json").json_lines if check.get("name") == "mirrors"]
    assert [(check["verdict"], check["essential"]) for check in checks] == [("failed", True)]
    assert checks[0]["mend"] == f"mv {tmp_path}/registries.conf {tmp_path}/registries.conf.broken"


def test_containerds_hosts(polyarch: Polyarch, registry: DockerRegistry, cache: DockerRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "certs.d" / "_default"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f'[host."http://{cache.address}"]\ncapabilities = ["pull"]\n')
    env = {"POLYARCH_CONTAINERD_HOSTS": str(folder.parent)}
    seen = len(registry.access_log())
    name = registry.ref("nested:1.0")
    result = polyarch("pull", "--format", "json", name, env=env).ok()
    [line] = result.json_lines
    assert line["served_by"] == cache.address
    ours = [access.path for access in registry.access_log()[seen:] if access.agent.startswith("polyarch")]
    assert set(ours) == {"/v2/nested/manifests/1.0"}  # a tag is the registry's to resolve
    (folder / "hosts.toml").write_text("server = 1")
    assert f"{folder}/hosts.toml: server has to be a string" in polyarch("pull", name, env=env).stderr


def test_podman_reads_the_same_files(podman: PodmanEngine, tmp_path: Path) -> None:
    home = podman.folder / "home"
    folder = home / ".config" / "containers"
    (folder / "registries.conf.d").mkdir(parents=True)
    (folder / "registries.conf").write_text("unqualified-search-registries = ['a.example', 'b.example']")
    drop_ins = {
        "1.conf": "[[registry]]\nlocation = 'c.example'\nblocked = true",
        "2.conf": "unqualified-search-registries = ['d.example']",
        "3.conf": "[[registry]]\nlocation = 'c.example'\ninsecure = true",
        "4.txt": "unqualified-search-registries = ['e.example']",
    }
    for name, text in drop_ins.items():
        (folder / "registries.conf.d" / name).write_text(text)
    theirs = json.loads(podman.podman("info", "--format", "{{json .Registries}}"))
    conf = MachineFiles(load_settings(tmp_path, environ={"HOME": str(home)})).conf()
    assert conf is not None
    assert conf.search is not None
    assert list(conf.search[0]) == theirs.pop("search") == ["d.example"]
    ours = {name: (rule.location, rule.blocked, rule.insecure) for name, rule in conf.rules.items()}
    assert ours == {name: (rule["Location"], rule["Blocked"], rule["Insecure"]) for name, rule in theirs.items()}
    assert ours == {"c.example": ("c.example", False, True)}


def by_podman(podman: PodmanEngine, folder: Path, *arguments: str, fails: bool = False) -> str:
    """What podman says by the same file: the output, or its complaint where it `fails`."""
    file = f"CONTAINERS_REGISTRIES_CONF={folder}/registries.conf"
    done = podman.try_podman(*arguments, prefix=("env", file))
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout
