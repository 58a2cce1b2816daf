"""The probe in roots that have next to nothing: a shell alone, toybox, no /proc, no /dev/null."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from polyarch_platforms.errors import FactsError
from polyarch_platforms.host import Facts, detect, parse_facts, probe_script
from support.debian_files import NotToBeHad, from_package
from support.isolation import CannotIsolate, isolated

TOOLS = ("od", "sed", "sort", "grep", "tr", "uname", "readlink", "linux32", "setarch", "zcat")


def _with_libraries(program: str | Path, place: Path, root: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, place)
    place.chmod(0o755)
    said = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60).stdout
    for library in re.findall(r"(/\S+)", said):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)


@pytest.fixture
def shell_alone(tmp_path: Path) -> Path:
    """A root with dash and its libraries: no od, no sed, no uname, no /dev."""
    dash = shutil.which("dash")
    if dash is None:
        pytest.skip("dash is not installed")
    _with_libraries(dash, tmp_path / "bin" / "sh", tmp_path)
    (tmp_path / "proc").mkdir()
    return tmp_path


@pytest.fixture
def with_toybox(shell_alone: Path, test_cache: Path) -> Path:
    """The same with toybox for tools."""
    try:
        toybox = from_package("toybox", "bin/toybox", test_cache)
    except NotToBeHad as error:
        pytest.skip(f"Debian's toybox cannot be fetched: {error}")
    _with_libraries(toybox, shell_alone / "bin" / "toybox", shell_alone)
    for tool in TOOLS:
        (shell_alone / "bin" / tool).symlink_to("toybox")
    return shell_alone


def _asked(root: Path, proc: bool) -> str:
    def ask() -> str:
        if proc:
            subprocess.run(["mount", "--rbind", "/proc", root / "proc"], check=True, timeout=60)
        done = subprocess.run(
            ["chroot", str(root), "/bin/sh", "-c", probe_script()], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    try:
        return isolated(ask)
    except CannotIsolate as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def here() -> Facts:
    """What the same probe says outside."""
    done = subprocess.run(["/bin/sh", "-c", probe_script()], capture_output=True, text=True, check=True, timeout=60)
    return parse_facts(done.stdout)


@pytest.mark.system
def test_a_shell_alone_tells_the_machine_and_nothing_that_it_cannot_know(shell_alone: Path, here: Facts) -> None:
    if not Path("/proc/sys/kernel/arch").exists():
        pytest.skip("without uname, only Linux >= 6.1 tells its machine")
    facts = parse_facts(_asked(shell_alone, proc=True))
    assert (facts.os, facts.release, facts.machine) == (here.os, here.release, here.machine)
    assert (facts.userland, facts.page_size, facts.cpuinfo, facts.libc) == (None, None, (), "")
    assert not facts.in_chroot, "without sed nobody looked"
    device = detect(facts)
    own = detect(here).native
    assert set(device.native) <= set(own)
    assert len({one.architecture for one in device.native}) == 1
    assert device.page_size is None


@pytest.mark.system
def test_without_proc_even_the_machine_is_unknown(shell_alone: Path) -> None:
    with pytest.raises(FactsError, match="'uname' is missing"):
        parse_facts(_asked(shell_alone, proc=False))


@pytest.mark.system
def test_toybox_tells_as_much_as_coreutils(with_toybox: Path, here: Facts) -> None:
    facts = parse_facts(_asked(with_toybox, proc=True))
    assert facts.page_size == os.sysconf("SC_PAGE_SIZE")
    for fact in ("machine", "userland", "process", "hwcap2", "cpuinfo", "vsyscall32", "linux32"):
        assert getattr(facts, fact) == getattr(here, fact), fact
    assert facts.in_chroot


@pytest.mark.system
def test_toybox_without_proc(with_toybox: Path, here: Facts) -> None:
    facts = parse_facts(_asked(with_toybox, proc=False))
    assert (facts.os, facts.release, facts.machine) == (here.os, here.release, here.machine)
    device = detect(facts)
    assert len({one.architecture for one in device.native}) == 1
    assert device.cpu.level in ("", "v8"), "no level without features"
    assert device.compat32 is None
