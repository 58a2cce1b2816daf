"""The choice of a way to run, and what is said where there is none."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path

import pytest

from polyarch.container.emulation import exit_code, find_emulators, way_to_run
from polyarch.container.refusals import no_private_binfmt, no_user_namespace
from polyarch.errors import HostError
from polyarch_platforms.platform import parse
from polyarch_platforms.qemu import QemuBinary

NEW, OLD = (6, 7), (6, 6)


@pytest.mark.parametrize(
    ("platform", "native", "registered", "static", "kernel", "way"),
    [
        ("amd64", ["amd64"], [], [], OLD, "native"),
        ("386", ["amd64", "386"], ["386"], ["386"], NEW, "native"),
        ("amd64/v3", ["amd64"], ["amd64"], ["amd64"], NEW, "native"),
        ("arm64", ["amd64"], ["arm64"], ["arm64"], NEW, "registered"),
        ("arm64", ["amd64"], ["arm64"], [], OLD, "registered"),
        ("arm64", ["amd64"], ["arm"], ["arm64"], NEW, "private"),
        ("arm/v5", ["amd64"], [], ["arm"], (7, 0), "private"),
        ("amd64", ["arm64", "arm"], [], ["amd64"], (6, 12), "private"),
    ],
)
def test_ways(
    platform: str,
    native: Collection[str],
    registered: Collection[str],
    static: Collection[str],
    kernel: tuple[int, int],
    way: str,
) -> None:
    assert way_to_run(parse(platform), native, registered, static, kernel) == way


@pytest.mark.parametrize(
    ("static", "kernel", "message", "hint"),
    [
        ([], NEW, "no static QEMU for arm64", "apt install qemu-user-static"),
        (["arm"], NEW, "no static QEMU for arm64", "apt install qemu-user-static"),
        (["arm64"], OLD, "no private binfmt_misc", "polyarch emulator install arm64"),
    ],
)
def test_no_way(static: Collection[str], kernel: tuple[int, int], message: str, hint: str) -> None:
    with pytest.raises(HostError, match=message) as caught:
        way_to_run(parse("arm64"), ["amd64"], [], static, kernel)
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 8


class Source:
    """Has emulators for some architectures, static or not."""

    def __init__(self, **static: bool) -> None:
        self._static = static

    def find(self, architecture: str) -> QemuBinary | None:
        if architecture not in self._static:
            return None
        return QemuBinary(Path(f"/qemu-{architecture}"), self._static[architecture])


def test_emulators_are_static_foreign_and_from_the_first_source_that_has_one() -> None:
    sources = [Source(arm64=False, arm=True, amd64=True), Source(arm64=True, s390x=True)]
    assert {name: str(each.path) for name, each in find_emulators(["amd64"], sources).items()} == {
        "arm": "/qemu-arm",
        "arm64": "/qemu-arm64",
        "s390x": "/qemu-s390x",
    }
    assert list(find_emulators(["amd64"], sources, ["arm64", "amd64", "riscv64"])) == ["arm64"]


@pytest.mark.parametrize(
    ("setting", "value", "command"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces="),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_each_setting_that_forbids_is_named_with_its_remedy(
    setting: str, value: str, command: str, tmp_path: Path
) -> None:
    path = tmp_path / setting
    path.parent.mkdir(parents=True)
    path.write_text(f"{value}\n")
    error = no_user_namespace(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path)
    assert setting.replace("/", ".") in error.message
    assert command in str(error.hint)
    path.write_text("1\n" if value == "0" else "0\n")
    other = no_user_namespace(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path)
    assert setting.replace("/", ".") not in other.message


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSPC, errno.EUSERS, errno.EPERM])
def test_other_refusals_of_namespaces_have_a_hint(number: int, tmp_path: Path) -> None:
    assert no_user_namespace(OSError(number, os.strerror(number)), tmp_path).hint


@pytest.mark.parametrize(
    ("number", "kernel", "hint"),
    [
        (errno.EPERM, (6, 1), "polyarch emulator install arm64"),
        (errno.ENODEV, (6, 12), "modprobe binfmt_misc"),
        (errno.EINVAL, (6, 12), "polyarch emulator install arm64"),
    ],
)
def test_refusals_of_a_private_table(number: int, kernel: tuple[int, int], hint: str) -> None:
    assert hint in str(no_private_binfmt(number, kernel, "arm64").hint)


@pytest.mark.parametrize(("status", "code"), [(0, 0), (3 << 8, 3), (9, 137), (15 | 128, 143)])
def test_exit_codes(status: int, code: int) -> None:
    assert exit_code(status) == code
