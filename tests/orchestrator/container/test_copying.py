"""Copies into a container's root and out of it, here a plain directory: docker's rules, and what leads nowhere."""

from __future__ import annotations

import io
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.container.copy_ends import Words, read_words
from polyarch.container.copying import Copy
from polyarch.errors import NotFoundError, PolyarchError, StorageError, UsageError
from polyarch.unpack.copy_tree import CopyTree, CopyWriter, Destination, Source, There, goes_inside
from polyarch.unpack.stream import LayerStream
from support.layers import file, layer, listing
from support.tar_files import Link, entries_of, tar_of


def made(top: Path) -> Path:
    """A root to copy from and to, or a folder here: the same things are in both."""
    for name in ("dir/sub", "other"):
        (top / name).mkdir(parents=True)
    (top / "file").write_text("file")
    (top / "dir/sub/x").write_text("x")
    (top / "dir/l").symlink_to("sub")
    (top / "link").symlink_to("file")
    (top / "dirlink").symlink_to("dir")
    (top / "absolute").symlink_to("/other")
    (top / "dangling").symlink_to("other/not-yet")
    (top / "outside").symlink_to("../../../../../../../../etc")
    return top


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = made(tmp_path / "here")
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made(tmp_path / "root")


def copy(root: Path, source: str, destination: str, **options: bool) -> tuple[str, ...]:
    chosen = {"archive": False, "follow": False, "owners": os.geteuid() == 0, **options}
    words = Copy(*read_words(source, destination), **chosen)

    def inside(function: Callable[[str], None]) -> None:
        function(str(root))

    return words.into(inside) if words.source.container is None else words.out(inside)


# docker container cp, "Description": what the source is, what the destination is, and what comes of it there.
RULES: dict[str, tuple[str, str, dict[str, str] | str]] = {
    "a file to nothing": ("file", "new", {"new": "b'file'"}),
    "a file to nothing, with a slash": ("file", "new/", "the destination directory is not there"),
    "a file to a file": ("dir/sub/x", "file", {"file": "b'x'"}),
    "a file to a file, with a slash": ("file", "dir/sub/x/", "Not a directory|it is no directory"),
    "a file into a directory": ("file", "other", {"other/file": "b'file'"}),
    "a file into a directory, with a slash": ("file", "other/", {"other/file": "b'file'"}),
    "a file into a directory that is not there": ("file", "none/new", "there is no"),
    "a directory to nothing": ("dir", "new", {"new": "dir", "new/l": "-> sub", "new/sub": "dir", "new/sub/x": "b'x'"}),
    "a directory to nothing, with a slash": ("dir/sub", "new/", {"new": "dir", "new/x": "b'x'"}),
    "a directory to a file": ("dir", "file", "a directory cannot be copied to a file"),
    "a directory into a directory": ("dir/sub", "other", {"other/sub": "dir", "other/sub/x": "b'x'"}),
    "a directory with a slash into a directory": ("dir/sub/", "other", {"other/sub": "dir", "other/sub/x": "b'x'"}),
    "contents into a directory": ("dir/sub/.", "other", {"other/x": "b'x'"}),
    "contents to nothing": ("dir/sub/.", "new", {"new": "dir", "new/x": "b'x'"}),
    "contents to a file": ("dir/.", "file", "a directory cannot be copied to a file"),
    "contents of a file": ("file/.", "other", "Not a directory"),
    "a link as it is": ("link", "other", {"other/link": "-> file"}),
    "to what a link leads to": ("dir/sub/x", "link", {"file": "b'x'"}),
    "into what a link leads to": ("file", "dirlink", {"dir/file": "b'file'"}),
    "to what a link leads to, not there yet": ("file", "dangling", {"other/not-yet": "b'file'"}),
    "nothing": ("none", "other", "there is no .*none"),
    "a directory in a file's place": ("dir/.", "clash", "a directory cannot take the place of"),
    "a file in a directory's place": ("clash/.", "dir", "a file cannot take the place of the directory"),
}


@pytest.mark.parametrize("way", ["into", "out"])
@pytest.mark.parametrize("case", RULES)
def test_dockers_rules(case: str, way: str, here: Path, root: Path) -> None:
    source, destination, expected = RULES[case]
    for top in (here, root):
        (top / "clash").mkdir()
        (top / "clash/sub").write_text("no directory")
    before = listing(root if way == "into" else here)
    words = (f"./{source}", f"c:{destination}") if way == "into" else (f"c:/{source}", f"./{destination}")
    if isinstance(expected, str):
        with pytest.raises(PolyarchError, match=expected):
            copy(root, *words)
        return
    copy(root, *words)
    after = listing(root if way == "into" else here)
    assert {path: what for path, what in after.items() if before.get(path) != what} == expected
    assert set(before) <= set(after)


PLACES: list[tuple[Source, There, bool, bool | None]] = [
    ("file", "nothing", False, False),
    ("file", "nothing", True, None),
    ("file", "other", False, False),
    ("file", "other", True, None),
    ("file", "directory", False, True),
    ("directory", "nothing", True, False),
    ("directory", "other", False, None),
    ("directory", "directory", False, True),
    ("contents", "nothing", False, False),
    ("contents", "other", False, None),
    ("contents", "directory", False, True),
    ("archive", "nothing", False, None),
    ("archive", "other", False, None),
    ("archive", "directory", False, True),
]


@pytest.mark.parametrize(("source", "there", "slash", "inside"), PLACES)
def test_where_a_copy_goes(source: Source, there: There, slash: bool, inside: bool | None) -> None:
    if inside is None:
        with pytest.raises(UsageError):
            goes_inside(source, there, slash=slash)
    else:
        assert goes_inside(source, there, slash=slash) is inside


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("web:/etc/motd", Words("web", "/etc/motd")),
        ("web:relative", Words("web", "relative")),
        ("./a:b", Words(None, "./a:b")),
        ("/a:b", Words(None, "/a:b")),
        ("../a:b", Words(None, "../a:b")),
        ("plain", Words(None, "plain")),
        ("-", Words(None, "-")),
        ("web:a:b", Words("web", "a:b")),
    ],
)
def test_words(text: str, words: Words) -> None:
    other = "/here" if words.container else "c:/there"
    assert read_words(text, other)[0] == words


@pytest.mark.parametrize(
    "words", [("a", "b"), ("a:/b", "c:/d"), ("-", "-"), ("c:", "."), ("", "c:/x"), ("c:/a\0b", ".")]
)
def test_words_that_are_wrong(words: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        read_words(*words)


@pytest.mark.parametrize("way", ["into", "out"])
def test_a_copy_may_be_deeper_than_layers_are(way: str, here: Path, root: Path) -> None:
    deep, inside = ("d/" * 300, root if way == "into" else here)
    ((here if way == "into" else root) / "deep" / deep).mkdir(parents=True)
    copy(root, *(("./deep", "c:/new") if way == "into" else ("c:/deep", "./new")))
    assert (inside / "new" / deep).is_dir()


def test_what_cannot_be_put_there_is_the_users_to_mend(here: Path, root: Path) -> None:
    tree = CopyTree(root)
    archive = io.BytesIO(layer(file("x/y", "below a file")))
    goal = Destination((b"dir",), b"", "directory", slash=False)
    (root / "dir" / "x").write_text("a file")
    writer = CopyWriter(tree, goal, "archive", lambda entry: entry, owners=False, devices=False)
    with pytest.raises(UsageError, match="Not a directory"):
        writer.write(LayerStream(archive, "stdin"))


def test_no_link_leads_out_of_the_root(here: Path, root: Path, tmp_path: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/hostname").write_text("of the container")
    copy(root, "c:/outside/hostname", "./found")
    assert (here / "found").read_text() == "of the container"
    copy(root, "./file", "c:/outside/put")
    assert (root / "etc/put").read_text() == "file"
    copy(root, "./file", "c:/absolute")
    assert (root / "other/file").read_text() == "file"
    copy(root, "./file", "c:/../../../top")
    assert (root / "top").read_text() == "file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "root"]


def test_links_are_followed_where_that_is_asked_for(here: Path, root: Path) -> None:
    copy(root, "./link", "c:/other", follow=True)
    assert (root / "other/link").read_text() == "file"
    assert not (root / "other/link").is_symlink()
    copy(root, "c:/dirlink", "./other", follow=True)
    assert listing(here / "other") == {
        "dirlink": "dir",
        "dirlink/l": "-> sub",
        "dirlink/sub": "dir",
        "dirlink/sub/x": "b'x'",
    }


def test_a_stream_in_and_out(
    root: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.write_bytes(tar_of({"sub": None, "sub/a": b"a", "sub/b": Link("sub/a", hard=True), "dirlink/in": b"in"}))
    saved = os.dup(0)
    try:
        with data.open("rb") as stream:
            os.dup2(stream.fileno(), 0)
        copy(root, "-", "c:/")
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    assert (root / "sub/b").read_text() == "a"
    assert (root / "sub/a").stat().st_nlink == 2
    assert (root / "dir/in").read_text() == "in"  # as beneath a root of its own
    copy(root, "c:/sub", "-")
    out = tmp_path / "out"
    out.write_bytes(capfdbinary.readouterr().out)

    assert entries_of(out.read_bytes()) == ["sub/", "sub/a", "sub/b -> sub/a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can only be given as root")
def test_owners_and_what_comes_along(here: Path, root: Path) -> None:
    program = here / "program"
    program.write_text("x")
    os.chown(program, 1000, 1001)
    program.chmod(0o4755)
    os.utime(program, ns=(0, 1_600_000_000_000_000_001))
    os.setxattr(program, "user.note", b"n")

    def facts(path: Path) -> tuple[object, ...]:
        status = path.stat()
        return status.st_uid, status.st_gid, oct(stat.S_IMODE(status.st_mode)), os.listxattr(path), status.st_mtime_ns

    when = 1_600_000_000_000_000_001
    copy(root, "./program", "c:/plain")
    copy(root, "./program", "c:/archive", archive=True)
    assert facts(root / "plain") == (0, 0, "0o4755", ["user.note"], when)
    assert facts(root / "archive") == (1000, 1001, "0o4755", ["user.note"], when)
    copy(root, "c:/archive", "./plain")
    copy(root, "c:/archive", "./archive", archive=True)
    assert facts(here / "plain") == (0, 0, "0o755", [], when)  # nobody gets rights by a program of a container
    assert facts(here / "archive") == (1000, 1001, "0o4755", ["user.note"], when)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_come_out_only_with_all_that_there_is(here: Path, root: Path) -> None:
    os.mknod(root / "other/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    os.mkfifo(root / "other/fifo")
    copy(root, "c:/other/.", "./plain")
    copy(root, "c:/other/.", "./whole", archive=True)
    assert listing(here / "plain") == {"fifo": "fifo"}
    assert listing(here / "whole") == {"disk": "block 8:0", "fifo": "fifo"}
    copy(root, "./whole/disk", "c:/disk")
    assert listing(root)["disk"] == "block 8:0"


def test_sockets_are_left_out(here: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "dir")
    with socket.socket(socket.AF_UNIX) as made_one:
        made_one.bind("sock")
    monkeypatch.chdir(here)
    assert copy(root, "c:/dir", "./new") == ("dir/sock",)
    assert sorted(listing(here / "new")) == ["l", "sub", "sub/x"]


def test_a_directory_that_is_there_stays_as_it_is(here: Path, root: Path) -> None:
    (root / "other").chmod(0o1777)
    (here / "dir").chmod(0o700)
    copy(root, "./dir/.", "c:/other")
    assert stat.S_IMODE((root / "other").stat().st_mode) == 0o1777
    for top in (root, here):
        top.chmod(0o711)
    copy(root, "./file", "c:/")
    copy(root, "c:/file", ".")
    assert [stat.S_IMODE(top.stat().st_mode) for top in (root, here)] == [0o711, 0o711]


def test_a_place_that_cannot_be_written_to(here: Path, root: Path, small_tmpfs: Callable[[int], Path]) -> None:
    """The cause is told, not that the other end of the pipe has gone."""
    full = small_tmpfs(1 << 18)
    for top in (here, root):
        (top / "noise").write_bytes(os.urandom(1 << 20))
    with pytest.raises(PolyarchError, match="No space left on device"):
        copy(full, "./noise", "c:/noise")
    (full / "noise").unlink()
    with pytest.raises(PolyarchError, match="No space left on device"):
        copy(root, "c:/noise", f"{full}/noise")


def test_what_cannot_be_read(here: Path, root: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no /none in the container c"):
        copy(root, "c:/none", ".")
    with pytest.raises(NotFoundError, match="there is no directory"):
        copy(root, "c:/file", "./none/here")


def test_what_cannot_be_read_to_its_end_is_told_as_that(here: Path, root: Path) -> None:
    endless = Path("/sys/class/net/lo/speed")  # has a size, and no content to be read: EINVAL
    with pytest.raises(StorageError, match="speed cannot be copied: Invalid argument"):
        copy(root, str(endless), "c:/x")
