"""polyarch inside Debian roots of other architectures, entered by its own `emulate`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import foreign_root
from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.foreign_root import ENTER, NoForeignRoot
from support.machine_state import unchanged_machine

pytestmark = [
    pytest.mark.system,
    pytest.mark.host,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root file system"),
]
POLYARCH = ("python3", "-m", "polyarch")


class Inside:
    """`inside("uname", "-m")` runs a program in the root; what it writes is gone afterwards."""

    def __init__(self, root: Path, packages: Path, polyarch: Polyarch) -> None:
        self.root = root
        self._packages = packages
        self._polyarch = polyarch

    def __call__(self, *argv: str) -> str:
        words = ("sh", "-c", ENTER, "sh", self.root, self._packages, *argv)
        return self._polyarch("emulate", "--", *words, seconds=300).ok().stdout

    def bare(self, *argv: str) -> str:
        """The same by a plain chroot: neither /proc nor /sys nor the machine's /dev is there."""
        script = 'mount --bind "$2" "$1/mnt"; root=$1; shift 2; exec chroot "$root" env PYTHONPATH=/mnt "$@"'
        words = ("sh", "-c", script, "sh", self.root, self._packages, *argv)
        return self._polyarch("emulate", "--", *words, seconds=300).ok().stdout


@pytest.fixture
def inside(
    debian_root: Callable[[str], Path], polyarch_packages: Path, polyarch: Polyarch, tmp_path: Path
) -> Iterator[Callable[[str], Inside]]:
    """Debian's name of an architecture -> what runs programs in its root. Afterwards the machine is as before."""
    with unchanged_machine(tmp_path):
        yield lambda architecture: Inside(debian_root(architecture), polyarch_packages, polyarch)


def slow(soak: bool) -> None:
    """Skips what takes long, as long programs under emulation do."""
    if not soak:
        pytest.skip("half a minute and more of emulation: POLYARCH_SOAK=1, or make soak")


def test_it_knows_the_arm64_root(inside: Callable[[str], Inside]) -> None:
    arm64 = inside("arm64")
    device = json.loads(arm64(*POLYARCH, "--format", "json", "device"))
    assert device["platform"] == "linux/arm64"
    # QEMU's aarch64 runs no 32-bit program, whatever the machine's own kernel says to personality(2).
    assert (device["native"], device["compat32"]) == (["linux/arm64"], False)
    assert (device["machine"], device["userland_bits"], device["libc"]) == ("aarch64", 64, "glibc")
    assert device["inside"] == ["qemu"]
    emulated = {each["platform"]: each["how"] for each in device["emulated"]}
    assert emulated["linux/arm/v7"] == "registered"


@pytest.mark.soak
def test_it_knows_the_armhf_root(inside: Callable[[str], Inside], soak: bool) -> None:
    slow(soak)
    device = json.loads(inside("armhf")(*POLYARCH, "--format", "json", "device"))
    assert device["platform"] == "linux/arm/v7"
    assert device["native"] == ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]
    assert (device["machine"], device["userland_bits"], device["libc"]) == ("armv7l", 32, "glibc")
    assert device["inside"] == ["qemu"]


def test_it_claims_nothing_where_proc_is_missing(inside: Callable[[str], Inside]) -> None:
    device = json.loads(inside("arm64").bare(*POLYARCH, "--format", "json", "device"))
    assert device["platform"] == "linux/arm64"
    assert device["native"] == ["linux/arm64"]
    assert not device["compat32"]


@pytest.mark.soak
@pytest.mark.parametrize(("architecture", "platform"), [("arm64", "linux/arm64"), ("armhf", "linux/arm/v7")])
def test_it_pulls_what_is_native_there(
    architecture: str, platform: str, inside: Callable[[str], Inside], registry: DockerRegistry, soak: bool
) -> None:
    if architecture != "arm64":
        slow(soak)
    script = 'python3 -m polyarch --format json pull "$1"; python3 -m polyarch --format json verify "$1"'
    said = inside(architecture)("sh", "-c", script, "sh", registry.ref("busybox:1.36"))
    pulled, *verified = map(json.loads, said.splitlines())
    assert (pulled["platform"], pulled["match"], pulled["status"]) == (platform, "exact", "downloaded")
    assert [each["problems"] for each in verified] == [[]]


@pytest.mark.soak
@pytest.mark.parametrize(("architecture", "machine"), [("arm64", "aarch64"), ("armhf", "armv7l")])
def test_it_runs_what_is_native_there(
    architecture: str, machine: str, inside: Callable[[str], Inside], registry: DockerRegistry, soak: bool
) -> None:
    """QEMU lets no OCI runtime work, so the program has namespaces and a root of its own, and no more."""
    slow(soak)
    script = """
    run="python3 -m polyarch --progress none run"
    $run --name c -e A=b "$1" sh -c 'uname -m; id -u; echo $A; echo $$; ls /proc/1/exe /etc/passwd; echo new >/new'
    python3 -m polyarch diff c
    $run --rm --read-only -u 1:1 -w /srv "$1" sh -c 'id -u; pwd; touch /tmp/no || exit 7'; echo $?
    $run --rm "$1" nothere; echo $?
    $run -d "$1" true; echo $?
    python3 -m polyarch exec c true; echo $?
    python3 -m polyarch rm c
    ls /var/lib/polyarch/containers; mount | grep -c /var/lib/polyarch/containers
    true
    """
    said = inside(architecture)("sh", "-c", script, "sh", registry.ref("busybox:1.36")).splitlines()
    assert said[:6] == [machine, "0", "b", "1", "/etc/passwd", "/proc/1/exe"]
    assert said[6:] == ["A /new", "1", "/srv", "7", "127", "125", "125", "c", "lock", "0"]


@pytest.mark.soak
@pytest.mark.parametrize("architecture", ["arm64", "armhf"])
def test_debootstrap_and_pip_inside(
    architecture: str, polyarch: Polyarch, soak: bool, tmp_path: Path, test_cache: Path
) -> None:
    """Minutes: a root whose maintainer scripts all ran in it, and polyarch installed there by pip itself."""
    slow(soak)
    root = tmp_path / "root"
    with unchanged_machine(tmp_path):
        try:
            foreign_root.debootstrap_foreign(architecture, root)
            (root / "wheels").mkdir()
            foreign_root.pip_wheels(root / "wheels")
        except NoForeignRoot as error:
            pytest.skip(f"no foreign root file system can be made: {error}")
        # No user namespace may make device nodes. debootstrap knows that of lxc, and leaves those of the first stage.
        second = ("/debootstrap/debootstrap", "--second-stage")
        polyarch("emulate", "--", "env", "container=lxc", "chroot", root, *second, seconds=1800).ok()
        polyarch("emulate", "--", "chroot", root, "dpkg", "--audit").ok()
        script = """
        set -e
        mount --rbind /proc "$1/proc"
        install="python3 /wheels/$(basename "$1"/wheels/pip-*.whl)/pip install --quiet --break-system-packages"
        chroot "$1" sh -c "$install --no-index --find-links /wheels polyarch" >&2
        exec chroot "$1" polyarch --format json device
        """
        said = polyarch("emulate", "--", "sh", "-c", script, "sh", root, seconds=900).ok().stdout
        machine = {"arm64": "linux/arm64", "armhf": "linux/arm/v7"}[architecture]
        assert json.loads(said)["platform"] == machine
    shutil.rmtree(root)
