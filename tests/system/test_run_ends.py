"""How a run ends: signals, killed processes, many at once, terminals. Nothing may be left of any of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = pytest.mark.system
RUN = ("--progress", "none", "run", "--rm")


class Place:
    """A storage with the sample image for amd64 and arm64, whoever owns it, and what its containers leave."""

    def __init__(self, user: OrdinaryUser | None, root: Path, image: str) -> None:
        self.user = user
        self.root = root
        self.image = image

    def processes(self) -> list[int]:
        """Whose working directory, arguments or root lies in the storage, or who is in one of its containers."""
        found = []
        # mountinfo names a path within its file system, which may begin anywhere above.
        within = os.fsencode("/".join(self.root.parts[-3:]))
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                mounts = (path / "mountinfo").read_bytes()
                if within in mounts or os.fsencode(self.root) in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found

    def containers(self) -> list[Path]:
        return list((self.root / "containers").glob("*/"))


def groups(container: Path) -> list[Path]:
    mounted = Path("/sys/fs/cgroup")
    return [*mounted.glob(f"polyarch-{container.name}"), *mounted.glob(f"*/polyarch-{container.name}")]


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def place(request: pytest.FixtureRequest, registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Place:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    user: OrdinaryUser | None = None if request.param == "root" else request.getfixturevalue("unprivileged_user")
    root = (user.home if user else tmp_path_factory.mktemp("ends")) / "ends-root"
    folder = tmp_path_factory.mktemp("ends-command")
    polyarch, image = Polyarch(folder), f"{registry.address}/busybox:1.36"
    for platform in ("linux/amd64", "linux/arm64"):
        polyarch(*RUN, "--platform", platform, image, "true", root=root, user=user).ok()
    return Place(user, root, image)


@pytest.fixture
def start(place: Place, polyarch: Polyarch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a run without waiting for it; at the end all are ended, and nothing may be left."""
    started: list[subprocess.Popen[str]] = []

    def begin(*argv: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        started.append(polyarch.start(*RUN, *options, place.image, *argv, root=place.root, user=place.user))
        return started[-1]

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
    await_true(lambda: not place.processes(), "all processes are gone")
    polyarch(*RUN, place.image, "true", root=place.root, user=place.user).ok()
    assert place.containers() == []
    assert str(place.root) not in Path("/proc/self/mountinfo").read_text()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


TRAPS = "trap 'echo got it; exit 42' TERM INT; echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_go_to_the_program(
    number: signal.Signals, platform: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("sh", "-c", TRAPS, options=("--platform", platform))
    assert line(process) == "ready\n"
    process.send_signal(number)
    assert line(process) == "got it\n"
    assert process.wait(20) == 42


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_a_killed_polyarch_leaves_no_process_and_no_mount(
    platform: str, place: Place, start: Callable[..., subprocess.Popen[str]], polyarch: Polyarch
) -> None:
    script = "(setsid sleep 1000 &); echo ready; sleep 1000"
    process = start("sh", "-c", script, options=("--platform", platform))
    assert line(process) == "ready\n"
    assert len(place.processes()) >= 3
    process.kill()
    process.wait(20)
    await_true(lambda: not place.processes(), "all processes are gone")
    (container,) = place.containers()
    polyarch(*RUN, place.image, "true", root=place.root, user=place.user).ok()
    assert place.containers() == []
    assert groups(container) == []


def test_a_killed_runtime_ends_the_run(place: Place, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("sh", "-c", "echo ready; sleep 1000")
    assert line(process) == "ready\n"
    (container,) = place.containers()
    record = (container / "container.json").read_text()
    os.kill(int(record.split('"pid": ')[1].split(",")[0]), signal.SIGKILL)
    assert process.wait(20) == 137
    await_true(lambda: not place.processes(), "all processes are gone")
    assert groups(container) == []


def test_killed_at_random_moments(
    place: Place,
    start: Callable[..., subprocess.Popen[str]],
    polyarch: Polyarch,
    count: Callable[[int, int], int],
) -> None:
    dice = random.Random(4)
    for _ in range(count(8, 200)):
        process = start(
            "sh", "-c", "echo ready; sleep 1000", options=("--platform", dice.choice(("linux/amd64", "linux/arm64")))
        )
        if dice.random() < 0.3:
            line(process)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(dice.uniform(0.2, 0.9))
        inside = place.processes()
        victim = process.pid if dice.random() < 0.6 or not inside else dice.choice(inside)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        if victim != process.pid:
            process.kill()
        process.wait(20)
        await_true(lambda: not place.processes(), "all processes are gone")
    polyarch(*RUN, place.image, "true", root=place.root, user=place.user).ok()
    assert place.containers() == []


def test_several_at_once_share_their_layers(place: Place, start: Callable[..., subprocess.Popen[str]]) -> None:
    snapshots = sorted((place.root / "snapshots").glob("*/*"))
    before = [path.stat().st_ino for path in snapshots]
    processes = [
        start("sh", "-c", "hostname; cat; true", options=("-i", "--name", f"n{number}")) for number in range(8)
    ]
    assert [line(process) for process in processes] == [f"{os.uname().nodename}\n"] * 8
    used = subprocess.run(["du", "-sk", place.root / "containers"], capture_output=True, text=True, check=True)
    assert len(place.containers()) == 8
    assert int(used.stdout.split()[0]) < 8 * 150  # KiB; one layer of the image has 2,000
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    assert [path.stat().st_ino for path in sorted((place.root / "snapshots").glob("*/*"))] == before


class Terminal:
    """A run on a pseudo-terminal that controls it, as a shell would start it."""

    def __init__(self, argv: list[str], environment: dict[str, str], folder: Path, user: OrdinaryUser | None) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            if user is not None and os.geteuid() != user.uid:
                os.setgroups([])
                os.setgid(user.gid)
                os.setuid(user.uid)
            os.chdir(folder)
            os.execvpe(argv[0], argv, environment)
        self.said = b""
        self.size(24, 80)

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def until(self, text: bytes, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, f"{text!r} did not come, but {self.said!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self._fd, 4096)
                except OSError:  # the other side is closed
                    assert text in self.said, f"{text!r} did not come, but {self.said!r}"
                    return

    def hang_up(self) -> None:
        os.close(self._fd)

    def code(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(place: Place, polyarch: Polyarch) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def begin(*argv: str, options: tuple[str, ...] = ("-it",)) -> Terminal:
        probe = polyarch.start("--version", root=place.root, user=place.user)
        words = list(map(str, probe.args[:-1]))  # type: ignore[index]
        polyarch.finish(probe)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(place.root.parent),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "POLYARCH_ROOT": str(place.root),
        }
        words += [*RUN, *options, place.image, *argv]
        started.append(Terminal(words, environment, place.root.parent, place.user))
        return started[-1]

    yield begin
    for each in started:
        each.end()


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_a_terminal_with_its_size_and_ctrl_c(platform: str, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(
        "sh",
        "-c",
        "stty size; trap 'echo interrupted' INT; echo $TERM; read x; echo read:$x; read x; stty size; exit 9",
        options=("-it", "--platform", platform),
    )
    screen.until(b"24 80\r\nxterm\r\n")
    screen.type(b"one\r")
    screen.until(b"read:one\r\n")
    screen.size(33, 77)
    screen.type(b"\x03")
    screen.until(b"interrupted")
    screen.type(b"two\r")
    screen.until(b"33 77\r\n")
    assert screen.code() == 9


def test_ctrl_c_without_a_terminal_inside_reaches_the_program_once(terminal: Callable[..., Terminal]) -> None:
    screen = terminal(
        "sh", "-c", "n=0; trap 'n=$((n+1))' INT; echo ready; sleep 1; echo count:$n; exit 8", options=("-i",)
    )
    screen.until(b"ready")
    screen.type(b"\x03")
    screen.until(b"count:1")
    assert screen.code() == 8


def test_a_terminal_that_is_gone_hangs_up_inside(terminal: Callable[..., Terminal], place: Place) -> None:
    screen = terminal("sh", "-c", "echo ready; read x; exit 7")
    screen.until(b"ready")
    screen.hang_up()
    assert screen.code() == 7
    await_true(lambda: not place.processes(), "all processes are gone")
