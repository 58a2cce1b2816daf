"""What a container changed against its image: its read-write layer held against the layers below."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from polyarch.container.layers import MOUNTS, Layers, look
from polyarch.container.rights import Rights
from polyarch.errors import StorageError
from polyarch.files import disk_error, read_bounded
from polyarch.unpack.attributes import attributes_of
from polyarch.unpack.beneath import Directory, Root, components, followed
from polyarch.unpack.stack import Flavour, Found, Marks, Stack
from polyarch_platforms.lazy_dataclass import dataclass

Kind: TypeAlias = Literal["A", "C", "D"]
_File: TypeAlias = tuple[int, int]  # device and number

_MAX_SPEC = 1 << 20
_CHUNK = 1 << 16
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Change:
    """A name that was added, changed or deleted.

    `path` begins with a slash; bytes that are no UTF-8 stand in it as `os.fsdecode` puts them. What is added or changed
    lies at the same path in the read-write layer. What lay below a deleted name, or below a directory in whose place
    something else is, is gone with it and not named. A directory counts as changed, too, where something in it is.
    """

    kind: Kind
    path: str

    @property
    def shown(self) -> str:
        """The path in Unicode, with `\\\\xNN` for other bytes."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")


def container_changes(directory: Path, layers: Layers, rights: Rights) -> tuple[Change, ...]:
    """The changes of the container in `directory`, sorted by path; `layers` are its snapshots.

    Raises StorageError, HostError.
    """

    def compare(lowers: Sequence[Path]) -> list[Change]:
        return changes(directory / "upper", lowers, rights.flavour, mount_targets(directory / "config.json"))

    try:
        return tuple(look(layers, rights, directory / MOUNTS, compare))
    except OSError as error:
        raise disk_error(error, f"cannot read the layers of the container {directory.name[:12]}") from error


def mount_targets(spec: Path) -> tuple[str, ...]:
    """Where the OCI runtime mounts something, by its config.json; () for a container that was never started."""
    try:
        document = json.loads(read_bounded(spec, _MAX_SPEC))
        return tuple(str(mount["destination"]) for mount in document["mounts"])
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError, KeyError):
        raise StorageError(f"{spec} is damaged") from None


def changes(upper: Path, lowers: Sequence[Path], flavour: Flavour, targets: Iterable[str] = ()) -> list[Change]:
    """What the layer in `upper` changes of those below (`lowers`, the topmost first), sorted by path.

    Only `upper` is walked; of the others only what has the same path is looked at, and what is hidden in a directory
    that was made anew. `targets` are places where something was mounted: what the OCI runtime made there to mount on,
    an empty directory or file where the image has nothing, is no change. The root itself is never one.

    A file that got a further name counts as changed, under all its names.

    Raises OSError.
    """
    found = kinds(upper, lowers, flavour, targets)
    return [Change(found[path], "/" + os.fsdecode(path)) for path in sorted(found)]


def kinds(upper: Path, lowers: Sequence[Path], flavour: Flavour, targets: Iterable[str] = ()) -> dict[bytes, Kind]:
    """The same by paths without a slash in front, in no order."""
    walk = _Walk(Root(upper), [Root(lower).top for lower in lowers], Marks(flavour))
    walk.run()
    found = walk.found
    for path in _made_to_mount_on(walk.real(target) for target in targets):
        _forget_if_empty(found, path, walk)
    for path in walk.touched:
        found[path] = "C"
    for path in walk.linked_anew():
        found.setdefault(path, "C")
    for path in list(found):
        for above in _above(path):
            found.setdefault(above, "C")
    return found


class _Walk:
    """Goes through the upper directory. `found` has what differs, `touched` directories of which only the time does.

    The container may run meanwhile: what is gone when it is looked at is passed over.
    """

    def __init__(self, upper: Root, lowers: Sequence[Directory], marks: Marks) -> None:
        self._upper = upper
        self._marks = marks
        self._lower = Stack(lowers, marks)
        self._whole = Stack([upper.top, *lowers], marks)
        self.found: dict[bytes, Kind] = {}
        self.touched: set[bytes] = set()
        self.mountable: set[bytes] = set()  # what is new, and a directory or an empty file
        # By file, where it has several names: each name, with the file of that name below.
        self._links: dict[_File, list[tuple[bytes, _File | None]]] = {}

    def run(self) -> None:
        # Directories to come, each with: whether a lower layer has it, too, and whether nothing of that is seen.
        waiting = [(b"", True, False)]
        while waiting:
            path, known, hidden = waiting.pop()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                waiting += self._directory(path, known, hidden)

    def _directory(self, path: bytes, known: bool, hidden: bool) -> list[tuple[bytes, bool, bool]]:
        """Compare what is in a directory; the directories in it."""
        here = self._upper.directory(components(path))
        below = self._stack_below(path) if known else None
        hidden = hidden or (path != b"" and known and self._marks.is_opaque(here))
        names: set[bytes] = set()
        inner: list[tuple[bytes, bool, bool]] = []
        for name, status in self._marks.entries(here):
            found = below.find(name) if below is not None else None
            child = here.child(name)
            if status is None:
                if found is not None:
                    self.found[child] = "D"
            else:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    self._compare(here, child, name, status, found)
                if stat.S_ISDIR(status.st_mode):
                    inner.append((child, found is not None and stat.S_ISDIR(found.status.st_mode), hidden))
            names.add(name)
        if hidden and below is not None:
            self.found.update((here.child(name), "D") for name in below.names() - names)
        return inner

    def _stack_below(self, path: bytes) -> Stack:
        if not path:
            return self._lower
        found = self._lower.at(path)
        return found.stack if found is not None else Stack((), self._marks)

    def _compare(self, here: Directory, path: bytes, name: bytes, status: os.stat_result, found: Found | None) -> None:
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            below = (found.status.st_dev, found.status.st_ino) if found is not None else None
            self._links.setdefault((status.st_dev, status.st_ino), []).append((path, below))
        if found is None:
            self.found[path] = "A"
            if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size == 0):
                self.mountable.add(path)
        elif _differ(here, name, status, found):
            self.found[path] = "C"
        elif stat.S_ISDIR(status.st_mode) and status.st_mtime_ns != found.status.st_mtime_ns:
            self.touched.add(path)

    def linked_anew(self) -> Iterator[bytes]:
        """The names of files that have one more than below, or changed."""
        for names in self._links.values():
            files = {below for _, below in names}
            if len(names) > 1 and (len(files) > 1 or any(path in self.found for path, _ in names)):
                yield from (path for path, _ in names)

    def real(self, target: str) -> bytes:
        """A path in the container, with symlinks followed as far as there are any; the root's for a loop of them."""

        def link_at(path: bytes) -> bytes | None:
            found = self._whole.at(path)
            if found is None or not stat.S_ISLNK(found.status.st_mode):
                return None
            return os.readlink(found.name, dir_fd=found.directory.fd)

        try:
            return followed(os.fsencode(target), link_at)
        except OSError:
            return b""


def _differ(here: Directory, name: bytes, status: os.stat_result, found: Found) -> bool:
    """Whether an entry of the upper layer is another thing than the one below. The time of a directory does not count:
    it changes with what is made in it.
    """
    old = found.status
    if (old.st_mode, old.st_uid, old.st_gid) != (status.st_mode, status.st_uid, status.st_gid):
        return True
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        one, other = here.open(name), found.directory.open(found.name)
        return attributes_of(one.fd) != attributes_of(other.fd)
    if (old.st_mtime_ns, old.st_size, old.st_rdev) != (status.st_mtime_ns, status.st_size, status.st_rdev):
        return True
    if kind == stat.S_IFLNK:
        return os.readlink(name, dir_fd=here.fd) != os.readlink(found.name, dir_fd=found.directory.fd)
    if kind == stat.S_IFREG:
        with contextlib.ExitStack() as stack:
            new, below = (
                stack.enter_context(os.fdopen(os.open(each, _READ, dir_fd=folder.fd), "rb"))
                for each, folder in ((name, here), (found.name, found.directory))
            )
            return attributes_of(new.fileno()) != attributes_of(below.fileno()) or not _same_content(new, below)
    return False


def _same_content(one: BinaryIO, other: BinaryIO) -> bool:
    while data := one.read(_CHUNK):
        if data != other.read(_CHUNK):
            return False
    return not other.read(1)


def _above(path: bytes) -> Iterator[bytes]:
    """The directories that a path leads through, the innermost first, without the root."""
    while path := path.rpartition(b"/")[0]:
        yield path


def _made_to_mount_on(targets: Iterable[bytes]) -> list[bytes]:
    """Where something was mounted, and the directories that may have been made on the way; the innermost first."""
    return sorted({path for target in targets for path in (target, *_above(target))}, reverse=True)


def _forget_if_empty(found: dict[bytes, Kind], path: bytes, walk: _Walk) -> None:
    """What was only made to mount on is no change, nor is the time that this gave to its directory."""
    if found.get(path) == "A" and path in walk.mountable:
        paths = sorted(found)
        after = bisect_left(paths, path + b"/")
        if after == len(paths) or not paths[after].startswith(path + b"/"):
            del found[path]
            walk.touched.discard(path.rpartition(b"/")[0])
