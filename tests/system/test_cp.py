"""`polyarch cp` with real containers: made, running and ended, as root and as an ordinary user."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyarch.container.request import RunRequest
from polyarch.errors import PolyarchError, UsageError
from polyarch.session import Session
from polyarch.settings import Settings
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.owners import owner_of, owners
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
Here = Callable[..., Result]


@pytest.fixture(scope="module")
def owner(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, soak: bool
) -> tuple[OrdinaryUser | None, Path]:
    user = owner_of(request, soak=soak)
    if user is None:
        return None, tmp_path_factory.mktemp("cp")
    place = user.home / "cp"
    place.mkdir()
    shutil.chown(place, user.uid, user.gid)
    return user, place


@pytest.fixture
def here(owner: tuple[OrdinaryUser | None, Path], polyarch: Polyarch) -> Iterator[Here]:
    """`here("cp", …)` is the command in the owner's folder; afterwards the container `c` is taken away."""
    user, place = owner

    def run(*words: str, **more: Any) -> Result:
        return polyarch("--progress", "none", *words, root=place / "root", user=user, cwd=place, **more)

    yield run
    run("rm", "-f", "c")


@owners("ordinary user", soak="root")
def test_into_and_out_of_a_container_through_its_life(
    here: Here, registry: DockerRegistry, owner: tuple[OrdinaryUser | None, Path]
) -> None:
    place = owner[1]
    for name in ("before", "while", "after"):
        (place / name).write_text(name)
        (place / name).chmod(0o640)
        if owner[0]:
            shutil.chown(place / name, owner[0].uid, owner[0].gid)
    (place / "volume").mkdir(exist_ok=True)
    if owner[0]:
        shutil.chown(place / "volume", owner[0].uid, owner[0].gid)
    words = (
        "-v",
        "./volume:/data",
        registry.ref("busybox:1.36"),
        "sh",
        "-c",
        "cp /before /copy; while :; do sleep 1; done",
    )
    here("container", "create", "--name", "c", *words).ok()
    assert here("ps", "-a").ok().stdout.count("Created") == 1
    here("cp", "./before", "c:/").ok()
    assert here("diff", "c").ok().stdout == "A /before\n"
    assert here("container", "start", "c").ok().stdout == "c\n"
    here("exec", "c", "sh", "-c", "until test -e /copy; do :; done; stat -c '%a %u:%g' /before > /copy").ok()
    here("cp", "./while", "c:/etc").ok()
    here("cp", "./while", "c:/data/on-the-volume").ok()
    assert here("exec", "c", "cat", "/etc/while", "/data/on-the-volume").ok().stdout == "whilewhile"
    here("cp", "c:/copy", "copied").ok()
    assert (place / "copied").read_text() == "640 0:0\n"
    here("stop", "-t", "0", "c").ok()
    here("cp", "./after", "c:/etc").ok()
    here("cp", "c:/etc/after", "c-after").ok()
    assert (place / "c-after").read_text() == "after"
    assert (place / "c-after").stat().st_mode & 0o777 == 0o640
    if owner[0]:
        assert (place / "c-after").stat().st_uid == owner[0].uid
    assert {"A /before", "A /copy", "A /etc/while", "A /etc/after"} <= set(here("diff", "c").ok().stdout.splitlines())
    assert here("container", "start", "c").ok().stdout == "c\n"  # again
    assert here("exec", "c", "cat", "/etc/after").ok().stdout == "after"
    here("rm", "-f", "c").ok()


@owners("ordinary user", soak="root")
def test_started_as_docker_starts(here: Here, registry: DockerRegistry) -> None:
    for name, words in (("c", ("sh", "-c", "while :; do sleep 1; done")), ("d", ("cat",))):
        here("container", "create", "--name", name, registry.ref("busybox:1.36"), *words).ok()
    assert here("container", "start", "c", "d").ok().stdout == "c\nd\n"
    first = here("ps", "--format", "json").ok().json_lines
    assert here("container", "start", "c").ok().stdout == "c\n"  # which runs, and goes on as it is
    assert [each for each in here("ps", "--format", "json").ok().json_lines if each["name"] == "c"] == [
        each for each in first if each["name"] == "c"
    ]
    assert here("container", "start", "-ai", "d", stdin="passed on").ok().stdout == "passed on"
    attached = here("container", "start", "-a", "c")
    assert (attached.code, "polyarch logs -f c" in attached.stderr) == (125, True)
    assert here("container", "start", "-a", "c", "d").code == 125
    assert here("container", "start", "c", "none").code == 10
    here("rm", "-f", "c", "d").ok()


@owners("root", soak="ordinary user")
def test_a_stream(here: Here, owner: tuple[OrdinaryUser | None, Path]) -> None:
    here("container", "create", "--name", "c", "scratch").ok()
    (owner[1] / "tree").mkdir(exist_ok=True)
    (owner[1] / "tree/file").write_text("of the stream")
    here("cp", "tree", "c:/").ok()
    out = here("cp", "c:/tree", "-").ok().stdout
    with tarfile.open(fileobj=io.BytesIO(out.encode())) as tar:
        assert [(each.name, each.uid) for each in tar] == [("tree", 0), ("tree/file", 0)]
    nowhere = here("cp", "-", "c:/not-there", stdin="")
    assert (nowhere.code, nowhere.stderr) == (2, "error: an archive is copied into a directory that is there\n")
    here("cp", "-", "c:/tree", stdin="").ok()
    for text in ("text\n", "text\n" * 1000):
        none = here("cp", "-", "c:/", stdin=text)
        assert (none.code, "stdin is no tar archive: " in none.stderr) == (7, True)
    here("cp", "c:/tree/.", "out").ok()
    assert (owner[1] / "out/file").read_text() == "of the stream"
    assert here("cp", "-", "c:/", stdin=out).ok().stdout == ""


def test_what_is_in_use(polyarch: Polyarch) -> None:
    """As long as files go into a container, nobody takes it away."""
    polyarch("container", "create", "--name", "c", "scratch").ok()
    environment = {**os.environ, "POLYARCH_ROOT": str(polyarch.root)}
    words = [sys.executable, "-m", "polyarch", "cp", "-", "c:/"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment) as copying:
        lock = next((polyarch.root / "containers").glob("*/lock"))
        await_true(lambda: f":{lock.stat().st_ino} " in Path("/proc/locks").read_text(), "the container is held")
        result = polyarch("rm", "c")
        assert result.code == 2
        assert "error: the container c is being used" in result.stderr
        copying.communicate(bytes(1024))
    assert copying.returncode == 0
    polyarch("rm", "c").ok()


@owners("ordinary user")
def test_what_this_user_may_not_read(here: Here, owner: tuple[OrdinaryUser | None, Path]) -> None:
    here("container", "create", "--name", "c", "scratch").ok()
    (owner[1] / "sealed").write_text("of root")
    (owner[1] / "sealed").chmod(0o600)
    result = here("cp", "sealed", "c:/")
    assert result.code == 8
    assert result.stderr == "error: sealed cannot be copied: Permission denied\n"


ENDS = {
    "two paths here": (("a", "b"), 2, "a copy goes into a container or out of one"),
    "two containers": (("c:/a", "c:/b"), 2, "a copy goes into a container or out of one"),
    "an unknown container": (("x:/a", "."), 3, "there is no container 'x'"),
    "no directory there": ((__file__, "c:/a/b/c"), 3, "there is no directory /a/b in the container c"),
    "nothing there": (("c:/a", "."), 3, "there is no /a in the container c"),
}


def test_words_that_are_wrong(tmp_path: Path) -> None:
    with Session(Settings(root=tmp_path / "root")) as session:
        session.containers.create("scratch", RunRequest(name="c"))
        for words, code, said in ENDS.values():
            with pytest.raises(PolyarchError, match=said) as caught:
                session.containers.copy(*words)
            assert caught.value.exit_code == code


def test_nothing_takes_the_place_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # in a device's place, such as /dev/null
    (tmp_path / "file").touch()
    with Session(Settings(root=tmp_path / "root")) as session:
        session.containers.create("scratch", RunRequest(name="c"))
        session.containers.copy(str(tmp_path / "file"), "c:/file")
        with pytest.raises(UsageError, match="neither a file nor a directory"):
            session.containers.copy("c:/file", str(tmp_path / "pipe"))
    assert (tmp_path / "pipe").is_fifo()


def test_a_container_made_by_hand_is_not_started_without_a_program(tmp_path: Path) -> None:
    with Session(Settings(root=tmp_path / "root")) as session:
        session.containers.create("scratch", RunRequest(name="c", rm=True))
        with pytest.raises(UsageError, match="has no program to start"):
            session.containers.start("c")
        assert [each.status for each in session.containers.all()] == ["created"]  # --rm is for the end
        session.containers.stop("c")
        session.containers.remove("c", force=True)
        assert session.containers.all() == ()
