"""Layers that a container which runs has mounted already: a clone of such a mount shares its file system, and with that
the page cache, so that what is in a layer is in memory once however many containers run of it.

Each container's layers stay mounted in its own mount namespace, which nobody else sees. A new container enters that for
a moment, clones the mounts (open_tree(2)) and takes them home; whoever ends first, the file system stays until the last
of them has. Wherever that is impossible, a layer is mounted anew, which only costs memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from polyarch.container import syscalls
from polyarch.container.layers import MOUNTS, Layers
from polyarch.container.record import RECORD
from polyarch.unpack.erofs import format as form
from polyarch_platforms.lazy_dataclass import dataclass

_RUNS, _FORM = b'"status": "running"', b'"form": "erofs"'
_MAX_RECORD = 1 << 16  # bytes; of a longer one there is no need to know
_FLAGS = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV
_GET_UUID = 0x80111500  # Linux 6.9, include/uapi/linux/fs.h: FS_IOC_GETFSUUID, a length and 16 bytes
_GET_UUID_ELSEWHERE = 0x40111500  # where a read has another bit (mips, powerpc, sparc: asm/ioctl.h)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One that runs: a pidfd of the process in whose mount namespace its layers are, and where, by their names."""

    process: int
    mounts: dict[str, Path]


@contextlib.contextmanager
def neighbours(containers: Path, layers: Layers) -> Iterator[Sequence[Neighbour]]:
    """Within, those below `containers` that together have as many of the EROFS layers as can be had, perhaps none."""
    with contextlib.ExitStack() as stack:
        found: list[Neighbour] = []
        with contextlib.suppress(OSError):
            for each in _found(containers, {path.name for path in layers.paths}):
                stack.callback(os.close, each.process)
                found.append(each)
        yield found


def _found(containers: Path, wanted: set[str]) -> Iterator[Neighbour]:
    place = os.fspath(containers)
    for name in os.listdir(place):  # noqa: PTH208  # names, and no paths: there may be hundreds
        data = _record(f"{place}/{name}/{RECORD}")
        if _RUNS not in data or _FORM not in data:  # most need no more than a look
            continue
        mounts, pid = _mounts_of(data, containers / name, wanted)
        process = _process(pid, containers / name) if mounts else None
        if process is not None:
            yield Neighbour(process, mounts)
            wanted -= mounts.keys()
            if not wanted:
                return


def _record(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # removed just now, or no container
        return b""
    try:
        return os.read(file, _MAX_RECORD)
    except OSError:
        return b""
    finally:
        os.close(file)


def _mounts_of(data: bytes, directory: Path, wanted: set[str]) -> tuple[dict[str, Path], int]:
    """Which of the layers the container has, and where; the process that its record names."""
    try:
        document = json.loads(data)
        names, pid = document["layers"], int(document["pid"])
        return {name: directory / MOUNTS / str(at) for at, name in enumerate(names) if name in wanted}, pid
    except (ValueError, TypeError, KeyError):
        return {}, 0


def _process(pid: int, directory: Path) -> int | None:
    """A pidfd of the process that a record names; None where that has ended, and the number may be a stranger's.

    Whoever runs a container has its lock open.
    """
    try:
        process = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    try:
        lock = (directory / "lock").stat()
        with os.scandir(f"/proc/{pid}/fd") as files:
            held = any(os.path.samestat(lock, each.stat()) for each in files if _is_file(each))
        if held and not select.select([process], [], [], 0)[0]:  # it lives: what /proc has told was told of it
            return process
    except OSError:
        pass
    os.close(process)
    return None


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def mount_clones(layers: Layers, targets: Sequence[Path], beside: Sequence[Neighbour]) -> set[Path]:
    """Mount what the neighbours have of the layers at their `targets`, which are there; the targets that have it.

    Called in a mount namespace of its own, in a process of one thread. Raises OSError: it is not in that any more.
    """
    places = {path.name: (path, target) for path, target in zip(layers.paths, targets, strict=True)}
    done: set[Path] = set()
    for neighbour in beside:
        for name, tree in _clones(neighbour, places.keys()).items():
            path, target = places[name]
            try:
                with contextlib.suppress(OSError):
                    if target not in done and _is_layer(tree, path):
                        syscalls.attach(tree, target)
                        done.add(target)
            finally:
                os.close(tree)
    return done


def _clones(neighbour: Neighbour, names: Iterable[str]) -> dict[str, int]:
    """Clones of its mounts, each as the descriptor of its root, mounted nowhere."""
    clones: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        opened = []
        for path in (".", "/"):
            opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, opened[-1])
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, own)
        try:
            syscalls.enter_mounts(neighbour.process)
        except OSError:  # it has ended, or this process may not
            return {}
        try:
            for name in names:
                if name in neighbour.mounts:
                    with contextlib.suppress(OSError):
                        clones[name] = syscalls.clone_mount(neighbour.mounts[name])
        finally:
            syscalls.enter(own)
            place, root = opened
            os.fchdir(root)
            os.chroot(".")
            os.fchdir(place)
    return clones


def _is_layer(tree: int, directory: Path) -> bool:
    """Whether what was cloned is the root of an EROFS, the one of this layer, read-only. Only root mounts such.

    Raises OSError: the kernel does not say which it is.
    """
    if syscalls.file_system(tree) != form.MAGIC or os.fstatvfs(tree).f_flag & _FLAGS != _FLAGS:
        return False
    with (directory / form.METADATA_NAME).open("rb", buffering=0) as file:
        file.seek(form.SUPER_OFFSET)
        fields = form.SUPER.unpack(file.read(form.SUPER_SIZE))
    root_number, uuid = fields[5], fields[12]
    return any(uuid) and os.fstat(tree).st_ino == root_number and _uuid(tree) == uuid


def _uuid(tree: int) -> bytes:
    opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    try:
        elsewhere = os.uname().machine.startswith(("mips", "ppc", "sparc"))
        answer = fcntl.ioctl(opened, _GET_UUID_ELSEWHERE if elsewhere else _GET_UUID, bytes(17))
    finally:
        os.close(opened)
    return answer[1:] if answer[0] == 16 else b""
