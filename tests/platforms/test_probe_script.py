"""The probe itself, run for real: under several shells, as an ordinary user, under QEMU, on this machine."""

from __future__ import annotations

import os
import platform as python_platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, probe
from polyarch_platforms.errors import FactsError
from polyarch_platforms.host import Facts, detect, local_facts, parse_facts, probe_script
from polyarch_platforms.named import named
from support.users import OrdinaryUser

SCRIPT = probe_script()
DEBIAN = {"arm64": "arm64", "armhf": "arm", "armel": "arm", "s390x": "s390x", "ppc64el": "ppc64le", "i386": "386"}


def _answer(argv: list[str], text: str = "", **more: Any) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True, timeout=120, **more)
    assert done.stderr == ""
    return done.stdout


def _alike(facts: Facts) -> Facts:
    """Without what differs from one shell to the other: which program it is."""
    return replace(facts, executable="", process=None)


@pytest.mark.parametrize("shell", ["dash", "bash", "sh"])
def test_every_shell_gives_the_same_facts(shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    expected = _alike(parse_facts(_answer(["/bin/sh", "-c", SCRIPT])))
    argument = parse_facts(_answer([path, "-c", SCRIPT]))
    assert _alike(argument) == expected
    assert _alike(parse_facts(_answer([path, "-s"], SCRIPT))) == expected, "as by `ssh HOST sh -s`"
    assert argument.executable == str(Path(path).resolve())


@pytest.mark.system
def test_busybox_gives_the_same_facts(foreign_busybox: Callable[[str], Path]) -> None:
    if python_platform.machine() != "x86_64":
        pytest.skip("the busybox at hand is for x86-64")
    busybox = str(foreign_busybox("amd64"))
    expected = replace(_alike(parse_facts(_answer(["/bin/sh", "-c", SCRIPT]))), libc="")
    assert replace(_alike(parse_facts(_answer([busybox, "sh", "-c", SCRIPT]))), libc="") == expected


def test_nothing_of_the_environment_disturbs_it() -> None:
    expected = parse_facts(_answer(["/bin/sh", "-c", SCRIPT]))
    odd = {
        "IFS": "e",
        "LC_ALL": "tr_TR.UTF-8",
        "POSIXLY_CORRECT": "1",
        "PATH": "/nonexistent",
        "CDPATH": "/",
        "ENV": "/x",
    }
    assert parse_facts(_answer(["/bin/sh", "-c", SCRIPT], env=odd)) == expected
    container = parse_facts(_answer(["/bin/sh", "-c", SCRIPT], env={**os.environ, "container": "lxc"}))
    assert "lxc" in container.inside


def test_it_writes_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    _answer(["/bin/sh", "-c", SCRIPT], cwd=tmp_path, env={"HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
    code = "\n".join(line for line in SCRIPT.splitlines() if not line.lstrip().startswith("#"))
    assert set(re.findall(r"(?<![0-9&])>+\s*(\S+)", re.sub(r"2>&?\S+", "", code))) == set()
    assert not re.search(r"(?<!-)\b(sudo|rm|mv|cp|mkdir|mktemp|tee|mount|modprobe|python|perl)\b", code)


@pytest.mark.system
def test_an_ordinary_user_learns_the_same(unprivileged_user: OrdinaryUser) -> None:
    done = unprivileged_user.run(["/bin/sh", "-s"], stdin=SCRIPT)
    assert done.stderr == ""
    assert parse_facts(done.stdout) == parse_facts(_answer(["/bin/sh", "-s"], SCRIPT))


def test_this_machine() -> None:
    facts = local_facts()
    device = detect(facts)
    assert (facts.os, facts.release, facts.machine) == (os.uname().sysname, os.uname().release, os.uname().machine)
    assert device.page_size == os.sysconf("SC_PAGE_SIZE")
    assert device.userland_bits == 8 * struct.calcsize("P")
    assert facts.libc == (python_platform.libc_ver()[0] or "musl")
    assert device.platform in device.native or device.platform.architecture == device.native[0].architecture
    assert facts.in_user_namespace == (Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"])


def _by_script_alone(facts: Facts) -> Facts:
    """Without the kernel's configuration, which counts only where no 386 program can be tried, and what asked."""
    return replace(facts, kernel_config=(), executable="")


ENVIRONS: dict[str, dict[str, str]] = {
    "plain": {},
    "container": {"container": "lxc"},
    "kubernetes": {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
}


@pytest.mark.parametrize("more", ENVIRONS)
def test_what_this_process_sees_is_what_the_script_sees(more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {**os.environ, **ENVIRONS[more]}
    for name, value in ENVIRONS[more].items():
        monkeypatch.setenv(name, value)
    script = local_facts()
    with monkeypatch.context() as here:
        here.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
        direct = local_facts(environ)
    assert _by_script_alone(direct) == _by_script_alone(script)
    assert detect(direct) == detect(script)


def test_registered_emulators_are_seen_by_both(in_own_namespace: Callable[[Callable[[], str]], str]) -> None:
    """386 among them: what runs is no proof then, and the kernel's configuration decides."""
    known = architecture.load()

    def run() -> str:
        binfmt.mount()
        for name in ("386", "arm64"):
            binfmt.register(binfmt.register_line(known[name], "/bin/true", ""))
        direct, script = local_facts(os.environ), local_facts()
        assert {name for name, _ in direct.binfmt} >= {"qemu-i386", "qemu-aarch64", "status"}
        return str(direct == script and detect(direct) == detect(script))

    assert in_own_namespace(run) == "True"


def test_under_an_emulator_the_script_is_asked() -> None:
    qemu = shutil.which(f"qemu-{python_platform.machine()}-static")
    if qemu is None:
        pytest.skip("there is no QEMU for this machine's own programs")
    code = "from polyarch_platforms import direct_probe; print(direct_probe.answer({'a': 'b'}))"
    places = os.pathsep.join(sys.path)
    said = _answer([qemu, os.path.realpath(sys.executable), "-S", "-c", code], env={"PYTHONPATH": places})
    assert said == "None\n"


def test_a_probe_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "probe_script", lambda: "exec sleep 1000")
    monkeypatch.setattr(probe, "_TIMEOUT", 0.01)
    with pytest.raises(FactsError, match="could not run on this machine"):
        local_facts()


def _children() -> set[str]:
    """Those of any thread, also ended ones that nobody waited for."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PROOF_TIMEOUT", 0.05)
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\necho began\nexec sleep 1000\n")
    hangs.chmod(0o755)
    before, children = len(list(Path("/proc/self/fd").iterdir())), _children()
    assert probe._said(str(hangs), 100) in (b"", b"began\n")
    with pytest.raises(PermissionError):
        probe._said(str(tmp_path), 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert _children() <= children


def test_the_level_of_this_machine_is_what_its_loader_says() -> None:
    """glibc's dynamic loader (since 2.33) lists the x86-64 levels that it supports here."""
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if python_platform.machine() != "x86_64" or not loader.exists():
        pytest.skip("not an x86-64 machine with glibc")
    said = subprocess.run([loader, "--help"], capture_output=True, text=True, timeout=60).stdout
    supported = re.findall(r"x86-64-(v[234]) \(supported", said)
    if "x86-64-v2" not in said:
        pytest.skip("this glibc lists no levels")
    assert detect(local_facts()).cpu.level == max(["v1", *supported])


@pytest.mark.system
def test_386_is_native_where_a_386_program_runs(foreign_busybox: Callable[[str], Path]) -> None:
    if python_platform.machine() != "x86_64":
        pytest.skip("not an x86-64 machine")
    if binfmt.matching(binfmt.registrations(), architecture.load()["386"]):
        pytest.skip("an emulator is registered for 386: what runs proves nothing")
    try:
        runs = subprocess.run([foreign_busybox("i386"), "true"], timeout=60).returncode == 0
    except OSError:
        runs = False
    facts = local_facts()
    assert probe._runs("386") is runs
    assert detect(facts).compat32 is runs
    assert (named("i686").platform in detect(facts).native) is runs


def test_a_program_for_another_machine_is_no_proof() -> None:
    entries = binfmt.registrations()
    own = os.uname().machine
    foreign = next(
        one.name
        for one in architecture.load().values()
        if own not in one.uname and one.name not in ("386", "arm") and not binfmt.matching(entries, one)
    )
    assert probe._runs(foreign) is False


def test_the_personality_of_this_process_is_left_alone() -> None:
    before = os.uname().machine
    answer = probe._takes_linux32()
    assert os.uname().machine == before
    if before == "x86_64":
        assert answer is True, "x86-64 takes PER_LINUX32 whatever it runs"


@pytest.mark.system
@pytest.mark.parametrize("debian", DEBIAN)
def test_under_qemu_it_says_so(
    debian: str,
    tmp_path: Path,
    foreign_busybox: Callable[[str], Path],
    in_own_namespace: Callable[[Callable[[], str]], str],
) -> None:
    """A root with nothing in it but a foreign busybox and the kernel's /proc; not even /dev/null."""
    known = architecture.load()[DEBIAN[debian]]
    qemu = shutil.which(f"qemu-{known.qemu}-static")
    if qemu is None:
        pytest.skip(f"qemu-{known.qemu}-static is not installed")
    if os.uname().machine in known.uname or (known.name == "arm" and os.uname().machine == "aarch64"):
        pytest.skip("not foreign to this machine")
    program = foreign_busybox(debian)
    (tmp_path / "bin").mkdir()
    (tmp_path / "proc").mkdir()
    shutil.copy(program, tmp_path / "bin" / "busybox")
    for applet in ("sh", "od", "sed", "sort", "grep", "tr", "uname", "readlink", "linux32", "zcat"):
        (tmp_path / "bin" / applet).symlink_to("busybox")

    def run() -> str:
        binfmt.mount()
        binfmt.register(binfmt.register_line(known, qemu, "F"))
        subprocess.run(["mount", "--rbind", "/proc", tmp_path / "proc"], check=True, timeout=60)
        return _answer(["chroot", str(tmp_path), "/bin/sh", "-c", SCRIPT])

    facts = parse_facts(in_own_namespace(run))
    device = detect(facts)
    assert facts.qemu
    assert facts.executable == str(Path(qemu).resolve())
    assert facts.in_user_namespace
    assert device.inside[:2] == ("qemu", "chroot")
    assert {one.architecture for one in device.native} == {known.name}, "QEMU runs nothing else"
    assert device.compat32 in (False, None)
    assert facts.page_size is not None
