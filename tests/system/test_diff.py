"""`polyarch diff` of real containers, as root and as an ordinary user, and beside what podman says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.owners import owner_of
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
Containers = Callable[..., Result]


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def owner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[OrdinaryUser | None, Path]:
    user = owner_of(request, soak=False)
    return user, (user.home / "diff-root" if user else tmp_path_factory.mktemp("diff") / "root")


@pytest.fixture
def here(owner: tuple[OrdinaryUser | None, Path], polyarch: Polyarch) -> Iterator[Containers]:
    """`here("run", …)` is the command as root or as the user; afterwards the container `c` is taken away."""
    user, root = owner

    def run(*words: str) -> Result:
        return polyarch("--progress", "none", *words, root=root, user=user)

    yield run
    run("rm", "-f", "c")


SCRIPT = """
echo x > /new; mkdir -p /srv/deep; echo x > /srv/deep/f
echo y > /etc/motd; chmod 600 /etc/passwd; chown 7:8 /etc/group
rm /bin/wget; echo x > /etc/removed-by-second-layer
rm -r /var/cache; mkdir -p /var/cache/replaced; echo x > /var/cache/replaced/again
mv /usr /opt; ln -s / /link; mknod /pipe p; echo x > /dev/shm/x; echo x > /gone; rm /gone
"""
CHANGES = """
C /bin
D /bin/wget
C /etc
C /etc/group
C /etc/motd
C /etc/passwd
A /etc/removed-by-second-layer
A /link
A /new
A /opt
A /opt/bin
A /opt/bin/env
A /pipe
A /srv
A /srv/deep
A /srv/deep/f
D /usr
C /var
C /var/cache
C /var/cache/replaced
A /var/cache/replaced/again
D /var/cache/replaced/new
"""


def test_all_kinds_at_once(here: Containers, registry: DockerRegistry) -> None:
    here("run", "--name", "c", registry.ref("busybox:1.36"), "sh", "-ec", SCRIPT).ok()
    assert here("diff", "c").ok().stdout == CHANGES.lstrip()


def test_forms(here: Containers, registry: DockerRegistry) -> None:
    script = "printf x > /$(printf 'caf\\351')"
    here("run", "--name", "c", registry.ref("busybox:1.36"), "sh", "-c", f"{script}; rm /etc/motd").ok()
    assert here("diff", "--format", "json", "c").ok().json_lines == [
        {"kind": "A", "path": "/caf\\xe9"},
        {"kind": "C", "path": "/etc"},
        {"kind": "D", "path": "/etc/motd"},
    ]
    assert here("diff", "-q", "c").ok().stdout.splitlines() == ["/caf\\xe9", "/etc", "/etc/motd"]


def test_a_container_that_runs(here: Containers, registry: DockerRegistry) -> None:
    script = "echo x > /x; echo ready; while :; do sleep 1; done"
    here("run", "-d", "--name", "c", registry.ref("busybox:1.36"), "sh", "-c", "mkdir /made; " + script).ok()
    here("exec", "c", "sh", "-c", "until test -e /x; do :; done; echo y > /by-exec").ok()
    assert here("diff", "c").ok().stdout.splitlines() == ["A /by-exec", "A /made", "A /x"]


def test_places_to_mount_on_are_no_changes(
    here: Containers, registry: DockerRegistry, owner: tuple[OrdinaryUser | None, Path], tmp_path: Path
) -> None:
    shared = Path(owner[0].home if owner[0] else tmp_path) / "shared"
    shared.mkdir(exist_ok=True)
    volume = f"{shared}:/data/deep/er"
    here("run", "--name", "c", "-v", volume, registry.ref("busybox:1.36"), "sh", "-c", "echo x > /data/mine").ok()
    assert here("diff", "c").ok().stdout.splitlines() == ["A /data", "A /data/mine"]


def test_an_unknown_container(here: Containers) -> None:
    result = here("diff", "nobody")
    assert result.code == 3
    assert "error: there is no container 'nobody'" in result.stderr
    assert "hint: see: polyarch ps -a" in result.stderr
    document = here("--format", "json", "diff", "nobody").json_lines[-1]
    assert document["error"]["code"] == "not-found"


@pytest.fixture(scope="module")
def podman(registry: DockerRegistry) -> Iterator[Callable[[str], list[str]]]:
    """A script run in a container that podman made -> what `podman diff` says of it, sorted as docker sorts."""
    program = shutil.which("podman")
    if program is None or os.geteuid() != 0:
        pytest.skip("podman is not installed, or this is not root")
    place = Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp"))  # podman takes 50 characters at most
    shared = [program, "--root", str(place / "root"), "--runroot", str(place / "run")]

    def call(*words: str) -> str:
        done = subprocess.run([*shared, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    image = registry.ref("busybox:1.36")
    call("pull", "--tls-verify=false", image)

    def diff(script: str) -> list[str]:
        container = call("create", image)
        subprocess.run(["chroot", call("mount", container), "/bin/sh", "-ec", script], check=True)
        call("umount", container)
        lines = call("diff", container).splitlines()
        call("rm", container)
        return sorted(lines, key=lambda line: line[2:])

    yield diff
    call("rm", "--all", "--force")
    call("rmi", "--all", "--force")
    if (place / "root" / "overlay").is_mount():  # podman mounts it on itself
        subprocess.run(["umount", str(place / "root" / "overlay")], check=True)
    shutil.rmtree(place)


# Not among them: a folder in the place of a file. podman 4.3 takes it for a deletion, or ends with an error.
KINDS = {
    "new file": "echo x > /new",
    "new folder": "mkdir -p /srv/deep; echo x > /srv/deep/f",
    "content": "echo y > /etc/motd",
    "mode": "chmod 600 /etc/passwd",
    "owner": "chown 7:8 /etc/group",
    "time of a file": "touch -d 2001-02-03 /etc/passwd",
    "time of a folder": "touch -d 2001-02-03 /var/cache",
    "deleted file": "rm /etc/passwd",
    "deleted symlink": "rm /bin/wget",
    "deleted folder": "rm -r /var/cache",
    "deleted of the upper layer": "rm /var/cache/replaced/new",
    "hidden by a layer, back": "echo x > /etc/removed-by-second-layer",
    "folder becomes file": "rm -r /var/cache; echo x > /var/cache",
    "renamed file": "mv /etc/motd /etc/new",
    "renamed over": "mv /etc/motd /etc/passwd",
    "renamed folder": "mv /var/cache /opt",
    "hard link": "echo x > /x; ln /x /etc/y",
    "symlink": "ln -s / /link",
    "FIFO": "mknod /pipe p",
    "device": "mknod /null c 1 3",
    "made and gone": "echo x > /x; rm /x",
    "nothing": "true",
}


@pytest.mark.parametrize("kind", KINDS)
def test_podman_says_the_same(
    kind: str,
    podman: Callable[[str], list[str]],
    polyarch: Polyarch,
    tmp_path_factory: pytest.TempPathFactory,
    registry: DockerRegistry,
) -> None:
    root = tmp_path_factory.getbasetemp() / "beside-podman"
    words = ("run", "--name", kind.replace(" ", "-").replace(",", ""), registry.ref("busybox:1.36"))
    polyarch("--progress", "none", *words, "sh", "-ec", KINDS[kind], root=root).ok()
    ours, theirs = polyarch("diff", words[2], root=root).ok().stdout.splitlines(), podman(KINDS[kind])
    # docker names the folders that hold what was changed; podman only those that hold what was added or deleted.
    holders = {f"C {path.parent}" for path in (Path(line[2:]) for line in ours if line.startswith("C"))}
    assert [line for line in ours if line in theirs or line not in holders] == theirs
