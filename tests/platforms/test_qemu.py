"""QEMU's binaries: which one is taken, what it can do, and whether it runs a program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from polyarch_platforms import architecture, qemu
from polyarch_platforms.qemu import QemuBinary
from polyarch_platforms.tiny import expected_output, tiny_program

ARCHITECTURES = architecture.load()
ARM64 = ARCHITECTURES["arm64"]


def program(path: Path, code: str = "amd64") -> Path:
    """A static ELF program that is no QEMU, under any name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiny_program(ARCHITECTURES[code]))
    path.chmod(0o755)
    return path


@pytest.fixture
def real() -> QemuBinary:
    found = qemu.find(ARM64)
    if found is None:
        pytest.skip("there is no QEMU for arm64 on this machine")
    return found


@pytest.mark.system
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_tiny_program_runs_under_its_qemu(name: str) -> None:
    binary = qemu.find(ARCHITECTURES[name])
    if binary is None:
        pytest.skip(f"there is no QEMU for {name} on this machine")
    assert qemu.works(ARCHITECTURES[name], binary) == qemu.Works(True, f"linux/{name}", None)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tiny_programs_are_tiny(name: str) -> None:
    assert len(tiny_program(ARCHITECTURES[name])) < 300
    assert expected_output(ARCHITECTURES[name]) == f"linux/{name}\n".encode()


@pytest.mark.system
def test_the_real_one(real: QemuBinary) -> None:
    assert real.version is not None
    assert real.version > (2,)
    assert real.path.name.startswith("qemu-aarch64")
    assert real.path.is_absolute()


@pytest.mark.system
def test_debians_wrapper_expects_flag_p_and_is_asked_for_its_version_under_the_other_name() -> None:
    wrapper = qemu.find(ARM64, [Path("/usr/libexec/qemu-binfmt")])
    if wrapper is None:
        pytest.skip("this machine has no /usr/libexec/qemu-binfmt/aarch64-binfmt-P")
    assert wrapper.path == Path("/usr/libexec/qemu-binfmt/aarch64-binfmt-P")
    assert wrapper.preserve_argv0
    assert wrapper.version is not None
    assert qemu.works(ARM64, wrapper).ok


def test_a_static_one_goes_before_others_whatever_the_folder(tmp_path: Path) -> None:
    dynamic = tmp_path / "a" / "qemu-aarch64"
    dynamic.parent.mkdir()
    shutil.copy(Path("/bin/true").resolve(), dynamic)
    static = program(tmp_path / "b" / "qemu-aarch64")
    folders = [dynamic.parent, static.parent]
    assert qemu.find(ARM64, folders) == QemuBinary(static, True)
    static.unlink()
    found = qemu.find(ARM64, folders)
    assert found is not None
    assert (found.path, found.static) == (dynamic, False)


def test_else_the_order_of_folders_and_the_name_static_decide(tmp_path: Path) -> None:
    plain, named = program(tmp_path / "a" / "qemu-aarch64"), program(tmp_path / "a" / "qemu-aarch64-static")
    program(tmp_path / "b" / "qemu-aarch64-static")
    found = qemu.find(ARM64, [plain.parent, tmp_path / "b"])
    assert found is not None
    assert found.path == named


def test_a_wrapper_is_registered_where_the_plain_one_does_not_know_flag_p(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, wrapper = program(tmp_path / "qemu-aarch64-static"), program(tmp_path / "aarch64-binfmt-P")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(qemu, "_FOLDERS", ())
    assert qemu.find(ARM64) == QemuBinary(plain, True)
    assert qemu.find_for_registration(ARM64) == QemuBinary(wrapper, True)
    wrapper.unlink()
    assert qemu.find_for_registration(ARM64) == QemuBinary(plain, True)


def test_finding_an_emulator_does_not_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "qemu-aarch64-static")
    monkeypatch.setattr(qemu, "_build", lambda path, changed: pytest.fail(f"{path} was run"))
    assert qemu.find(ARM64, [tmp_path]) is not None


def test_what_is_no_emulator_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64-static").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-aarch64-static").chmod(0o755)
    (tmp_path / "qemu-aarch64").mkdir()
    program(tmp_path / "qemu-arm-static")
    not_executable = program(tmp_path / "aarch64-binfmt-P")
    not_executable.chmod(0o644)
    assert qemu.find(ARM64, [tmp_path, tmp_path / "missing"]) is None
    assert qemu.inspect(tmp_path / "missing") is None
    assert qemu.inspect(tmp_path / "qemu-aarch64-static") is None


def test_the_path_of_the_environment_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path / "qemu-aarch64-static")
    monkeypatch.setenv("PATH", f":relative:{tmp_path}")
    monkeypatch.setattr(qemu, "_FOLDERS", ())
    assert qemu.find(ARM64) == QemuBinary(mine.resolve(), True)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", (7, 2, 22)),
        ("qemu-aarch64 version 10.1.0", (10, 1, 0)),
        ("qemu-aarch64 version 2.5, Copyright", (2, 5, 0)),
        ("something else", None),
        ("", None),
    ],
)
def test_versions(tmp_path: Path, said: str, version: tuple[int, ...] | None) -> None:
    # What counts of a binary is what it says; the ELF check is not part of this.
    script = tmp_path / "qemu-aarch64"
    script.write_text(f"#!/bin/sh\n[ \"$*\" = --version ] && echo '{said}'\n")
    script.chmod(0o755)
    build = qemu._build(script)
    assert qemu.version_of(build) == version
    assert build == (said if version else "")


@pytest.mark.parametrize(
    ("path", "version", "kernel", "knows"),
    [
        ("/usr/libexec/qemu-binfmt/aarch64-binfmt-P", (5, 2, 0), (4, 19), True),
        ("/usr/libexec/qemu-binfmt/aarch64-binfmt-P", None, (4, 19), True),
        ("/usr/bin/qemu-aarch64-static", (6, 0, 0), (5, 12), True),
        ("/usr/bin/qemu-aarch64-static", (10, 0, 2), (6, 12), True),
        ("/usr/bin/qemu-aarch64-static", (6, 0, 0), (5, 10), False),
        ("/usr/bin/qemu-aarch64-static", (5, 2, 0), (6, 1), False),
        ("/usr/bin/qemu-aarch64-static", None, (6, 1), False),
        ("/usr/bin/binfmt-P/qemu-aarch64", None, (6, 1), False),
    ],
)
def test_who_knows_flag_p(path: str, version: tuple[int, ...] | None, kernel: tuple[int, ...], knows: bool) -> None:
    assert qemu.knows_preserve_argv0(Path(path), version, kernel) is knows


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-37-arm64", (6, 1)), ("5.15.153.1-microsoft-standard-WSL2", (5, 15)), ("7.0", (7, 0)), ("odd", (0, 0))],
)
def test_kernel_releases(release: str, version: tuple[int, ...]) -> None:
    assert qemu.kernel_version(release) == version


def test_the_running_kernel() -> None:
    assert os.uname().release.startswith(".".join(map(str, qemu.kernel_version())))


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        (None, False),
        ((5, 1, 0), False),
        ((5, 2, 0), True),
        ((5, 2, 15), True),
        ((6, 0, 0), False),
        ((7, 2, 22), False),
        ((9, 1, 3), False),
        ((9, 2, 0), True),
        ((9, 2, 1), True),
        ((9, 2, 2), False),
        ((10, 0, 0), False),
    ],
)
def test_versions_known_to_crash(version: tuple[int, ...] | None, bad: bool) -> None:
    told = qemu.known_bad(version)
    assert (told is not None) is bad
    if told is not None and version is not None:
        assert ".".join(map(str, version)) in told


@pytest.mark.parametrize(
    ("static", "name", "flags"),
    [(True, "q-binfmt-P", "FP"), (True, "q", "F"), (False, "q-binfmt-P", "P"), (False, "q", "")],
)
def test_the_flags_that_serve_best(static: bool, name: str, flags: str) -> None:
    assert QemuBinary(Path("/nowhere", name), static).flags == flags


def fake(path: Path, code: str) -> QemuBinary:
    """An emulator that does something else: works() judges what a program does, so a script will do."""
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
    return QemuBinary(path, True)


@pytest.mark.parametrize(
    ("code", "output", "reason"),
    [
        ("echo linux/arm64", "linux/arm64", None),
        ("echo linux/arm64; exit 3", "linux/arm64", "it ended with 3"),
        ("echo linux/arm", "linux/arm", "it wrote something else"),
        ("exit 0", "", "it wrote something else"),
        ("echo one >&2; echo 'no such syscall' >&2; exit 1", "", "it ended with 1: no such syscall"),
        ("kill -SEGV $$", "", "it was killed by signal 11 (Segmentation fault)"),
        ("kill -40 $$", "", "it was killed by signal 40 (Real-time signal 6)"),
    ],
)
def test_a_program_that_does_not_do_it(tmp_path: Path, code: str, output: str, reason: str | None) -> None:
    result = qemu.works(ARM64, fake(tmp_path / "emulator", code))
    assert result == qemu.Works(reason is None, output, reason)


def test_an_emulator_that_is_not_there(tmp_path: Path) -> None:
    result = qemu.works(ARM64, QemuBinary(tmp_path / "missing", True))
    assert result.reason == "the kernel does not start it: No such file or directory"


def test_an_emulator_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "_SECONDS", 0.05)
    result = qemu.works(ARM64, fake(tmp_path / "emulator", "exec sleep 60"))
    assert result.reason == "it did not end within 0.05 seconds"


def test_a_wrapper_is_started_as_the_kernel_starts_it(tmp_path: Path) -> None:
    code = '[ "$1" = "$2" ] && [ $# = 2 ] && echo linux/arm64'
    assert qemu.works(ARM64, fake(tmp_path / "aarch64-binfmt-P", code)).ok


@pytest.mark.system
def test_the_machine_runs_its_own_programs_without_an_emulator() -> None:
    own = [one for one in ARCHITECTURES.values() if os.uname().machine in one.uname]
    if not own:
        pytest.skip(f"polyarch does not know this machine's {os.uname().machine}")
    assert qemu.works(own[0]).ok
    if os.geteuid() == 0:
        assert qemu.works(own[0], in_empty_root=True).ok
