"""Namespaces, subordinate IDs and control groups: what the kernel lets this user make."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from polyarch.container.cgroups import cgroup_of
from polyarch.container.id_maps import IdMaps, Range, as_root, same_ids
from polyarch.container.refusals import no_user_namespace
from polyarch.errors import HostError
from polyarch.verbs.doctor.check import Check, Mend, apt_install, refused, set_sysctl, words
from polyarch.verbs.doctor.trial import inside, mount_proc
from polyarch_platforms.lazy_dataclass import dataclass

ENOUGH = 65536
"""IDs for which images are made: 0 to 65534 (nobody), and one more."""

_FIRST = 100_000  # login.defs(5), SUB_UID_MIN
_LIMITS = ("max_user_namespaces", "max_mnt_namespaces", "max_pid_namespaces")
_CGROUPS = Path("/sys/fs/cgroup")


def namespaces(root: bool) -> Iterator[Check]:
    """Whether containers get their namespaces, really made; for root those of emulation, too."""
    alone = IdMaps((Range(0, os.geteuid(), 1),), (Range(0, os.getegid(), 1),), one_id=True)
    yield _tried("namespaces", None if root else alone, essential=True)
    if root:
        yield _tried("user namespaces", same_ids(), essential=False)


def _tried(name: str, maps: IdMaps | None, *, essential: bool) -> Check:
    try:
        inside(lambda: "", mount_proc, outer=maps)
    except (HostError, OSError) as error:
        failure = error if isinstance(error, HostError) else no_user_namespace(error)
        limits = {limit: _number(Path("/proc/sys/user", limit)) for limit in _LIMITS}
        return exhausted(name, limits, essential) or refused(
            name, failure, "failed" if essential else "warning", essential=essential
        )
    return Check(name, "ok", "user, mount and PID namespaces can be made" if maps else "mount and PID namespaces work")


def exhausted(name: str, limits: Mapping[str, int | None], essential: bool) -> Check | None:
    """The check if one of the kernel's limits (namespaces(7), /proc/sys/user) lets nobody make any."""
    for limit, value in limits.items():
        if value == 0:
            mend = set_sysctl(f"user.{limit}=15000")
            return Check(
                name, "failed" if essential else "warning", f"forbidden: user.{limit} is 0", mend, essential=essential
            )
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Subordinates:
    """What decides about the IDs of an ordinary user's containers.

    `helpers` are the paths of newuidmap and newgidmap (None: not there), `privileged` whether they may do their work.
    `users` and `groups` are the lines of /etc/subuid and /etc/subgid: (name or number, first, count).
    """

    user: str
    uid: int
    helpers: tuple[str | None, str | None]
    privileged: bool
    users: tuple[tuple[str, int, int], ...]
    groups: tuple[tuple[str, int, int], ...]


def subordinate_ids(root: bool, namespaces: bool) -> Check:
    """Whether an ordinary user's containers have users and groups beside this one; used, if there are namespaces."""
    if root:
        return Check("subordinate ids", "ok", "not needed by root")
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = ""
    helpers = (_which("newuidmap"), _which("newgidmap"))
    facts = Subordinates(
        user,
        os.geteuid(),
        helpers,
        all(path is not None and _privileged(path) for path in helpers),
        _lines(Path("/etc/subuid")),
        _lines(Path("/etc/subgid")),
    )
    check = judge_subordinates(facts)
    if check.verdict == "ok" and namespaces:
        try:
            inside(lambda: "", outer=as_root())
        except (HostError, OSError) as error:
            return Check(check.name, "warning", f"{check.fact}, but they cannot be used: {error}")
    return check


def judge_subordinates(facts: Subordinates) -> Check:
    """The check of these facts; pure."""
    name, alone = "subordinate ids", "containers see one user only"
    if None in facts.helpers:
        missing = " and ".join(
            each for each, path in zip(("newuidmap", "newgidmap"), facts.helpers, strict=True) if not path
        )
        return Check(name, "warning", f"no {missing}: {alone}", apt_install("uidmap"))
    if not facts.privileged:
        mend = Mend(words("chmod", "u+s", *facts.helpers), as_root=True)
        return Check(name, "warning", f"newuidmap or newgidmap is not setuid root: {alone}", mend)
    own = {facts.user, str(facts.uid)} - {""}
    users, groups = (sum(count for who, _, count in lines if who in own) for lines in (facts.users, facts.groups))
    if users >= ENOUGH and groups >= ENOUGH:
        return Check(name, "ok", f"{users} users and {groups} groups for {facts.user or facts.uid}")
    short = [file for file, count in (("/etc/subuid", users), ("/etc/subgid", groups)) if count < ENOUGH]
    has = "none" if not users or not groups else f"fewer than {ENOUGH}"
    first = free_range((*facts.users, *facts.groups))
    last = first + ENOUGH - 1
    if facts.user:
        options = {"/etc/subuid": "--add-subuids", "/etc/subgid": "--add-subgids"}
        added = [word for file in short for word in (options[file], f"{first}-{last}")]
        mend = Mend(words("usermod", *added, facts.user), as_root=True)
    else:
        mend = Mend(f"echo {facts.uid}:{first}:{ENOUGH} | tee -a {' '.join(short)}", as_root=True)
    fact = f"{has} for {facts.user or facts.uid} in {' and '.join(short)}"
    return Check(name, "warning", f"{fact}: {alone if has == 'none' else 'some images need more'}", mend)


def free_range(lines: Sequence[tuple[str, int, int]]) -> int:
    """The first ID of a range of 65536 that belongs to nobody."""
    ends = [first + count for _, first, count in lines if first + count > _FIRST]
    return max([_FIRST, *ends])


def _lines(path: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        text = path.read_text("utf-8", "replace")[: 1 << 20]
    except OSError:
        return ()
    fields = [line.split(":") for line in text.splitlines()]
    return tuple(
        (each[0], int(each[1]), int(each[2]))
        for each in fields
        if len(each) == 3 and each[1].isdecimal() and each[2].isdecimal()
    )


def _which(name: str) -> str | None:
    return shutil.which(name)


def _privileged(path: str) -> bool:
    """Whether a helper may write other IDs: setuid root, or with file capabilities (newuidmap(1))."""
    status = Path(path).stat()
    if status.st_mode & stat.S_ISUID and status.st_uid == 0:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def cgroups(root: bool, place: Path = _CGROUPS) -> Check:
    """Which control groups there are, and whether root can make one, really made."""
    kind = version_of(place)
    name = "cgroups"
    lost = "containers have no limits, and no rule keeps devices from them"
    if not root:
        return Check(name, "ok", f"{kind}; containers of ordinary users use none")
    if kind == "none":
        # A sandbox or container without them cannot get them from inside.
        mend = Mend(f"mount -t cgroup2 none {place}", as_root=True) if place.is_dir() and _has_second() else None
        return Check(name, "warning", f"none is mounted: {lost}", mend)
    group = cgroup_of(f"doctor-{os.getpid()}")
    hierarchy = place if kind == "version 2" else place / "devices"
    if group:
        try:
            (hierarchy / group.strip("/")).mkdir()
            (hierarchy / group.strip("/")).rmdir()
        except OSError as error:
            return Check(name, "warning", f"{kind}, but none can be made ({error.strerror}): {lost}")
        return Check(name, "ok", f"{kind}; root can make its own")
    return Check(name, "warning", f"{kind}, which cannot be written here: {lost}")


def version_of(place: Path) -> str:
    """`version 1`, `version 2`, `version 1 and 2` or `none` (cgroups(7))."""
    if (place / "cgroup.controllers").exists():
        return "version 2"
    if not (place / "devices").is_dir():
        return "none"
    try:
        second = (place / "unified" / "cgroup.controllers").read_text().strip()
    except OSError:
        second = ""
    return "version 1 and 2" if second else "version 1"


def _has_second() -> bool:
    try:
        return "\tcgroup2\n" in Path("/proc/filesystems").read_text()
    except OSError:
        return False
