"""What was installed, so that exactly that can be taken away again: one small JSON file under a lock."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Literal

from polyarch_platforms import binfmt
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.errors import BinfmtError, QemuError
from polyarch_platforms.lazy_dataclass import dataclass

STATE_DIR = Path("/var/lib/polyarch/emulators")

Way = Literal["kernel", "systemd", "update-binfmts"]
_WAYS: tuple[Way, ...] = ("kernel", "systemd", "update-binfmts")
_VERSION = 1
_MAX_STATE = 1024 * 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Record:
    """One installed emulator.

    line                the register line
    way                 how it was made
    boot                during which boot
    file, file_before   systemd: the file written, and what it held before (None: there was none)
    replaced            the register line of somebody else's entry that had the name, if one was replaced
    replaced_enabled    whether that entry was switched on
    """

    line: str
    way: Way
    boot: str
    file: str | None = None
    file_before: str | None = None
    replaced: str | None = None
    replaced_enabled: bool = True

    @property
    def entry(self) -> Registration:
        return binfmt.parse_line(os.fsencode(self.line))

    @property
    def file_content(self) -> str:
        return f"{self.line}\n"


@dataclass(frozen=True, slots=True)
class State:
    """Records by architecture; the boot during which install mounted binfmt_misc (""); the directories it made."""

    records: Mapping[str, Record] = field(default_factory=dict)
    mounted_in_boot: str = ""
    directories: tuple[str, ...] = ()


def boot_id() -> str:
    """What tells this boot from every other: a mount or entry made in an earlier one is gone."""
    return _BOOT_ID.read_text().strip()


class Store:
    """The state file, in a directory that exists only while something is installed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "installed.json"

    @contextmanager
    def locked(self) -> Iterator[State]:
        """Keeps other processes out and gives the state; without a saved file in the end, the directory goes again.

        Raises QemuError where the directory cannot be written or the state cannot be read.
        """
        try:
            lock, made = self._lock()
        except OSError as error:
            hint = "run it as root" if isinstance(error, PermissionError) else None
            raise QemuError(f"cannot keep a record in {self._directory}: {error.strerror}", hint) from error
        directories = made
        try:
            state = self._load()
            directories = tuple(dict.fromkeys((*made, *state.directories)))
            yield replace(state, directories=directories)
        finally:
            if not self._file.exists():
                for directory in directories:
                    with suppress(OSError):  # somebody else's by now
                        Path(directory).rmdir()
            os.close(lock)

    def _lock(self) -> tuple[int, tuple[str, ...]]:
        """The lock and the directories made for it, innermost first.

        The lock is on the directory, so it leaves no file; who waited for one that is gone by now tries again.
        """
        while True:
            made = tuple(str(one) for one in (self._directory, *self._directory.parents) if not one.exists())
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), self._directory.stat()):
                    return lock, made
            os.close(lock)

    def _load(self) -> State:
        try:
            with self._file.open("rb") as file:
                document = json.loads(file.read(_MAX_STATE))
            if document["version"] != _VERSION:
                raise QemuError(f"{self._file} was written by another version of polyarch")
            records = {str(name): _record(fields) for name, fields in document["records"].items()}
            return State(records, str(document["mounted_in_boot"]), tuple(map(str, document["directories"])))
        except FileNotFoundError:
            return State()
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, BinfmtError) as error:
            raise QemuError(f"cannot read the record of installed emulators, {self._file}") from error

    def save(self, state: State) -> None:
        """Writes the state in one step; a state that holds nothing takes the file away. Raises QemuError."""
        try:
            if not state.records and not state.mounted_in_boot:
                self._file.unlink(missing_ok=True)
                return
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps({"version": _VERSION, **asdict(state)}, indent=1) + "\n", encoding="utf-8")
            new.replace(self._file)
        except OSError as error:
            raise QemuError(f"cannot write {self._file}: {error.strerror}") from error


def _record(fields: dict[str, object]) -> Record:
    record = Record(**fields)  # type: ignore[arg-type]  # checked below
    if record.way not in _WAYS or not all(isinstance(one, str | None) for one in (record.file, record.file_before)):
        raise ValueError(record)
    for line in (record.line, record.replaced or record.line):
        binfmt.parse_line(os.fsencode(line))
    return record
