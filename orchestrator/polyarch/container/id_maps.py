"""Which user and group IDs a new user namespace knows: user_namespaces(7), subuid(5), newuidmap(1)."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path

from polyarch.errors import HostError, printable
from polyarch.files import program
from polyarch_platforms.lazy_dataclass import dataclass

_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """`count` IDs, from `inside` on in the namespace, which are those from `outside` on where it was made."""

    inside: int
    outside: int
    count: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.count}"


@dataclass(frozen=True, slots=True)
class IdMaps:
    """The ranges of a user namespace.

    `helpers`: newuidmap and newgidmap write them, because they hold IDs that this user may only use through them.
    `one_id`: nobody but this user is known inside, so files can belong to nobody else.
    """

    users: tuple[Range, ...]
    groups: tuple[Range, ...]
    helpers: bool = False
    one_id: bool = False

    def undone(self) -> IdMaps:
        """The ranges of a further user namespace in one with these, where every ID is again what it is outside."""
        users = tuple(Range(each.outside, each.inside, each.count) for each in self.users)
        groups = tuple(Range(each.outside, each.inside, each.count) for each in self.groups)
        return IdMaps(users, groups, one_id=self.one_id)

    def knows(self, user: int, groups: Iterable[int]) -> bool:
        """True if these IDs exist inside."""

        def within(number: int, ranges: tuple[Range, ...]) -> bool:
            return any(each.inside <= number < each.inside + each.count for each in ranges)

        return within(user, self.users) and all(within(group, self.groups) for group in groups)

    def write(self, pid: int) -> None:
        """Give the ranges to the user namespace of the process `pid`, which was just made. Raises HostError."""
        if self.helpers:
            for helper, ranges in (("newuidmap", self.users), ("newgidmap", self.groups)):
                _by_helper(helper, pid, ranges)
            return
        try:
            if self.one_id:
                Path(f"/proc/{pid}/setgroups").write_text("deny")
            Path(f"/proc/{pid}/uid_map").write_text("".join(f"{each}\n" for each in self.users))
            Path(f"/proc/{pid}/gid_map").write_text("".join(f"{each}\n" for each in self.groups))
        except OSError as error:
            raise HostError(f"the kernel refuses IDs for a user namespace: {error.strerror}") from error


def _by_helper(helper: str, pid: int, ranges: tuple[Range, ...]) -> None:
    import subprocess

    words = [word for each in ranges for word in str(each).split()]
    done = subprocess.run([helper, str(pid), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = printable(done.stderr.strip() or f"it ended with {done.returncode}", 300)
        raise HostError(f"{helper} failed: {said}", "see that /etc/subuid and /etc/subgid have this user")


def same_ids() -> IdMaps:
    """Every ID that this process knows, unchanged: for root, in whatever user namespace it is."""
    return IdMaps(_own_ranges("uid_map"), _own_ranges("gid_map"))


def same_ids_in_parts() -> IdMaps:
    """The same for OCI runtimes: they take one range of all IDs for the first user namespace, where they may do more.

    Sources: crun, src/libcrun/utils.c, check_running_in_user_namespace; runc, libcontainer/userns.
    """
    whole = same_ids()
    return IdMaps(_in_parts(whole.users), _in_parts(whole.groups))


def _in_parts(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    if len(ranges) != 1 or ranges[0].count < 2:
        return ranges
    (one,) = ranges
    half = one.count // 2
    return Range(one.inside, one.outside, half), Range(one.inside + half, one.outside + half, one.count - half)


def _own_ranges(name: str) -> tuple[Range, ...]:
    lines = [line.split() for line in Path("/proc/self", name).read_text().splitlines()]
    return tuple(Range(int(inside), int(inside), int(count)) for inside, _, count in lines)


def alone_as_root() -> IdMaps:
    """This user as root, and nobody else."""
    return IdMaps((Range(0, os.geteuid(), 1),), (Range(0, os.getegid(), 1),), one_id=True)


def as_root() -> IdMaps:
    """This user as root, and its subordinate IDs as 1, 2, …; without these or the helpers this user alone."""
    alone = alone_as_root()
    more_users, more_groups = _subordinates("/etc/subuid"), _subordinates("/etc/subgid")
    if not (more_users and more_groups and program("newuidmap") and program("newgidmap")):
        return alone
    return IdMaps((*alone.users, *_in_a_row(more_users)), (*alone.groups, *_in_a_row(more_groups)), helpers=True)


def _in_a_row(ranges: list[tuple[int, int]]) -> Iterator[Range]:
    inside = 1
    for start, count in ranges:
        yield Range(inside, start, count)
        inside += count


def _subordinates(file: str) -> list[tuple[int, int]]:
    """(first, count) of each range of this user in /etc/subuid or /etc/subgid, by name or number."""
    names = {str(os.geteuid()), *_login_name()}
    try:
        with Path(file).open("rb") as stream:
            lines = stream.read(_MAX_FILE).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    fields = [line.split(":") for line in lines]
    return [
        (int(each[1]), int(each[2]))
        for each in fields
        if len(each) == 3 and each[0] in names and each[1].isdigit() and each[2].isdigit() and int(each[2])
    ]


def _login_name() -> Iterator[str]:
    try:
        yield pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return  # a user without an entry in /etc/passwd
