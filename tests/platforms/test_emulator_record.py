"""The record of installed emulators: kept in one step, under a lock, in a directory that is there only while needed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch_platforms.emulator_record import Record, State, Store, boot_id
from polyarch_platforms.errors import QemuError

LINE = r":qemu-arm:M:0:\x7f\x45:\xff\xff:/opt/qemu-arm:F"
RECORD = Record(LINE, "systemd", "some boot", "/etc/binfmt.d/qemu-arm.conf", "before\n", LINE, False)


def test_what_was_saved_is_there_again_and_the_directories_that_were_made_are_known(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    store = Store(directory)
    with store.locked() as state:
        assert state == State({}, "", (str(directory), str(tmp_path / "a")))
        store.save(replace(state, records={"arm": RECORD}, mounted_in_boot=boot_id()))
    with store.locked() as state:
        assert state == State({"arm": RECORD}, boot_id(), (str(directory), str(tmp_path / "a")))
        store.save(replace(state, records={}, mounted_in_boot=""))
    assert list(tmp_path.iterdir()) == []


def test_directories_that_were_there_or_are_used_by_others_stay(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    (tmp_path / "a").mkdir()
    store = Store(directory)
    with store.locked():
        pass
    assert list((tmp_path / "a").iterdir()) == []
    with store.locked():
        (directory / "of somebody else").touch()
    assert directory.is_dir()


def test_a_path_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    record = replace(RECORD, line=LINE.replace("/opt", os.fsdecode(b"/opt\xff")))
    store = Store(tmp_path)
    with store.locked() as state:
        store.save(replace(state, records={"arm": record}))
    with store.locked() as state:
        assert state.records["arm"].entry.interpreter == os.fsdecode(b"/opt\xff/qemu-arm")


def test_who_waited_for_a_directory_that_was_taken_away_makes_a_new_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    begin, tell = os.pipe()
    # Made before the lock is held: a child shares the locks that its parent has.
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(begin, 1)
            with store.locked() as state:
                store.save(replace(state, records={"arm": RECORD}))
            code = 0
        finally:
            os._exit(code)
    with store.locked():
        os.write(tell, b"!")
        while not _waits(child):
            os.sched_yield()
    assert os.waitpid(child, 0)[1] == 0
    with store.locked() as state:
        assert state.records == {"arm": RECORD}


def _waits(process: int) -> bool:
    """proc(5), /proc/locks: a line with an arrow for each process that is blocked, its PID in the sixth field."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any(fields[1] == "->" and fields[5] == str(process) for fields in map(str.split, lines))


def test_a_full_or_closed_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QemuError, match=r"cannot keep a record in .*/file/state: Not a directory"):
        with Store(tmp_path / "file" / "state").locked():
            pass
    store = Store(tmp_path)
    (tmp_path / "installed.new").mkdir()
    with store.locked() as state:
        with pytest.raises(QemuError, match=r"cannot write .*installed.json: Is a directory"):
            store.save(replace(state, records={"arm": RECORD}))
