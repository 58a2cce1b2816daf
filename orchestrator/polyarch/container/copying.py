"""Files into a container and out of it, as a tar stream between two processes: one that sees the container's root, in
its namespaces, and this user's own, which alone touches this user's files.

What is inside is found beneath the container's root, so that no symlink there leads out of it; into one that runs it
goes through the root that its program has, so that it is seen there at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

from polyarch.container.launch import packed, unpacked
from polyarch.errors import NotFoundError, PolyarchError, UsageError, printable
from polyarch.files import disk_error
from polyarch.unpack.beneath import Directory, Root, components
from polyarch.unpack.copy_tree import CopyTree, CopyWriter, Destination, Source
from polyarch.unpack.stream import LayerStream, Limits
from polyarch.unpack.tar import Entry
from polyarch.unpack.tar_writer import TarWriter, kind_of

STREAM = "-"
"""A tar archive on stdin or stdout."""

Inside: TypeAlias = Callable[[Callable[[str], None]], None]
"""Calls a function with the container's root directory, in a process that may do everything there."""

_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ANY_SIZE = Limits(size=1 << 62, entries=1 << 40)
_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Words:
    """`CONTAINER:PATH` (then `container` is its name), a path here, or `-`."""

    container: str | None
    path: str

    @property
    def is_stream(self) -> bool:
        """Whether it is stdin or stdout."""
        return self.container is None and self.path == STREAM

    @property
    def is_contents(self) -> bool:
        """Whether what is in a directory is meant, and not that itself."""
        return self.path.endswith("/.") or self.path == "."

    @property
    def says_directory(self) -> bool:
        """Whether the path can only be that of a directory."""
        return self.path.endswith(("/", "/.", "/..")) or self.path in (".", "..")


def read_words(source: str, destination: str) -> tuple[Words, Words]:
    """What is copied where. As docker: a path here that has a colon begins with `/` or `.`.

    Raises UsageError unless a container is at one end alone.
    """
    ends = _words(source), _words(destination)
    if (ends[0].container is None) == (ends[1].container is None):
        raise UsageError(
            "a copy goes into a container or out of one", "write CONTAINER:PATH at one end: polyarch cp web:/etc/motd ."
        )
    if not ends[0].path or not ends[1].path or "\0" in source + destination:
        raise UsageError("a path is missing", "write CONTAINER:PATH at one end, a path or - at the other")
    return ends


def _words(text: str) -> Words:
    name, colon, path = text.partition(":")
    if text.startswith(("/", ".")) or not colon:
        return Words(None, text)
    return Words(name, path)


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy. `archive`: owners as they are at the source; `follow`: a symlink at the source is followed.

    `owners`: files of the container can belong to whom they should.
    """

    source: Words
    destination: Words
    archive: bool
    follow: bool
    owners: bool

    def out(self, inside: Inside) -> tuple[str, ...]:
        """From the container to here or to stdout; what could not be copied (sockets).

        Raises NotFoundError: it is not there; UsageError: docker's rules say no; HostError, StorageError.
        """
        with _answer() as (note, noted):

            def send(root: str, out: int) -> None:
                place = _inside_source(Root(root), self.source, self.follow)
                note(_send(place, self.source, out))

            if self.destination.is_stream:
                inside(lambda root: send(root, 1))
            else:
                _piped(
                    lambda out: inside(lambda root: send(root, out)),
                    self._receive_here,
                    first_is_here=False,
                )
            return noted()

    def into(self, inside: Inside) -> tuple[str, ...]:
        """From here, or from stdin, into the container; the same."""
        with _answer() as (note, noted):

            def receive(root: str, source: int) -> None:
                tree = CopyTree(root)
                goal = _inside_goal(tree, self.destination)
                kind: Source | None = "archive" if self.source.is_stream else self._kind
                self._write(tree, goal, kind, source, owners=self.owners)

            if self.source.is_stream:
                inside(lambda root: receive(root, 0))
            else:
                place = _here_source(self.source, self.follow)
                _piped(
                    lambda out: note(_send(place, self.source, out)),
                    lambda source: inside(lambda root: receive(root, source)),
                    first_is_here=True,
                )
            return noted()

    @property
    def _kind(self) -> Source | None:
        return "contents" if self.source.is_contents else None

    def _receive_here(self, source: int) -> None:
        goal = _here_goal(self.destination)
        real = Path(os.path.realpath(self.destination.path))
        tree = CopyTree(real if goal.there == "directory" else real.parent)
        self._write(tree, goal, self._kind, source, owners=self.archive and os.geteuid() == 0)

    def _write(self, tree: CopyTree, goal: Destination, kind: Source | None, source: int, *, owners: bool) -> None:
        with os.fdopen(os.dup(source), "rb") as stream:
            writer = CopyWriter(tree, goal, kind, self._changed, owners=owners)
            writer.write(LayerStream(stream, "the copy", limits=_ANY_SIZE))
            tree.finish()

    def _changed(self, entry: Entry) -> Entry:
        """Without `archive` files inside are root's, and here no more comes along than permissions and times."""
        if self.archive:
            return entry
        xattrs = entry.xattrs if self.source.container is None else {}
        return replace(entry, uid=0, gid=0, xattrs=xattrs)


_Place: TypeAlias = tuple[Directory, bytes]


def _inside_source(root: Root, words: Words, follow: bool) -> _Place:
    path = os.fsencode(words.path)
    parts = components(path)
    try:
        if not parts or follow or words.says_directory or parts[-1] == b"..":
            here, name, status = root.resolve(path)
        else:
            here, name = root.directory(parts[:-1]), parts[-1]
            status = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
        if words.says_directory and not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise _not_found(words, error) from error
    return here, name


def _here_source(words: Words, follow: bool) -> _Place:
    path = Path(words.path)
    try:
        if follow or words.says_directory:
            path = Path(os.path.realpath(path, strict=True))
        status = path.lstat()
        if words.says_directory and not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        parent = Directory(os.open(path.parent, _PARENT), b"")
    except OSError as error:
        raise _not_found(words, error) from error
    return parent, os.fsencode(path.name) or b"."


def _inside_goal(root: Root, words: Words) -> Destination:
    path = os.fsencode(words.path)
    for _ in range(_MAX_LINKS):
        try:
            here, name, status = root.resolve(path)
        except FileNotFoundError:
            here, name, target = _missing(root, path, words)
            if target is None:
                return Destination(tuple(components(here.path)), name, "nothing", words.says_directory)
            path = target if target.startswith(b"/") else here.path + b"/" + target
            continue
        except OSError as error:
            raise _not_found(words, error) from error
        parents = tuple(components(here.path))
        if stat.S_ISDIR(status.st_mode):
            return Destination(parents if name == b"." else (*parents, name), b"", "directory", words.says_directory)
        return Destination(parents, name, "other", words.says_directory)
    raise _not_found(words, OSError(errno.ELOOP, os.strerror(errno.ELOOP)))


def _missing(root: Root, path: bytes, words: Words) -> tuple[Directory, bytes, bytes | None]:
    """Where something that is not there would be, and where the symlink in its place leads to."""
    *parents, name = components(path)
    try:
        here = root.directory(parents)
        status = here.status(name)
    except OSError as error:
        raise _not_found(words, error) from error
    return here, name, None if status is None else os.readlink(name, dir_fd=here.fd)


def _here_goal(words: Words) -> Destination:
    path = Path(words.path)
    if path.is_dir():
        return Destination((), b"", "directory", words.says_directory)
    real = Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise NotFoundError(f"there is no directory {printable(str(real.parent))}")
    there = os.path.lexists(real)
    return Destination((), os.fsencode(real.name), "other" if there else "nothing", words.says_directory)


def _not_found(words: Words, error: OSError) -> PolyarchError:
    where = f" in the container {words.container}" if words.container is not None else ""
    what = f"{printable(words.path)}{where}"
    if error.errno == errno.ENOENT:
        return NotFoundError(f"there is no {what}")
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return UsageError(f"{what}: {error.strerror}")
    return disk_error(error, f"cannot read {what}")


def _send(place: _Place, words: Words, out: int) -> tuple[str, ...]:
    """Write what is at a place as an archive; the paths of sockets in it. Raises OSError."""
    here, name = place
    given = components(os.fsencode(words.path))
    contents = words.is_contents or name == b"."
    called = b"." if contents else name if not given or given[-1] in (b".", b"..") else given[-1]
    sockets: list[str] = []
    with os.fdopen(os.dup(out), "wb", buffering=1 << 18) as stream:
        writer = TarWriter(stream.write)
        names: dict[tuple[int, int], bytes] = {}
        waiting = [(here, name, called)]
        while waiting:
            here, name, path = waiting.pop()
            status = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
            kind = kind_of(status)
            file = (status.st_dev, status.st_ino)
            if kind is None:
                sockets.append(os.fsdecode(path))
            elif file in names:
                writer.add_link(path, status, names[file])
            else:
                with contextlib.suppress(FileNotFoundError):  # gone since its name was read
                    writer.add_from(here, name, path, kind, status)
                if stat.S_ISDIR(status.st_mode):
                    folder = Directory(os.open(name, _FOLDER, dir_fd=here.fd), b"")
                    waiting += [(folder, each, path + b"/" + each) for each in sorted(folder.names(), reverse=True)]
                elif status.st_nlink > 1:
                    names[file] = path
        writer.finish()
    return tuple(sockets)


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def _answer() -> Iterator[tuple[Callable[[tuple[str, ...]], None], Callable[[], tuple[str, ...]]]]:
    """A place for what another process has to tell: how to put it there, and how to get it."""
    with tempfile.TemporaryFile() as file:

        def note(value: tuple[str, ...]) -> None:
            pickle.dump(value, file)
            file.flush()

        def noted() -> tuple[str, ...]:
            file.seek(0)
            value: tuple[str, ...] = pickle.load(file)
            return value

        yield note, noted


def _piped(send: Callable[[int], None], receive: Callable[[int], None], *, first_is_here: bool) -> None:
    """Call both with the ends of a pipe, the one that is `here` in a child; raises what went wrong, the cause alone."""
    source, out = os.pipe2(os.O_CLOEXEC)
    failed, fail = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(failed)
        os.close(source if first_is_here else out)
        _call(lambda: send(out) if first_is_here else receive(source), fail)
    os.close(fail)
    os.close(out if first_is_here else source)
    mine, theirs = None, None
    try:
        receive(source) if first_is_here else send(out)
    except BaseException as error:
        mine = error
    os.close(source if first_is_here else out)
    with os.fdopen(failed, "rb") as answer:
        theirs = _read(answer)
    os.waitpid(child, 0)
    # Whoever writes to a pipe that nobody reads any more, or reads from one that ended early, is not the cause.
    causes = [error for error in (mine, theirs) if error is not None and not isinstance(error, BrokenPipeError)]
    if causes:
        raise causes[0]
    if mine or theirs:
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))


def _call(act: Callable[[], None], fail: int) -> None:
    """In the child: tells what was raised, and ends."""
    code = 0
    try:
        act()
    except BaseException as error:
        code = 1
        with contextlib.suppress(OSError):
            os.write(fail, pickle.dumps(packed(error)))
    finally:
        os._exit(code)


def _read(answer: BinaryIO) -> BaseException | None:
    data = answer.read()
    return unpacked(pickle.loads(data)) if data else None
