"""Tar archives of a few small members, made by Python's own writer."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Link:
    """A link; symbolic unless it is hard."""

    target: str
    hard: bool = False


Content = bytes | Link | None
"""Of a member: a file's bytes, a link, or None for a folder."""


def tar_of(members: Mapping[str, Content] | Sequence[tuple[str, Content]], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """The archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                continue
            if isinstance(content, Link):
                info.type, info.linkname = (tarfile.LNKTYPE if content.hard else tarfile.SYMTYPE), content.target
            else:
                info.type = tarfile.DIRTYPE
            tar.addfile(info)
    return stream.getvalue()


def entries_of(data: bytes) -> list[str]:
    """The names in an archive, in their order: with a slash behind directories, with ` -> ` before a hard link's."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    return [each.name + ("/" if each.isdir() else f" -> {each.linkname}" if each.islnk() else "") for each in members]
