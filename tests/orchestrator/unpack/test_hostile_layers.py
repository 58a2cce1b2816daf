"""What test_layer_cases.py does not hold of hostile layers: attributes, ordinary users, limits, faults of disks."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

from polyarch.errors import IntegrityError, PolyarchError, StorageError, UsageError
from polyarch.unpack.image import new_directory, remove_tree, unpack_image, unpack_layer
from polyarch.unpack.limits import USUAL, Limits
from support.erofs_trees import needs_erofs, prepared, seen_by_all
from support.layers import Item, diff_id, file, folder, layer, listing, opener, packed, symlink
from support.users import OrdinaryUser


@pytest.fixture(params=["flat", "overlay", "erofs"])
def unpack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Unpacks layers below `tmp_path/inside` in one form; gives the (topmost) directory."""
    if request.param == "erofs":
        needs_erofs(tmp_path)
    mounts = ExitStack()
    place = tmp_path / "inside"
    place.mkdir()

    def flat(*layers: bytes, limits: Limits = USUAL) -> Path:
        target = place / "image"
        unpack_image(list(map(opener, layers)), list(map(diff_id, layers)), target, limits=limits)
        return target

    def overlay(*layers: bytes, limits: Limits = USUAL) -> Path:
        made: list[Path] = []
        try:
            for number, (data, held_to) in enumerate(zip(layers, limits.of_layers(len(layers)), strict=True)):
                unpack_layer(
                    opener(data),
                    diff_id(data),
                    place / str(number),
                    made,
                    flavour="trusted",
                    owners=os.geteuid() == 0,
                    limits=held_to,
                    sync=False,
                )
                made.insert(0, place / str(number))
        except PolyarchError:
            for directory in made:
                remove_tree(directory)
            raise
        return made[0]

    def erofs(*layers: bytes, limits: Limits = USUAL) -> Path:
        try:
            made = prepared(layers, place, limits)
        except PolyarchError:
            for directory in place.glob("erofs-*"):
                remove_tree(directory)
            raise
        return mounts.enter_context(seen_by_all(made, tmp_path / "mounted"))

    with mounts:
        yield {"flat": flat, "overlay": overlay, "erofs": erofs}[request.param]


def test_attributes_that_no_layer_may_bring(unpack: Callable[..., Path]) -> None:
    taken = {"user.note": b"n", "security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}
    refused = {
        "security.selinux": b"system_u:object_r:shadow_t:s0",
        "trusted.overlay.opaque": b"y",
        "user.overlay.opaque": b"y",
        "trusted.overlay.redirect": b"/etc",
        "user.fuseoverlayfs.opaque": b"y",
        "user.containers.override_stat": b"0:0:4755",
        "trusted.other": b"t",
    }
    pax = {f"SCHILY.xattr.{name}": value for name, value in {**taken, **refused}.items()}
    made = unpack(layer(folder("d", pax=pax), file("f", pax=pax)))
    expected = taken if os.geteuid() == 0 else {"user.note": b"n"}
    for name in ("d", "f"):
        found = {key: os.getxattr(made / name, key) for key in os.listxattr(made / name)}
        if name == "d":
            found.pop("security.capability", None)
            assert found == {"user.note": b"n"}
        else:
            assert found == expected


def test_attributes_of_a_lower_layer_go_with_its_entry(tmp_path: Path) -> None:
    layers = [layer(folder("d", pax={"SCHILY.xattr.user.old": b"1"})), layer(folder("d"))]
    unpack_image(list(map(opener, layers)), list(map(diff_id, layers)), tmp_path / "image")
    assert os.listxattr(tmp_path / "image" / "d") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and make devices")
def test_owners_modes_and_devices_as_root(unpack: Callable[..., Path]) -> None:
    made = unpack(
        layer(
            file("su", mode=0o4755, uid=1, gid=2),
            folder("t", mode=0o3777, uid=3, gid=4),
            symlink("l", "su", uid=5, gid=6),
            Item("null", kind=b"3", device=(1, 3), mode=0o666, uid=7),
            Item("pipe", kind=b"6", mode=0o620, gid=8),
        )
    )
    assert {name: what.split(" ", 1)[1] for name, what in listing(made, ["mode", "owner"]).items()} == {
        "su": "4755 1:2",
        "t": "3777 3:4",
        "l": "su 0777 5:6",
        "null": "1:3 0666 7:0",
        "pipe": "0620 0:8",
    }


def test_an_ordinary_user_gets_files_of_his_own(unprivileged_user: OrdinaryUser) -> None:
    data = layer(
        folder("sealed", mode=0o555, uid=0),
        file("sealed/f", "f", mode=0o4755, uid=0, gid=42),
        folder("closed", mode=0),
        file("closed/g", "g", mode=0),
        Item("null", kind=b"3", device=(1, 3)),
        Item("pipe", kind=b"6"),
        symlink("l", "/"),
    )
    second = layer(file("sealed/.wh.f"), file("closed/h", "h"))
    home = unprivileged_user.home
    program = textwrap.dedent(
        """
        import io, os, sys
        from pathlib import Path
        from polyarch.unpack.image import remove_tree, unpack_image
        layers = [Path(name).read_bytes() for name in sys.argv[1:]]
        import hashlib
        ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in layers]
        unpack_image([lambda data=data: io.BytesIO(data) for data in layers], ids, Path("image"))
        for name in sorted(os.listdir("image")):
            status = os.lstat(f"image/{name}")
            print(name, oct(status.st_mode), status.st_uid == os.getuid())
        print(os.listdir("image/sealed"))
        os.chmod("image/closed", 0o700)
        print(sorted(os.listdir("image/closed")))
        remove_tree(Path("image"))
        print(Path("image").exists())
        """
    )
    for name, content in (("one", data), ("two", second), ("program.py", program.encode())):
        (home / name).write_bytes(content)
        (home / name).chmod(0o644)
    command = unprivileged_user.polyarch_command()
    python = command[: command.index("-m")]
    done = unprivileged_user.run([*python, "program.py", "one", "two"])
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "closed 0o40000 True",
        "l 0o120777 True",
        "pipe 0o10644 True",
        "sealed 0o40555 True",
        "[]",
        "['g', 'h']",
        "False",
    ]


def test_setuid_is_left_out_where_owners_are(tmp_path: Path) -> None:
    data = layer(file("su", mode=0o6755), folder("t", mode=0o3777))
    unpack_image([opener(data)], [diff_id(data)], tmp_path / "image", owners=False)
    assert (tmp_path / "image" / "su").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "image" / "t").stat().st_mode & 0o7777 == 0o3777


def test_another_diff_id_than_promised(unpack: Callable[..., Path], tmp_path: Path) -> None:
    data = layer(file("f"))
    with pytest.raises(IntegrityError, match=r"diff ID sha256:0+ was promised"):
        unpack_image([opener(data)], ["sha256:" + "0" * 64], tmp_path / "image")
    assert not any(tmp_path.glob("*image*"))


def test_the_diff_id_is_that_of_the_whole_stream(tmp_path: Path) -> None:
    data = layer(file("f"))
    longer = data + b"more behind the end of the archive"
    with pytest.raises(IntegrityError, match="diff ID"):
        unpack_image([opener(longer)], [diff_id(data)], tmp_path / "image")
    unpack_image([opener(packed(longer))], [diff_id(longer)], tmp_path / "image")


@pytest.mark.parametrize("length", [0, 1, 511, 512, 700, 1024, 1500])
def test_a_cut_layer_is_never_taken(length: int, unpack: Callable[..., Path], tmp_path: Path) -> None:
    data = layer(file("f", "x" * 600), end=b"")
    with pytest.raises(IntegrityError):
        unpack_image([opener(data[:length])], [diff_id(data)], tmp_path / "inside" / "image")
    assert list((tmp_path / "inside").iterdir()) == []


def test_a_bomb_is_stopped_by_its_size(tmp_path: Path) -> None:
    bomb = gzip.compress(layer(file("zeros", bytes(64 << 20))))
    with pytest.raises(IntegrityError, match="more than 33554432 bytes uncompressed"):
        unpack_image([opener(bomb)], ["sha256:" + "0" * 64], tmp_path / "image", limits=Limits(size=32 << 20))
    assert not any(tmp_path.iterdir())


class _Zeros(io.RawIOBase):
    """A gzip stream of zeros without end, made as it is read."""

    def __init__(self) -> None:
        self._member = gzip.compress(bytes(4 << 20), 9)
        self._data = gzip.compress(layer(file("zeros", size=1 << 36), end=b""))

    def read(self, size: int = -1) -> bytes:
        while len(self._data) < size:
            self._data += self._member
        head, self._data = self._data[:size], self._data[size:]
        return head


def test_growth_counts_beyond_the_first_gibibyte() -> None:
    from polyarch.unpack.stream import LayerStream
    from polyarch.unpack.tar import TarReader

    source: BinaryIO = _Zeros()  # type: ignore[assignment]
    reader = TarReader(LayerStream(source, "here", limits=Limits(ratio=500).of_layer()))
    next(iter(reader))
    sizes: list[int] = []
    with pytest.raises(IntegrityError, match="grows more than 500-fold"):
        sizes.extend(len(part) for part in reader.parts())
    assert sum(sizes) > 1000 << 20


def test_a_full_disk(small_tmpfs: Callable[[int], Path]) -> None:
    place = small_tmpfs(1 << 20)
    data = layer(file("big", bytes(4 << 20)))
    with pytest.raises(StorageError) as caught:
        unpack_image([opener(data)], [diff_id(data)], place / "image")
    assert caught.value.hint
    assert list(place.iterdir()) == []


def test_an_attribute_that_the_file_system_has_no_room_for(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.big", bytes(60_000))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.E2BIG):
            pytest.skip("no extended attributes here")
    else:
        pytest.skip("the file system here has room for them")
    data = layer(file("f", pax={"SCHILY.xattr.user.big": bytes(60_000)}))
    with pytest.raises(
        StorageError, match=r"file 'f': its file system has no room for user.big, .* 60000 bytes"
    ) as told:
        unpack_image([opener(data)], [diff_id(data)], tmp_path / "image")
    assert told.value.hint
    assert list(tmp_path.iterdir()) == [probe]


def test_a_fault_of_the_source_is_told(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    source: BinaryIO = Broken()  # type: ignore[assignment]
    with pytest.raises(StorageError, match="Input/output error"):
        unpack_image([lambda: source], ["sha256:" + "0" * 64], tmp_path / "image")
    assert not any(tmp_path.iterdir())


def test_the_directory_must_be_new_and_its_parent_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        unpack_image([], [], tmp_path)
    with pytest.raises(UsageError, match="/proc takes no new directories"), new_directory(Path("/proc/x")):
        pass
    with pytest.raises(UsageError, match="does not exist"):
        unpack_image([], [], tmp_path / "no" / "image")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"):
        unpack_image([], [], tmp_path / "dangling")


def test_remove_tree_takes_any_depth_with_few_files(tmp_path: Path) -> None:
    program = f"""
import os, resource
from pathlib import Path
from polyarch.unpack.image import remove_tree
top = Path({str(tmp_path / "deep")!r})
top.mkdir()
os.chdir(top)
for _ in range(3000):
    os.mkdir("d")
    open("f", "w").close()
    os.symlink("/etc", "l")
    os.chdir("d")
os.chdir("/")
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
remove_tree(top)
assert not top.exists() and os.path.exists("/etc/passwd")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_several_remove_one_tree(tmp_path: Path) -> None:
    """As the process that gives a container up, and the next one that finds it half gone."""
    for number in range(20):
        tree = tmp_path / str(number)
        for name in range(30):
            (tree / str(name) / "inner").mkdir(parents=True)
            (tree / str(name) / "file").touch()
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(remove_tree, tree) for _ in range(4)]:
                done.result()
    assert list(tmp_path.iterdir()) == []


def test_remove_tree_takes_what_a_killed_one_left(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f".wh..wh.gone-{number}" / "a" / "b" / "c").mkdir(parents=True)
    for left in list(tmp_path.iterdir()):
        remove_tree(left)
    assert list(tmp_path.iterdir()) == []
