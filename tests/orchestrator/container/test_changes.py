"""What a container changed: by a table of single changes, and by random ones held against a look at everything."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyarch.container.changes import changes
from polyarch.unpack.image import remove_tree
from polyarch.unpack.stack import Flavour
from support.overlay_trees import FLAVOURS, Facts, compared, image, inside, shown, tree

pytestmark = pytest.mark.system


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    chosen: Flavour = request.param
    return chosen


def write(path: Path, text: str) -> None:
    path.write_text(text)


def same_again(path: Path) -> None:
    """Copied up, and nothing changed."""
    os.close(os.open(path, os.O_RDWR))


def same_size_and_time(path: Path) -> None:
    status = path.stat()
    path.write_text("TOOR")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    make(path)


def made_again(path: Path) -> None:
    status = path.stat()
    shutil.rmtree(path)
    path.mkdir()
    path.chmod(stat.S_IMODE(status.st_mode))
    (path / "b").write_text("b again")
    (path / "new").write_text("new")


CASES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda top: None, []),
    "a new file": (lambda top: write(top / "new", "n"), ["A /new"]),
    "a new file in a directory": (lambda top: write(top / "etc/new", "n"), ["C /etc", "A /etc/new"]),
    "a new directory": (
        lambda top: ((top / "srv/x").mkdir(parents=True), write(top / "srv/x/f", "f")),
        ["A /srv", "A /srv/x", "A /srv/x/f"],
    ),
    "other content": (lambda top: write(top / "etc/passwd", "longer"), ["C /etc", "C /etc/passwd"]),
    "other content of the same size and time": (
        lambda top: same_size_and_time(top / "etc/passwd"),
        ["C /etc", "C /etc/passwd"],
    ),
    "copied up, but the same": (lambda top: same_again(top / "usr/lib/a"), []),
    "the mode of a file": (lambda top: (top / "etc/passwd").chmod(0o600), ["C /etc", "C /etc/passwd"]),
    "the mode of a directory": (lambda top: (top / "usr/lib").chmod(0o700), ["C /usr", "C /usr/lib"]),
    "the time of a file": (lambda top: os.utime(top / "etc/passwd", (1, 1)), ["C /etc", "C /etc/passwd"]),
    "the time of a directory": (lambda top: os.utime(top / "usr/lib", (1, 1)), ["C /usr", "C /usr/lib"]),
    "a file deleted": (lambda top: (top / "etc/passwd").unlink(), ["C /etc", "D /etc/passwd"]),
    "a file of the upper layer deleted": (lambda top: (top / "etc/upper").unlink(), ["C /etc", "D /etc/upper"]),
    "a directory deleted": (lambda top: shutil.rmtree(top / "usr/lib"), ["C /usr", "D /usr/lib"]),
    "a new file deleted again": (lambda top: (write(top / "opt/n", "n"), (top / "opt/n").unlink()), ["C /opt"]),
    "what a layer had hidden is new": (
        lambda top: write(top / "etc/hidden", "back"),
        ["C /etc", "A /etc/hidden"],
    ),
    "a directory in the place of a hidden file": (
        lambda top: (top / "etc/hidden").mkdir(),
        ["C /etc", "A /etc/hidden"],
    ),
    "a file in the place of a directory": (
        lambda top: replaced(top / "usr/lib", lambda path: write(path, "file")),
        ["C /usr", "C /usr/lib"],
    ),
    "a directory in the place of a file": (
        lambda top: replaced(top / "etc/passwd", lambda path: (path.mkdir(), write(path / "in", "i"))),
        ["C /etc", "C /etc/passwd", "A /etc/passwd/in"],
    ),
    "a symlink in the place of a directory": (
        lambda top: replaced(top / "usr/lib", lambda path: path.symlink_to("/opt")),
        ["C /usr", "C /usr/lib"],
    ),
    "a directory made again": (
        lambda top: made_again(top / "usr/lib"),
        ["C /usr", "C /usr/lib", "D /usr/lib/a", "C /usr/lib/b", "D /usr/lib/deep", "A /usr/lib/new"],
    ),
    "a directory made again, and one in it": (
        lambda top: (shutil.rmtree(top / "usr"), (top / "usr/lib/deep").mkdir(parents=True)),
        ["C /usr", "C /usr/lib", "D /usr/lib/a", "D /usr/lib/b", "C /usr/lib/deep", "D /usr/lib/deep/x"],
    ),
    "a file renamed": (
        lambda top: (top / "etc/passwd").rename(top / "etc/shadow"),
        ["C /etc", "D /etc/passwd", "A /etc/shadow"],
    ),
    "a file renamed over another": (
        lambda top: (top / "etc/passwd").rename(top / "etc/group"),
        ["C /etc", "C /etc/group", "D /etc/passwd"],
    ),
    "a directory renamed": (
        lambda top: shutil.move(top / "usr/lib/deep", top / "usr/lib/moved"),
        ["C /usr", "C /usr/lib", "D /usr/lib/deep", "A /usr/lib/moved", "A /usr/lib/moved/x"],
    ),
    "a hard link": (
        lambda top: (write(top / "opt/n", "n"), (top / "etc/alias").hardlink_to(top / "opt/n")),
        ["C /etc", "A /etc/alias", "C /opt", "A /opt/n"],
    ),
    "a symlink": (lambda top: (top / "opt/l").symlink_to("/etc"), ["C /opt", "A /opt/l"]),
    "a symlink to something else": (
        lambda top: replaced(top / "link", lambda path: path.symlink_to("opt")),
        ["C /link"],
    ),
    "a FIFO": (lambda top: os.mkfifo(top / "opt/pipe"), ["C /opt", "A /opt/pipe"]),
    "an attribute of a file": (
        lambda top: os.setxattr(top / "usr/lib/a", "user.note", b"1"),
        ["C /usr", "C /usr/lib", "C /usr/lib/a"],
    ),
    "an attribute of a directory": (
        lambda top: os.setxattr(top / "usr/lib", "user.note", b"1"),
        ["C /usr", "C /usr/lib"],
    ),
    "a name that is no UTF-8": (lambda top: (top / os.fsdecode(b"caf\xe9")).unlink(), ["D /caf\udce9"]),
    "names sorted as docker does": (
        lambda top: [write(top / f"opt/{name}", name) for name in ("b", "a-b", "B")],
        ["C /opt", "A /opt/B", "A /opt/a-b", "A /opt/b"],
    ),
}
ROOTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "the owner of a file": (lambda top: os.chown(top / "etc/passwd", 5, 6), ["C /etc", "C /etc/passwd"]),
    "the owner of a directory": (lambda top: os.chown(top / "usr/lib", 5, 6), ["C /usr", "C /usr/lib"]),
    "a device": (
        lambda top: os.mknod(top / "opt/null", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
        ["C /opt", "A /opt/null"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_change(case: str, flavour: Flavour, tmp_path: Path) -> None:
    if flavour == "fuse" and case == "copied up, but the same":
        pytest.skip("fuse-overlayfs gives the directory of what it copies up a new time")
    check(*CASES[case], flavour, tmp_path)


@pytest.mark.parametrize("case", ROOTS)
def test_what_only_root_can_change(case: str, tmp_path: Path) -> None:
    check(*ROOTS[case], "trusted", tmp_path)


def check(act: Callable[[Path], object], expected: list[str], flavour: Flavour, place: Path) -> None:
    lowers = image(place, flavour)

    def action(top: Path) -> list[str]:
        before = tree(top)
        act(top)
        return compared(before, tree(top))

    seen = inside(lowers, place, flavour, action)
    assert shown(changes(place / "upper", lowers, flavour)) == expected
    assert seen == expected


NAMES = (
    "etc",
    "etc/passwd",
    "etc/upper",
    "usr",
    "usr/lib",
    "usr/lib/a",
    "usr/lib/deep",
    "usr/lib/deep/x",
    "new",
    "opt/n",
)
ACTIONS: dict[str, Callable[[Path, Path], object]] = {
    "write": lambda one, other: one.write_text(str(other)),
    "touch": lambda one, other: os.utime(one, (1, 1)),
    "chmod": lambda one, other: one.chmod(one.stat().st_mode ^ 0o22),
    "unlink": lambda one, other: one.unlink(),
    "remove": lambda one, other: shutil.rmtree(one),
    "mkdir": lambda one, other: one.mkdir(),
    "move": lambda one, other: shutil.move(one, other),
    "rename": lambda one, other: one.rename(other),
    "link": lambda one, other: other.hardlink_to(one),
    "symlink": lambda one, other: one.symlink_to(other.name),
    "attribute": lambda one, other: os.setxattr(one, "user.note", os.fsencode(other.name)),
    "read and write": lambda one, other: same_again(one),
}
Step = tuple[str, str, str]


def done(steps: list[Step], top: Path) -> None:
    for what, one, other in steps:
        try:
            ACTIONS[what](top / one, top / other)
        except (OSError, shutil.Error):
            continue  # what cannot be done is part of it


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(ACTIONS)), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        min_size=1,
        max_size=12,
    )
)
def test_random_changes_are_what_a_look_at_everything_finds(
    flavour: Flavour, tmp_path: Path, steps: list[Step]
) -> None:
    place = tmp_path / os.urandom(6).hex()
    place.mkdir()
    lowers = image(place, flavour)

    def action(top: Path) -> dict[bytes, Facts]:
        before = tree(top)
        done(steps, top)
        return before

    before = inside(lowers, place, flavour, action)
    # As a new mount sees it: fuse-overlayfs 1.10 goes on to show some names that it has not hidden on the disk.
    seen = compared(before, inside(lowers, place, flavour, tree))
    assert shown(changes(place / "upper", lowers, flavour)) == seen
    remove_tree(place)
