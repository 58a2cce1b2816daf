from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, TypeVar

import pytest

from polyarch.errors import IntegrityError
from polyarch.oci.config import ImageConfig, parse_config
from polyarch.unpack import layer_index, walks
from polyarch.unpack.entrypoint import entrypoint_elf
from polyarch_platforms.architecture import load
from polyarch_platforms.elf import platform_of
from polyarch_platforms.tiny import tiny_program
from support.layers import Item, file, folder, hard_link, layer, packed, symlink
from support.layout_files import Layout

T = TypeVar("T")
ARM64, AMD64, S390X = (tiny_program(load()[name]) for name in ("arm64", "amd64", "s390x"))


def config(*argv: str, env: Sequence[str] = (), cwd: str = "", cmd: Sequence[str] = ()) -> ImageConfig:
    run = {"Entrypoint": list(argv), "Cmd": list(cmd), "Env": list(env), "WorkingDir": cwd}
    return parse_config(json.dumps({"os": "linux", "architecture": "arm64", "config": run}).encode())


class Layers:
    """Openers that count how often each layer was opened."""

    def __init__(self, *layers: Sequence[Item]) -> None:
        self.opened = [0] * len(layers)
        self.openers: list[Callable[[], BinaryIO]] = [
            self._opener(number, packed(layer(*items))) for number, items in enumerate(layers)
        ]

    def _opener(self, number: int, data: bytes) -> Callable[[], BinaryIO]:
        def open_layer() -> BinaryIO:
            self.opened[number] += 1
            return io.BytesIO(data)

        return open_layer


def found(layers: Layers, image: ImageConfig, ahead: int = 0) -> str | None:
    """`PATH ARCHITECTURE` of what is found."""
    program = entrypoint_elf(layers.openers, image, ahead=ahead)
    return program and f"{program.path} {platform_of(program.elf).architecture}"


APP = file("app", ARM64, mode=0o755)
SH = file("bin/busybox", ARM64, mode=0o755)
CASES: dict[str, tuple[list[list[Item]], ImageConfig, str | None]] = {
    "an absolute path": ([[APP]], config("/app"), "/app arm64"),
    "the command, where there is no entrypoint": ([[APP]], config(cmd=["/app"]), "/app arm64"),
    "nothing to start": ([[APP]], config(), None),
    "an empty word": ([[APP]], config(""), None),
    "what is not there": ([[APP]], config("/other"), None),
    "no ELF file": ([[file("app", "text")]], config("/app"), None),
    "an empty file": ([[file("app")]], config("/app"), None),
    "a directory": ([[folder("app")]], config("/app"), None),
    "a device": ([[Item("app", kind=b"3", device=(1, 3))]], config("/app"), None),
    "the working directory": ([[file("srv/bin/app", S390X)]], config("./bin/app", cwd="/srv"), "/srv/bin/app s390x"),
    "a bare name by the default PATH": ([[file("usr/bin/app", S390X)]], config("app"), "/usr/bin/app s390x"),
    "a bare name by the image's PATH": (
        [[file("usr/bin/app", S390X), file("opt/app", ARM64)]],
        config("app", env=["PATH=/none:/opt:/usr/bin"]),
        "/opt/app arm64",
    ),
    "an absolute symlink": ([[symlink("app", "/opt/app"), file("opt/app", ARM64)]], config("/app"), "/opt/app arm64"),
    "a relative symlink": (
        [[symlink("usr/bin/app", "../../opt/app"), file("opt/app", ARM64)]],
        config("app"),
        "/opt/app arm64",
    ),
    "a symlinked directory": (
        [[symlink("bin", "usr/bin"), file("usr/bin/app", ARM64)]],
        config("/bin/app"),
        "/usr/bin/app arm64",
    ),
    "a symlink that climbs above the root": (
        [[symlink("app", "../../../../opt/app"), file("opt/app", ARM64)]],
        config("/app"),
        "/opt/app arm64",
    ),
    "a loop of symlinks": ([[symlink("app", "ppa"), symlink("ppa", "app")]], config("/app"), None),
    "a symlink into a lower layer": (
        [[file("opt/app", ARM64)], [symlink("app", "/opt/app")]],
        config("/app"),
        "/opt/app arm64",
    ),
    "a symlink of a lower layer into an upper one": (
        [[symlink("app", "opt/app")], [file("opt/app", ARM64)]],
        config("/app"),
        "/opt/app arm64",
    ),
    "a hard link": ([[file("a", ARM64), hard_link("app", "a")]], config("/app"), "/app arm64"),
    "a hard link to a hard link": (
        [[file("a", ARM64), hard_link("b", "a"), hard_link("app", "b")]],
        config("/app"),
        "/app arm64",
    ),
    "a hard link into a lower layer": ([[file("a", ARM64)], [hard_link("app", "a")]], config("/app"), "/app arm64"),
    "the upper layer wins": ([[file("app", S390X)], [APP]], config("/app"), "/app arm64"),
    "the last of two entries wins": ([[file("app", S390X), APP]], config("/app"), "/app arm64"),
    "a whiteout": ([[APP], [file(".wh.app")]], config("/app"), None),
    "a whiteout of its directory": ([[file("opt/app", ARM64)], [file(".wh.opt")]], config("/opt/app"), None),
    "an opaque directory": ([[file("opt/app", ARM64)], [file("opt/.wh..wh..opq")]], config("/opt/app"), None),
    "an opaque directory above": (
        [[file("opt/x/app", ARM64)], [file("opt/.wh..wh..opq"), folder("opt/x")]],
        config("/opt/x/app"),
        None,
    ),
    "an opaque root": ([[APP], [file(".wh..wh..opq")]], config("/app"), None),
    "a whiteout of what the layer itself has": (
        [[file("app", S390X)], [file(".wh.app"), APP]],
        config("/app"),
        "/app arm64",
    ),
    "a directory that a file was replaced by": (
        [[file("opt/app", ARM64)], [file("opt", "file")], [folder("opt")]],
        config("/opt/app"),
        None,
    ),
    "a script": (
        [[SH, symlink("bin/sh", "busybox"), file("app", "#!/bin/sh -e\necho")]],
        config("/app"),
        "/bin/busybox arm64",
    ),
    "a script with a blank": ([[SH, file("app", "#! /bin/busybox sh\n")]], config("/app"), "/bin/busybox arm64"),
    "a script by env": (
        [[file("usr/bin/python3", ARM64), file("app", "#!/usr/bin/env python3\n"), file("usr/bin/env", S390X)]],
        config("/app"),
        "/usr/bin/python3 arm64",
    ),
    "a script by env with options": (
        [
            [
                file("usr/bin/python3", ARM64),
                file("app", "#!/usr/bin/env -S A=b python3 -I\n"),
                file("usr/bin/env", S390X),
            ]
        ],
        config("/app"),
        "/usr/bin/python3 arm64",
    ),
    "a script of a script": (
        [[SH, file("one", "#!/bin/busybox\n"), file("two", "#!/one\n"), file("app", "#!/two\n")]],
        config("/app"),
        "/bin/busybox arm64",
    ),
    "a script of itself": ([[file("app", "#!/app\n")]], config("/app"), None),
    "a script without an interpreter": ([[file("app", "#!\n")]], config("/app"), None),
    "an interpreter in a lower layer": (
        [[SH, symlink("bin/sh", "busybox")], [file("app", "#!/bin/sh\n")]],
        config("/app"),
        "/bin/busybox arm64",
    ),
}


@pytest.mark.parametrize("ahead", [0, 1, 5])
@pytest.mark.parametrize("case", CASES)
def test_found(case: str, ahead: int) -> None:
    layers, image, expected = CASES[case]
    assert found(Layers(*layers), image, ahead) == expected


def test_no_layer_is_read_further_than_needed() -> None:
    layers = Layers([file("base", "x")], [file("middle", "x")], [APP])
    assert found(layers, config("/app")) == "/app arm64"
    assert layers.opened == [0, 0, 1]


def test_a_bare_name_is_taken_from_the_layers_read_so_far() -> None:
    layers = Layers([file("usr/local/sbin/app", S390X)], [file("usr/bin/app", ARM64)])
    assert found(layers, config("app")) == "/usr/bin/app arm64"
    assert layers.opened == [0, 1]


def test_the_usual_shapes_take_one_walk_a_layer() -> None:
    layers = Layers([SH, symlink("bin/sh", "/bin/busybox")], [file("entrypoint.sh", "#!/bin/sh\n")], [folder("data")])
    assert found(layers, config("/entrypoint.sh")) == "/bin/busybox arm64"
    assert layers.opened == [1, 1, 1]


def test_an_unusual_shape_takes_a_second_walk() -> None:
    layers = Layers([file("usr/bin/python3.11", ARM64), symlink("usr/bin/python3", "python3.11")])
    assert found(layers, config("python3")) == "/usr/bin/python3.11 arm64"
    assert layers.opened == [2]


def test_a_second_walk_too_takes_the_last_of_two_entries() -> None:
    layers = Layers([file("opt/odd", S390X), symlink("app", "opt/odd"), file("opt/odd", ARM64)])
    assert found(layers, config("app", env=["PATH=/"])) == "/opt/odd arm64"
    assert layers.opened == [2]


def test_a_device_in_the_place_of_the_program_leaves_nothing_of_it() -> None:
    assert found(Layers([APP, Item("app", kind=b"3", device=(1, 3))]), config("/app")) is None
    odd = [symlink("app", "odd"), file("odd", ARM64), Item("odd", kind=b"3", device=(1, 3))]
    assert found(Layers(odd), config("/app")) is None


def test_more_than_is_kept_of_a_large_program_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_index, "MAX_CONTENT", 200)
    assert found(Layers([file("app", ARM64 + bytes(1 << 20))]), config("/app")) == "/app arm64"


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_a_damaged_layer_is_an_error(ahead: int) -> None:
    data = packed(layer(file("other", "x" * 9000), APP))[:200]
    with pytest.raises(IntegrityError, match="layer 1"):
        entrypoint_elf([lambda: io.BytesIO(data), *Layers([]).openers], config("/app"), ahead=ahead)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_a_damaged_layer_that_does_not_matter_is_none(ahead: int) -> None:
    program = entrypoint_elf([lambda: io.BytesIO(b"damaged"), *Layers([APP]).openers], config("/app"), ahead=ahead)
    assert program is not None


class _AtOnce:
    """An executor that has always done its work already."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(work(*arguments))
        return future

    def shutdown(self, **_: object) -> None:
        pass


@pytest.mark.parametrize(("middle", "opened"), [([SH], [0, 1, 1]), ([], [1, 1, 1])], ids=["met", "not met"])
def test_nothing_is_walked_ahead_below_a_layer_that_has_what_is_wanted(
    middle: list[Item], opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "ThreadPoolExecutor", _AtOnce)
    layers = Layers([SH], [*middle, symlink("sh", "bin/busybox")], [])
    assert found(layers, config("sh", env=["PATH=/"]), ahead=1) == "/bin/busybox arm64"
    assert layers.opened == opened


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "architecture", "variant", "program"),
    [
        ("busybox:1.36", "amd64", None, "amd64"),
        ("busybox:1.36", "arm64", None, "arm64"),
        ("busybox:1.36", "arm", "v7", "arm/v7"),
        ("busybox:1.36", "arm", "v5", "arm/v5"),
        ("busybox:1.36", "s390x", None, "s390x"),
        ("busybox:1.36", "ppc64le", None, "ppc64le"),
        ("busybox:1.36", "386", None, "386"),
        ("liar:1.0", "arm64", None, "amd64"),
        ("docker-list:1.0", "arm64", None, "arm64"),
    ],
)
def test_real_images(name: str, architecture: str, variant: str | None, program: str, sample_layout: Path) -> None:
    layout = Layout(sample_layout)
    digest = layout.manifest(name, architecture, variant)
    image = parse_config(layout.path(layout.json(digest)["config"]["digest"]).read_bytes())
    openers = [lambda digest=each["digest"]: layout.path(digest).open("rb") for each in layout.layers(digest)]
    result = entrypoint_elf(openers, image)
    assert result is not None
    assert entrypoint_elf(openers, image, ahead=1) == result
    assert str(platform_of(result.elf)) == f"linux/{program}"
    assert result.path == "/bin/busybox"
