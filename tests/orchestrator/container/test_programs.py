from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.container.programs import Program, Promise, check_program
from polyarch.errors import IntegrityError
from polyarch.unpack.beneath import Root
from polyarch_platforms.architecture import load
from polyarch_platforms.platform import parse
from polyarch_platforms.tiny import tiny_program
from support.elf_files import PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, arm_attributes, elf_file, gnu_property

AMD64, ARM64 = (tiny_program(load()[name]) for name in ("amd64", "arm64"))
DYNAMIC = elf_file(183, (PT_INTERP, b"/lib/ld-linux-aarch64.so.1\0"), (PT_LOAD, b"code"))
V3 = elf_file(62, (PT_LOAD, b"code"), (PT_GNU_PROPERTY, gnu_property((0xC0008002, b"\x04\0\0\0"))))
V7 = elf_file(40, (PT_LOAD, b"code"), bits=32, flags=0x5000400, attributes=arm_attributes((6, 10)))
PATH = "/none:/usr/bin:/bin"


def put(root: Path, name: str, data: bytes | str, mode: int = 0o755) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    put(tmp_path, "usr/bin/app", ARM64)
    put(tmp_path, "usr/bin/data", "x", 0o644)
    put(tmp_path, "bin/data", "x")
    put(tmp_path, "work/app2", ARM64, 0o100)
    (tmp_path / "work/sub").mkdir()
    (tmp_path / "link").symlink_to("/usr/bin/app")
    (tmp_path / "loop").symlink_to("loop")
    put(tmp_path, "usr/bin/env", ARM64)
    put(tmp_path, "bin/busybox", ARM64)
    (tmp_path / "bin/sh").symlink_to("busybox")
    put(tmp_path, "script", "#!/bin/sh -e  -x \necho")
    put(tmp_path, "of-script", "#!  /script\n")
    put(tmp_path, "relative", "#!../bin/sh")
    return tmp_path


@pytest.fixture
def rootfs(place: Path) -> Root:
    return Root(place)


def check(rootfs: Root, *argv: str, **more: object) -> Program | None:
    return check_program(argv, PATH, "/work", rootfs, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/usr/bin/app", "/usr/bin/app"),
        ("app", "/usr/bin/app"),
        ("/link", "/link"),
        ("data", "/bin/data"),
        ("./app2", "/work/./app2"),
        ("sub/../app2", "/work/sub/../app2"),
        ("/work/../usr/bin/app", "/work/../usr/bin/app"),
        ("/../../usr/bin/app", "/../../usr/bin/app"),
    ],
)
def test_found(name: str, path: str, rootfs: Root) -> None:
    program = check(rootfs, name, "word")
    assert program is not None
    assert (program.path, program.argv) == (path, (name, "word"))
    assert (program.elf is None) == (name == "data")


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("/script", ("/bin/sh", "-e  -x", "/script", "a", "b")),
        ("/of-script", ("/bin/sh", "-e  -x", "/script", "/of-script", "a", "b")),
        ("/relative", ("../bin/sh", "/relative", "a", "b")),
    ],
)
def test_a_script_starts_its_interpreter(name: str, argv: tuple[str, ...], rootfs: Root) -> None:
    program = check(rootfs, name, "a", "b")
    assert program is not None
    assert program.argv == argv
    assert program.path in ("/bin/sh", "/work/../bin/sh")
    assert program.elf is not None


@pytest.mark.parametrize(
    ("name", "failure", "code", "message"),
    [
        ("nothing", ProgramNotFound, 127, "is not in the image's PATH"),
        ("/usr/bin/nothing", ProgramNotFound, 127, "is not in the image"),
        ("/usr/bin/app/x", ProgramNotFound, 127, "is not in the image"),
        ("/usr/bin", CannotExecute, 126, "is a directory"),
        ("/", CannotExecute, 126, "is a directory"),
        ("/usr/bin/data", CannotExecute, 126, "permission denied"),
        ("/loop", CannotExecute, 126, "symbolic links"),
    ],
)
def test_not_to_be_started(name: str, failure: type[Exception], code: int, message: str, rootfs: Root) -> None:
    with pytest.raises(failure, match=message) as caught:
        check(rootfs, name)
    assert caught.value.exit_code == code  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "content", "failure", "message"),
    [
        (
            "dynamic",
            DYNAMIC,
            ProgramNotFound,
            "'/dynamic' cannot be started: its dynamic loader /lib/ld-linux-aarch64.so.1 is not in the image",
        ),
        (
            "bash",
            "#!/bin/bash\n",
            ProgramNotFound,
            "'/bash' cannot be started: the interpreter of /bash, /bin/bash is not in the image",
        ),
        ("folder", "#!/usr/bin\n", CannotExecute, "the interpreter of /folder, /usr/bin, cannot be executed"),
        ("no-x", "#!/usr/bin/data\n", CannotExecute, "/usr/bin/data, cannot be executed: permission denied"),
        ("itself", "#!/itself\n", CannotExecute, "whose interpreter is a script"),
        ("loop-script", "#!/loop\n", CannotExecute, "symbolic links"),
        ("short", ARM64[:100], CannotExecute, "cut short"),
        ("header", b"\x7fELF", CannotExecute, "not an ELF file"),
    ],
)
def test_what_it_needs(
    name: str, content: bytes | str, failure: type[Exception], message: str, place: Path, rootfs: Root
) -> None:
    put(place, name, content)
    with pytest.raises(failure, match=message):
        check(rootfs, f"/{name}")


def test_its_dynamic_loader_through_symlinks(place: Path, rootfs: Root) -> None:
    put(place, "dynamic", DYNAMIC)
    put(place, "usr/lib/aarch64/ld-2.36.so", ARM64)
    (place / "usr/lib/ld-linux-aarch64.so.1").symlink_to("aarch64/ld-2.36.so")
    (place / "lib").symlink_to("usr/lib")
    program = check(rootfs, "/dynamic")
    assert program is not None
    assert program.elf is not None


@pytest.mark.parametrize("content", [b"", b"#!\n", b"#! \t\n", b"text", b"MZ\x90"])
def test_other_formats_are_the_kernels_business(content: bytes, place: Path, rootfs: Root) -> None:
    put(place, "other", content)
    assert check(rootfs, "/other", "x") == Program("/other", ("/other", "x"), None)


@pytest.mark.parametrize(
    ("content", "promised", "page_size", "fault"),
    [
        (ARM64, "linux/arm64", None, None),
        (ARM64, "linux/arm64", 65536, None),
        (AMD64, "linux/arm64", None, "linux/arm64 is promised, but the program is 64-bit code for linux/amd64"),
        (V3, "linux/amd64", None, "the program needs linux/amd64/v3"),
        (V3, "linux/amd64/v2", None, "the program needs linux/amd64/v3"),
        (V3, "linux/amd64/v3", None, None),
        (V7, "linux/arm/v6", None, "the program needs linux/arm/v7"),
        (V7, "linux/arm/v7", None, None),
        (V7, "linux/arm/v7", 16384, "aligned to 4K, but the kernel's pages are 16K"),
        (b"\x00", "linux/arm64", None, None),
    ],
)
def test_held_against_the_promise(
    content: bytes, promised: str, page_size: int | None, fault: str | None, place: Path, rootfs: Root
) -> None:
    put(place, "own", content)
    put(place, "by-script", "#!/own\n")
    promise = Promise("some:1.0", parse(promised), page_size)
    for name in ("/own", "/by-script"):
        if fault is None:
            assert check(rootfs, name, promise=promise) is not None
        else:
            with pytest.raises(IntegrityError, match=f"some:1.0 is mislabelled: /own: .*{fault}") as caught:
                check(rootfs, name, promise=promise)
            assert caught.value.details["promised"] == promised
        assert check(rootfs, name) is not None  # what the user names may be anything


@pytest.mark.parametrize("volume", ["/vol", "/vol/", "/usr/bin/app", "//vol/./", "/also-vol"])
def test_what_may_lie_on_a_volume_is_not_known(volume: str, place: Path, rootfs: Root) -> None:
    put(place, "vol/app", ARM64)
    (place / "to-volume").symlink_to("vol/not-there")
    (place / "also-vol").symlink_to("/vol")
    put(place, "uses-volume", "#!/vol/not-there\n")
    volumes = [volume]
    if "vol" in volume:
        for name in ("/vol/app", "/vol/none", "/to-volume", "/uses-volume"):
            assert check(rootfs, name, volumes=volumes) is None
        assert check_program(["app"], "/vol:/usr/bin", "/", rootfs, volumes=volumes) is None
        assert check_program(["app"], "/usr/bin:/vol", "/", rootfs, volumes=volumes) is not None
    else:
        assert check(rootfs, "/link", volumes=volumes) is None
    assert check(rootfs, "/script", volumes=volumes) is not None
    with pytest.raises(ProgramNotFound):
        check(rootfs, "/elsewhere", volumes=volumes)


def test_names_that_are_no_utf_8(place: Path, rootfs: Root) -> None:
    name = os.fsdecode(b"caf\xe9")
    put(place, name, ARM64)
    program = check(rootfs, f"/{name}")
    assert program is not None
    assert program.path == f"/{name}"
