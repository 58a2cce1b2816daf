"""What a command may have changed on the machine: the kernel's table of emulators, mounts, and what it left running."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyarch_platforms import architecture, binfmt

_TABLE = Path("/proc/sys/fs/binfmt_misc")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))
"""Where the tests that run beside this one mount what is theirs."""


@dataclass(frozen=True)
class MachineState:
    """`table`: file -> content of binfmt_misc. `mounts`: the lines of mountinfo. `running`: process -> its words."""

    table: dict[str, bytes]
    mounts: list[str]
    running: dict[int, bytes]


@contextmanager
def unchanged_machine(*folders: Path) -> Iterator[None]:
    """AssertionError if anything of `MachineState` differs afterwards.

    `folders` are the test's own. Mounts below other temporary folders, and processes that know nothing of these ones,
    are other tests' affair.
    """
    before = _state(folders)
    yield
    after = _state(folders)
    assert after == before, f"of the machine differ {list(_differences(before, after))}"


@contextmanager
def registered_arm64(emulator: Path, flags: str) -> Iterator[None]:
    """Within, the machine's own table has an entry for arm64; as root. Skips where it has one already."""
    known = architecture.load()["arm64"]
    mounted_here = not binfmt.mounted()
    if mounted_here:
        binfmt.mount()
    if binfmt.matching(binfmt.registrations(), known):
        pytest.skip("arm64 is registered on this machine already")
    binfmt.register(binfmt.register_line(known, str(emulator), flags, "polyarch-test-arm64"))
    try:
        yield
    finally:
        binfmt.unregister("polyarch-test-arm64")
        if mounted_here:
            binfmt.unmount()


def running(*folders: Path) -> dict[int, bytes]:
    """The processes whose words, variables or mounts name one of the folders: ID -> words."""
    names = [os.fsencode(folder) for folder in folders]
    # mountinfo names a path within its file system, which may begin anywhere above.
    within = [os.fsencode("/".join(folder.parts[-3:])) for folder in folders]
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words, variables = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
            mounts = (path / "mountinfo").read_bytes()
            if any(name in words or name in variables for name in names) or any(name in mounts for name in within):
                found[int(path.name)] = words
    return found


def _state(folders: tuple[Path, ...]) -> MachineState:
    table = {path.name: path.read_bytes() for path in sorted(_TABLE.glob("*")) if path.name != "register"}
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return MachineState(table, [line for line in mounts if _concerns(line, folders)], running(*folders))


def _differences(before: MachineState, after: MachineState) -> Iterator[object]:
    for was, now in ((before.table, after.table), (before.running, after.running)):
        yield from (item for item in set(was.items()) ^ set(now.items()))
    yield from set(before.mounts) ^ set(after.mounts)


def _concerns(mount: str, folders: tuple[Path, ...]) -> bool:
    place = Path(mount.split()[4])
    others = any(place.is_relative_to(temporary) for temporary in _TEMPORARY)
    return not others or any(place.is_relative_to(folder) for folder in folders)
