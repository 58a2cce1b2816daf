"""`polyarch emulate -- chroot …` and `-- podman run …` over a Debian arm64 root, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.machine_state import unchanged_machine
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.host,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root file system"),
]
SCRIPT = """
uname -m
echo a | cat | wc -c
apt-get --version | head -n 1
python3 -c 'import subprocess; print(subprocess.run(["sh", "-c", "exit 5"]).returncode)'
printf '#!/bin/sh\\nexec echo "script $1"\\n' > /tmp/script; chmod +x /tmp/script; /tmp/script 'two words'
"""

ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass
class Emulate:
    """`emulate("chroot", root, …)` as root or as the ordinary user."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    root: Path
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *argv: str | Path) -> Result:
        return self.polyarch("emulate", "--", *argv, user=self.user, env=self.env)

    def contained(self, *argv: str | Path) -> str:
        """What it says in a PID namespace, with which all ends that podman would leave running."""
        user = self.user
        switch = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"] if user else []
        polyarch = user.polyarch_command() if user else [sys.executable, "-m", "polyarch"]
        done = subprocess.run(
            # A shell takes note of the ends of processes that lost their parents.
            [*ALONE, "sh", "-c", '"$@"; exit $?', "sh", *switch, *polyarch, "emulate", "--", *map(str, argv)],
            cwd=self.folder,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def place(
    request: pytest.FixtureRequest, debian_root: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[OrdinaryUser | None, Path]:
    """Who runs, and a folder of that user's with a copy of the arm64 root, `root`."""
    user: OrdinaryUser | None = None
    if request.param == "ordinary user":
        user = request.getfixturevalue("unprivileged_user")
    folder = (user.home if user else tmp_path_factory.mktemp("podman")) / "emulated"
    folder.mkdir()
    subprocess.run(["cp", "--archive", "--reflink=auto", debian_root("arm64"), folder / "root"], check=True)
    shutil.rmtree(folder / "root" / "dev")  # its nodes could not be the user's
    (folder / "root" / "dev").mkdir()
    if user:
        subprocess.run(["chown", "--recursive", "--no-dereference", f"{user.uid}:{user.gid}", folder], check=True)
    return user, folder


@pytest.fixture
def emulate(place: tuple[OrdinaryUser | None, Path], polyarch: Polyarch) -> Iterator[Emulate]:
    """Afterwards the machine is as before."""
    user, folder = place
    with unchanged_machine(folder, polyarch.root):
        yield Emulate(polyarch, user, folder / "root", folder)


def assert_said(output: str) -> None:
    machine, size, apt, code, script = output.splitlines()
    assert (machine, size, code, script) == ("aarch64", "2", "5", "script two words")
    assert apt.startswith("apt ")
    assert apt.endswith("(arm64)")


def test_chroot(emulate: Emulate) -> None:
    assert_said(emulate("chroot", emulate.root, "/bin/sh", "-c", SCRIPT).ok().stdout)


def test_chroot_with_proc_of_an_ordinary_user(emulate: Emulate) -> None:
    """Who wants to mount is root in a further namespace."""
    if emulate.user is None:
        pytest.skip("root can mount at once")
    script = f"mount --rbind /proc {emulate.root}/proc; exec chroot {emulate.root} sh -c 'id -u; readlink /proc/$$/exe'"
    said = emulate("unshare", "--map-root-user", "--map-auto", "--mount", "sh", "-c", script).ok().stdout.split()
    assert said[0] == "0"
    assert "qemu-aarch64" in said[1]


@pytest.fixture
def podman(emulate: Emulate) -> Iterator[Emulate]:
    """The same with settings and folders of podman's of its own, which are gone afterwards."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    # Longer paths make podman 4.3 wait 20 s for each container's end.
    state = Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp"))
    if emulate.user:
        os.chown(state, emulate.user.uid, emulate.user.gid)
    settings = {
        # By default podman asks for more than the limits of a small machine, which no user namespace may lift.
        "containers.conf": f"""
        [containers]
        default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
        [engine]
        cgroup_manager = "cgroupfs"
        events_logger = "file"
        lock_type = "file"
        tmp_dir = "{state}/tmp"
        """,
        "storage.conf": f"""
        [storage]
        driver = "vfs"
        graphroot = "{state}/graph"
        runroot = "{state}/run"
        """,
    }
    for name, text in settings.items():
        (state / name).write_text(text)
        (state / name).chmod(0o644)
    emulate.env = {
        "CONTAINERS_CONF": f"{state}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{state}/storage.conf",
        "XDG_RUNTIME_DIR": str(state),
        "HOME": str(state),  # its database there would remember this folder for the next test
    }
    yield emulate
    shutil.rmtree(state)


@pytest.mark.parametrize("root", ["root", "root:O"])
def test_podman_runs_the_root(root: str, podman: Emulate) -> None:
    """`:O`: podman's overlay above it, so that nothing is written there."""
    words = ("podman", "run", "--rm", "--network", "host", "--rootfs", f"{podman.folder}/{root}", "sh", "-c", SCRIPT)
    assert_said(podman.contained(*words))


def test_podman_loads_and_runs_the_image(podman: Emulate, debian_layout: Callable[[str], Path]) -> None:
    archive = podman.folder / "debian.tar"
    subprocess.run(["tar", "-cf", archive, "-C", debian_layout("arm64"), "."], check=True)
    archive.chmod(0o644)
    script = """
    set -e
    podman load --quiet --input "$1" >&2
    podman run --rm --network host "$(podman images --quiet)" sh -c "$2"
    podman rmi --all >&2
    """
    assert_said(podman.contained("sh", "-c", script, "sh", archive, SCRIPT))
    archive.unlink()
