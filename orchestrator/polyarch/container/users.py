"""Whom a container's program runs as: `USER[:GROUP]`, by name or number, looked up in the image's own files.

As docker does it (moby/sys/user, GetExecUser): a number needs no entry; a user's further groups count only where no
group is given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from polyarch.container.id_maps import IdMaps
from polyarch.errors import HostError, UsageError, printable
from polyarch.unpack.beneath import Root
from polyarch_platforms.lazy_dataclass import dataclass

MAX_FILE = 4 << 20
"""Bytes of the image's /etc/passwd and /etc/group that are read."""

_MAX_ID = (1 << 31) - 1  # moby/sys/user, maxID


@dataclass(frozen=True, slots=True)
class User:
    """Numbers, and the home directory ("/" where the image's files have none)."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class _PasswdLine:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _GroupLine:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(text: str, rootfs: Root) -> User:
    """What `text` ("" is root) means in the root file system of an image.

    Raises UsageError: no such user or group, a number out of bounds.
    """
    return find_user(text, _read(rootfs, b"/etc/passwd"), _read(rootfs, b"/etc/group"))


def user_inside(text: str, rootfs: Root, maps: IdMaps | None) -> User:
    """The same for a container in a user namespace with `maps`. Raises HostError for one that it does not know."""
    user = resolve_user(text, rootfs)
    if maps is None or maps.knows(user.uid, (user.gid, *user.groups)):
        return user
    if maps.knows(user.uid, (user.gid,)):
        return replace(user, groups=())
    many = sum(each.count for each in maps.users)
    hint = (
        "give this user subordinate ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME, and apt "
        "install uidmap"
        if maps.one_id
        else f"its IDs end at {many - 1}: give this user more of them in /etc/subuid and /etc/subgid"
    )
    raise HostError(f"user {user.uid}:{user.gid} of the image does not exist for this user's containers", hint)


def _read(rootfs: Root, path: bytes) -> str:
    """A file of the image; "" where it has none, or something else in its place."""
    with contextlib.suppress(OSError):
        return rootfs.read(path, MAX_FILE).decode("utf-8", "replace")
    return ""


def find_user(text: str, passwd: str, group: str) -> User:
    """The same, with the content of the two files."""
    user_text, _, group_text = text.partition(":")
    users, groups = list(_users(passwd)), list(_groups(group))
    wanted = user_text or "0"
    entry = _found(wanted, users, lambda line: line.name, lambda line: line.uid)
    uid = entry.uid if entry else _number(wanted, "user", "/etc/passwd")
    gid = entry.gid if entry else 0
    further: tuple[int, ...] = ()
    if group_text:
        line = _found(group_text, groups, lambda line: line.name, lambda line: line.gid)
        gid = line.gid if line else _number(group_text, "group", "/etc/group")
    elif entry:
        further = tuple(dict.fromkeys(line.gid for line in groups if entry.name in line.members))
    return User(uid, gid, further, (entry.home if entry else "") or "/")


_Line = TypeVar("_Line")


def _found(
    wanted: str, lines: Sequence[_Line], name: Callable[[_Line], str], number: Callable[[_Line], int]
) -> _Line | None:
    """The line that has `wanted` as its name, else as its number."""
    named = next((line for line in lines if name(line) == wanted), None)
    return named or next((line for line in lines if str(number(line)) == wanted), None)


def _number(text: str, what: str, file: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= _MAX_ID:
        return int(text)
    if text.isascii() and text.isdigit():
        raise UsageError(f"{what} {text[:40]} is out of bounds (0 to {_MAX_ID})")
    raise UsageError(f"{what} '{printable(text, 100)}' is not in the image's {file}", "name one by its number")


def _users(text: str) -> Iterator[_PasswdLine]:
    for fields in _fields(text, 7):
        if fields[2].isdigit() and fields[3].isdigit():
            yield _PasswdLine(fields[0], int(fields[2]), int(fields[3]), fields[5])


def _groups(text: str) -> Iterator[_GroupLine]:
    for fields in _fields(text, 4):
        if fields[2].isdigit():
            yield _GroupLine(fields[0], int(fields[2]), tuple(filter(None, fields[3].split(","))))


def _fields(text: str, count: int) -> Iterator[list[str]]:
    """Lines of colon-separated fields, short ones filled up."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield (line.strip().split(":") + [""] * count)[:count]
