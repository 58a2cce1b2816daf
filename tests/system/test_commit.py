"""`polyarch commit`: what it stores, held against umoci and docker; what it says."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polyarch.container.commit import CommitRequest
from polyarch.container.layers import Layers, folder_of
from polyarch.container.mounted import in_stopped
from polyarch.container.request import RunRequest
from polyarch.container.rights import Rights
from polyarch.container.state import Containers
from polyarch.errors import NotFoundError, PolyarchError
from polyarch.session import Session
from polyarch.settings import Settings
from support.command import Polyarch, Result
from support.commit_cases import CASES, NOT_BY_DOCKER, base_layers, make_all, place, seen
from support.committed_images import by_umoci, docker_archive, layout_of, single
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.overlay_mount import overlay
from support.owners import owner_of, owners
from support.processes import await_true
from support.stacks import FOREIGN, MACHINES
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices can only be compared as root")
Listings = dict[str, Any]


@dataclass(frozen=True)
class Everything:
    """What all cases made in a container, and its image in a layout of its own."""

    container: Listings
    layout: Path


def listings(top: Path) -> Listings:
    return {case: seen(top / place(case)) for case in CASES}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    if os.geteuid() != 0:
        pytest.skip("owners and devices can only be compared as root")
    folder = tmp_path_factory.mktemp("commit")
    polyarch = Polyarch(folder)
    polyarch("container", "create", "--name", "c", layout_of(folder / "base", list(base_layers()), "base")).ok()
    rights = Rights("trusted", None)
    containers = Containers(polyarch.root / "containers", rights)
    record = containers.find("c")
    folder_of_layers = folder_of(polyarch.root / "snapshots", record.form, "trusted")
    snapshots = Layers(record.form, tuple(folder_of_layers / layer for layer in record.layers))
    answer = folder / "answer"

    def act(root: str) -> None:
        make_all(Path(root))
        answer.write_bytes(pickle.dumps(listings(Path(root))))

    in_stopped(containers.directory(record), snapshots, rights, act)
    result = polyarch("commit", "--format", "json", "c", "all:1").ok()
    assert result.stderr.count("left out: sockets") == 1
    document = result.json_lines[0]
    assert len(document["left_out"]) == 2
    return Everything(
        pickle.loads(answer.read_bytes()), single(polyarch.root / "oci", document["digest"], folder / "layout")
    )


@pytest.fixture(scope="module")
def by_others(
    request: pytest.FixtureRequest, everything: Everything, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Listings]:
    """What the image has, unpacked by umoci or by docker."""
    made: dict[str, Listings] = {}
    folder = tmp_path_factory.mktemp("others")

    def of(tool: str) -> Listings:
        if tool not in made:
            made[tool] = _by_umoci() if tool == "umoci" else _by_docker(request.getfixturevalue("dockerd"))
        return made[tool]

    def _by_umoci() -> Listings:
        if not shutil.which("umoci"):
            pytest.skip("umoci is not on this machine")
        return listings(by_umoci(everything.layout, folder / "umoci"))

    def _by_docker(dockerd: Dockerd) -> Listings:
        if not shutil.which("skopeo"):
            pytest.skip("skopeo is not on this machine")
        dockerd.docker("load", "--input", str(docker_archive(everything.layout, folder / "archive", "committed:1")))
        driver = dockerd.inspect("committed:1")["GraphDriver"]
        if driver["Name"] != "overlay2":
            pytest.skip(f"docker keeps layers by {driver['Name']} here")
        layers = [driver["Data"]["UpperDir"], *driver["Data"].get("LowerDir", "").split(":")]
        with overlay([Path(layer).resolve() for layer in layers], folder / "docker") as merged:
            return listings(merged)

    return of


@as_root
@pytest.mark.parametrize("tool", ["umoci", "docker"])
def test_other_tools_find_what_the_container_had(
    tool: str, everything: Everything, by_others: Callable[[str], Listings]
) -> None:
    found = by_others(tool)
    assert len(found) == len(CASES)
    differing = {case for case in CASES if found[case] != everything.container[case]}
    assert differing == ({NOT_BY_DOCKER} if tool == "docker" else set())


EXCHANGED = """
echo mine > /etc/mine; rm /etc/motd; mkdir /srv; echo x > /srv/x; ln /etc/passwd /etc/passwd2; chmod 4750 /srv/x
mknod /srv/p p; rm -r /var/cache; mkdir /var/cache; ln -s / /srv/link
"""


@pytest.fixture(scope="module")
def owner(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, soak: bool
) -> tuple[OrdinaryUser | None, Path]:
    user = owner_of(request, soak=soak)
    return user, (user.home / "commit-root" if user else tmp_path_factory.mktemp("commits") / "root")


Here = Callable[..., Result]


@pytest.fixture
def here(owner: tuple[OrdinaryUser | None, Path], polyarch: Polyarch) -> Iterator[Here]:
    """`here("run", …)` is the command as root or as the user; afterwards all containers are taken away."""
    user, root = owner

    def run(*words: str, **more: Any) -> Result:
        return polyarch("--progress", "none", *words, root=root, user=user, **more)

    yield run
    if names := run("ps", "-aq").ok().stdout.split():
        run("rm", "-f", *names).ok()


@owners("ordinary user", soak="root")
def test_an_image_that_runs(here: Here, registry: DockerRegistry) -> None:
    here("run", "--name", "c", registry.ref("busybox:1.36"), "sh", "-ec", EXCHANGED).ok()
    result = here("commit", "-m", "by hand", "-a", "me", "-c", "ENV A=b", "-c", "CMD cat /etc/mine", "c", "mine:1").ok()
    assert here("images", "-q").ok().stdout.split().count(result.stdout.strip().partition(":")[2][:12]) == 1
    assert here("run", "--rm", "mine:1").ok().stdout == "mine\n"
    diff = here("diff", "c").ok().stdout
    here("run", "--name", "d", "mine:1", "true").ok()
    assert here("diff", "d").ok().stdout == ""
    assert "D /etc/motd" in diff
    assert (
        here("run", "--rm", "mine:1", "sh", "-c", "stat -c %a:%h /srv/x /etc/passwd; ls /var/cache; echo $A")
        .ok()
        .stdout
        == "4750:1\n644:2\nb\n"
    )


@owners("root", soak="ordinary user")
@pytest.mark.parametrize("platform", ["linux/amd64", pytest.param("linux/arm64", marks=pytest.mark.costly)])
def test_a_container_that_runs(here: Here, registry: DockerRegistry, owner: tuple[object, Path], platform: str) -> None:
    known = ("--platform", platform)
    script = "echo ready > /ready; n=0; while :; do n=$((n + 1)); echo $n > /tick; done"
    here("run", "-d", "--name", "c", *known, registry.ref("busybox:1.36"), "sh", "-c", script).ok()
    here("exec", "c", "sh", "-c", "until test -e /tick; do :; done").ok()
    result = here("commit", "c", "running:1").ok()
    assert ("goes on while it is read" in result.stderr) is (owner[0] is not None)
    assert here("commit", "--no-pause", "c", "running:2").ok().stderr == ""
    assert here("run", "--rm", *known, "running:1", "cat", "/ready").ok().stdout == "ready\n"
    before = here("exec", "c", "cat", "/tick").ok().stdout
    here(
        "exec", "c", "sh", "-c", f'until n=$(cat /tick); test -n "$n" -a "$n" != "{before.strip()}"; do :; done'
    ).ok()  # it goes on


@as_root
def test_one_that_is_killed_leaves_no_name(polyarch: Polyarch) -> None:
    polyarch("container", "create", "--name", "c", "scratch").ok()
    (place,) = (polyarch.root / "containers").glob("*/")
    with (place / "upper/endless").open("wb") as stream:
        stream.truncate(1 << 36)
    process = polyarch.start("commit", "c", "killed:1")
    await_true(lambda: f":{(place / 'lock').stat().st_ino} " in Path("/proc/locks").read_text(), "it is read")
    process.kill()
    polyarch.finish(process)
    assert polyarch("images", "-q").ok().stdout == ""
    assert {path.name for path in place.iterdir() if path.is_file()} == {"container.json", "start.json", "lock"}
    (place / "upper/endless").unlink()
    (place / "upper/end").touch()
    polyarch("commit", "c", "whole:1").ok()
    polyarch("verify", "whole:1").ok()


# container, name, instructions -> exit code, what is said
WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an unknown container": (("nobody", "x:1"), 3, "there is no container 'nobody'"),
    "an unknown instruction": (("c", "x:1", "RUN true"), 2, "no instruction that a commit can have"),
    "a digest": (("c", "x@sha256:" + "0" * 64), 2, "names a digest"),
    "scratch": (("c", "scratch"), 2, "no image can be called scratch"),
    "no name": (("c", "UPPER case"), 2, "UPPER case"),
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(Settings(root=tmp_path / "root")) as made:
        yield made


def test_what_the_documents_say(session: Session, registry: DockerRegistry, tmp_path: Path) -> None:
    argv = ("sh", "-c", "echo x > /x")
    record = session.containers.create(registry.ref("busybox:1.36"), RunRequest(name="c", argv=argv))
    (tmp_path / "x").write_text("x")
    session.containers.copy(str(tmp_path / "x"), "c:/")
    request = CommitRequest(author="Me <me@example.org>", message="a line")
    committed = session.containers.commit("c", "said:1", request)
    manifest, config = _documents(tmp_path / "root", committed.image.manifest.digest)
    old_manifest, old = _documents(tmp_path / "root", record.manifest)
    assert committed.layer is not None
    assert manifest["layers"] == [*old_manifest["layers"], committed.layer.to_json()]
    line = {"created": config["created"], "created_by": "sh -c echo x > /x", "author": "Me <me@example.org>"}
    assert config["history"] == [*old["history"], {**line, "comment": "a line"}]
    assert config["rootfs"]["diff_ids"] == [*old["rootfs"]["diff_ids"], committed.diff_id]
    changed = {"created", "history", "rootfs", "author"}
    assert {key: value for key, value in config.items() if key not in changed} == {
        key: value for key, value in old.items() if key not in changed
    }


def _documents(root: Path, digest: str) -> tuple[dict[str, Any], dict[str, Any]]:
    blobs = root / "oci" / "blobs" / "sha256"
    manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())
    return manifest, json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())


def test_nothing_changed_makes_no_layer(session: Session, registry: DockerRegistry, tmp_path: Path) -> None:
    session.containers.create(registry.ref("busybox:1.36"), RunRequest(name="c"))
    committed = session.containers.commit("c", "same:1", CommitRequest(("USER 1",)))
    assert committed.layer is None
    _, config = _documents(tmp_path / "root", committed.image.manifest.digest)
    assert config["history"][-1]["empty_layer"] is True
    assert config["config"]["User"] == "1"


def test_an_image_that_is_gone(session: Session, registry: DockerRegistry, tmp_path: Path) -> None:
    """Not by `image rm` or `prune`, which leave what a container stands on, but by somebody's hand."""
    record = session.containers.create(registry.ref("busybox:1.36"), RunRequest(name="c"))
    blobs = tmp_path / "root/oci/blobs/sha256"
    (blobs / record.manifest.removeprefix("sha256:")).rename(tmp_path / "manifest")
    with pytest.raises(NotFoundError, match="is no longer whole in the storage") as caught:
        session.containers.commit("c", "orphan:1", CommitRequest())
    assert caught.value.hint == f"bring it back: polyarch pull {registry.ref('busybox')}@{record.manifest}"
    (tmp_path / "manifest").rename(blobs / record.manifest.removeprefix("sha256:"))
    manifest, _ = _documents(tmp_path / "root", record.manifest)
    (blobs / manifest["layers"][0]["digest"].removeprefix("sha256:")).unlink()
    with pytest.raises(NotFoundError, match="is no longer whole in the storage"):
        session.containers.commit("c", "orphan:1", CommitRequest())


@pytest.mark.parametrize("case", WRONG)
def test_words_that_are_wrong(case: str, session: Session) -> None:
    (name, reference, *changes), code, said = WRONG[case]
    session.containers.create("scratch", RunRequest(name="c"))
    with pytest.raises(PolyarchError, match=said) as caught:
        session.containers.commit(name, reference, CommitRequest(tuple(changes)))
    assert caught.value.exit_code == code
    assert session.images() == ()


def test_the_same_content_gives_the_same_digest(session: Session, tmp_path: Path) -> None:
    digests = set()
    for name, time in (("one", 1_800_000_000), ("two", 1_900_000_000)):
        (tmp_path / name).mkdir()
        for path in (tmp_path / name / "x", tmp_path / name):
            path.is_dir() or path.write_text("x")
            os.utime(path, (time, time))
        session.containers.create("scratch", RunRequest(name=name))
        session.containers.copy(f"{tmp_path / name}/.", f"{name}:/d")
        image = session.containers.commit(name, f"{name}:1", CommitRequest(epoch=1_700_000_000)).image
        assert image.config.created == "2023-11-14T22:13:20Z"
        digests.add(image.manifest.digest)
    assert len(digests) == 1
    later = session.containers.commit("one", "one:2", CommitRequest(epoch=2_000_000_000)).image
    assert later.manifest.digest not in digests


def test_from_nothing(polyarch: Polyarch, foreign_busybox: Callable[[str], Path]) -> None:
    """An image of one file, for another machine."""
    polyarch("container", "create", "--name", "c", "--platform", FOREIGN, "scratch").ok()
    polyarch("cp", foreign_busybox(FOREIGN.partition("/")[2]), "c:/busybox").ok()
    change = 'CMD ["/busybox", "uname", "-m"]'
    result = polyarch("commit", "--format", "json", "-c", change, "c", "one:1").ok()
    assert result.json_lines[0]["platform"] == FOREIGN
    assert polyarch("run", "--rm", "one:1").ok().stdout.strip() == MACHINES[FOREIGN]
