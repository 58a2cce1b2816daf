"""Overlay mounts, made and looked at in a mount namespace of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from polyarch.container import overlay
from polyarch.container.changes import changes
from polyarch.container.id_maps import same_ids_in_parts
from polyarch.container.launch import Launch
from polyarch.container.overlay import by_fuse, mount_overlay
from polyarch.container.syscalls import mount
from polyarch.errors import HostError
from polyarch_platforms.qemu import kernel_version

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="ordinary users mount in their runs, which are tested elsewhere"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("upper", "work", "target"):
        (tmp_path / name).mkdir()
    return tmp_path


def layers(place: Path, count: int) -> list[Path]:
    """Directories, the topmost first; each has a file of its own and one that all have."""
    made = []
    for number in range(count):
        directory = place / f"a directory with a long name, and a comma: {number}"
        directory.mkdir()
        (directory / f"only-{number}").touch()
        (directory / "all").write_text(str(number))
        made.insert(0, directory)
    return made


def inside(prepare: Callable[[], None], script: str, **options: object) -> int:
    def mounts() -> None:
        mount("proc", "/proc", "proc")
        prepare()

    def command() -> Sequence[str]:
        return ["/bin/sh", "-ec", script]

    return Launch(command, mounts, **options).run()  # type: ignore[arg-type]


@pytest.mark.parametrize(("flavour", "maps"), [("trusted", None), ("user", same_ids_in_parts())])
def test_a_hundred_and_twenty_eight_layers(flavour: str, maps: object, place: Path) -> None:
    lowers = layers(place, 128)
    target = place / "target"

    def prepare() -> None:
        mount_overlay(lowers, place / "upper", place / "work", target, flavour)  # type: ignore[arg-type]

    script = f"""
    cd {target}
    test $(ls | wc -l) = 129
    test $(cat all) = 127
    echo new > all
    rm only-3
    mkdir made
    """
    assert inside(prepare, script, outer=maps) == 0
    assert sorted(path.name for path in (place / "upper").iterdir()) == ["all", "made", "only-3"]
    assert (lowers[0] / "all").read_text() == "127"
    assert list(target.iterdir()) == []


def test_the_working_directory_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)

    def prepare() -> None:
        mount_overlay(layers(place, 1), place / "upper", place / "work", place / "target", "trusted")
        assert Path.cwd() == place

    assert inside(prepare, "true") == 0


@pytest.mark.parametrize(("flavour", "maps"), [("trusted", None), ("user", same_ids_in_parts())])
@pytest.mark.parametrize("volatile", [True, False])
@pytest.mark.skipif(kernel_version() < (5, 10), reason="the kernel is older than volatile mounts")
def test_what_need_not_outlive_a_crash_is_not_synced(volatile: bool, flavour: str, maps: object, place: Path) -> None:
    target = place / "target"

    def prepare() -> None:
        mount_overlay(layers(place, 1), place / "upper", place / "work", target, flavour, volatile=volatile)  # type: ignore[arg-type]

    says = f"grep -q ' {target} overlay .*volatile' /proc/mounts"
    assert inside(prepare, says if volatile else f"! {says}", outer=maps) == 0


def test_a_file_system_that_cannot_hold_the_upper_layer(place: Path) -> None:
    lowers = layers(place, 1)
    other = place / "other"
    other.mkdir()

    def prepare() -> None:
        mount("none", other, "tmpfs")
        for name in ("upper", "work", "target", "second-upper", "second-work", "second"):
            (other / name).mkdir()
        mount_overlay(lowers, other / "upper", other / "work", other / "target", "trusted")
        for name in ("u", "w"):
            (other / "target" / name).mkdir()
        # An overlay as the upper layer of an overlay is what overlayfs refuses.
        mount_overlay(lowers, other / "target" / "u", other / "target" / "w", other / "second", "trusted")

    with pytest.raises(HostError, match="cannot hold the upper layer") as caught:
        inside(prepare, "true")
    assert "--root" in str(caught.value.hint)


def test_fuse_overlayfs_and_its_end(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    program = shutil.which("fuse-overlayfs")
    if not program or not Path("/dev/fuse").exists():
        pytest.skip("fuse-overlayfs or /dev/fuse is not on this machine")
    plain = tmp_path_factory.mktemp("plain")
    lowers = [plain / "one", plain / "two"]
    for number, lower in enumerate(lowers):
        lower.mkdir()
        (lower / f"only-{number}").touch()

    def prepare() -> None:
        by_fuse(program, lowers, place / "upper", place / "work", place / "target")

    script = f"cd {place}/target; test -e only-0; test -e only-1; echo x > new"
    assert inside(prepare, script) == 0
    assert (place / "upper" / "new").read_text() == "x\n"
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(os.fsencode(place) in each for each in arguments)


def test_fuse_overlayfs_takes_no_separators(place: Path) -> None:
    with pytest.raises(HostError, match="separate its options"):
        by_fuse("fuse-overlayfs", layers(place, 1), place / "upper", place / "work", place / "target")


def test_without_the_device_of_fuse_the_error_names_what_mends_it(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "_FUSE", str(tmp_path / "no-fuse"))
    with pytest.raises(HostError, match="which is not there") as caught:
        by_fuse("fuse-overlayfs", layers(place, 1), place / "upper", place / "work", place / "target")
    assert caught.value.hint == "as root: modprobe fuse"


PARAMETER = Path("/sys/module/overlay/parameters/redirect_dir")


@pytest.fixture
def redirecting() -> Iterator[None]:
    """A kernel that lets a renamed directory refer to the one below, as some distributions have it by default."""
    if not PARAMETER.exists():
        pytest.skip("this kernel cannot redirect directories")
    before = PARAMETER.read_text()
    PARAMETER.write_text("Y")
    yield
    PARAMETER.write_text(before)


@pytest.mark.host
@pytest.mark.usefixtures("redirecting")
def test_the_upper_layer_alone_tells_of_a_renamed_directory(place: Path) -> None:
    lowers = layers(place, 2)
    (lowers[0] / "folder").mkdir()
    (lowers[0] / "folder" / "inside").touch()

    def prepare() -> None:
        mount_overlay(lowers, place / "upper", place / "work", place / "target", "trusted")

    assert inside(prepare, f"mv {place}/target/folder {place}/target/renamed") == 0
    found = [f"{each.kind} {each.path}" for each in changes(place / "upper", lowers, "trusted")]
    assert found == ["D /folder", "A /renamed", "A /renamed/inside"]
