"""Images at hand as people see them: layers, files, differences, the tree; by the real command."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, folder, link, regular
from support.command import Polyarch
from support.dockerd import Dockerd
from support.layout_files import Layout
from support.terminal import on_a_terminal

pytestmark = pytest.mark.system

EVIL = "etc/\x1b[31mred\nline"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alpine, node, app:1 and app:2, which stand on each other."""
    directory = tmp_path_factory.mktemp("seen") / "layout"
    writer = LayoutWriter(directory)
    platform = {"os": "linux", "architecture": "amd64"}
    base = writer.layer(
        [
            folder("bin"),
            regular("bin/sh", b"#!" * 600),
            folder("etc"),
            regular("etc/motd", b"hello\n"),
            regular(EVIL, b""),
        ],
        "ADD rootfs.tar / # buildkit",
    )
    node = writer.layer([folder("opt"), regular("opt/node", b"n" * 5000), link("opt/n", "node")], "COPY node /opt")
    code = writer.layer([folder("etc"), regular("etc/motd", b"welcome\n"), regular("app/main.js", b"1")], "COPY 1 /app")
    other = writer.layer([regular("app/main.js", b"2"), regular("bin/.wh.sh", b"")], "COPY 2 /app")
    for name, layers in (
        ("alpine:3", [base]),
        ("node:20", [base, node]),
        ("app:1", [base, node, code]),
        ("app:2", [base, node, other]),
    ):
        writer.name(name, writer.image(platform, layers))
    writer.finish()
    return directory


@pytest.fixture(scope="module")
def at_hand(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Polyarch:
    """The command, with these images pulled. Add and remove none."""
    polyarch = Polyarch(tmp_path_factory.mktemp("seen"))
    polyarch("pull", "-q", *(f"oci:{layout}:{name}" for name in ("alpine:3", "node:20", "app:1", "app:2"))).ok()
    return polyarch


def test_inspect(at_hand: Polyarch, layout: Path) -> None:
    [document] = at_hand("image", "inspect", "--format", "json", "app:1").ok().json_lines
    names = [f"docker.io/library/{name}" for name in ("alpine:3", "app:2", "node:20")]
    assert [layer["shared_with"] for layer in document["layers"]] == [names, names[1:], []]
    assert [layer["created_by"] for layer in document["layers"]] == [
        "ADD rootfs.tar / # buildkit",
        "COPY node /opt",
        "COPY 1 /app",
    ]
    raw = subprocess.run(
        ["sh", "-c", 'exec "$0" -m polyarch --root "$1" image inspect --raw app:1', *_words(at_hand)],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert raw == Layout(layout).path(document["manifest"]).read_bytes()
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == document["manifest"]
    assert at_hand("image", "inspect", "--raw", "app:1", "app:2").code == 2
    assert at_hand("image", "inspect", "--raw", "-q", "app:1").code == 2
    for word, code in ((document["id"][7:10], 3), (document["id"][:10], 2), ("sha256:", 2)):
        result = at_hand("image", "inspect", word)
        assert (result.code, "write at least 4 of its digits" in result.stderr) == (code, True)


def test_history_is_dockers(at_hand: Polyarch, layout: Path, dockerd: Dockerd) -> None:
    at_hand("pull", "-q", "--into", f"docker:{dockerd.socket}", f"oci:{layout}:app:1").ok()
    words = ["image", "history", "--no-trunc", "app:1"]
    template = "{{.ID}}\t{{.CreatedBy}}\t{{.Comment}}"
    theirs = dockerd.docker(*words[:-1], "--format", template, "docker.io/library/app:1").splitlines()
    ours = [re.split(r" {3,}", line) for line in at_hand(*words).ok().stdout.splitlines()]
    assert ours[0] == ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]
    assert [[line[0], line[2], *line[4:]] for line in ours[1:]] == [
        [part for part in line.split("\t") if part] for line in theirs
    ]
    short = at_hand("image", "history", "app:1").ok().stdout.splitlines()
    assert short[1].split()[0] == ours[1][0][7:19]


def test_files(at_hand: Polyarch) -> None:
    lines = at_hand("image", "files", "app:1").ok().stdout.splitlines()
    assert [re.split(r" {3,}", line) for line in lines] == [
        ["LAYER", "CHANGE", "SIZE", "PATH"],
        ["1", "A", "0B", "/bin/"],
        ["1", "A", "1.2kB", "/bin/sh"],
        ["1", "A", "0B", "/etc/"],
        ["1", "A", "0B", "/etc/\\x1b[31mred\\nline"],
        ["1", "A", "6B", "/etc/motd (hidden by layer 3)"],
        ["2", "A", "0B", "/opt/"],
        ["2", "A", "0B", "/opt/n -> node"],
        ["2", "A", "5kB", "/opt/node"],
        ["3", "A", "0B", "/app/"],
        ["3", "A", "1B", "/app/main.js"],
        ["3", "C", "8B", "/etc/motd"],
    ]
    only = at_hand("image", "files", "--layer", "3", "-q", "app:1").ok().stdout.split()
    assert only == ["/app", "/app/main.js", "/etc/motd"]
    tree = at_hand("image", "files", "--layer", "3", "--tree", "app:1").ok().stdout.splitlines()
    assert tree[1:] == [
        "A        1B   ├── app/",
        "A        1B   │   └── main.js",
        "         8B   └── etc/",
        "C        8B       └── motd",
    ]
    documents = at_hand("image", "files", "--format", "json", "app:2").ok().json_lines
    assert {
        "layer": 3,
        "kind": "D",
        "path": "/bin/sh",
        "type": "file",
        "size": 1200,
        "hidden_by": None,
        "link": None,
    } in (documents)
    for words in (["--layer", "4"], ["--layer", "0"], ["--tree", "-q"]):
        assert at_hand("image", "files", *words, "app:1").code == 2


def test_files_are_remembered(polyarch: Polyarch, at_hand: Polyarch, layout: Path) -> None:
    shutil.copytree(at_hand.root / "oci", polyarch.root / "oci")
    words = ["image", "files", "--format", "json", "app:1"]
    first = polyarch(*words).ok().stdout
    cache = polyarch.root / "cache/listings"
    assert len(list(cache.iterdir())) == 4
    [remembered] = cache.glob("image-*")
    [lowest, *_] = Layout(layout).json(Layout(layout).names["app:1"]["digest"])["layers"]
    blob = polyarch.root / "oci/blobs/sha256" / lowest["digest"].removeprefix("sha256:")
    sound = blob.read_bytes()
    blob.write_bytes(bytes(len(sound)))  # nobody reads it again
    assert polyarch(*words).ok().stdout == first
    remembered.write_bytes(remembered.read_bytes()[:-1])
    assert polyarch(*words).ok().stdout == first  # from what is remembered of each layer
    for each in cache.iterdir():
        each.write_bytes(each.read_bytes()[::-1])
    failed = polyarch(*words)
    assert failed.code == 7
    assert "layer 1 of 3" in failed.stderr
    blob.write_bytes(sound)
    assert polyarch(*words).ok().stdout == first
    for each in cache.iterdir():
        each.unlink()
    cache.rmdir()
    cache.write_text("in the way")
    assert polyarch(*words).ok().stdout == first


def test_diff(at_hand: Polyarch) -> None:
    lines = at_hand("image", "diff", "app:1", "app:2").ok().stdout.splitlines()
    assert [line.split() for line in lines if not line.startswith("Layers")] == [
        ["C", "1B", "/app/main.js"],
        ["D", "1.2kB", "/bin/sh"],
        ["C", "8B", "->", "6B", "/etc/motd"],
    ]
    assert [line.partition(":")[0] for line in lines if line.startswith("Layers")] == [
        "Layers shared",
        "Layers only in A",
        "Layers only in B",
    ]
    assert at_hand("image", "diff", "-q", "app:1", "app:2").ok().stdout.split() == [
        "/app/main.js",
        "/bin/sh",
        "/etc/motd",
    ]
    assert at_hand("image", "diff", "-q", "app:1", "app:1").ok().stdout == ""
    assert at_hand("image", "diff", "app:1", "nobody:1").code == 3


def test_the_tree_of_layers(at_hand: Polyarch) -> None:
    lines = at_hand("image", "ls", "--tree").ok().stdout.splitlines()
    assert [line.rpartition("   ")[0].rstrip() for line in lines] == [
        "alpine:3",
        "└── node:20",
        "    ├── app:1",
        "    └── app:2",
    ]
    assert at_hand("image", "ls", "--tree", "app:2").ok().stdout.splitlines()[0].startswith("app:2 ")
    assert at_hand("image", "ls", "--tree", "--format", "json").code == 2


def test_filters(at_hand: Polyarch) -> None:
    def tags(*words: str) -> list[str]:
        documents = at_hand("image", "ls", "--format", "json", *words).ok().json_lines
        return [f"{document['repository'].rpartition('/')[2]}:{document['tag']}" for document in documents]

    assert tags("app") == ["app:1", "app:2"]
    assert tags("app:2") == ["app:2"]
    assert tags("-f", "reference=*o*:20") == ["node:20"]
    assert tags("-f", "dangling=true") == []
    assert tags("--platform", "linux/arm64") == []
    assert at_hand("image", "ls", "-f", "size=3").code == 2
    assert at_hand("image", "ls", "-f", "before=nobody").code == 3


def test_on_a_terminal_of_80_columns(at_hand: Polyarch) -> None:
    for words in (["ls", "--tree"], ["history", "app:1"], ["files", "app:1"]):
        code, shown = on_a_terminal(at_hand, "image", *words)
        assert code == 0
        assert max(len(line) for line in shown.splitlines()) <= 80, shown
        assert "\x1b" not in shown
    last = on_a_terminal(at_hand, "image", "ls")[1].splitlines()[-1]
    assert re.fullmatch(r"Total: \S+B, what is shared counted once", last)


def _words(polyarch: Polyarch) -> list[str]:
    return [sys.executable, str(polyarch.root)]
