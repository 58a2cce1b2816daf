"""What a case is: layers as they travel, and what is to come of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.layers import Item, layer, packed

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A layer as it travels, the diff ID that the config promises for it, and the media type that it is given."""

    data: bytes
    diff_id: str
    media_type: str = GZIP


def honest(tar: bytes) -> Blob:
    """A layer by gzip, with its own diff ID."""
    return Blob(packed(tar), sha256(tar))


def plain(tar: bytes, media_type: str = PLAIN) -> Blob:
    """A layer that is not compressed."""
    return Blob(tar, sha256(tar), media_type)


@dataclass(frozen=True)
class Case:
    """`does` goes on after "the layer…". `make` gives the layers, bottom first: items, an archive, or blobs.

    `tree` is all that is to be seen then, as `support.layers.listing` tells it, with `facts`; None: not held against
    anything. Without `opens` the layers are refused with exit code 7 and a message in which `says` is found (a regular
    expression). `settings` are lines of polyarch's file. `heavy` ones are for `make soak`; `diff_ids` overrides what
    the config promises.
    """

    name: str
    does: str
    make: Callable[[], Sequence[Sequence[Item] | bytes | Blob]]
    opens: bool = False
    tree: Mapping[str, str] | None = None
    facts: Sequence[str] = ()
    says: str = ""
    settings: str = ""
    heavy: bool = False
    diff_ids: Sequence[str] | None = None
    files_show: bool = False
    """`image files` shows it all the same: it tells what a blob has, which has the digest that it should."""

    def blobs(self) -> list[Blob]:
        """The layers as they travel."""
        return [each if isinstance(each, Blob) else honest(_tar(each)) for each in self.make()]

    def tars(self) -> list[bytes] | None:
        """The layers' archives; None where there is more to them than that."""
        made = self.make()
        return None if any(isinstance(each, Blob) for each in made) else [_tar(each) for each in made]  # type: ignore[arg-type]


def _tar(each: Sequence[Item] | bytes) -> bytes:
    return each if isinstance(each, bytes) else layer(*each)


@dataclass
class Cases:
    """Gathers the cases of a module."""

    all: list[Case] = field(default_factory=list)

    def refused(self, name: str, does: str, says: str, *layers: Sequence[Item] | bytes | Blob, **more: object) -> None:
        """Cheap layers that are refused."""
        self.all.append(Case(name, does, lambda: layers, says=says, **more))  # type: ignore[arg-type]

    def opened(
        self,
        name: str,
        does: str,
        tree: Mapping[str, str] | None,
        *layers: Sequence[Item] | bytes | Blob,
        **more: object,
    ) -> None:
        """Cheap layers that open, and what is seen then."""
        self.all.append(Case(name, does, lambda: layers, opens=True, tree=tree, **more))  # type: ignore[arg-type]


def foreign_attributes(root: Path) -> list[str]:
    """Extended attributes below a directory that no layer may bring."""
    found = []
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)  # noqa: PTH118  # bytes
            for attribute in os.listxattr(path, follow_symlinks=False):
                known = attribute.startswith("user.") or attribute in _TAKEN
                if not known or attribute.startswith(_OF_OVERLAYS):
                    found.append(f"{attribute} of {path!r}")
    return found


_TAKEN = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
_OF_OVERLAYS = ("user.overlay.", "user.fuseoverlayfs.", "user.containers.")
