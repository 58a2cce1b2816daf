from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.unpack import tar
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Entry, Kind, Outline, TarReader
from support.layers import Item, extended, file, folder, hard_link, layer, packed, symlink


def read(data: bytes, limits: Limits = USUAL) -> list[tuple[Entry, bytes]]:
    reader = TarReader(LayerStream(io.BytesIO(data), "here", limits=limits.of_layer()))
    return [(entry, b"".join(map(bytes, reader.parts()))) for entry in reader]


def only(data: bytes) -> Entry:
    ((entry, _),) = read(data)
    return entry


def test_all_kinds_with_all_fields() -> None:
    found = [
        entry
        for entry, _ in read(
            layer(
                folder("etc/", 0o1777, uid=1, gid=2, mtime=5),
                file("etc/passwd", b"root", mode=0o4755),
                hard_link("etc/again", "etc/passwd"),
                symlink("link", "../../etc/passwd"),
                Item("tty", kind=b"3", device=(5, 1)),
                Item("disk", kind=b"4", device=(259, 1048575)),
                Item("pipe", kind=b"6"),
                Item("contiguous", kind=b"7", data=b"abc"),
                Item("old", kind=b"\0", data=b"abc"),
                Item("old-folder/", kind=b"\0"),
            )
        )
    ]
    assert [entry.kind for entry in found] == [
        *(Kind.DIRECTORY, Kind.FILE, Kind.HARD_LINK, Kind.SYMLINK, Kind.CHARACTER, Kind.BLOCK, Kind.FIFO),
        *(Kind.FILE, Kind.FILE, Kind.DIRECTORY),
    ]
    assert found[0] == Entry(b"etc/", (b"etc",), Kind.DIRECTORY, 0o1777, 1, 2, 0, 5_000_000_000)
    assert (found[1].mode, found[1].size) == (0o4755, 4)
    assert found[2].link == b"etc/passwd"
    assert found[3].link == b"../../etc/passwd"
    assert (found[4].device, found[5].device) == ((5, 1), (259, 1048575))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b", (b"a", b"b")),
        ("./a//b/.", (b"a", b"b")),
        ("/etc/passwd", (b"etc", b"passwd")),
        ("./", ()),
        ("/", ()),
        (b"caf\xe9", (b"caf\xe9",)),
        ("…" * 1000, ("…".encode() * 1000,)),
        ("x" * 4095, (b"x" * 4095,)),
        ("a\nb", (b"a\nb",)),
    ],
)
def test_names(name: str | bytes, parts: tuple[bytes, ...]) -> None:
    assert only(layer(file(name))).parts == parts


@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "a/..", "/../x", "./../x"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="leads out"):
        read(layer(file(name)))


def test_pax_records_win_over_the_header() -> None:
    entry = only(
        layer(
            file(
                "short",
                b"12345",
                pax={
                    "path": b"long/\xc3\xa9",
                    "uid": b"4000000000",
                    "gid": b"7",
                    "mtime": b"1700000000.123456789123",
                    "SCHILY.xattr.user.note": b"a\nb=c\0d",
                    "comment": b"nothing",
                },
            )
        )
    )
    assert entry.parts == (b"long", b"\xc3\xa9")
    assert (entry.uid, entry.gid, entry.mtime) == (4_000_000_000, 7, 1_700_000_000_123_456_789)
    assert entry.xattrs == {"user.note": b"a\nb=c\0d"}


def test_a_pax_size_counts_for_the_content() -> None:
    found = read(layer(file("a", b"x" * 600, size=3, pax={"size": b"600"}), file("b", b"y")))
    assert [(entry.name, content) for entry, content in found] == [(b"a", b"x" * 600), (b"b", b"y")]


@pytest.mark.parametrize(("text", "mtime"), [(b"-1.5", -1_500_000_000), (b"0.1", 100_000_000), (b"3", 3_000_000_000)])
def test_pax_times(text: bytes, mtime: int) -> None:
    assert only(layer(file("a", pax={"mtime": text}))).mtime == mtime


def test_global_headers_are_passed_over() -> None:
    assert only(extended(b"g", b"30 comment=0123456789abcdefgh\n") + layer(file("a"))).name == b"a"


def test_gnu_long_names_and_links() -> None:
    data = extended(b"L", b"d/" + b"n" * 300 + b"\0") + extended(b"K", b"t" * 200 + b"\0") + layer(symlink("x", "y"))
    entry = only(data)
    assert (entry.name, entry.link) == (b"d/" + b"n" * 300, b"t" * 200)


def test_numbers_in_base_256() -> None:
    large = b"\x80" + (1 << 40).to_bytes(11, "big")
    negative = b"\xff" * 11 + b"\xfe"
    with pytest.raises(IntegrityError, match="cut short"):
        read(layer(file("a", raw={124: large})))
    assert only(layer(file("a", raw={136: negative}))).mtime == -2_000_000_000


def test_prefixes_of_ustar_but_not_of_gnu() -> None:
    posix = only(layer(file("name", raw={345: b"some/prefix"})))
    gnu = only(layer(file("name", raw={257: b"ustar  \0", 345: b"00012345670"})))
    assert (posix.name, gnu.name) == (b"some/prefix/name", b"name")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tarfile_writes(format: int) -> None:
    names = ["dir/" + "n" * 80, "ascii", "dir/" * 30 + "deep"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mtime = number * 1000, number, number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    found = read(buffer.getvalue())
    assert [(entry.name.decode(), entry.uid, content) for entry, content in found] == [
        (name, number, bytes([number]) * (number * 1000)) for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10240), bytes(1024) + b"garbage"])
def test_honest_ends(end: bytes) -> None:
    assert only(layer(file("a", b"x"), end=end)).name == b"a"


def test_an_empty_archive() -> None:
    assert read(b"") == []
    assert read(bytes(1024)) == []


HOSTILE = {
    "a checksum that is wrong": (layer(file("a"))[:100] + b"9" + layer(file("a"))[101:], "checksum"),
    "a damaged header in the middle": (layer(file("a"), end=b"") + b"x" * 512 + layer(file("b")), "checksum"),
    "a lone block of zeros": (layer(file("a"), end=bytes(512)) + layer(file("b")), "zeros"),
    "a negative size": (layer(file("a", raw={124: b"\xff" * 12})), "size is -1"),
    "an absurd size": (layer(file("a", raw={124: b"\x80" + b"\x7f" * 11})), "size is"),
    "a size that is no number": (layer(file("a", raw={124: b"12x45678901\0"})), "no number"),
    "a pax size that is no number": (layer(file("a", pax={"size": b"-5"})), "no number"),
    "a pax size with a sign": (layer(file("a", pax={"size": b"+5"})), "no number"),
    "a size beyond the end": (layer(file("a", size=1 << 30)), "cut short"),
    "a user that no system has": (layer(file("a", pax={"uid": b"4294967295"})), "out of bounds"),
    "a time beyond all time": (layer(file("a", raw={136: b"\x80" + b"\x7f" * 11})), "out of bounds"),
    "a pax time that is no number": (layer(file("a", pax={"mtime": b"tomorrow"})), "no number"),
    "a sparse file of old GNU": (layer(Item("a", b"S", b"x")), "other pieces than are there"),
    "a sparse file of pax": (layer(file("a", pax={"GNU.sparse.major": b"1"})), "longer than its file"),
    "a type that nobody knows": (layer(Item("a", kind=b"V")), "unknown type"),
    "a zero byte in a pax name": (layer(file("a", pax={"path": b"a\0b"})), "zero byte"),
    "a name of 6,000 bytes": (layer(file("d/" * 3000)), "6000 bytes"),
    "a link's target of 6,000 bytes": (layer(symlink("a", "d/" * 3000)), "6000 bytes"),
    "a link to nothing": (layer(symlink("a", "")), "without a target"),
    "a pax header of 8 GiB": (extended(b"x", b"", size=0o77777777777), "extended header"),
    "a GNU name of 8 GiB": (extended(b"L", b"", size=0o77777777777), "extended header"),
    "a pax record longer than its header": (extended(b"x", b"999 path=x\n") + layer(file("a")), "broken pax"),
    "a pax record of length 0": (extended(b"x", b"0 path=x\n") + layer(file("a")), "broken pax"),
    "a pax record without a newline": (extended(b"x", b"9 path=xyz") + layer(file("a")), "broken pax"),
    "a pax record without a value": (extended(b"x", b"8 pathx\n") + layer(file("a")), "broken pax"),
    "a pax header at the end": (extended(b"x", b"10 path=x\n"), "ends behind"),
    "a device number out of bounds": (layer(Item("a", kind=b"3", raw={329: b"7777777\0"})), "out of bounds"),
    "half a header": (layer(file("a"))[:300], "cut short"),
    "text": (b"this is no archive at all\n" * 100, "no number"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_sound_archive(case: str) -> None:
    data, message = HOSTILE[case]
    with pytest.raises(IntegrityError, match=message) as caught:
        read(data)
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_limits_of_entries_and_bytes() -> None:
    many = layer(*(file(f"{number}") for number in range(11)))
    with pytest.raises(IntegrityError, match="more than 10 entries"):
        read(many, Limits(entries=10))
    with pytest.raises(IntegrityError, match="more than 5000 bytes"):
        read(many, Limits(size=5000))
    with pytest.raises(IntegrityError, match="more than 5000000 bytes"):
        read(packed(layer(file("zeros", bytes(6_000_000)))), Limits(size=5_000_000))


def test_control_characters_of_a_name_do_not_reach_a_message() -> None:
    with pytest.raises(IntegrityError) as caught:
        read(layer(file("../\x1b[31m\n")))
    assert "\x1b" not in str(caught.value)


@given(st.binary(max_size=3000))
def test_any_bytes_are_entries_or_an_error(data: bytes) -> None:
    with contextlib.suppress(IntegrityError):
        read(data)


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=20))
def test_a_sound_archive_with_changed_bytes_is_entries_or_an_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(layer(file("name", b"x" * 10, pax={"mtime": b"1.5"}), symlink("link", "target")))
    for offset, value in changes:
        data[offset] = value
    with contextlib.suppress(IntegrityError):
        read(bytes(data))


def outlines(data: bytes) -> list[tuple[Outline, bytes]]:
    reader = TarReader(LayerStream(io.BytesIO(data), "here"))
    return [(outline, b"".join(map(bytes, reader.parts()))) for outline in reader.outlines()]


NAMES = st.lists(st.sampled_from(["", ".", "a", "a.", ".a", "...", "usr", "é" * 70]), max_size=6).map("/".join)


@given(st.lists(st.one_of(st.builds(file, NAMES, st.binary(max_size=600)), st.builds(folder, NAMES)), max_size=6))
def test_outlines_are_the_entries_in_short(items: list[Item]) -> None:
    data = layer(*items, symlink("link", "t" * 150), hard_link("./hard/", "usr/a"))
    assert outlines(data) == [
        (Outline(b"/".join(entry.parts), entry.kind, entry.size, entry.link), content) for entry, content in read(data)
    ]


# What stands only in fields that an outline does not have is not looked at.
UNSEEN = ("a user that", "a time beyond", "a pax time", "a device number")


@pytest.mark.parametrize("case", [case for case in HOSTILE if not case.startswith(UNSEEN)])
def test_outlines_of_what_is_no_sound_archive(case: str) -> None:
    data, message = HOSTILE[case]
    with pytest.raises(IntegrityError, match=message):
        outlines(data)


@pytest.mark.parametrize("name", ["..", "../x", "a/../b", "a/..", "/../x", "./../x", "./.."])
def test_outlines_of_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="leads out"):
        outlines(layer(file(name)))


@pytest.mark.parametrize("byte", [b"\xff", b"\x7f"])
def test_the_largest_checksums_are_right(byte: bytes) -> None:
    """A header full of the largest byte comes to more than 65521, at which the sum that is used turns over."""
    assert (
        only(layer(file("a", raw={0: byte * 100, 157: byte * 100, 265: byte * 64, 345: byte * 155}))).kind is Kind.FILE
    )


def test_a_checksum_of_signed_bytes_is_right() -> None:
    data = bytearray(layer(file("a", raw={0: b"\xe9" * 90})))
    signed = sum(data[:148]) + sum(data[156:512]) + 8 * 32 - 256 * 90
    data[148:156] = b"%06o\0 " % signed
    assert only(bytes(data)).name == b"\xe9" * 90


@pytest.mark.parametrize("way", ["entries", "outlines"])
def test_hard_links_to_one_file_are_bounded(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_HARD_LINKS", 2)

    def names(*links: Item) -> int:
        reader = TarReader(LayerStream(io.BytesIO(layer(file("f"), file("g"), *links)), "here"))
        return len(list(reader if way == "entries" else reader.outlines()))

    assert names(hard_link("1", "f"), hard_link("2", "f"), hard_link("3", "g")) == 5
    with pytest.raises(IntegrityError, match="entry 5 of its tar archive: more than 2 hard links to a file"):
        names(hard_link("1", "f"), hard_link("2", "f"), hard_link("3", "f"))
