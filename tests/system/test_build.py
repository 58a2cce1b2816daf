"""`polyarch build` with the real buildah: for three platforms, with an emulation of its own, as root and without.

`make test` does the least of it, as an ordinary user; `make soak` all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.leftovers import Leftovers
from support.machine_state import unchanged_machine
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.host,
    pytest.mark.soak,
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
]
PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64", "linux/arm/v7": "armv7l"}
THREE = ",".join(PLATFORMS)


@dataclass
class Place:
    """`place("build", …)` as root or as the ordinary user, in a storage and with a context of that user's."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    folder: Path
    registry: str

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def __call__(self, *arguments: str | Path, env: dict[str, str] | None = None) -> Result:
        return self.polyarch(*arguments, root=self.root, cwd=self.folder, user=self.user, env=env)

    def write(self, text: str, **files: str) -> Path:
        """A context with this Dockerfile, in which `busybox` is the registry's, and these files."""
        context = self.folder / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        files["Dockerfile"] = text.replace("busybox:", f"{self.registry}/busybox:")
        for name, content in files.items():
            (context / name).write_text(content)
        return context


@pytest.fixture(scope="module", params=["ordinary user", "root"])
def user(request: pytest.FixtureRequest, soak: bool) -> OrdinaryUser | None:
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        if not soak:
            pytest.skip("as root only in make soak")
        return None
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return user


def temporary_of(user: OrdinaryUser | None) -> set[Path]:
    """What the containers libraries make of their own accord, outside of any place that they are told."""
    owner = user.uid if user else 0
    names = (f"containers-user-{owner}", f"podman-run-{owner}", f"storage-run-{owner}", "buildah*")
    return {path for folder in ("/tmp", "/var/tmp") for name in names for path in Path(folder).glob(name)}


@pytest.fixture
def place(user: OrdinaryUser | None, polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> Iterator[Place]:
    """Afterwards the machine is as before."""
    folder = user.home / "built" if user else tmp_path / "built"
    folder.mkdir()
    if user:
        os.chown(folder, user.uid, user.gid)
    before = temporary_of(user)
    with unchanged_machine(folder):
        yield Place(polyarch, user, folder, registry.address)
    assert temporary_of(user) == before
    if user:  # what buildah keeps belongs to subordinate IDs
        subprocess.run(["rm", "-rf", folder], check=os.geteuid() == 0)


@pytest.fixture
def whole(soak: bool) -> None:
    if not soak:
        pytest.skip("only in make soak")


STEPS = """\
ARG VERSION=none
FROM --platform=$BUILDPLATFORM busybox:$VERSION AS tool
RUN uname -m > /built-on
FROM busybox:$VERSION
ARG TARGETPLATFORM
COPY --from=tool /built-on /etc/built-on
RUN uname -m > /etc/ran-on && echo $TARGETPLATFORM >> /etc/ran-on
CMD ["sh", "-c", "uname -m; cat /etc/ran-on /etc/built-on"]
"""


def test_three_platforms(place: Place) -> None:
    context = place.write(STEPS)
    name = f"{place.registry}/built-by/{'a-user' if place.user else 'root'}"
    words = (
        "build",
        f"--tag={name}:1.0",
        f"--tag={name}:1",
        "--platform",
        THREE,
        "--build-arg",
        "VERSION=1.36",
        context,
    )
    built = place(*words, "--push", "--format", "json").ok()
    lines = built.json_lines
    assert [line["platform"] for line in lines] == list(PLATFORMS)
    assert {line["reference"] for line in lines} == {f"{name}:1.0"}
    assert len({line["digest"] for line in lines}) == 1
    assert len({line["manifest"] for line in lines}) == 3
    assert "linux/arm/v7 | " in built.stderr
    for tag in ("1.0", "1"):
        pushed = place("resolve", f"{name}:{tag}", "--format", "json").ok().json_lines[0]
        assert pushed["digest"] == lines[0]["digest"]
    for platform, machine in PLATFORMS.items():
        run = ("run", "--rm", "--pull", "never", "--platform", platform, f"{name}:1.0")
        assert place(*run).ok().stdout.split() == [machine, machine, platform, os.uname().machine]

    arm64 = ["linux/arm64" if word == THREE else word for word in words]
    again = place(*arm64, "--format", "json").ok()
    assert [line["manifest"] for line in again.json_lines] == [lines[1]["manifest"]]
    assert again.stderr.count("Using cache") == again.stderr.count("STEP") - 2  # all but FROM
    assert "Trying to pull" not in again.stderr


@pytest.mark.usefixtures("whole")
def test_without_the_cache_all_is_made_anew(place: Place) -> None:
    words = ("build", "-q", "-t", "app", place.write("FROM busybox:1.36\nRUN date +%N > /now\n"))
    first, second = place(*words).ok(), place(*words).ok()
    assert first.stdout == second.stdout
    assert place(*words, "--no-cache").ok().stdout != first.stdout


@pytest.mark.usefixtures("whole")
def test_from_nothing_for_each_platform(place: Place) -> None:
    """Steps out of the cache of another platform: the image is labelled with its own."""
    context = place.write("FROM scratch\nCOPY Dockerfile /file\n")
    place("build", "-t", "files:1", "--platform", THREE, context).ok()
    listed = place("image", "ls", "--format", "json").ok().json_lines
    assert {line["platform"] for line in listed if line["tag"] == "1"} == set(PLATFORMS)
    assert len({line["id"] for line in listed if line["tag"] == "1"}) == 3


FAILURES = {
    "FROM busybox:1.36\nRUN echo never; exit 3\n": 'STEP "RUN echo never; exit 3": exit status 3',
    "FROM busybox:1.36\nRUNN x\n": 'Unknown instruction: "RUNN"',
    "FROM busybox:1.36\nCOPY nothing /\n": "no such file or directory",
    "FROM busybox:$NONE\n": "Dockerfile, line 1: the variable NONE is not set",
    "FROM busybox:1.36\nRUN --mount=type=bind,from=busybox:latest,target=/m ls\n": "no stage or image found",
}


@pytest.mark.parametrize("text", FAILURES, ids=repr)
def test_an_error_in_the_dockerfile(text: str, place: Place, soak: bool) -> None:
    if not soak and text != next(iter(FAILURES)):
        pytest.skip("only in make soak")
    failed = place("build", "-t", "app", place.write(text))
    assert failed.code == 2
    assert FAILURES[text] in failed.stderr.splitlines()[-1] + failed.stderr.splitlines()[-2]
    assert "app" not in place("image", "ls").ok().stdout
    if "$NONE" not in text:  # nothing was begun
        assert containers(place) == []


def containers(place: Place) -> list[str]:
    """What builds have left in buildah's store."""
    found = list(place.root.glob("build/buildah/*/*-containers/containers.json"))
    assert found, "there is no store where it should be"
    return [each["id"] for path in found for each in json.loads(path.read_text() or "[]")]


@pytest.mark.usefixtures("whole")
def test_a_secret_is_in_no_layer_and_in_no_words(place: Place) -> None:
    text = "FROM busybox:1.36\nRUN --mount=type=secret,id=token tr a-z b-za < /run/secrets/token > /turned\n"
    context = place.write(text)
    (place.folder / "token").write_text("geheim")
    built = place("build", "-t", "app", "--secret", "id=token,src=token", context).ok()
    assert place("run", "--rm", "app", "cat", "/turned").ok().stdout == "hfifjn"
    (place.folder / "token").unlink()
    assert "geheim" not in built.stdout + built.stderr
    assert subprocess.run(["grep", "-r", "-q", "geheim", place.root]).returncode == 1


@pytest.mark.usefixtures("whole")
def test_the_same_again_with_an_epoch(place: Place) -> None:
    words = ("build", "-q", "--no-cache", "-t", "app", place.write("FROM busybox:1.36\nCOPY Dockerfile /\n"))
    first, second = (place(*words, env={"SOURCE_DATE_EPOCH": "1700000000"}).ok().stdout for _ in range(2))
    assert first == second


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_an_end_takes_everything_along(how: signal.Signals, place: Place, soak: bool) -> None:
    if not soak and how != signal.SIGINT:
        pytest.skip("only in make soak")
    context = place.write("FROM busybox:1.36\nRUN echo begun; sleep 1000\n")
    words = ("build", "-t", "app", "--platform", "linux/arm64,linux/amd64", context)
    process = place.polyarch.start(*words, root=place.root, cwd=place.folder, user=place.user)
    assert process.stderr is not None
    for line in process.stderr:
        if line.endswith("| begun\n"):
            break
    process.send_signal(how)
    ended = place.polyarch.finish(process)
    assert ended.code == (-how if how == signal.SIGKILL else 130)
    await_true(lambda: not Leftovers(place.root).processes(), "all that builds has ended")
    if how == signal.SIGKILL:  # the next one puts things in order
        place("build", "-q", "-t", "other", place.write("FROM scratch\nCOPY . /\n")).ok()
    assert containers(place) == []
    assert list((place.root / "build" / "tmp").iterdir()) == []
    assert "app" not in place("image", "ls").ok().stdout


def test_without_buildah(place: Place) -> None:
    path = place.folder / "bin"
    path.mkdir()
    for program in ("python3", "env"):
        if found := shutil.which(program):
            (path / program).symlink_to(found)
    failed = place("build", "-t", "app", place.write("FROM scratch\n"), env={"PATH": str(path)})
    assert failed.code == 8
    assert failed.stderr.splitlines()[-1] == "hint: apt install buildah"


@pytest.mark.usefixtures("whole")
def test_an_unknown_builder(place: Place) -> None:
    failed = place("build", "-t", "app", "--builder", "none", place.write("FROM scratch\n"))
    assert failed.code == 2
    assert "there is no builder called 'none' (there are: buildah)" in failed.stderr
