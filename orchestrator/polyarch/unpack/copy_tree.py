"""Files out of an archive into directories that are there already, as `docker cp` puts them there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias

from polyarch.errors import PolyarchError, UsageError, printable
from polyarch.unpack.beneath import Directory
from polyarch.unpack.layer import LayerWriter
from polyarch.unpack.rules import translated
from polyarch.unpack.tar import Entry, Kind, TarReader
from polyarch.unpack.tree import Tree
from polyarch_platforms.lazy_dataclass import dataclass

Source: TypeAlias = Literal["file", "directory", "contents", "archive"]
"""What is copied: something that is no directory, a directory, what is in one (`DIR/.`), or what an archive holds."""

_DEEPEST = 2048
"""Directories in each other below the one that is copied to: as deep as an archive's names reach (`tar.MAX_NAME`)."""

There: TypeAlias = Literal["nothing", "directory", "other"]
"""What there is at the destination."""


def goes_inside(source: Source, there: There, *, slash: bool) -> bool:
    """Whether a copy goes into the destination, or else becomes it; `slash`: its name says that it is a directory.

    docker's rules (docker container cp, "Description"). Raises UsageError where they allow nothing.
    """
    if there == "directory":
        return True
    if source == "archive":
        raise UsageError("an archive is copied into a directory that is there")
    if source != "file":
        if there == "other":
            raise UsageError("a directory cannot be copied to a file")
        return False
    if slash:
        raise UsageError("the destination directory is not there" if there == "nothing" else "it is no directory")
    return False


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a copy goes: `parents` lead from the root of the tree to the directory, `name` is in there.

    For a directory that is there `parents` lead to it itself, and `name` is not used.
    """

    parents: tuple[bytes, ...]
    name: bytes
    there: There
    slash: bool


class CopyTree(Tree):
    """The directory below which all names are; a directory never takes a file's place, nor the other way round."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self.max_depth = _DEEPEST
        self._final.clear()  # the directory itself stays as it is

    def clear(self, here: Directory, name: bytes) -> None:
        status = here.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise UsageError(f"a file cannot take the place of the directory {_shown(here.child(name))}")
        os.unlink(name, dir_fd=here.fd)

    def make_directory(self, here: Directory, name: bytes) -> tuple[Directory, bool]:
        status = here.status(name)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise UsageError(f"a directory cannot take the place of {_shown(here.child(name))}")
        return super().make_directory(here, name)


class CopyWriter(LayerWriter):
    """Writes an archive to `destination`. `changed` is asked for each entry as it is to be; `owners` as LayerWriter's.

    `source` is None where the first entry tells: what it is called is then called as `destination` says. `devices`:
    they are made, as far as this user may.
    """

    def __init__(
        self,
        tree: CopyTree,
        destination: Destination,
        source: Source | None,
        changed: Callable[[Entry], Entry],
        *,
        owners: bool,
        devices: bool,
    ) -> None:
        super().__init__(tree, owners)
        self._devices = devices
        self._destination = destination
        self._source = source
        self._changed = changed
        self._renamed = False
        self._base: tuple[bytes, ...] | None = None

    @property
    def began(self) -> bool:
        """Whether an entry came."""
        return self._base is not None

    def _translated(self, error: OSError, what: str) -> PolyarchError:
        """What a layer could only be hostile for is here what somebody asked for."""
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL):
            return UsageError(f"{what}: {error.strerror}")
        return translated(error, what)

    def _write(self, entry: Entry, reader: TarReader) -> None:
        if self._base is None:
            self._base = self._begin(entry)
        parts = self._placed(entry.parts)
        if not parts or (not entry.parts and self._destination.there == "directory"):
            return  # the destination itself, which was there before
        entry = self._changed(replace(entry, parts=parts))
        *parents, name = parts
        here = self._tree.into(tuple(parents))
        if entry.kind is Kind.DIRECTORY:
            directory, new = self._tree.make_directory(here, name)
            self._finish_directory(directory, entry, new)
        elif entry.kind is Kind.HARD_LINK:
            self._hard_link(here, name, self._placed(reader.components(entry.link)))
        else:
            self._new(here, name, entry, reader)

    def _finish_directory(self, directory: Directory, entry: Entry, new: bool) -> None:
        super()._finish_directory(directory, entry, new=True)  # one that was there keeps its own attributes

    def _special(self, here: Directory, name: bytes, entry: Entry, reader: TarReader) -> None:
        if self._devices or entry.kind is Kind.FIFO:
            super()._special(here, name, entry, reader)

    def _begin(self, first: Entry) -> tuple[bytes, ...]:
        """The directory that the archive's names begin in, by its parts."""
        goal = self._destination
        source = self._source or ("directory" if first.kind is Kind.DIRECTORY else "file")
        if goes_inside(source, goal.there, slash=goal.slash):
            return goal.parents
        self._renamed = source != "contents"
        return goal.parents if self._renamed else (*goal.parents, goal.name)

    def _placed(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        assert self._base is not None
        if self._renamed:
            return (*self._base, self._destination.name, *parts[1:])
        return (*self._base, *parts)


def _shown(path: bytes) -> str:
    return printable(repr("/" + path.decode("utf-8", "backslashreplace")), 200)
