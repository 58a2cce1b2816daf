"""What a container may do to its image's files, a case each, in a directory of its own; for tests of `commit`.

A case begins with the same files, in two layers, and is a function of that directory as the container sees it.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from support.layers import Item, file, folder, hard_link, layer, symlink
from support.overlay_trees import Facts, tree

Case: TypeAlias = Callable[[Path], object]

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")[:20]
"""cap_net_bind_service=ep, as the kernel keeps it (capability.h, vfs_cap_data)."""
LONG = "n" * 255
NOT_BY_DOCKER = "a time before 1970"
"""docker's engine makes 1970 of these (moby, pkg/system/chtimes.go)."""


def lower_layer(top: str) -> list[Item]:
    """The files of the first layer."""
    own = {"pax": {"SCHILY.xattr.user.note": b"of the base"}}
    return [
        folder(top),
        folder(f"{top}/d"),
        file(f"{top}/d/a", "a"),
        file(f"{top}/d/b", "b"),
        folder(f"{top}/d/sub"),
        file(f"{top}/d/sub/x", "x"),
        folder(f"{top}/e"),
        file(f"{top}/e/old", "old"),
        file(f"{top}/f", "content of f", uid=7, gid=8, mode=0o640),
        file(f"{top}/g", "g"),
        symlink(f"{top}/l", "f"),
        symlink(f"{top}/dl", "d"),
        file(f"{top}/h1", "linked"),
        hard_link(f"{top}/h2", f"{top}/h1"),
        file(f"{top}/s", "setuid", mode=0o4755),
        Item(f"{top}/pipe", kind=b"6"),
        Item(f"{top}/null", kind=b"3", device=(1, 3)),
        file(f"{top}/x", "with attributes", **own),
        file(f"{top}/hidden", "hidden by the second layer"),
        file(f"{top}".encode() + b"/caf\xe9", "no UTF-8"),
    ]


def upper_layer(top: str) -> list[Item]:
    """Those of the second."""
    return [
        folder(top),
        file(f"{top}/.wh.hidden"),
        file(f"{top}/up", "of the second layer"),
        folder(f"{top}/d"),
        file(f"{top}/d/c", "c"),
        folder(f"{top}/e"),
        file(f"{top}/e/.wh..wh..opq"),
        file(f"{top}/e/new", "new"),
    ]


def _write(path: Path, text: str = "written") -> None:
    path.write_text(text)


def _instead(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    make(path)


def _same_size_and_time(path: Path) -> None:
    status = path.stat()
    path.write_text("CONTENT OF F")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _moved(source: Path, target: Path) -> None:
    shutil.move(source, target)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
        stream.seek(700_000)
        stream.write(b"in the middle")


def _made_again(top: Path) -> None:
    shutil.rmtree(top / "d")
    (top / "d/sub").mkdir(parents=True)
    _write(top / "d/b", "b again")
    _write(top / "d/sub/y", "y")


def _link_over(top: Path) -> None:
    os.link(top / "f", top / "tmp")
    (top / "tmp").rename(top / "g")


def _new_links(top: Path) -> None:
    _write(top / "z")
    os.link(top / "z", top / "k")
    os.link(top / "z", top / "d/z")


def _sealed(top: Path) -> None:
    (top / "sealed").mkdir()
    _write(top / "sealed/f")
    (top / "sealed/f").chmod(0)
    (top / "sealed").chmod(0)


def _times(top: Path) -> None:
    for name, time in (("late", 9_000_000_000_123_456_789), ("fine", 1_234_567_890)):
        _write(top / name)
        os.utime(top / name, ns=(0, time))


CASES: dict[str, Case] = {
    "nothing": lambda top: None,
    "copied up, and nothing more": lambda top: os.close(os.open(top / "g", os.O_RDWR)),
    "a new file": lambda top: _write(top / "new"),
    "a new file in a directory": lambda top: _write(top / "d/new"),
    "a new directory with a file": lambda top: ((top / "n/m").mkdir(parents=True), _write(top / "n/m/f")),
    "an empty directory": lambda top: (top / "empty").mkdir(),
    "an empty file": lambda top: _write(top / "empty", ""),
    "other content": lambda top: _write(top / "f", "something else"),
    "other content of the same size and time": lambda top: _same_size_and_time(top / "f"),
    "something appended": lambda top: (top / "f").open("a").write("more"),
    "a file deleted": lambda top: (top / "f").unlink(),
    "a file of the second layer deleted": lambda top: (top / "up").unlink(),
    "a directory deleted": lambda top: shutil.rmtree(top / "d"),
    "everything deleted": lambda top: [_instead(each, lambda path: None) for each in top.iterdir()],
    "a directory deleted, a file of its name": lambda top: _instead(top / "d", _write),
    "a file deleted, a directory of its name": lambda top: _instead(
        top / "f", lambda path: (path.mkdir(), _write(path / "in"))
    ),
    "a directory deleted and made again": _made_again,
    "a directory deleted and made again, empty": lambda top: _instead(top / "d", Path.mkdir),
    "what the second layer hid is made again": lambda top: _write(top / "e/old", "old again"),
    "a hidden name is taken again": lambda top: _write(top / "hidden", "seen"),
    "a hidden name is taken and left again": lambda top: (_write(top / "hidden"), (top / "hidden").unlink()),
    "a hidden name becomes a directory": lambda top: ((top / "hidden").mkdir(), _write(top / "hidden/f")),
    "renamed over another": lambda top: (top / "f").rename(top / "g"),
    "renamed into a directory": lambda top: (top / "f").rename(top / "d/f"),
    "a directory moved": lambda top: _moved(top / "d", top / "moved"),
    "a directory moved in the place of another": lambda top: (shutil.rmtree(top / "e"), _moved(top / "d", top / "e")),
    "a symlink over a directory": lambda top: _instead(top / "d", lambda path: path.symlink_to("e")),
    "a directory over a symlink": lambda top: _instead(top / "dl", lambda path: (path.mkdir(), _write(path / "in"))),
    "a symlink over a file": lambda top: _instead(top / "f", lambda path: path.symlink_to("g")),
    "a file over a symlink": lambda top: _instead(top / "l", _write),
    "another symlink": lambda top: _instead(top / "l", lambda path: path.symlink_to("/nowhere")),
    "a long symlink": lambda top: (top / "far").symlink_to("x/" * 400),
    "a further name of a lower file": lambda top: os.link(top / "f", top / "d/f2"),
    "a lower file's name over another": _link_over,
    "new files with several names": _new_links,
    "one of several lower names deleted": lambda top: (top / "h1").unlink(),
    "one of several lower names written": lambda top: _write(top / "h1", "alone"),
    "a socket": lambda top: _socket(top / "sock"),
    "a socket in a file's place": lambda top: _instead(top / "f", _socket),
    "a sparse file": lambda top: _sparse(top / "sparse"),
    "the mode alone": lambda top: (top / "f").chmod(0o600),
    "a setuid program": lambda top: (_write(top / "su"), (top / "su").chmod(0o6755)),
    "setuid taken away": lambda top: (top / "s").chmod(0o755),
    "the owner alone": lambda top: os.chown(top / "f", 1000, 1001),
    "a large owner": lambda top: os.chown(top / "f", 3_000_000, 4_000_000),
    "the owner of a symlink": lambda top: os.chown(top / "l", 5, 6, follow_symlinks=False),
    "the time alone": lambda top: os.utime(top / "f", ns=(0, 1_600_000_000_123_456_789)),
    "times of all kinds": _times,
    "a time before 1970": lambda top: os.utime(top / "f", ns=(0, -123_456_789_012)),
    "the time of a directory": lambda top: os.utime(top / "d", ns=(0, 1_500_000_000_000_000_001)),
    "the mode of a directory": lambda top: (top / "d").chmod(0o1777),
    "a setgid directory": lambda top: ((top / "sg").mkdir(), (top / "sg").chmod(0o2775)),
    "a sealed directory": _sealed,
    "a capability": lambda top: os.setxattr(top / "g", "security.capability", CAPABILITY),
    "an attribute": lambda top: os.setxattr(top / "f", "user.new", b"\0\xffbinary\n=1"),
    "an attribute taken away": lambda top: os.removexattr(top / "x", "user.note"),
    "an attribute of a directory": lambda top: os.setxattr(top / "d", "user.of", b"directory"),
    "a device": lambda top: os.mknod(top / "tty", stat.S_IFCHR | 0o620, os.makedev(5, 0)),
    "a block device": lambda top: os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 300)),
    "a file in a device's place": lambda top: _instead(top / "null", _write),
    "a FIFO": lambda top: os.mkfifo(top / "fifo", 0o622),
    "a FIFO in a file's place": lambda top: _instead(top / "f", os.mkfifo),
    "a long name": lambda top: _write(top / LONG),
    "a long path": lambda top: ((top / "p" / LONG / LONG).mkdir(parents=True), _write(top / "p" / LONG / LONG / "f")),
    "a name that is no UTF-8": lambda top: _write(Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe"))),
    "a name that is no UTF-8, and long": lambda top: _write(
        Path(os.fsdecode(os.fsencode(top) + b"/\xfe" * 1 + b"\xfd" * 200))
    ),
    "a lower name that is no UTF-8 deleted": lambda top: Path(os.fsdecode(os.fsencode(top) + b"/caf\xe9")).unlink(),
    "strange letters in a name": lambda top: _write(top / "new\nline =\t'\"\\"),
    "deep directories": lambda top: ((top / ("deep/" * 60)).mkdir(parents=True), _write(top / ("deep/" * 60) / "f")),
}


def place(case: str) -> str:
    """The directory of a case, from the root."""
    return f"case-{list(CASES).index(case):02}"


def base_layers() -> tuple[bytes, bytes]:
    """The archives of an image with the files of all cases."""
    places = [place(case) for case in CASES]
    return (
        layer(*(item for each in places for item in lower_layer(each))),
        layer(*(item for each in places for item in upper_layer(each))),
    )


def make_all(top: Path) -> None:
    """Make the change of each case, in its place."""
    for case, change in CASES.items():
        change(top / place(case))


def seen(top: Path) -> tuple[dict[bytes, Facts], set[frozenset[bytes]]]:
    """What there is below a directory, sockets left out, and which names are of one file."""
    facts = {path: each for path, each in tree(top).items() if each[0] != stat.S_IFSOCK}
    files: dict[tuple[int, int], set[bytes]] = {}
    for path, each in facts.items():
        status = os.lstat(os.path.join(os.fsencode(top), path))  # noqa: PTH118  # bytes
        if each[0] != stat.S_IFDIR and status.st_nlink > 1:
            files.setdefault((status.st_dev, status.st_ino), set()).add(path)
    return facts, {frozenset(names) for names in files.values() if len(names) > 1}
