"""The directory of a container: what it is, who runs it, and its read-write layer.

::

    ROOT/containers/lock         held while names are given and what others left is removed
    ROOT/containers/ID/
        container.json           the record below
        lock                     held by the process that runs it: a container whose lock is free does not run
        upper/ work/ rootfs/     the read-write layer, overlayfs' own directory, where all is mounted
        config.json runtime/ log the OCI runtime's spec, state and complaints
        etc/                     hosts, hostname and resolv.conf as the container sees them
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from polyarch.container.cgroups import remove_cgroup
from polyarch.container.snapshots import Rights
from polyarch.errors import StorageError, UsageError
from polyarch.files import disk_error, make_directory, read_bounded, write_in_one_step
from polyarch.unpack.image import remove_tree

_MAX_RECORD = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a container.

    `image` is the reference, `manifest` its digest, `command` what was started, `layers` the names of its snapshots,
    `created` the time in UTC (ISO 8601). `pid` is the host's process ID of the runtime, which is process 1 of the
    outermost PID namespace (0 before it runs). `rm`: the container goes when it ends.
    """

    id: str
    name: str
    image: str
    manifest: str
    platform: str
    command: tuple[str, ...]
    created: str
    layers: tuple[str, ...]
    rm: bool
    pid: int = 0
    status: Literal["created", "running", "exited"] = "created"
    exit_code: int | None = None


def new_record(
    name: str, image: str, manifest: str, platform: str, command: tuple[str, ...], layers: tuple[str, ...], *, rm: bool
) -> Record:
    """A record of now, with a random ID (64 hexadecimal digits) and, without a name, its first twelve as the name."""
    identifier = secrets.token_hex(32)
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    return Record(identifier, name or identifier[:12], image, manifest, platform, command, created, layers, rm)


class Container:
    """A container's directory, held by this process until `close`."""

    def __init__(self, directory: Path, record: Record, lock: int) -> None:
        self.directory = directory
        self.record = record
        self._lock = lock

    def update(self, **changes: object) -> None:
        """Change fields of the record, in one step. Raises StorageError."""
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]
        _write(self.directory, self.record)

    def remove(self, rights: Rights) -> None:
        """Take all of it away; nothing of it runs any more."""
        _remove(self.directory, rights)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)


class Containers:
    """The containers below `root` (`ROOT/containers`)."""

    def __init__(self, root: Path, rights: Rights) -> None:
        self._root = root
        self._rights = rights

    def create(self, record: Record) -> Container:
        """A directory for a new container. What crashed processes left is removed on the way.

        Raises UsageError: the name is taken; StorageError.
        """
        try:
            make_directory(self._root, 0o700)
            with self._locked():
                self._sweep()
                taken = next((each for each in self.records() if each.name == record.name), None)
                if taken is not None:
                    raise UsageError(
                        f"the container name {record.name!r} is in use by {taken.id[:12]}", "choose another --name"
                    )
                directory = self._root / record.id
                directory.mkdir(0o700)
                lock = _open_lock(directory)
                fcntl.flock(lock, fcntl.LOCK_EX)
                for name in ("upper", "work", "rootfs", "runtime", "etc"):
                    (directory / name).mkdir(0o700)
                _write(directory, record)
        except OSError as error:
            raise disk_error(error, f"cannot make a container in {self._root}") from error
        return Container(directory, record, lock)

    def records(self) -> Iterator[Record]:
        """All containers, in no order. One whose process died without a word counts as exited."""
        for directory in self._directories():
            record = _read(directory)
            if record is not None:
                dead = record.status != "exited" and not _is_held(directory)
                yield replace(record, status="exited", pid=0, exit_code=record.exit_code or 137) if dead else record

    def _directories(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        return [path for path in self._root.iterdir() if path.is_dir()]

    def _sweep(self) -> None:
        """Remove what a process that was killed left: containers that were to go, and half-made ones."""
        for directory in self._directories():
            if _is_held(directory):
                continue
            record = _read(directory)
            if record is None or record.rm:
                _remove(directory, self._rights)
            else:
                remove_cgroup(record.id)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = _open_lock(self._root)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _open_lock(directory: Path) -> int:
    return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_held(directory: Path) -> bool:
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(directory: Path, rights: Rights) -> None:
    remove_cgroup(directory.name)
    _guarded(lambda: rights.call(lambda: remove_tree(directory)), f"cannot remove {directory}")


def _write(directory: Path, record: Record) -> None:
    data = json.dumps(asdict(record), ensure_ascii=True, indent=1).encode()
    path = directory / "container.json"
    _guarded(lambda: write_in_one_step(path, data, directory / ".container.json", sync=False), f"cannot write {path}")


def _guarded(act: Callable[[], None], what: str) -> None:
    try:
        act()
    except OSError as error:
        raise disk_error(error, what) from error


def _read(directory: Path) -> Record | None:
    """The record in a directory; None where there is none, or none that can be read."""
    try:
        document = json.loads(read_bounded(directory / "container.json", _MAX_RECORD))
        return Record(**{**document, "command": tuple(document["command"]), "layers": tuple(document["layers"])})
    except (OSError, StorageError, ValueError, TypeError, KeyError):
        return None
