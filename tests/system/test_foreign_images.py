"""`polyarch run` of images for every foreign architecture while the kernel's table is empty; nothing stays behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, folder, link, regular
from polyarch_platforms.architecture import load
from polyarch_platforms.tiny import expected_output, tiny_program
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.layout_files import Layout
from support.machine_state import unchanged_machine
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.host,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
BINFMT = Path("/proc/sys/fs/binfmt_misc")
PLATFORMS = {
    "linux/arm64": ("arm64", "aarch64"),
    "linux/arm/v7": ("armhf", "armv7l"),
    "linux/arm/v6": ("armel", "armv6l"),
    "linux/386": ("i386", ""),  # what the kernel says depends on whether it runs natively
    "linux/ppc64le": ("ppc64el", "ppc64le"),
    "linux/s390x": ("s390x", "s390x"),
}
"""Platform -> Debian's name of its busybox, `uname -m` there."""


@pytest.fixture(scope="module")
def images(
    registry: DockerRegistry, foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The reference of an image with busybox for each platform, and for riscv64 a program made by hand."""
    writer = LayoutWriter(tmp_path_factory.mktemp("foreign") / "layout")
    entries = []
    roots = {platform: foreign_busybox(name).read_bytes() for platform, (name, _) in PLATFORMS.items()}
    roots["linux/riscv64"] = tiny_program(load()["riscv64"])
    for text, program in roots.items():
        system, architecture, *variant = text.split("/")
        platform = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        root = [folder(name) for name in ("bin", "dev", "etc", "proc", "sys", "tmp")]
        root += [regular("bin/busybox", program, 0o755)]
        root += [link(f"bin/{applet}", "busybox") for applet in ("sh", "cat", "wc", "uname", "id")]
        entries.append({**writer.image(platform, [writer.layer(root, "test")]), "platform": platform})
    writer.name("foreign/all:1.0", writer.index(entries))
    writer.finish()
    registry.fill(Layout(writer.directory))
    return registry.ref("foreign/all:1.0")


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def storage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OrdinaryUser | None, Path]:
    """Who runs, and a storage that the tests of this file share."""
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None, tmp_path_factory.mktemp("foreign-images") / "root"
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return user, user.home / "foreign-images-root"


@dataclass
class Runner:
    """`run(image, "uname", platform="linux/arm64")` as root or as the ordinary user."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    root: Path

    def __call__(self, image: str, *argv: str, platform: str) -> Result:
        words = ("--progress", "none", "run", "--rm", "--platform", platform, image, *argv)
        return self.polyarch(*words, root=self.root, user=self.user)


@pytest.fixture
def run(storage: tuple[OrdinaryUser | None, Path], polyarch: Polyarch) -> Iterator[Runner]:
    """Afterwards the machine has to be as before."""
    user, root = storage
    if any(path.name.startswith("qemu-") for path in BINFMT.glob("*")):
        pytest.skip("emulators are registered on this machine, so a private emulation is not needed")
    with unchanged_machine(root):
        yield Runner(polyarch, user, root)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_children_and_pipes_on_every_platform(platform: str, run: Runner, images: str) -> None:
    script = "uname -m; echo through pipes | cat | wc -c; sh -c 'exit 3'; echo $?; id -u"
    machine, *rest = run(images, "sh", "-c", script, platform=platform).ok().stdout.splitlines()
    assert machine == PLATFORMS[platform][1] or not PLATFORMS[platform][1]
    assert rest == ["14", "3", "0"]


def test_a_program_made_by_hand(run: Runner, images: str) -> None:
    result = run(images, "/bin/busybox", platform="linux/riscv64").ok()
    assert result.stdout == expected_output(load()["riscv64"]).decode()


@pytest.fixture(scope="module")
def debian(registry: DockerRegistry, debian_layout: Callable[[str], Path]) -> str:
    """The reference of a Debian image for arm64."""
    layout = Layout(debian_layout("arm64"))
    registry.fill(layout)
    return registry.ref("debian")


def test_debian(run: Runner, debian: str) -> None:
    def output(*argv: str) -> str:
        return run(debian, *argv, platform="linux/arm64").ok().stdout

    assert output("apt-get", "--version").startswith("apt ")
    program = "import subprocess; print(subprocess.run(['sh', '-c', 'uname -m; exit 4'], stdout=1).returncode)"
    assert output("python3", "-c", program) == "aarch64\n4\n"
    script = r"""
    echo a | cat | wc -c
    printf '#!/usr/bin/python3\nimport sys\nprint(sys.argv)\n' > /tmp/script
    chmod +x /tmp/script
    /tmp/script 'one word'
    dpkg --print-architecture
    """
    assert output("sh", "-c", script) == "2\n['/tmp/script', 'one word']\narm64\n"
