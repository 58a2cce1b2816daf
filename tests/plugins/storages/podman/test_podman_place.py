"""Which podman is meant, and what its store says of its layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from polyarch.contract import UsageError
from polyarch_plugins.storages.podman.layers import blobs_of_layers
from polyarch_plugins.storages.podman.place import Place, find_place

HOST = {"CONTAINER_HOST": "unix:///run/host.sock"}
COMMAND = {"command": ["podman", "--root", "/images"]}
ONE, TWO, THREE, FOUR = (f"sha256:{digit * 64}" for digit in "1234")


@pytest.mark.parametrize(
    ("location", "options", "environ", "found"),
    [
        ("", {}, {}, Place()),
        ("", {}, HOST, Place(socket=Path("/run/host.sock"))),
        ("", {}, {"CONTAINER_HOST": ""}, Place()),
        ("", COMMAND, HOST, Place(("podman", "--root", "/images"))),
        ("", {"socket": "/run/option.sock"}, HOST, Place(socket=Path("/run/option.sock"))),
        ("unix:///run/here.sock", COMMAND, HOST, Place(socket=Path("/run/here.sock"))),
    ],
)
def test_the_nearest_word_counts(
    location: str, options: Mapping[str, object], environ: Mapping[str, str], found: Place
) -> None:
    assert find_place(location, options, environ) == found


@pytest.mark.parametrize(
    ("location", "options", "environ", "said"),
    [
        ("run/here.sock", {}, {}, "the storage's location is 'run/here.sock'"),
        ("", {}, {"CONTAINER_HOST": "ssh://root@host/run/podman.sock"}, "CONTAINER_HOST is 'ssh://root@host"),
        ("", {"root": "/images"}, {}, "podman has no option 'root'"),
        ("", {"command": "podman"}, {}, "podman's option command is no list of words"),
        ("", {"command": []}, {}, "podman's option command is no list of words"),
        ("", {"command": ["podman", 1]}, {}, "podman's option command is no list of words"),
        ("", {"socket": 1}, {}, "podman's option socket is a text"),
        ("", {"socket": "/run/x.sock", **COMMAND}, {}, "takes the place of command"),
    ],
)
def test_what_cannot_be_meant(
    location: str, options: Mapping[str, object], environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        find_place(location, options, environ)


def store(folder: Path, text: str) -> Path:
    (folder / "overlay-layers").mkdir()
    (folder / "overlay-layers" / "layers.json").write_text(text)
    return folder


def test_layers_that_are_whole_were_made_of_these_blobs(tmp_path: Path) -> None:
    layers = [
        {"id": "a", "compressed-diff-digest": ONE, "diff-digest": TWO},
        {"id": "b", "compressed-diff-digest": THREE, "flags": {"incomplete": True}},
        {"id": "c", "diff-digest": FOUR, "flags": {}},
        {"id": "d", "compressed-diff-digest": "sha256:short", "diff-digest": 7},
        "no layer",
    ]
    assert blobs_of_layers(store(tmp_path, json.dumps(layers)), "overlay") == {ONE, TWO, FOUR}
    assert blobs_of_layers(tmp_path, "vfs") == frozenset()


@pytest.mark.parametrize("text", ["", "{", "{}", "null", "[" * 100_000])
def test_a_store_that_cannot_be_read_has_nothing(text: str, tmp_path: Path) -> None:
    assert blobs_of_layers(store(tmp_path, text), "overlay") == frozenset()
