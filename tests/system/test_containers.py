"""Containers that go on without the command: run -d, ps, exec, logs, stop, rm; as root and as an ordinary user."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.leftovers import Leftovers
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
WAIT = "while :; do sleep 1; done"


@dataclass
class Host:
    """`host("ps", "-a")` is the command as root or as the ordinary user, over a storage of its own."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    root: Path
    image: str

    def __call__(self, *words: str | Path, stdin: str = "", env: dict[str, str] | None = None) -> Result:
        return self.polyarch("--progress", "none", *words, root=self.root, user=self.user, stdin=stdin, env=env)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.polyarch.start("--progress", "none", *words, root=self.root, user=self.user)

    def run(self, *argv: str, options: tuple[str, ...] = (), name: str = "c") -> str:
        """Start a container in the background; its ID."""
        return self("run", "-d", "--name", name, *options, self.image, *argv).ok().stdout.strip()

    def states(self) -> dict[str, tuple[str, int | None]]:
        """Name -> status and exit code."""
        lines = self("ps", "-a", "--format", "json").ok().json_lines
        return {line["name"]: (line["status"], line["exit_code"]) for line in lines}


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def storage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OrdinaryUser | None, Path]:
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None, tmp_path_factory.mktemp("containers") / "root"
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return user, user.home / "containers-root"


@pytest.fixture
def host(storage: tuple[OrdinaryUser | None, Path], polyarch: Polyarch, registry: DockerRegistry) -> Iterator[Host]:
    """Afterwards nothing of the test's containers may be left."""
    user, root = storage
    host = Host(polyarch, user, root, f"{registry.address}/busybox:1.36")
    yield host
    names = host("ps", "-aq").ok().stdout.split()
    if names:
        host("rm", "-f", *names).ok()
    left = Leftovers(root)
    assert left.containers() == []
    await_true(lambda: not left.processes(), "all processes of the containers have ended")


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_a_life(host: Host, platform: str) -> None:
    script = f"echo out; echo err >&2; trap 'echo bye; exit 3' TERM; echo ready; {WAIT}"
    identifier = host.run("sh", "-c", script, options=("--platform", platform, "-e", "COLOUR=red"))
    assert len(identifier) == 64
    (line,) = host("ps", "--format", "json").ok().json_lines
    assert (line["id"], line["name"], line["status"], line["platform"]) == (identifier, "c", "running", platform)
    assert line["image"].endswith("/busybox:1.36")
    machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[platform]
    assert host("exec", "c", "uname", "-m").ok().stdout == f"{machine}\n"
    inside = (
        host("exec", identifier[:5], "sh", "-c", "echo $COLOUR; cat /proc/1/cmdline | tr '\\0' ' '; pwd").ok().stdout
    )
    assert inside.splitlines()[0] == "red"
    assert "trap" in inside.splitlines()[1]
    await_true(lambda: "ready" in host("logs", "c").ok().stdout, "the script is ready")
    assert host("stop", "c").ok().stdout == "c\n"
    assert host.states() == {"c": ("exited", 3)}
    logs = host("logs", "c").ok()
    assert (logs.stdout, logs.stderr) == ("out\nready\nbye\n", "err\n")
    assert host("rm", "c").ok().stdout == "c\n"
    assert host.states() == {}


def test_what_ps_shows(host: Host) -> None:
    host.run("sh", "-c", WAIT, name="first")
    host.run("false", name="second")
    await_true(lambda: host.states()["second"][0] == "exited", "the second one has ended")
    header, *rows = host("ps").ok().stdout.splitlines()
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "PLATFORM", "COMMAND", "CREATED", "STATUS", "NAMES"]
    assert [row.split()[-1] for row in rows] == ["first"]
    rows = host("ps", "-a").ok().stdout.splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["second", "first"]
    assert re.search(r"Exited \(1\) (Less than a|\d+) seconds? ago", rows[0])
    assert re.search(r"Up (Less than a|\d+) seconds?", rows[1])
    assert len(host("ps", "-q").ok().stdout.strip()) == 12


def test_exec_has_the_words_of_its_own(host: Host) -> None:
    host.run("sh", "-c", WAIT, options=("-w", "/tmp", "-e", "A=1"))
    assert host("exec", "c", "pwd").ok().stdout == "/tmp\n"
    words = ("exec", "-i", "-e", "A=2", "-e", "B=3", "-w", "/bin", "-u", "1:1", "c", "sh", "-c")
    done = host(*words, "cat; pwd; id -u; id -g; echo $A$B; exit 7", stdin="typed\n")
    assert done.stdout == "typed\n/bin\n1\n1\n23\n"
    assert done.code == 7
    done = host("exec", "c", "cat", stdin="nobody reads it")
    assert (done.code, done.stdout) == (0, "")
    assert host("exec", "c", "sh", "-c", "kill -9 $$").code == 137


@pytest.mark.parametrize(
    ("argv", "code", "kind", "message"),
    [
        (("nothere",), 127, "not-found", "'nothere' is not in the image's PATH"),
        (("/etc",), 126, "host", "is a directory"),
        (("-u", "nobody-at-all", "true"), 125, "usage", "is not in the image's /etc/passwd"),
        (("-w", "/nowhere", "true"), 126, "host", "the working directory /nowhere cannot be used: No such file"),
    ],
)
def test_what_exec_cannot_start(host: Host, argv: tuple[str, ...], code: int, kind: str, message: str) -> None:
    host.run("sh", "-c", WAIT)
    options, rest = (argv[:-1], argv[-1:]) if argv[0].startswith("-") else ((), argv)
    done = host("exec", "--format", "json", *options, "c", *rest)
    assert done.code == code
    error = done.json_lines[0]["error"]
    assert error["code"] == kind
    assert message in error["message"]


def test_exec_wants_a_container_that_runs(host: Host) -> None:
    host.run("true")
    await_true(lambda: host.states()["c"][0] == "exited", "it has ended")
    done = host("exec", "c", "true")
    assert (done.code, done.stderr) == (125, "error: the container c does not run\nhint: see: polyarch ps -a\n")
    done = host("exec", "other", "true", "--format", "json")
    assert done.code == 125
    assert "there is no container 'other'" in done.stderr


def test_exec_on_a_terminal(host: Host) -> None:
    host.run("sh", "-c", WAIT)
    ours, theirs = os.openpty()
    command = host.user.polyarch_command() if host.user else [sys.executable, "-m", "polyarch"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(host.root.parent), "POLYARCH_ROOT": str(host.root)}
    process = subprocess.Popen(
        ["setsid", "--ctty", *command, "exec", "-it", "c", "sh"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=host.root.parent,
        **(host.user.switch() if host.user else {}),
    )
    os.close(theirs)
    os.write(ours, b"tty && stty size && echo it=$((40+2))\nexit 5\n")
    written = b""
    try:
        while chunk := os.read(ours, 4096):
            written += chunk
    except OSError:  # nobody has the other end any more
        pass
    os.close(ours)
    assert process.wait(60) == 5
    assert b"/dev/pts/" in written
    assert b"it=42" in written


def test_a_detached_terminal(host: Host) -> None:
    host.run("sh", "-c", "tty; stty size", options=("-t",))
    await_true(lambda: host.states()["c"][0] == "exited", "it has ended")
    assert host("logs", "c").ok().stdout.replace("\r", "") == "/dev/pts/0\n24 80\n"


def test_interactive_keeps_the_input_open(host: Host) -> None:
    host.run("cat", options=("-i",), name="open")
    host.run("cat", name="closed")
    await_true(lambda: host.states()["closed"] == ("exited", 0), "the one without an input has ended")
    assert host.states()["open"] == ("running", None)


def test_logs(host: Host) -> None:
    long = "x" * 40_000  # the log has it in parts
    host.run("sh", "-c", f"for i in 1 2 3 4 5; do echo line $i; done; echo {long}; printf end")
    await_true(lambda: host.states()["c"][0] == "exited", "it has ended")
    lines = "".join(f"line {number}\n" for number in range(1, 6))
    assert host("logs", "c").ok().stdout == f"{lines}{long}\nend"
    assert host("logs", "-n", "2", "c").ok().stdout == f"{long}\nend"
    assert host("logs", "--tail", "0", "c").ok().stdout == ""
    stamped = host("logs", "-t", "c").ok().stdout.splitlines()
    assert len(stamped) == 7
    assert stamped[0].endswith("Z line 1")
    first, *_, last = host("logs", "--format", "json", "c").ok().json_lines
    assert (first["stream"], first["line"], first["partial"]) == ("stdout", "line 1", False)
    assert (last["stream"], last["line"], last["partial"]) == ("stdout", "end", True)


def test_following_logs_ends_with_the_container(host: Host) -> None:
    host.run("sh", "-c", f"echo begun; trap 'echo bye; exit 0' TERM; {WAIT}")
    follower = host.start("logs", "-f", "c")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"
    host("stop", "c").ok()
    assert follower.communicate(timeout=60) == ("bye\n", "")
    assert follower.returncode == 0


def test_following_logs_ends_with_a_killed_monitor(host: Host) -> None:
    host.run("sh", "-c", f"echo begun; {WAIT}")
    follower = host.start("logs", "-f", "c")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"
    (monitor,) = Leftovers(host.root).named("monitor.py")
    os.kill(monitor, signal.SIGKILL)
    assert follower.communicate(timeout=60) == ("", "")
    assert host.states() == {"c": ("exited", 137)}


def test_a_foreground_run_keeps_no_log(host: Host) -> None:
    host("run", "--name", "c", host.image, "echo", "hello").ok()
    done = host("logs", "c")
    assert done.code == 3
    assert "was run in the foreground: its output is not kept" in done.stderr
    host("container", "create", "--name", "new", host.image).ok()
    assert "new was never started" in host("logs", "new").stderr


def test_stop_of_a_program_that_does_not_listen(host: Host) -> None:
    host.run("sh", "-c", f"trap '' TERM; echo ready; {WAIT}")
    await_true(lambda: host("logs", "c").stdout == "ready\n", "the script is ready")
    host("stop", "-t", "1", "c").ok()
    assert host.states() == {"c": ("exited", 137)}
    host("stop", "c").ok()  # once more: it has ended


def test_stop_of_a_foreground_run(host: Host) -> None:
    script = f"trap 'exit 4' TERM; echo ready; {WAIT}"
    process = host.start("run", "--rm", "--name", "c", host.image, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    host("stop", "c").ok()
    assert process.wait(60) == 4
    assert host.states() == {}


def test_rm_of_one_that_runs(host: Host) -> None:
    host.run("sh", "-c", WAIT)
    done = host("rm", "c")
    assert done.code == 2
    assert "the container c runs" in done.stderr
    assert host.states() == {"c": ("running", None)}
    done = host("rm", "-f", "c", "other")
    assert done.code == 10
    assert "there is no container 'other'" in done.stderr
    assert host.states() == {}


def test_rm_option(host: Host) -> None:
    host.run("sh", "-c", WAIT, options=("--rm",))
    host("stop", "-t", "0", "c").ok()
    assert host.states() == {}
    assert Leftovers(host.root).containers() == []


def test_what_cannot_start_leaves_nothing(host: Host) -> None:
    done = host("run", "-d", host.image, "nothere")
    assert done.code == 127
    assert "'nothere' is not in the image's PATH" in done.stderr
    assert done.stdout == ""
    done = host("run", "-d", "-w", "/etc/passwd", host.image, "true")  # found by the runtime
    assert done.code == 125
    assert done.stderr.startswith("error: the container cannot be started")
    assert Leftovers(host.root).containers() == []


def test_words_are_checked_before_anything_is_pulled(host: Host) -> None:
    absent = host.image.replace("busybox:1.36", "is-not-there:1")
    done = host("run", "-v", "data:/data", absent, "true")
    assert done.code == 125
    assert "there are no named volumes" in done.stderr


def test_a_file_of_variables_that_can_be_read_once(host: Host) -> None:
    pipe = host.root.parent / "pipe-with-variables"  # in a home, where other tests leave files
    os.mkfifo(pipe)
    try:
        pipe.chmod(0o644)
        Thread(target=pipe.write_text, args=("COLOUR=red\n",), daemon=True).start()
        done = host("run", "--rm", "--env-file", pipe, host.image, "sh", "-c", "echo $COLOUR")
    finally:
        pipe.unlink()
    assert done.ok().stdout == "red\n"


def test_emulation_that_is_not_allowed(host: Host) -> None:
    words = ("run", "--rm", "--platform", "linux/arm64", "--emulation", "never", "--format", "json", host.image, "true")
    done = host(*words)
    assert (done.code, done.json_lines[0]["error"]["code"]) == (125, "no-variant")
    assert "runs here only by emulation, which is not allowed" in done.stderr


def test_names(host: Host) -> None:
    identifier = host.run("sh", "-c", WAIT)
    done = host("run", "-d", "--name", "c", host.image, "true")
    assert done.code == 125
    assert f"the container name 'c' is in use by {identifier[:12]}" in done.stderr
    for words in (["stop", ""], ["rm", "nothing"], ["logs", "0" * 64], ["diff", "x"]):
        done = host(*words)
        assert done.code == 3, words
        assert "there is no container" in done.stderr


def test_diff(host: Host) -> None:
    host("run", "--name", "c", host.image, "sh", "-c", "echo new > /etc/new; rm /etc/passwd").ok()
    assert host("diff", "c").ok().stdout == "C /etc\nA /etc/new\nD /etc/passwd\n"
