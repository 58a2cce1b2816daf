"""A machine without QEMU takes it from an image: the setting `qemu_image`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, folder, regular
from polyarch_platforms.architecture import load
from support.docker_registry import DockerRegistry
from support.layout_files import Layout

pytestmark = [
    pytest.mark.system,
    pytest.mark.host,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide the host's QEMU"),
]

# In a mount namespace of its own, every emulator is covered by something that cannot be executed.
HIDDEN = """
for program in /usr/bin/qemu-* /usr/local/bin/qemu-*; do
    [ -e "$program" ] && mount --bind /dev/null "$program"
done
[ -d /usr/libexec/qemu-binfmt ] && mount -t tmpfs none /usr/libexec/qemu-binfmt
exec "$@"
"""
NAME = "binfmt:1.0"
FOREIGN = "s390x"  # foreign to every machine that these tests run on


@pytest.fixture(scope="module")
def qemu_image(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image as tonistiigi/binfmt: this machine's static QEMU for s390x in /usr/bin; junk for another platform."""
    static = shutil.which(f"qemu-{FOREIGN}-static")
    if static is None:
        pytest.skip("qemu-user-static is not installed")
    own = next(known for known in load().values() if os.uname().machine in known.uname)
    directory = tmp_path_factory.mktemp("qemu") / "layout"
    writer = LayoutWriter(directory)
    entries = []
    for architecture, program in ((FOREIGN, b"of no use here"), (own.name, Path(static).read_bytes())):
        layer = writer.layer(
            [folder("usr"), folder("usr/bin"), regular(f"usr/bin/qemu-{FOREIGN}", program, 0o755)], "COPY qemu"
        )
        platform = {"os": "linux", "architecture": architecture}
        entries.append({**writer.image(platform, [layer]), "platform": platform})
    writer.name(NAME, writer.index(entries))
    writer.finish()
    registry.fill(Layout(directory))
    return registry.ref(NAME)


@pytest.fixture
def polyarch_there(qemu_image: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """polyarch on a machine without QEMU, with the setting."""
    settings = tmp_path / "settings.toml"
    settings.write_text(f'qemu_image = "{qemu_image}"\n')

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "polyarch", "--root", tmp_path / "root", "--config", settings, *words]
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", HIDDEN, "sh", *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def requests(registry: DockerRegistry) -> int:
    return sum("/binfmt/" in access.path for access in registry.access_log())


def test_it_is_pulled_when_a_program_needs_it_and_kept(
    registry: DockerRegistry, polyarch_there: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = requests(registry)
    told = json.loads(polyarch_there("--format", "json", "device").stdout)["emulated"]
    offered = {each["platform"]: (each["emulator"], each["how"]) for each in told}
    assert offered[f"linux/{FOREIGN}"] == (f"QEMU of {registry.ref(NAME)}", "private")
    native = polyarch_there("run", "--rm", registry.ref("busybox:1.36"), "true")
    assert native.returncode == 0, native.stderr
    assert requests(registry) == before, "nothing needed it"

    words = ("run", "--rm", "--platform", f"linux/{FOREIGN}", registry.ref("busybox:1.36"), "uname", "-m")
    first = polyarch_there(*words)
    assert (first.returncode, first.stdout) == (0, f"{FOREIGN}\n"), first.stderr
    fetched = requests(registry)
    assert fetched > before
    assert polyarch_there(*words).stdout == f"{FOREIGN}\n"
    told = json.loads(polyarch_there("--format", "json", "device").stdout)["emulated"]
    assert [each["platform"] for each in told] == [f"linux/{FOREIGN}"], "the image has no other"
    assert told[0]["emulator"].endswith(f"/usr/bin/qemu-{FOREIGN}")
    assert requests(registry) == fetched, "it is kept"


def test_emulate_takes_it_too(
    registry: DockerRegistry,
    polyarch_there: Callable[..., subprocess.CompletedProcess[str]],
    foreign_busybox: Callable[[str], Path],
) -> None:
    done = polyarch_there("emulate", "--platform", f"linux/{FOREIGN}", "--", foreign_busybox(FOREIGN), "uname", "-m")
    assert (done.returncode, done.stdout) == (0, f"{FOREIGN}\n"), done.stderr
    done = polyarch_there("--format", "json", "emulate", "--platform", "linux/riscv64", "--", "true")
    assert done.returncode == 125
    assert "no static QEMU for riscv64" in json.loads(done.stdout)["error"]["message"]


def test_an_image_that_is_not_there_is_told(
    registry: DockerRegistry, tmp_path: Path, polyarch_there: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "settings.toml").write_text(f'qemu_image = "{registry.ref("no-such-image:1.0")}"\n')
    words = ("run", "--rm", "--platform", f"linux/{FOREIGN}", registry.ref("busybox:1.36"), "true")
    done = polyarch_there("--format", "json", *words)
    assert done.returncode == 125
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "not-found"
    assert "no-such-image" in error["message"]
