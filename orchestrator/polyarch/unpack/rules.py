"""What an entry of a layer is to whoever lays it over others, and what an error says that came of it.

Rules of image-spec 1.1.1, layer.md, "Representing Changes" and "Whiteouts".
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from polyarch.errors import HostError, IntegrityError, PolyarchError, StorageError
from polyarch.files import disk_error
from polyarch.unpack.attributes import NoRoomForAttribute
from polyarch.unpack.stack import OPAQUE, WHITEOUT
from polyarch.unpack.tar import Kind

# AUFS kept its own files under such names (moby pkg/archive/whiteouts.go, WhiteoutMetaPrefix); they are no content.
_AUFS = b".wh..wh."

_NAME_MAX = 255  # Linux, limits.h

# What only a hostile or broken layer brings about, the tree being ours alone.
_FAULTS_OF_LAYER = frozenset(
    (
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EISDIR,
        errno.EINVAL,
        errno.ENOENT,
        errno.EEXIST,
        errno.EMLINK,
    )
)


class Role(enum.Enum):
    """`IGNORED`: AUFS' own; `HIDES_ALL`: an opaque whiteout; `ENTRY`: something that is in the tree then."""

    ROOT = enum.auto()
    IGNORED = enum.auto()
    HIDES = enum.auto()
    HIDES_ALL = enum.auto()
    ENTRY = enum.auto()


def role_of(parts: Sequence[bytes], kind: Kind) -> Role:
    """What the entry called so (`Entry.parts`) does. Raises OSError for what no layer may have."""
    if not parts:
        if kind is not Kind.DIRECTORY:
            raise OSError(errno.EISDIR, "the root of an image is a directory")
        return Role.ROOT
    *parents, name = parts
    if any(part.startswith(_AUFS) for part in parts) and name != OPAQUE:
        return Role.IGNORED
    if any(part.startswith(WHITEOUT) for part in parents):
        raise OSError(errno.EINVAL, "a whiteout is no directory")
    if not name.startswith(WHITEOUT):
        return Role.ENTRY
    if name == OPAQUE:
        return Role.HIDES_ALL
    if hidden_name(name) in (b"", b".", b".."):
        raise OSError(errno.EINVAL, "no whiteout can be called so")
    if len(hidden_name(name)) > _NAME_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return Role.HIDES


Folder = TypeVar("Folder", contravariant=True)


class Hides(Protocol[Folder]):
    """A tree in which whiteouts take effect."""

    def hide(self, here: Folder, name: bytes, /) -> None:
        """What lower layers have under `name` is gone."""

    def hide_all(self, here: Folder, /) -> None:
        """Everything in `here` that comes from lower layers is gone."""


def lay_whiteout(tree: Hides[Folder], find: Callable[[], Folder], name: bytes, role: Role) -> None:
    """What a whiteout called `name` does in the directory that `find` gives, if that is there."""
    try:
        here = find()
    except (FileNotFoundError, NotADirectoryError):
        return  # nothing is there that could be hidden
    if role is Role.HIDES_ALL:
        tree.hide_all(here)
    else:
        tree.hide(here, hidden_name(name))


def hidden_name(name: bytes) -> bytes:
    """What a whiteout hides."""
    return name.removeprefix(WHITEOUT)


def translated(error: OSError, what: str) -> PolyarchError:
    """What went wrong with an entry: `what` names its layer, its kind and itself."""
    if error.errno in _FAULTS_OF_LAYER:
        return IntegrityError(f"{what}: {error.strerror}")
    if isinstance(error, NoRoomForAttribute):
        return StorageError(f"{what}: {error.strerror}", error.HINT)
    if error.errno in (errno.EPERM, errno.EACCES):
        return HostError(f"{what}: {error.strerror}")
    return disk_error(error, what)
