"""QEMU out of an image's files; tests/system/test_qemu_image.py has the real image."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polyarch.contract import EmulatorServices, EmulatorSource, HostError
from polyarch.contract.others import FetchesEmulators
from polyarch_plugins.emulators.qemu_image.plugin import polyarch_emulators

pytestmark = pytest.mark.system


class Files:
    """An image's files, at hand once they were fetched."""

    def __init__(self, root: Path, there: bool = False) -> None:
        self.root, self.there, self.asked = root, there, 0

    def __call__(self, reference: str, *, fetch: bool) -> Path | None:
        assert reference == "example.com/qemu:1"
        self.asked += 1
        self.there = self.there or fetch
        return self.root if self.there else None


def source_of(files: Files, image: str = "example.com/qemu:1") -> EmulatorSource:
    (plugin,) = polyarch_emulators()
    return plugin.factory(EmulatorServices(image=image, image_files=files))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a QEMU for arm64 only, under tonistiigi/binfmt's name for it."""
    if not (static := shutil.which("qemu-aarch64-static")):
        pytest.skip("qemu-user-static is not installed")
    folder = tmp_path / "root" / "usr" / "bin"
    folder.mkdir(parents=True)
    shutil.copy(static, folder / "qemu-aarch64")
    return tmp_path / "root"


def test_nothing_is_fetched_until_it_is_needed(root: Path) -> None:
    files = Files(root)
    source = source_of(files)
    assert isinstance(source, FetchesEmulators)
    assert source.find("arm64") is None
    assert source.offers("arm64") == "QEMU of example.com/qemu:1"
    assert source.offers("vax") == ""
    assert not files.there
    fetched = source.fetch("arm64")
    assert fetched
    assert fetched.static
    assert fetched.path == root / "usr" / "bin" / "qemu-aarch64"
    assert source.find("arm64") == fetched


def test_what_the_image_lacks_is_no_longer_offered(root: Path) -> None:
    source = source_of(Files(root, there=True))
    assert isinstance(source, FetchesEmulators)
    assert source.find("s390x") is None
    assert source.offers("s390x") == ""
    assert source.fetch("s390x") is None


def test_without_the_setting_no_files_are_asked_for(root: Path) -> None:
    files = Files(root)
    source = source_of(files, image="")
    assert isinstance(source, FetchesEmulators)
    assert source.find("arm64") is None
    assert source.offers("arm64") == ""
    assert source.fetch("arm64") is None
    assert files.asked == 0


def test_links_out_of_the_image_are_not_followed(root: Path, tmp_path: Path) -> None:
    inside = root / "usr" / "bin" / "qemu-aarch64"
    outside = tmp_path / "outside"
    shutil.move(inside, outside)
    inside.symlink_to(outside)
    assert source_of(Files(root, there=True)).find("arm64") is None
    inside.unlink()
    (root / "usr" / "bin").rmdir()
    shutil.move(outside, tmp_path / "qemu-aarch64")
    (root / "usr" / "bin").symlink_to(tmp_path)
    assert source_of(Files(root, there=True)).find("arm64") is None


def test_dynamic_programs_are_no_use_in_containers(root: Path) -> None:
    shutil.copy("/bin/ls", root / "usr" / "bin" / "qemu-aarch64")
    assert source_of(Files(root, there=True)).find("arm64") is None


def test_what_pulling_raises_is_passed_on() -> None:
    def refuses(reference: str, *, fetch: bool) -> Path | None:
        if fetch:
            raise HostError("no network")
        return None

    (plugin,) = polyarch_emulators()
    source = plugin.factory(EmulatorServices(image="example.com/qemu:1", image_files=refuses))
    assert isinstance(source, FetchesEmulators)
    with pytest.raises(HostError, match="no network"):
        source.fetch("arm64")
