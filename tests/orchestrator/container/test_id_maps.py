from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from polyarch.container import id_maps
from polyarch.container.id_maps import IdMaps, Range, as_root, same_ids, same_ids_in_parts


@pytest.fixture
def subordinates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `subuid` and `subgid` count instead of /etc's, for a user `me` with the ID 1234."""
    real = id_maps.Path

    def path(*parts: str) -> Path:
        return tmp_path / parts[0].removeprefix("/etc/") if parts[0].startswith("/etc/sub") else real(*parts)

    monkeypatch.setattr(id_maps, "Path", path)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 1235)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("me", "x", uid, uid, "", "/", "/bin/sh")))
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_subordinate_ids_follow_root(subordinates: Path) -> None:
    (subordinates / "subuid").write_text("other:1:5\nme:100000:65536\nbroken\nme:x:1\n1234:300000:10\n")
    (subordinates / "subgid").write_text("me:200000:1000\n")
    assert as_root() == IdMaps(
        (Range(0, 1234, 1), Range(1, 100000, 65536), Range(65537, 300000, 10)),
        (Range(0, 1235, 1), Range(1, 200000, 1000)),
        helpers=True,
    )


def test_one_id_without_subordinates(subordinates: Path) -> None:
    one = IdMaps((Range(0, 1234, 1),), (Range(0, 1235, 1),), one_id=True)
    assert as_root() == one
    (subordinates / "subuid").write_text("me:100000:65536\n")
    assert as_root() == one


def test_one_id_without_the_helpers(subordinates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("subuid", "subgid"):
        (subordinates / name).write_text("me:100000:65536\n")
    monkeypatch.setenv("PATH", str(subordinates))
    assert as_root().one_id


def test_undone_maps_lead_back(subordinates: Path) -> None:
    for name in ("subuid", "subgid"):
        (subordinates / name).write_text("me:100000:65536\n")
    outer = as_root()
    inner = outer.undone()
    assert inner.users == (Range(1234, 0, 1), Range(100000, 1, 65536))
    assert not inner.helpers


@pytest.mark.parametrize(
    ("user", "groups", "known"),
    [(0, [0], True), (1, [10], True), (10, [0, 10], True), (11, [0], False), (0, [0, 11], False)],
)
def test_known_ids(user: int, groups: list[int], known: bool) -> None:
    ranges = (Range(0, 1000, 1), Range(1, 100000, 10))
    assert IdMaps(ranges, ranges).knows(user, groups) is known


def test_the_parts_are_the_whole() -> None:
    whole, parts = same_ids().users, same_ids_in_parts().users
    assert sum(each.count for each in parts) == sum(each.count for each in whole)
    assert all(each.inside == each.outside for each in parts)
    assert parts[0].inside + parts[0].count == parts[1].inside
