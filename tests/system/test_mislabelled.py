"""Images whose programs are not what they are labelled: refused where they are pulled and where they are run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch.container.request import RunRequest
from polyarch.errors import IntegrityError
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.testing.layout_writer import LayoutWriter, folder, link, regular
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry, skopeo_copy
from support.elf_files import PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, elf_file, gnu_property
from support.layout_files import Layout

pytestmark = pytest.mark.system
needs_runtime = pytest.mark.skipif(
    not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"
)
V3 = elf_file(62, (PT_LOAD, b"code"), (PT_GNU_PROPERTY, gnu_property((0xC0008002, b"\x04\0\0\0"))))
DYNAMIC = elf_file(62, (PT_LOAD, b"code"), (PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0"))


@pytest.fixture(scope="module")
def images(
    registry: DockerRegistry, foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> DockerRegistry:
    """The sample registry, with further images: `labelled/NAME:1.0` is an index of one entry."""
    directory = tmp_path_factory.mktemp("labelled") / "layout"
    layout = LayoutWriter(directory)
    armhf, amd64 = foreign_busybox("armhf").read_bytes(), foreign_busybox("amd64").read_bytes()
    programs = {
        "v7-as-v6": (armhf, {"architecture": "arm", "variant": "v6"}),
        "v3-as-v1": (V3, {"architecture": "amd64"}),
        "v3-as-v2": (V3, {"architecture": "amd64", "variant": "v2"}),
        "v3-as-v3": (V3, {"architecture": "amd64", "variant": "v3"}),
        "arm-as-amd64": (armhf, {"architecture": "amd64"}),
        "amd64-as-v6": (amd64, {"architecture": "arm", "variant": "v6"}),
        "no-loader": (DYNAMIC, {"architecture": "amd64"}),
    }
    for name, (program, platform) in programs.items():
        files = [folder("bin"), regular("bin/busybox", program, 0o755), link("bin/sh", "busybox")]
        labels = {"os": "linux", **platform}
        image = layout.image(labels, [layout.layer(files, "COPY . /")])
        layout.name(f"labelled/{name}:1.0", layout.index([{**image, "platform": labels}]))
    for name in layout.finish():
        Layout(directory).push(name, registry.address)
    return registry


def refused(result: Result, code: int, message: str) -> dict[str, Any]:
    assert result.code == code, result.stderr
    error: dict[str, Any] = result.json_lines[-1]["error"]
    assert error["code"] == "integrity"
    assert message in error["message"]
    assert "--allow-mislabelled" in error["hint"]
    return error


CASES = [
    ("liar:1.0", "linux/arm64", "linux/arm64 is promised, but the program is 64-bit code for linux/amd64"),
    ("labelled/v7-as-v6:1.0", "linux/arm/v6", "linux/arm/v6 is promised, but the program needs linux/arm/v7"),
    ("labelled/v3-as-v1:1.0", "linux/amd64", "linux/amd64 is promised, but the program needs linux/amd64/v3"),
    ("labelled/v3-as-v2:1.0", "linux/amd64/v2", "linux/amd64/v2 is promised, but the program needs linux/amd64/v3"),
    ("labelled/arm-as-amd64:1.0", "linux/amd64", "the program is 32-bit code for linux/arm"),
]


@pytest.mark.parametrize(("name", "platform", "message"), CASES)
def test_refused_on_pull_and_on_run(
    name: str, platform: str, message: str, polyarch: Polyarch, images: DockerRegistry
) -> None:
    shared = ("--format", "json", "--progress", "none")
    refused(polyarch(*shared, "pull", "--platform", platform, images.ref(name)), 7, message)
    refused(polyarch(*shared, "run", "--rm", "--platform", platform, images.ref(name)), 125, message)
    assert polyarch("image", "ls", "-q").ok().stdout == ""
    assert not (polyarch.root / "containers").exists()


@pytest.mark.parametrize(
    ("device", "name", "code"),
    [
        ("pi-zero", "v7-as-v6", 7),
        ("x86-64-v1", "v3-as-v1", 7),
        ("x86-64-v2", "v3-as-v1", 7),
        ("x86-64-v2", "v3-as-v2", 7),
        ("x86-64-v2", "v3-as-v3", 4),
        ("x86-64-v3", "v3-as-v3", 0),
        ("x86-64-v3", "v3-as-v1", 7),
    ],
)
def test_for_a_named_device(device: str, name: str, code: int, polyarch: Polyarch, images: DockerRegistry) -> None:
    words = ("pull", "--device", device, images.ref(f"labelled/{name}:1.0"))
    assert polyarch(*words).code == code


@needs_runtime
@pytest.mark.parametrize(("name", "platform", "message"), CASES)
def test_what_another_tool_brought_in_is_refused_on_run(
    name: str, platform: str, message: str, polyarch: Polyarch, images: DockerRegistry
) -> None:
    brought(polyarch, images, name)
    words = ("--format", "json", "run", "--rm", "--pull", "never", "--platform", platform, images.ref(name))
    refused(polyarch(*words), 125, message)
    assert list((polyarch.root / "containers").glob("*/")) == []


def brought(polyarch: Polyarch, images: DockerRegistry, name: str) -> None:
    """The image in the storage by skopeo, which proves nothing."""
    (polyarch.root / "oci").mkdir(parents=True)
    skopeo_copy(f"docker://{images.ref(name)}", f"oci:{polyarch.root}/oci:{images.ref(name)}")


@needs_runtime
@pytest.mark.parametrize("by", ["pull", "run", "another tool"])
@pytest.mark.parametrize(
    ("name", "platform", "actual", "machine"),
    [
        ("liar:1.0", "linux/arm64", "linux/amd64", "x86_64"),
        ("labelled/v7-as-v6:1.0", "linux/arm/v6", "linux/arm/v7", "armv7l"),
        ("labelled/arm-as-amd64:1.0", "linux/amd64", "linux/arm/v7", "armv7l"),
        ("labelled/amd64-as-v6:1.0", "linux/arm/v6", "linux/amd64", "x86_64"),
    ],
)
def test_taken_as_what_it_is(
    by: str, name: str, platform: str, actual: str, machine: str, polyarch: Polyarch, images: DockerRegistry
) -> None:
    allowed = ("--allow-mislabelled", "--platform", platform)
    if by == "pull":
        [line] = polyarch("pull", "--format", "json", *allowed, images.ref(name)).ok().json_lines
        assert line["platform"] == actual
    elif by == "another tool":
        brought(polyarch, images, name)
    result = polyarch("--progress", "none", "run", "--rm", "-i", *allowed, images.ref(name), stdin="busybox uname -m\n")
    assert result.ok().stdout == f"{machine}\n"


@needs_runtime
def test_a_loader_that_is_missing_is_named(polyarch: Polyarch, images: DockerRegistry) -> None:
    result = polyarch("--format", "json", "run", "--rm", images.ref("labelled/no-loader:1.0"))
    assert result.code == 127
    error = result.json_lines[-1]["error"]
    assert error["code"] == "not-found"
    loader = "/lib64/ld-linux-x86-64.so.2"
    assert error["message"] == f"'sh' cannot be started: its dynamic loader {loader} is not in the image"
    assert list((polyarch.root / "containers").glob("*/")) == []


@needs_runtime
def test_larger_pages_than_the_program_is_made_for(
    registry: DockerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: 16384 if name == "SC_PAGE_SIZE" else real(name))
    with Session(load_settings(tmp_path / "root", None)) as session:
        session.pull(registry.ref("busybox:1.36"), platform="linux/amd64")
        with pytest.raises(IntegrityError, match="aligned to 4K, but the kernel's pages are 16K"):
            session.run(registry.ref("busybox:1.36"), RunRequest(rm=True), platform="linux/amd64")
        allowed = session.run(registry.ref("busybox:1.36"), RunRequest(rm=True), allow_mislabelled=True)
        assert allowed.exit_code == 0
        other = session.run(registry.ref("busybox:1.36"), RunRequest(argv=("true",), rm=True))
        assert other.exit_code == 0  # what the user names is the user's own affair
