"""The files of layers and what differs between images, as people and scripts read them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from polyarch.cli import diff_lines, file_lines
from polyarch.oci.config import ImageConfig
from polyarch.oci.digest import digest_of
from polyarch.unpack.listing import list_layer
from polyarch.unpack.merge import merge
from polyarch.unpack.merged import Merged
from polyarch.verbs.images.diff import difference
from polyarch_platforms.platform import parse
from support.layers import Item, diff_id, file, folder, hard_link, layer, opener, symlink

EVIL = 'etc/\x1b[31m"\n\u202e'
BASE = [
    folder("etc"),
    file("etc/motd", "hello\n"),
    file("etc/gone", "x" * 1500),
    file(EVIL, "evil"),
    file(b"etc/\xff", "bytes"),
    folder("bin"),
    file("bin/busybox", "b" * 1_200_000, mode=0o755),
    symlink("bin/sh", "busybox"),
    hard_link("bin/ls", "bin/busybox"),
]
UPPER = [folder("etc"), file("etc/motd", "hello you\n"), file("etc/.wh.gone"), file("srv/new", "n")]


def merged(*layers: list[Item]) -> Merged:
    archives = [layer(*items) for items in layers]
    return merge([list_layer(opener(each), diff_id(each), "layer") for each in archives])


def image(*layers: list[Item], **settings: Any) -> Any:
    blobs = [SimpleNamespace(digest=digest_of(layer(*items)), size=len(layer(*items))) for items in layers]
    config = ImageConfig(b"", "", parse("linux/amd64"), (), **settings)
    return SimpleNamespace(
        image=SimpleNamespace(manifest=SimpleNamespace(layers=tuple(blobs), digest="m"), config=config, reference="r"),
        merged=merged(*layers),
    )


def test_the_table() -> None:
    assert list(file_lines.table_lines(merged(BASE, UPPER), [1, 2])) == [
        "LAYER   CHANGE   SIZE    PATH",
        "1       A        0B      /bin/",
        "1       A        1.2MB   /bin/busybox",
        "1       A        0B      /bin/ls -> /bin/busybox",
        "1       A        0B      /bin/sh -> busybox",
        "1       A        0B      /etc/",
        '1       A        4B      /etc/\\x1b[31m"\\n\\u202e',
        "1       A        1.5kB   /etc/gone (hidden by layer 2)",
        "1       A        6B      /etc/motd (hidden by layer 2)",
        "1       A        5B      /etc/\\xff",
        "2       D        1.5kB   /etc/gone",
        "2       C        10B     /etc/motd",
        "2       A        0B      /srv/",
        "2       A        1B      /srv/new",
    ]
    assert list(file_lines.path_lines(merged(BASE, UPPER), [2])) == ["/etc/gone", "/etc/motd", "/srv", "/srv/new"]


@pytest.mark.parametrize("base", [BASE, [each for each in BASE if each.name not in (EVIL, b"etc/\xff")]])
def test_json(base: list[Item]) -> None:
    lines = [json.loads(line) for line in file_lines.json_lines(merged(base, UPPER), [1, 2])]
    by_path = {(line["layer"], line["path"]): line for line in lines}
    assert len(by_path) == len(lines)
    assert by_path[1, "/etc/motd"] == {
        "layer": 1,
        "kind": "A",
        "path": "/etc/motd",
        "type": "file",
        "size": 6,
        "hidden_by": 2,
        "link": None,
    }
    assert (by_path[2, "/etc/gone"]["kind"], by_path[2, "/etc/gone"]["size"]) == ("D", 1500)
    assert (by_path[1, "/bin/ls"]["type"], by_path[1, "/bin/ls"]["link"]) == ("hardlink", "/bin/busybox")
    assert by_path[1, "/bin/sh"]["link"] == "busybox"
    assert by_path[1, "/bin"]["type"] == "directory"
    assert ((1, f"/{EVIL}") in by_path) == (base is BASE)
    assert (2, "/etc") not in by_path  # it only stands there again


def test_the_tree() -> None:
    seen = image(BASE, UPPER)
    assert list(file_lines.tree_lines(seen.merged, seen.image, [2])) == [
        f"Layer 2 ({seen.image.manifest.layers[1].digest[7:19]}), 11B",
        "        10B   ├── etc/",
        "D     1.5kB   │   ├── gone",
        "C       10B   │   └── motd",
        "A        1B   └── srv/",
        "A        1B       └── new",
    ]


def test_a_deep_tree_is_drawn_without_recursion() -> None:
    seen = image([file("/".join("d" * 240) + "/f", "x")])
    assert len(list(file_lines.tree_lines(seen.merged, seen.image, [1]))) == 242


def test_what_differs() -> None:
    one = image(BASE, cmd=("sh",), env=("A=1", "B=2"), labels={"x": "1"}, exposed_ports=("80/tcp",))
    other = image(BASE, UPPER, cmd=("sh", "-c"), env=("A=1",), labels={"y": "\x1b"}, user="nobody")
    found = difference(one, other)
    layers = [other.image.manifest.layers[1].size]
    assert list(diff_lines.table_lines(found)) == [
        f"Layers shared: 1, {one.image.manifest.layers[0].size / 1e6:.3g}MB",
        f"Layers only in B: 1, {layers[0] / 1e3:.3g}kB",
        'C   cmd           ["sh"] -> ["sh", "-c"]',
        "D   env B         2",
        "D   label x       1",
        "D   port 80/tcp",
        "A   user          nobody",
        "A   label y       \\x1b",
        "D   1.5kB                 /etc/gone",
        "C   6B -> 10B             /etc/motd",
        "A   0B                    /srv/",
        "A   1B                    /srv/new",
    ]
    assert list(diff_lines.path_lines(found)) == ["/etc/gone", "/etc/motd", "/srv", "/srv/new"]
    documents = [json.loads(line) for line in diff_lines.json_lines(_with_names(found))]
    assert [document["about"] for document in documents] == ["images", *["config"] * 6, *["file"] * 4]
    assert documents[-1]["new"]["size"] == 1


def _with_names(found: Any) -> Any:
    for one in (found.one, found.other):
        one.platform = "linux/amd64"
    return found


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        pytest.param(file("x", "a"), file("x", "b"), ["content"], id="content-of-the-same-size"),
        pytest.param(file("x", "a"), file("x", "a", mtime=5), None, id="time"),
        pytest.param(file("x", "a"), file("x", "a", mode=0o600), ["mode"], id="mode"),
        pytest.param(file("x", "a"), file("x", "a", uid=5), ["owner"], id="owner"),
        pytest.param(file("x", "a"), folder("x"), ["type"], id="type"),
        pytest.param(symlink("x", "a"), symlink("x", "b"), ["target"], id="target"),
        pytest.param(Item("x", b"3", device=(1, 3)), Item("x", b"3", device=(1, 5)), ["device"], id="device"),
        pytest.param(folder("x"), folder("x", pax={"SCHILY.xattr.user.a": b"1"}), ["attributes"], id="attributes"),
    ],
)
def test_what_changed_of_a_file(old: Item, new: Item, what: list[str] | None) -> None:
    found = difference(image([old]), image([new])).files
    assert [list(each.what) for each in found] == ([] if what is None else [what])


def test_a_hard_link_is_a_file() -> None:
    assert not difference(image([file("a", "x"), file("b", "x")]), image([file("a", "x"), hard_link("b", "a")])).files
