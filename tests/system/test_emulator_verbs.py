"""The four verbs of `emulator` against every state that a machine's binfmt_misc is found in.

The real command, in a user namespace with a table, an /etc/binfmt.d, a /run and a /var/lib of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from polyarch.container.emulation import private_refusal
from polyarch_platforms import binfmt, qemu
from polyarch_platforms.architecture import load
from polyarch_platforms.qemu import QemuBinary
from support.isolation import CannotIsolate, isolated, mount_tmpfs

pytestmark = pytest.mark.system

ARM64 = load()["arm64"]
TABLE = binfmt.TABLE
NAME = "qemu-aarch64"
SYSTEMD_BINFMT = Path("/usr/lib/systemd/systemd-binfmt")
DEBIANS_FILE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
FORCE = "polyarch emulator install --force arm64"
NOT_OURS = "arm64 is registered already, not by polyarch: "


@pytest.fixture(scope="module")
def emulator() -> QemuBinary:
    found = qemu.find(ARM64)
    if found is None or not found.static or not found.preserve_argv0 or os.uname().machine == "aarch64":
        pytest.skip("there is no static QEMU for arm64 that knows flag P on this machine, or it is one")
    if refusal := private_refusal():
        pytest.skip(str(refusal))
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def emulator_command(*words: str) -> Answer:
    """`polyarch emulator WORDS…` in this process, which is the test's child."""
    from polyarch.cli.app import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["emulator", *words])
    return Answer(code, out.getvalue(), err.getvalue())


Table = dict[str, str]


def table() -> Table | None:
    """Every entry of the kernel's, as it shows it, and the table's own state; None where it is not mounted."""
    if not binfmt.mounted():
        return None
    return {path.name: path.read_text() for path in TABLE.iterdir() if path.name != "register"}


@dataclass(frozen=True)
class Row:
    """A state, and what the verbs make of it.

    prepare     makes the state; is given the emulator and a folder
    status      JSON of `status`, as far as it is told here
    line        words of its line for people, in their order
    test        exit code, verdict of `program`, beginning of the error, words of its hint
    install     exit code, status, beginning of the error, words of its hint
    forced      status of `install --force`; "" where that fails like `install`
    removed     what `remove` then says in JSON
    lost        entries that are not there again then; all others are, as they were
    """

    prepare: Callable[[QemuBinary, Path], None]
    status: Mapping[str, Any]
    line: tuple[str, ...]
    test: tuple[int, str, str, str] = (0, "ok", "", "")
    install: tuple[int, str, str, str] = (0, "installed", "", "")
    forced: str = "replaced"
    removed: Mapping[str, Any] = field(default_factory=lambda: {"status": "restored", "note": None})
    lost: tuple[str, ...] = ()


def nothing(emulator: QemuBinary, folder: Path) -> None:
    pass


def mounted(emulator: QemuBinary, folder: Path) -> None:
    binfmt.mount()


def registered(interpreter: Path | str, flags: str, name: str = NAME) -> None:
    binfmt.mount()
    binfmt.register(binfmt.register_line(ARM64, str(interpreter), flags, name=name))


def debian(emulator: QemuBinary, folder: Path) -> None:
    Path("/run/systemd/system").mkdir(parents=True)
    binfmt.mount()
    subprocess.run([SYSTEMD_BINFMT], check=True, timeout=60)


def gone(emulator: QemuBinary, folder: Path) -> None:
    registered("/opt/gone/qemu-aarch64", "P")


def pinned(emulator: QemuBinary, folder: Path) -> None:
    copy = Path(shutil.copy(emulator.path, folder / "qemu-aarch64"))
    registered(copy, "FP")
    copy.unlink()


def off(emulator: QemuBinary, folder: Path) -> None:
    registered(emulator.path, "FP")
    binfmt.enable(NAME, False)


def table_off(emulator: QemuBinary, folder: Path) -> None:
    registered(emulator.path, "FP")
    (TABLE / "status").write_text("0")


def foreign(emulator: QemuBinary, folder: Path) -> None:
    registered(shutil.copy(emulator.path, folder / "theirs"), "FP", name="podman-arm64")
    binfmt.register(b":WSLInterop:M::MZ::/init:PF".replace(b"/init", b"/bin/true"))
    (TABLE / "register").write_bytes(b":python:E::py::/bin/true:")


def foreign_broken(emulator: QemuBinary, folder: Path) -> None:
    registered("/bin/false", "", name="podman-arm64")


UNREGISTERED = {"registered": False, "enabled": False, "works": True, "source": "private", "flags": "", "mend": None}
GONE = "/opt/gone/qemu-aarch64"
ROWS = {
    "nothing mounted": Row(
        nothing,
        UNREGISTERED,
        ("arm64", "no", "yes", "-", "(private)"),
        forced="installed",
        removed={"status": "removed"},
    ),
    "an empty table": Row(
        mounted,
        UNREGISTERED,
        ("arm64", "no", "yes", "-", "(private)"),
        forced="installed",
        removed={"status": "removed"},
    ),
    "Debian's registration": Row(
        debian,
        {"registered": True, "enabled": True, "works": True, "source": "kernel", "note": None}
        | {"in_containers": True, "at_boot": str(DEBIANS_FILE), "mend": None},
        ("arm64", "yes", "yes", "/usr/libexec/qemu-binfmt/aarch64-binfmt-P", f"at each boot by {DEBIANS_FILE}"),
        install=(0, "present", "", ""),
    ),
    "its interpreter is gone": Row(
        gone,
        {"registered": True, "enabled": True, "works": False, "source": "kernel", "interpreter": GONE}
        | {"in_containers": False, "note": f"{GONE} is gone", "mend": f"as root: {FORCE}"},
        ("arm64", "yes", "no", "P", GONE, "is gone", FORCE),
        test=(8, "failed", f"emulation does not work for arm64: {GONE} is gone", FORCE),
        install=(8, "", f"{NOT_OURS}'{NAME}' with {GONE} and flags P; but its programs do not run: ", FORCE),
    ),
    "its interpreter is gone, but flag F keeps it": Row(
        pinned,
        {"registered": True, "enabled": True, "works": True, "source": "kernel", "in_containers": True}
        | {"mend": f"as root: {FORCE}"},
        ("arm64", "yes", "yes", "is gone; the kernel keeps the one that it opened (flag F)", FORCE),
        install=(0, "present", "", ""),
        removed={"status": "removed", "note": f"the entry '{NAME}' that it replaced cannot be made again: there is no"},
        lost=(NAME,),
    ),
    "the entry is switched off": Row(
        off,
        {"registered": True, "enabled": False, "works": True, "source": "private"}
        | {"note": f"the entry {NAME} is switched off", "mend": f"as root: echo 1 > {TABLE}/{NAME}"},
        ("arm64", "switched off", "yes", "(private)", f"echo 1 > {TABLE}/{NAME}"),
        install=(8, "", f"the binfmt_misc entry '{NAME}' is switched off", f"echo 1 > {TABLE}/{NAME}"),
    ),
    "the table is switched off": Row(
        table_off,
        {"registered": True, "enabled": False, "works": True, "source": "private"}
        | {"note": "binfmt_misc is switched off", "mend": f"as root: echo 1 > {TABLE}/status"},
        ("arm64", "switched off", "yes", "(private)", f"echo 1 > {TABLE}/status"),
        install=(8, "", "binfmt_misc is switched off as a whole", f"echo 1 > {TABLE}/status"),
        forced="",
    ),
    "a foreign owner's": Row(
        foreign,
        {"registered": True, "enabled": True, "works": True, "source": "kernel", "note": None, "mend": None},
        ("arm64", "yes", "yes", "/theirs"),
        install=(0, "present", "", ""),
        forced="installed",
        removed={"status": "removed", "note": None},
    ),
    "a foreign owner's that does not work": Row(
        foreign_broken,
        {"registered": True, "enabled": True, "works": False, "source": "kernel", "interpreter": "/bin/false"}
        | {"note": "it ended with 1", "mend": f"as root: {FORCE}"},
        ("arm64", "yes", "no", "-", "/bin/false", "it ended with 1", FORCE),
        test=(8, "failed", "emulation does not work for arm64: it ended with 1", FORCE),
        install=(
            8,
            "",
            f"{NOT_OURS}'podman-arm64' with /bin/false and flags (none); but its programs do not run",
            FORCE,
        ),
        forced="installed",
        removed={"status": "removed", "note": None},
    ),
}


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> Row:
    found = ROWS[request.param]
    if found.prepare is debian and not (SYSTEMD_BINFMT.exists() and DEBIANS_FILE.exists()):
        pytest.skip("this machine has no systemd-binfmt, or no qemu-user-static that registers by it")
    return found


@pytest.fixture
def in_state(row: Row, emulator: QemuBinary, tmp_path: Path) -> Callable[[Callable[[], None]], None]:
    """Runs a function where the row's state is the machine's."""

    def run(action: Callable[[], None]) -> None:
        def prepared() -> None:
            for folder in map(Path, ("/run", "/var/lib", "/etc/binfmt.d")):
                if folder.is_dir():
                    mount_tmpfs(folder)
            row.prepare(emulator, tmp_path)
            action()

        try:
            isolated(prepared)
        except CannotIsolate as error:
            pytest.skip(str(error))

    return run


def in_order(words: tuple[str, ...], text: str) -> bool:
    place = 0
    for word in words:
        place = text.find(word, place)
        if place < 0:
            return False
        place += len(word)
    return True


def fails(answer: Answer, message: str, hint: str) -> None:
    """As JSON on stdout: the last line is the error, which names the command that mends it."""
    error = answer.documents[-1]["error"]
    assert error["code"] == "host"
    assert error["message"].startswith(message)
    assert hint in error["hint"]


def test_status(row: Row, in_state: Callable[[Callable[[], None]], None]) -> None:
    def action() -> None:
        before = table()
        answer = emulator_command("status", "arm64", "--format", "json")
        (document,) = answer.documents
        assert {key: document[key] for key in row.status} == dict(row.status)
        assert (answer.code, document["arch"], document["platform"]) == (0, "arm64", "linux/arm64")
        answer = emulator_command("status", "arm64")
        assert answer.code == 0
        assert in_order(row.line, answer.out), answer.out
        assert emulator_command("status", "-q", "arm64").out == ("arm64\n" if row.status["works"] else "")
        assert table() == before

    in_state(action)


def test_test(row: Row, in_state: Callable[[Callable[[], None]], None]) -> None:
    code, verdict, message, hint = row.test

    def action() -> None:
        before = table()
        answer = emulator_command("test", "arm64", "--format", "json")
        assert answer.code == code
        document = answer.documents[0]
        assert {key: document[key] for key in row.status} == dict(row.status)
        found = {check["name"]: check["verdict"] for check in document["checks"]}
        others = "ok" if verdict == "ok" else "not-tried"
        assert found == {
            "program": verdict,
            **dict.fromkeys(("child", "script", "argv0"), others),
            "setuid": "not-tried",
        }
        if code:
            fails(answer, message, hint)
        answer = emulator_command("test", "arm64")
        assert answer.code == code
        assert [line.split()[:2] for line in answer.out.splitlines()[1:]] == [["arm64", name] for name in found]
        assert answer.err.startswith(f"error: {message}" if code else "")
        assert table() == before

    in_state(action)


def test_install_and_remove(row: Row, in_state: Callable[[Callable[[], None]], None], emulator: QemuBinary) -> None:
    code, status, message, hint = row.install

    def action() -> None:
        before = table()
        answer = emulator_command("install", "arm64", "--format", "json")
        assert answer.code == code
        (document,) = answer.documents
        if code:
            fails(answer, message, hint)
        else:
            assert (document["arch"], document["status"]) == ("arm64", status)
        if status == "installed":
            assert qemu.works(ARM64).reason is None
            assert binfmt.registrations()[0].interpreter == str(emulator.path)
            assert emulator_command("remove", "arm64").out == "arm64: removed\n"
        assert table() == before
        assert list(Path("/var/lib").iterdir()) == []

    in_state(action)


def test_remove_leaves_what_others_registered(row: Row, in_state: Callable[[Callable[[], None]], None]) -> None:
    def action() -> None:
        before = table()
        answer = emulator_command("remove", "arm64", "--format", "json")
        assert (answer.code, answer.documents) == (0, [{"arch": "arm64", "status": "absent", "note": None}])
        assert emulator_command("remove", "arm64").out == "arm64: not installed by polyarch; left as it is\n"
        assert emulator_command("remove").out == ""
        assert table() == before

    in_state(action)


def test_force_and_remove(row: Row, in_state: Callable[[Callable[[], None]], None], emulator: QemuBinary) -> None:
    def action() -> None:
        before = table()
        answer = emulator_command("install", "--force", "arm64", "--format", "json")
        if not row.forced:
            fails(answer, row.install[2], row.install[3])
            assert table() == before
            return
        assert answer.code == 0
        assert (answer.documents[0]["status"], answer.documents[0]["interpreter"]) == (row.forced, str(emulator.path))
        assert qemu.works(ARM64, in_empty_root=True).reason is None
        answer = emulator_command("remove", "arm64", "--format", "json")
        (document,) = answer.documents
        assert (answer.code, document["status"]) == (0, row.removed["status"])
        assert str(document["note"]).startswith(str(row.removed.get("note")))
        after = table()
        expected = {name: text for name, text in before.items() if name not in row.lost} if before else before
        assert after == expected

    in_state(action)
