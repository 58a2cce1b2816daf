"""Control groups of containers that are gone: what may be ended for them, and what may not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.container import cgroups, syscalls
from polyarch.container.cgroups import cgroup_of, frozen, remove_cgroup
from polyarch.container.record import new_id
from polyarch.errors import HostError
from support.isolation import own_mounts
from support.processes import await_true

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes control groups")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes on."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def group() -> Iterator[Path]:
    """A real group of a container; it is gone afterwards."""
    identifier = new_id()
    if not cgroup_of(identifier):
        pytest.skip("no control groups can be made here")
    places = [cgroups._MOUNTED, *cgroups._MOUNTED.glob("*/")]
    place = next(each for each in places if cgroups._is_group(each)) / f"polyarch-{identifier}"
    place.mkdir()
    yield place
    if place.is_dir():
        place.rmdir()


def _identifier(group: Path) -> str:
    return group.name.removeprefix("polyarch-")


def _on_a_tmpfs(action: Callable[[Path], None]) -> bool:
    """Calls the action where all of /sys/fs/cgroup is files of our own; whether it came back."""

    def mounted() -> bool:
        syscalls.mount("none", cgroups._MOUNTED, "tmpfs", syscalls.SEALED)
        action(cgroups._MOUNTED)
        return True

    return own_mounts(mounted)


@pytest.mark.parametrize("hierarchy", ["", "freezer"], ids=["second version", "first version"])
def test_a_file_that_looks_like_a_group_ends_nobody(hierarchy: str, bystander: subprocess.Popen[bytes]) -> None:
    def look(place: Path) -> None:
        group = place / hierarchy / "polyarch-x"
        group.mkdir(parents=True)
        procs = group / "cgroup.procs"
        procs.write_text(f"{bystander.pid}\n")
        remove_cgroup("x")
        assert procs.read_text() == f"{bystander.pid}\n"

    assert _on_a_tmpfs(look)
    assert bystander.poll() is None


def test_such_files_freeze_nothing_and_hold_no_container() -> None:
    def look(place: Path) -> None:
        for hierarchy, file in (("", "cgroup.freeze"), ("freezer", "freezer.state")):
            group = place / hierarchy / "polyarch-x"
            group.mkdir(parents=True)
            (group / file).touch()
        (place / "devices").mkdir()
        (place / "cgroup.controllers").touch()
        assert cgroup_of("x") == ""
        with frozen("x") as still:
            assert not still

    assert _on_a_tmpfs(look)


def test_who_is_in_a_group_is_ended_with_it(group: Path, bystander: subprocess.Popen[bytes]) -> None:
    inner = group / "inner"
    inner.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as member:
        (inner / "cgroup.procs").write_text(str(member.pid))
        remove_cgroup(_identifier(group))
        assert member.wait() == -signal.SIGKILL
    assert not group.exists()
    assert bystander.poll() is None


def test_one_that_has_left_the_group_meanwhile_goes_on(
    group: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter([[bystander.pid], [], []])
    monkeypatch.setattr(cgroups, "_members", lambda group: next(said))
    remove_cgroup(_identifier(group))
    assert bystander.poll() is None


def test_one_that_does_not_end_is_told(
    group: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (group / "cgroup.procs").write_text(str(bystander.pid))
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda process, number: None)
    begun = time.monotonic()
    with pytest.raises(HostError, match=f"process {bystander.pid} of the control group .* does not end"):
        remove_cgroup(_identifier(group), patience=0.1)
    assert time.monotonic() - begun >= 0.1
    bystander.kill()
    bystander.wait()
    await_true(lambda: not (group / "cgroup.procs").read_text(), "the group is empty")


def test_one_that_is_never_empty_is_told(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        monkeypatch.setattr(cgroups, "_members", lambda group: [process.pid])
        with pytest.raises(HostError, match="does not get empty"):
            remove_cgroup(_identifier(group), patience=0)
