"""The two ends of a copy: what their words say, and what there is at each, here or beneath a container's root."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TypeAlias

from polyarch.errors import HostError, NotFoundError, PolyarchError, UsageError, printable
from polyarch.files import disk_error
from polyarch.unpack.beneath import Directory, Root, components
from polyarch.unpack.copy_tree import Destination
from polyarch_platforms.lazy_dataclass import dataclass

STREAM = "-"
"""A tar archive on stdin or stdout."""

_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_LINKS = 40  # Linux, namei.h: MAXSYMLINKS


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


Place: TypeAlias = tuple[Directory, bytes]
"""The directory that something lies in, and its name there."""


def inside_source(root: Root, words: Words, follow: bool) -> Place:
    """What is to be copied out of a container. Raises NotFoundError, UsageError, HostError, StorageError."""
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


def here_source(words: Words, follow: bool) -> Place:
    """What is to be copied into one; the same errors."""
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


def inside_goal(root: Root, words: Words) -> Destination:
    """Where a copy goes in a container; the same errors."""
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
    except FileNotFoundError as error:
        folder = printable("/" + os.fsdecode(b"/".join(parents)))
        raise NotFoundError(f"there is no directory {folder} in the container {words.container}") from error
    except OSError as error:
        raise _not_found(words, error) from error
    try:
        status = here.status(name)
    except OSError as error:
        raise _not_found(words, error) from error
    return here, name, None if status is None else os.readlink(name, dir_fd=here.fd)


def here_goal(words: Words) -> Destination:
    """Where a copy goes here; the same errors."""
    path = Path(words.path)
    if path.is_dir():
        return Destination((), b"", "directory", words.says_directory)
    if path.exists() and not path.is_file():  # which a copy would take the place of: /dev/null, as root
        raise UsageError(
            f"{printable(words.path)} is neither a file nor a directory",
            "write - for standard output (a tar archive)",
        )
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
    if error.errno in (errno.EACCES, errno.EPERM):
        return HostError(f"{what}: {error.strerror}")
    return disk_error(error, f"cannot read {what}")
