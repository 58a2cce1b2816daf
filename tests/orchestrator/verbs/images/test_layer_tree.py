"""Images as a tree of the layers that they share, and how it is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.cli.layer_tree import tree_lines
from polyarch.container.record import Record
from polyarch.contract.storage import Image, unnamed
from polyarch.oci.config import HistoryLine
from polyarch.verbs.images.layer_tree import layer_tree
from support.small_images import SmallStorage

LAYERS = {"alpine": b"a", "node": b"b" * 20, "dependencies": b"c" * 300, "code": b"d" * 4000, "configuration": b"e"}


@pytest.fixture
def storage(tmp_path: Path) -> SmallStorage:
    return SmallStorage(tmp_path)


def add(storage: SmallStorage, name: str, *layers: str, platform: str = "linux/amd64", unlike: bytes = b"") -> Image:
    made = storage.manifest(platform, [LAYERS[layer] + unlike for layer in layers])
    history = tuple(HistoryLine("", f"COPY {layer}", "", False) for layer in layers)
    storage.add(name, [replace(made, config=replace(made.config, history=history))])
    return storage.listed[-1]


def container(image: Image | None, name: str, of: str = "docker.io/library/gone:1") -> Record:
    manifest = image.manifest.digest if image else "sha256:" + "0" * 64
    return Record("0" * 64, name, str(image.reference) if image else of, manifest, "linux/amd64", (), "", (), False)


def drawn(storage: SmallStorage, *containers: Record, width: int | None = None) -> list[str]:
    return tree_lines(layer_tree(storage.images(), containers), width)


def test_each_stands_on_the_one_below(storage: SmallStorage) -> None:
    names = list(LAYERS)
    for count, name in enumerate(names, 1):
        last = add(storage, f"{name}:1", *names[:count])
    assert drawn(storage, container(last, "web")) == [
        "alpine:1                                              1B",
        "└── node:1                                            20B",
        "    └── dependencies:1                                300B",
        "        └── code:1                                    4kB",
        "            └── configuration:1                       1B",
        "                └── (read-write layer) web, created",
    ]


def test_layers_without_a_name_stand_where_ways_part(storage: SmallStorage) -> None:
    add(storage, "one:1", "alpine", "node", "dependencies")
    two = add(storage, "two:1", "alpine", "node", "code", "configuration")
    add(storage, "again:1", "alpine", "node", "code", "configuration")
    add(storage, "other:1", "code")
    assert drawn(storage, container(two, "b")) == [
        "<2 layers> COPY node                    21B",
        "├── one:1                               300B",
        "└── two:1, again:1                      4kB",
        "    └── (read-write layer) b, created",
        "other:1                                 4kB",
    ]


def test_platforms_are_told_where_there_are_several(storage: SmallStorage) -> None:
    add(storage, "one:1", "alpine")
    add(storage, "two:1", "node", platform="linux/arm64")
    assert [line.rpartition("   ")[0].strip() for line in drawn(storage)] == [
        "one:1 (linux/amd64)",
        "two:1 (linux/arm64)",
    ]


def test_containers_of_images_that_are_gone(storage: SmallStorage) -> None:
    lines = drawn(storage, container(None, "a"), container(None, "b"), container(None, "c", "scratch"))
    assert lines == [
        "docker.io/library/gone:1 (not at hand)",
        "├── (read-write layer) a, created",
        "└── (read-write layer) b, created",
        "scratch",
        "└── (read-write layer) c, created",
    ]


def test_an_image_that_has_lost_its_name(storage: SmallStorage) -> None:
    image = add(storage, "localhost/unnamed@sha256:" + "a" * 64, "alpine")
    storage.listed = [replace(image, reference=unnamed(image.root.digest))]
    [text] = drawn(storage)
    assert text.split() == ["<none>", image.config.digest[7:19], "1B"]


def test_names_are_cut_on_a_terminal(storage: SmallStorage) -> None:
    add(storage, f"registry.example/{'long/' * 30}app:1", "alpine")
    [text] = drawn(storage, width=40)
    assert len(text) <= 40
    assert text.endswith("…   1B")


def test_a_thousand_layers(storage: SmallStorage) -> None:
    made = storage.manifest("linux/amd64", [b"%d" % number for number in range(1000)])
    storage.add("deep:1", [made])
    [stack] = layer_tree(storage.images())
    assert len(stack.layers) == 1000
