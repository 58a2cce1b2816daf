"""The hand-made programs, run by this machine's CPU and by the real QEMU of every architecture."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch_platforms import architecture, qemu
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.elf import platform_of, read_elf
from polyarch_platforms.qemu import QemuBinary
from polyarch_platforms.tiny import SHOWN, expected_output, reporting_program, tiny_program
from support.isolation import without_privilege

ARCHITECTURES = architecture.load()
PROGRAMS = [tiny_program, reporting_program]
NOBODY = 65534  # the user of without_privilege, if root runs the tests


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("make", PROGRAMS)
def test_they_are_tiny_static_programs_of_their_architecture(
    name: str, make: Callable[[Architecture], bytes], tmp_path: Path
) -> None:
    content = make(ARCHITECTURES[name])
    assert len(content) < 300
    (tmp_path / "program").write_bytes(content)
    with (tmp_path / "program").open("rb") as file:
        elf = read_elf(file)
    assert elf.static
    assert platform_of(elf).architecture == name


def test_the_outputs_are_the_platforms() -> None:
    assert {name: expected_output(one) for name, one in ARCHITECTURES.items()} == {
        name: f"linux/{name}\n".encode() for name in ARCHITECTURES
    }


@pytest.fixture
def folder(name: str) -> Iterator[Path]:
    """A folder that everybody may enter, with both programs of the architecture `name`."""
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        place.chmod(0o755)
        one = ARCHITECTURES[name]
        for path, content in ((place / "program", tiny_program(one)), (place / "report", reporting_program(one))):
            path.write_bytes(content)
            path.chmod(0o755)
        yield place


def found(name: str) -> QemuBinary:
    binary = qemu.find(ARCHITECTURES[name])
    if binary is None:
        pytest.skip(f"there is no QEMU for {name} on this machine")
    return binary


def run(*argv: str | Path, executable: Path | None = None) -> tuple[int, bytes]:
    def action() -> tuple[int, bytes]:
        done = subprocess.run(argv, executable=executable, capture_output=True, timeout=60)
        return done.returncode, done.stdout

    return without_privilege(action)


def user() -> int:
    return (NOBODY if os.geteuid() == 0 else os.geteuid()) & 0xFF


@pytest.mark.system
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_by_qemu_they_say_what_they_see(name: str, folder: Path) -> None:
    emulator = found(name).path
    assert run(emulator, folder / "program") == (0, expected_output(ARCHITECTURES[name]))
    # argv[0], and as the exit code the user.
    assert run(emulator, "-0", "another name", folder / "report") == (user(), b"another ")
    # A child that is not there: the program goes on.
    assert run(emulator, "-0", "polyarch", folder / "report", folder / "missing") == (user(), b"polyarch")


@pytest.mark.system
@pytest.mark.parametrize("name", ["386", "amd64"])
def test_by_this_machine_itself_they_say_what_they_see(name: str, folder: Path) -> None:
    if os.uname().machine != "x86_64" or not qemu.works(ARCHITECTURES[name]).ok:
        pytest.skip(f"this machine does not run {name} programs")
    expected = expected_output(ARCHITECTURES[name])
    assert run(folder / "program") == (0, expected)
    assert run("another name", executable=folder / "report") == (user(), b"another ")
    assert run("polyarch", folder / "program", "more", executable=folder / "report") == (0, b"polyarch" + expected)
    # What the child gets: its own path as argv[0], and what stood behind it.
    shown = str(folder / "report").encode()[:SHOWN]
    chain = (folder / "report", folder / "program")
    assert run("polyarch", *chain, executable=folder / "report") == (0, b"polyarch" + shown + expected)
