"""The directory of a container: what it is, who runs it, and its read-write layer.

::

    ROOT/containers/lock         held while names are given and what others left is removed
    ROOT/containers/ID/
        container.json           the record; making.json as long as it is not whole
        start.json               of one made by `container create`: what a start needs (later_start.py)
        lock                     held by the process that stays with it and by the runtime: where it is free, none runs
        upper/ work/ rootfs/     the read-write layer, overlayfs' own directory, where all is mounted
        config.json runtime/ log the OCI runtime's spec, state and complaints
        output                   what a detached container has written
        etc/                     hosts, hostname and resolv.conf as the container sees them
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from polyarch.container.cgroups import ENDS_WITHIN, left_cgroups, remove_cgroup
from polyarch.container.damaged import damaged_record
from polyarch.container.record import MAKING, RECORD, Form, Record, now, read_record, write_record
from polyarch.container.rights import Rights, rights_at
from polyarch.errors import HostError, NotFoundError, StorageError, UsageError, printable
from polyarch.files import disk_error, make_directory, sync_directory, sync_file, write_in_one_step
from polyarch.locks import try_lock
from polyarch.unpack.tree import remove_tree

START = "start.json"

_SWEEPS_WITHIN = 1.0
"""Seconds that the leftovers of one container may keep another one from starting."""

KILLED = 137
"""The exit code of a container whose end nobody saw: 128 and SIGKILL."""


class Container:
    """A container's directory, held by this process until `close`."""

    def __init__(self, directory: Path, record: Record, lock: int) -> None:
        self.directory = directory
        self.record = record
        self.lock = lock

    def made(self, form: Form | None = None, *, sync: bool = False) -> None:
        """It is whole, its layers in this form: from now on everybody sees it. Raises StorageError.

        With `sync` it is on the disk, too: for one that is of use later only.
        """
        if form not in (None, self.record.form):
            self.record = replace(self.record, form=form or "unpacked")
            _guarded(lambda: write_record(self.directory, self.record, MAKING), f"cannot write to {self.directory}")
        _guarded(lambda: self._published(sync=sync), f"cannot write to {self.directory}")

    def _published(self, *, sync: bool) -> None:
        if sync:
            for name in (START, MAKING):
                if (self.directory / name).exists():
                    sync_file(self.directory / name)
        _rename(self.directory / MAKING, self.directory / RECORD)
        if sync:
            sync_directory(self.directory)
            sync_directory(self.directory.parent)

    def started(self, pid: int) -> None:
        """Note that the runtime runs. Raises StorageError."""
        self._update(replace(self.record, status="running", pid=pid, started=now(), finished="", exit_code=None))

    def starts_by(self, runtime: Literal["crun", "runc", "none"], *, detached: bool) -> None:
        """Note what is going to start it, and how. Raises StorageError."""
        self._update(replace(self.record, runtime=runtime, detached=detached))

    def ended(self, code: int) -> None:
        """Note the end. Raises StorageError."""
        self._update(replace(self.record, status="exited", pid=0, exit_code=code, finished=now()))

    def _update(self, record: Record) -> None:
        self.record = record
        _guarded(lambda: write_record(self.directory, record), f"cannot write to {self.directory}")

    def remove(self, rights: Rights) -> None:
        """Take all of it away; nothing of it runs any more."""
        _remove(self.directory, rights)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.lock)


class Containers:
    """The containers below `root` (`ROOT/containers`)."""

    def __init__(self, root: Path, rights: Rights) -> None:
        self._root = root
        self._rights = rights

    def create(self, record: Record, start: bytes = b"", *, whole: bool = True) -> Container:
        """A directory for a new container. What crashed processes left is removed on the way.

        With `start`, what is needed for that, it is one that may wait for its start. Until `made` one that is not
        `whole` is seen by nobody, but its name is taken, and its image and layers stay.

        Raises UsageError: the name is taken; StorageError.
        """
        try:
            make_directory(self._root, 0o700)
            with self._locked():
                taken = next((each for each in self._sweep(all_named=True) if each.name == record.name), None)
                if taken is not None:
                    raise UsageError(
                        f"the container name {record.name!r} is in use by {taken.id[:12]}",
                        f"choose another --name, or remove that one: polyarch rm {taken.id[:12]}",
                    )
                directory = self._root / record.id
                directory.mkdir(0o700)
                lock = _open_lock(directory)
                fcntl.flock(lock, fcntl.LOCK_EX)
                for name in ("upper", "work", "rootfs", "runtime"):
                    (directory / name).mkdir(0o700)
                if start:
                    write_in_one_step(directory / START, start, directory / f".{START}", sync=False)
                write_record(directory, record, RECORD if whole else MAKING)
        except OSError as error:
            raise disk_error(error, f"cannot make a container in {self._root}") from error
        return Container(directory, record, lock)

    def hold(self, record: Record) -> Container:
        """A container that does not run; as long as it is held nobody else starts, reads or removes it.

        Raises UsageError: it runs, or somebody else is at it; NotFoundError: it is gone.
        """
        directory = self.directory(record)
        with self._guarded_lock():
            if not directory.is_dir():
                raise NotFoundError(f"the container {record.name} is gone", "see: polyarch ps -a")
            lock = _open_lock(directory)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise UsageError(f"the container {record.name} runs, or is being used", "see: polyarch ps") from None
            now_known = read_record(directory) or record
            return Container(directory, _seen(directory, now_known, held=False), lock)

    def in_use(self, record: Record) -> bool:
        """Whether somebody runs it, starts it or is at its files."""
        with self._guarded_lock(fcntl.LOCK_SH), _held(self.directory(record)) as ours:
            return not ours

    def records(self) -> list[Record]:
        """All containers, in no order. One whose process died without a word counts as exited; one whose record cannot
        be read is `damaged`, and has a `pid` if it runs.
        """
        if not self._root.is_dir():
            return []
        with self._guarded_lock(fcntl.LOCK_SH):
            return list(self._known())

    def _known(self) -> Iterator[Record]:
        for directory in self._directories():
            record = read_record(directory)
            with _held(directory) as ours:
                known = _seen(directory, record, held=not ours) if record else damaged_record(directory, held=not ours)
            if known is not None and (record is not None or read_record(directory) is None):  # made whole meanwhile
                yield known

    def _making(self) -> Iterator[Record]:
        for directory in self._directories():
            record = read_record(directory, MAKING)
            if record is not None:
                yield record

    @contextlib.contextmanager
    def still(self) -> Iterator[tuple[list[Record], list[Path]]]:
        """Within, no container comes or goes: all of them, also those that are being made, and the folders of those
        whose record cannot be read.

        Raises StorageError.
        """
        try:
            make_directory(self._root, 0o700)
        except OSError as error:
            raise disk_error(error, f"cannot make {self._root}") from error
        with self._guarded_lock(fcntl.LOCK_SH):
            # Those being made first: one that is made meanwhile is seen among the others.
            found = {record.id: record for record in self._making()}
            broken = []
            for record in self._known():
                if record.status == "damaged":
                    broken.append(self.directory(record))
                else:
                    found[record.id] = record
            yield list(found.values()), broken

    def find(self, word: str, *, damaged: bool = False) -> Record:
        """The container with that name, or the only one whose ID starts so; with `damaged` also without its record.

        Raises NotFoundError; UsageError where several IDs start so; StorageError: its record cannot be read.
        """
        records = self.records()
        named = [each for each in records if word in (each.name, each.id)]
        found = named or [each for each in records if word and each.id.startswith(word)]
        if not found:
            raise NotFoundError(f"there is no container '{printable(word, 100)}'", "see: polyarch ps -a")
        if len(found) > 1:
            raise UsageError(f"the IDs of {len(found)} containers start with {word}", "write more of it")
        if found[0].status == "damaged" and not damaged:
            raise StorageError(
                f"the record of the container {found[0].id[:12]} is damaged: {self.directory(found[0]) / RECORD}",
                f"polyarch rm -f {found[0].id[:12]}, what it has written is in {self.directory(found[0])}",
            )
        return found[0]

    def directory(self, record: Record) -> Path:
        """Where the container is kept."""
        return self._root / record.id

    def remove(self, record: Record) -> None:
        """Take a container away that does not run. Raises UsageError if it does, StorageError."""
        directory = self.directory(record)
        with self._guarded_lock(), _held(directory) as ours:
            if not ours and not record.pid:
                raise UsageError(f"the container {record.name} is being used", "try again when that is done")
            if not ours:
                raise UsageError(
                    f"the container {record.name} runs",
                    f"stop it first: polyarch stop {record.name}; or end it at once: polyarch rm -f {record.name}",
                )
            _remove(directory, self._rights)

    def sweep(self) -> None:
        """Remove what killed processes left: containers that were to go, half-made ones, control groups."""
        if self._root.is_dir():
            with self._guarded_lock():
                self._sweep()

    def wait(self, record: Record) -> None:
        """Return once nobody runs the container any more: its end is noted, or it is gone."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.directory(record) / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            finally:
                os.close(descriptor)

    def _directories(self) -> list[Path]:
        try:
            with os.scandir(self._root) as entries:
                return [self._root / entry.name for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_error(error, f"cannot read {self._root}") from error

    def _sweep(self, *, all_named: bool = False) -> list[Record]:
        """Those that it leaves and, with `all_named`, those that run or are being made: each is read once."""
        groups = left_cgroups()
        kept: list[Record] = []
        for directory in self._directories():
            with _held(directory) as ours:
                if not ours:
                    if all_named:  # what is made just now gets its record under the other name
                        record = read_record(directory) or read_record(directory, MAKING) or read_record(directory)
                        record = record or damaged_record(directory, held=True)
                        kept += [record] if record else []
                    continue
                try:
                    record = read_record(directory)
                except StorageError:  # the disk is at fault: whoever wants to know of this one is told
                    if all_named:
                        raise
                    continue
                if record is None and (damaged := damaged_record(directory, held=False)):
                    kept.append(damaged)  # or of a newer version: somebody may want to look at it
                    continue
                with contextlib.suppress(HostError):  # something waits for a disk: another time
                    if record is None or (record.rm and _seen(directory, record, held=False).status != "created"):
                        _remove(directory, self._rights, patience=_SWEEPS_WITHIN)
                        continue
                    kept.append(record)
                    if record.id in groups:
                        remove_cgroup(record.id, patience=_SWEEPS_WITHIN)
        return kept

    @contextlib.contextmanager
    def _guarded_lock(self, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
        try:
            with self._locked(operation):
                yield
        except OSError as error:
            raise disk_error(error, f"cannot lock {self._root}") from error

    @contextlib.contextmanager
    def _locked(self, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Whoever tries a container's own lock holds this one, so that no try is taken for a container that runs."""
        descriptor = _open_lock(self._root)
        try:
            fcntl.flock(descriptor, operation)
            yield
        finally:
            os.close(descriptor)


def _seen(directory: Path, record: Record, *, held: bool) -> Record:
    """The record of a container, with what its lock tells. One that was made to be started later waits."""
    if record.status == "exited" or held or (record.status == "created" and (directory / START).exists()):
        return record
    return replace(record, status="exited", pid=0, exit_code=KILLED if record.exit_code is None else record.exit_code)


def tidy(directory: str, *, remove: bool) -> None:
    """For the process that watched a detached container: take away its control group, or all of it."""
    place = Path(directory)
    if remove:
        _remove(place, rights_at(place.parent.parent))
    else:
        remove_cgroup(place.name)


def _open_lock(directory: Path) -> int:
    return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[bool]:
    """Hold the lock of a container's directory if it is free, or missing; whether this process holds it."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield try_lock(descriptor, shared=True)  # `records` runs in several processes
    finally:
        os.close(descriptor)


def _remove(directory: Path, rights: Rights, patience: float = ENDS_WITHIN) -> None:
    remove_cgroup(directory.name, patience=patience)
    # The record first: one without it is removed by the next who looks, should this process be killed.
    if not (directory / RECORD).is_dir():  # which is damage, and goes with the rest
        _guarded(lambda: (directory / RECORD).unlink(missing_ok=True), f"cannot remove {directory}")
    _guarded(lambda: rights.call(lambda: remove_tree(directory)), f"cannot remove {directory}")


def _rename(old: Path, new: Path) -> None:
    old.rename(new)


def _guarded(act: Callable[[], None], what: str) -> None:
    try:
        act()
    except OSError as error:
        raise disk_error(error, what) from error
