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
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

from polyarch.container.copy_ends import Place, Words, here_goal, here_source, inside_goal, inside_source
from polyarch.container.launch import packed, unpacked
from polyarch.errors import HostError, IntegrityError
from polyarch.files import disk_error
from polyarch.unpack.beneath import Root, components
from polyarch.unpack.copy_tree import CopyTree, CopyWriter, Destination, Source, goes_inside
from polyarch.unpack.limits import Limits
from polyarch.unpack.send_tree import send_tree
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Entry
from polyarch_platforms.lazy_dataclass import dataclass

Inside: TypeAlias = Callable[[Callable[[str], None]], None]
"""Calls a function with the container's root directory, in a process that may do everything there."""

_ANY_SIZE = Limits(size=1 << 62, entries=1 << 40)


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
        with _answer() as (note, noted), _told(self):

            def send(root: str, out: int) -> None:
                place = inside_source(Root(root), self.source, self.follow)
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
        with _answer() as (note, noted), _told(self):

            def receive(root: str, source: int) -> None:
                goal = inside_goal(Root(root), self.destination)  # a CopyTree would make what is missing
                tree = CopyTree(root)
                kind: Source | None = "archive" if self.source.is_stream else self._kind
                if kind == "archive":  # also one without entries needs its place
                    goes_inside(kind, goal.there, slash=goal.slash)
                self._write(tree, goal, kind, source, owners=self.owners, devices=True)

            if self.source.is_stream:
                inside(lambda root: receive(root, 0))
            else:
                place = here_source(self.source, self.follow)
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
        goal = here_goal(self.destination)
        real = Path(os.path.realpath(self.destination.path))
        tree = CopyTree(real if goal.there == "directory" else real.parent)
        whole = self.archive and os.geteuid() == 0
        self._write(tree, goal, self._kind, source, owners=whole, devices=whole)

    def _write(
        self, tree: CopyTree, goal: Destination, kind: Source | None, source: int, *, owners: bool, devices: bool
    ) -> None:
        with os.fdopen(os.dup(source), "rb") as stream:
            writer = CopyWriter(tree, goal, kind, self._changed, owners=owners, devices=devices)
            where = "stdin" if kind == "archive" else "the copy"
            try:
                writer.write(LayerStream(stream, where, limits=_ANY_SIZE.of_layer()))
            except IntegrityError as error:
                if kind != "archive" or writer.began:
                    raise
                why = error.message.removeprefix(f"{where}: ")
                raise IntegrityError(f"{where} is no tar archive: {why}") from error
            tree.finish()

    def _changed(self, entry: Entry) -> Entry:
        """Without `archive` files inside are root's, and here no more comes along than permissions and times: nobody
        gets rights by a program, or by a device, that somebody in the container has made.
        """
        if self.archive:
            return entry
        xattrs = entry.xattrs if self.source.container is None else {}
        return replace(entry, uid=0, gid=0, xattrs=xattrs)


@contextlib.contextmanager
def _told(copy: Copy) -> Iterator[None]:
    """What the kernel says of the ends themselves."""
    try:
        yield
    except OSError as error:
        ends = " to ".join(
            end.path if end.container is None else f"{end.container}:{end.path}"
            for end in (copy.source, copy.destination)
        )
        if error.errno in (errno.EACCES, errno.EPERM):
            raise HostError(f"{ends}: {error.strerror}") from error
        raise disk_error(error, f"cannot copy {ends}") from error


def _send(place: Place, words: Words, out: int) -> tuple[str, ...]:
    """Write what is at a place as an archive, called as it was asked for; the paths of sockets in it."""
    here, name = place
    given = components(os.fsencode(words.path))
    contents = words.is_contents or name == b"."
    called = b"." if contents else name if not given or given[-1] in (b".", b"..") else given[-1]
    return send_tree(here, name, called, out)


@contextlib.contextmanager
def _answer() -> Iterator[tuple[Callable[[tuple[str, ...]], None], Callable[[], tuple[str, ...]]]]:
    """A place for what another process has to tell: how to put it there, and how to get it."""
    with tempfile.TemporaryFile() as file:

        def note(value: tuple[str, ...]) -> None:
            pickle.dump(value, file)
            file.flush()

        def noted() -> tuple[str, ...]:
            file.seek(0)
            data = file.read()
            value: tuple[str, ...] = pickle.loads(data) if data else ()
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
    # Whoever reads from a pipe that ended early, or writes to one that nobody reads any more, is not the cause.
    outcomes = (theirs, mine) if first_is_here else (mine, theirs)
    causes = [error for error in outcomes if error is not None and not isinstance(error, BrokenPipeError)]
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
