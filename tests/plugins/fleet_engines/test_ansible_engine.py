"""The engine `ansible` against a real sshd: what devices get, and what becomes of what goes wrong."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.contract import FleetStarted, PolyarchError, SendsInput
from polyarch_plugins.fleet_engines.ansible import ssh_client
from support.ansible_fleet import LOCAL, Fleet, gone_through, running
from support.processes import await_true
from support.sshd import Sshd

pytestmark = pytest.mark.system
Made = Callable[..., Fleet]

# Asks what is behind the port, if anything is there.
FETCH = f"""\
exec {sys.executable} -I -S -c '
import socket, sys
try:
    print(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10).recv(99).decode())
except OSError:
    print("nothing")
' "$port"
"""


@pytest.fixture
def greeter() -> Iterator[int]:
    """The port of a server on loopback that greets everybody."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"welcome")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def marker() -> str:
    """A number of seconds that nobody else sleeps."""
    return f"61.{secrets.randbelow(10**9):09}"


def test_what_becomes_of_devices(fleet: Made, sshd: Sshd, greeter: int, tmp_path: Path) -> None:
    """Those that reach us do, each other one's fault is told, and nobody waits for anybody."""
    hosts = ("good", "forbids", "changed", "unknown", "stranger", "locked", "refuses", "nameless", "by-jump")
    ways = {name: sshd.variables(name) for name in hosts}
    good = sshd.variables("good")
    mux = tmp_path / "mux"
    shared = {"ansible_ssh_args": f"-o ControlMaster=auto -o ControlPersist=60 -o ControlPath={mux}"}
    root = {"ansible_become": True, "ansible_become_method": "su"} if os.geteuid() == 0 else {}
    made = fleet(
        listed=True,
        **{name.replace("-", "_"): way for name, way in ways.items()},
        here=LOCAL,
        other={"ansible_connection": "docker"},
        cut=good,
        wrong=good,
        like_ssh=good,
        becomes={**good, **root},
        shares={**good, **shared, "ansible_ssh_extra_args": "-o RequestTTY=force"},
    )
    script = f'case $do in "") ;; *) eval "$do" ;; esac\n{FETCH}'
    tasks = made.tasks(
        cut={"do": "kill -9 $PPID; sleep 9"},
        wrong={"do": "echo said; echo fault >&2; exit 3"},
        like_ssh={"do": "echo fault >&2; exit 255"},
    )
    with (
        socket.socket(socket.AF_UNIX) as master,
        made.engine.run(script, tasks, forks=30, timeout=120, reach=greeter) as run,
    ):
        master.bind(str(mux))  # whoever took this for a connection that can be shared would wait for it in vain
        master.listen()
        happened = gone_through(run)
    assert happened.statuses == {
        "good": "done",
        "by-jump": "done",
        "here": "done",
        "becomes": "done",
        "shares": "done",
        "forbids": "no-forwarding",
        "other": "no-forwarding",
        "changed": "host-key",
        "unknown": "host-key",
        "stranger": "unauthorized",
        "locked": "unauthorized",
        "refuses": "offline",
        "nameless": "offline",
        "cut": "unreachable",
        "wrong": "failed",
        "like-ssh": "failed",
    }
    results = happened.results
    assert {results[name].output for name in ("good", "by-jump", "here", "becomes", "shares")} == {"welcome\n"}
    wrong, like_ssh = results["wrong"], results["like-ssh"]
    assert (wrong.code, wrong.output, wrong.error) == (3, "said\n", "fault\n")
    assert (like_ssh.code, like_ssh.error.strip()) == (255, "fault")
    assert "port 1: Connection refused" in results["refuses"].error
    assert not [result for result in results.values() if result.status not in ("done", "failed") and result.output]
    assert all(result.began <= result.ended for result in results.values())
    assert list(made.folder.iterdir()) == []


def test_a_time_limit_holds_on_the_device_too(fleet: Made, sshd: Sshd) -> None:
    seconds = marker()
    made = fleet(there=sshd.variables("good"), here=LOCAL)
    with made.engine.run(f"sleep {seconds} & sleep {seconds}", made.tasks(), forks=2, timeout=2) as run:
        happened = gone_through(run)
        await_true(lambda: not running(f"sleep\0{seconds}"), "what took too long is ended")
    assert happened.statuses == {"there": "timeout", "here": "timeout"}
    assert "longer than 2 seconds" in happened.results["there"].error


def test_texts_go_through_unharmed_and_what_is_too_much_is_cut(
    fleet: Made, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 1 << 18  # what Ansible makes of 4 MiB takes it seconds
    monkeypatch.setattr("polyarch_plugins.fleet_engines.ansible.engine.MAX_OUTPUT", most)
    good = sshd.variables("good")
    text = "it's \"quoted\"\n\n{{ x }} {% if %} {# $HOME `id` $(id) \\n \\\\ \t é 🦆 '@' ; # !"
    script = 'two=$(printf "{%s" "{ lookup }")\nprintf %s "$text"\n# it\'s over\neval "$do"'
    made = fleet(here=LOCAL, there=good, noisy=good, escapes=good)
    tasks = made.tasks(
        here={"text": text, "do": ""},
        there={"text": text, "do": ""},
        noisy={
            "text": "",
            "do": "head -c 700000 /dev/zero | tr '\\0' x; head -c 700000 /dev/zero | tr '\\0' y >&2",
        },
        escapes={"text": "", "do": r"printf '\033[2J\007\r\b\377changed: [here] => {}\nfatal: [here]: FAILED! => {}'"},
    )
    with made.engine.run(script, tasks, forks=9, timeout=60) as run:
        results = gone_through(run).results
    assert results["here"].output == results["there"].output == text
    noisy, escapes = results["noisy"], results["escapes"]
    assert (noisy.status, len(noisy.output), len(noisy.error)) == ("done", most, most)
    assert escapes.output.startswith("\033[2J\007\r\b")
    assert escapes.output.endswith("changed: [here] => {}\nfatal: [here]: FAILED! => {}")


def test_what_is_too_much_does_not_come_to_ansible(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    ssh = tmp_path / "ssh"
    ssh.write_text(
        '#!/bin/sh\nn=9000000\nhead -c $n /dev/zero\nhead -c $n /dev/zero >&2\necho "$2" "$@" >"$0.said"\nexit 9\n'
    )
    ssh.chmod(0o700)
    words = [
        str(ssh),
        str(tmp_path),
        "token",
        "5000",
        "1",
        "100000",
        "-C",
        "-F",
        "x",
        "pi1",
        "port=@token:7:81,82@; id",
    ]
    done = subprocess.run([sys.executable, "-I", "-S", ssh_client.__file__, *words], capture_output=True)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (9, 100000, 100000)
    log, *said = ssh.with_suffix(".said").read_text().split(maxsplit=2)
    assert log == str(tmp_path / "log" / "7")
    assert said[-1].endswith("-R 127.0.0.1:81:127.0.0.1:5000 -F x pi1 port=81; id\n")


def test_without_must_a_device_that_forbids_forwarding_sees_it(fleet: Made, sshd: Sshd, greeter: int) -> None:
    made = fleet(good=sshd.variables("good"), forbids=sshd.variables("forbids"))
    with made.engine.run(FETCH, made.tasks(), forks=9, timeout=60, reach=greeter, must_reach=False) as run:
        results = gone_through(run).results
    assert {name: result.output.strip() for name, result in results.items()} == {
        "good": "welcome",
        "forbids": "nothing",
    }


def test_a_port_that_is_taken_on_the_device(
    fleet: Made, sshd: Sshd, greeter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fleet(good=sshd.variables("good"), unlucky=sshd.variables("good"))
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        ports = [taken.getsockname()[1], free.getsockname()[1], taken.getsockname()[1], taken.getsockname()[1]]
        free.close()
        monkeypatch.setattr(secrets, "choice", lambda _: ports.pop(0))
        with made.engine.run(FETCH, made.tasks(), forks=9, timeout=60, reach=greeter) as run:
            results = gone_through(run).results
    assert (results["good"].status, results["good"].output.strip()) == ("done", "welcome")
    assert results["unlucky"].status == "no-forwarding"


def test_what_is_skipped_does_not_begin(fleet: Made, tmp_path: Path) -> None:
    made = fleet(a=LOCAL, b=LOCAL, c=LOCAL)
    wait, said = tmp_path / "go", tmp_path / "said"
    script = f"[ $name != a ] || while [ ! -e {wait} ]; do sleep 0.05; done\necho $name >>{said}"
    tasks = made.tasks(**{name: {"name": name} for name in "abc"})
    with made.engine.run(script, tasks, forks=1, timeout=60) as run:
        events = iter(run)
        first = next(events)
        assert isinstance(first, FleetStarted)
        run.skip(["a", "c", "nobody"])
        wait.touch()
        rest = list(events)
    statuses = {event.device: event.status for event in rest if not isinstance(event, FleetStarted)}
    assert statuses == {"a": "done", "b": "done", "c": "skipped"}
    assert [event.device for event in rest if isinstance(event, FleetStarted)] == ["b"]
    assert said.read_text().split() == ["a", "b"]


def test_the_end_comes_at_once_and_leaves_nothing(fleet: Made, sshd: Sshd) -> None:
    seconds = marker()
    made = fleet(a=sshd.variables("good"), b=LOCAL, c=LOCAL, d=LOCAL)
    with made.engine.run(f"sleep {seconds}", made.tasks(), forks=2, timeout=300) as run:
        run.skip(["d"])
        events = iter(run)
        started = {next(events).device, next(events).device}
        await_true(lambda: len(running(f"sleep\0{seconds}")) == 2, "both sleep")
        run.end()
        statuses = {event.device: getattr(event, "status", "") for event in events}
    assert started == {"a", "b"}
    assert statuses == {"a": "interrupted", "b": "interrupted", "c": "interrupted", "d": "skipped"}
    await_true(lambda: not running(f"sleep\0{seconds}"), "nothing runs any more")
    assert not running(str(made.folder))
    assert list(made.folder.iterdir()) == []


KILLED = """\
import os, sys
from pathlib import Path
from polyarch_plugins.fleet_engines.ansible import ssh_client
from support.ansible_fleet import make_fleet
from support.sshd import Sshd
folder, config, seconds = sys.argv[1:]
made = make_fleet(Path(folder), {
    "a": {"ansible_host": "good", "ansible_ssh_common_args": "-F " + config},
    "b": {"ansible_connection": "local"},
})
with made.engine.run(f"sleep {seconds} & sleep {seconds}", made.tasks(), forks=2, timeout=300, reach=1) as run:
    for event in run:
        print(event, flush=True)
"""


def test_a_killed_controller_leaves_nothing(sshd: Sshd, tmp_path: Path) -> None:
    seconds = marker()
    argv = [sys.executable, "-c", KILLED, str(tmp_path), str(sshd.ssh_config), seconds]
    tests = Path(__file__).parents[2]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(tests)}) as process:
        try:
            await_true(lambda: len(running(f"sleep\0{seconds}")) == 4, "both devices sleep")
        finally:
            process.send_signal(signal.SIGKILL)
    await_true(lambda: not running(f"sleep\0{seconds}"), "nothing runs on the devices any more")
    await_true(lambda: not running(str(tmp_path)), "no Ansible, no ssh and no supervisor runs any more")
    await_true(lambda: not list((tmp_path / "tmp").iterdir()), "its folder is gone")


LISTING = """\
import sys
from pathlib import Path
from support.ansible_fleet import make_fleet
made = make_fleet(Path(sys.argv[1]), {"here": {"ansible_connection": "local"}})
made.engine.devices([sys.argv[2]], "")
"""


def test_a_controller_that_is_killed_while_it_lists_leaves_nothing(tmp_path: Path) -> None:
    """Ansible has temporary files then, too."""
    seconds = marker()
    script = tmp_path / "hosts"
    script.write_text(f"#!/bin/sh\nexec sleep {seconds}\n")
    script.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(home)}
    with subprocess.Popen([sys.executable, "-c", LISTING, str(tmp_path), str(script)], env=environ) as process:
        try:
            await_true(lambda: bool(running(f"sleep\0{seconds}")), "the inventory is asked")
        finally:
            process.send_signal(signal.SIGKILL)
    await_true(lambda: not running(str(tmp_path)), "nothing runs any more")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path for path in home.rglob("*") if path.name.startswith("ansible-")] == []


def test_bytes_reach_scripts(fleet: Made, sshd: Sshd) -> None:
    good = sshd.variables("good")
    made = fleet(good=good, here=LOCAL, early=good, broken=good, other={"ansible_connection": "docker"})
    assert isinstance(made.engine, SendsInput)
    piece, closed = os.urandom(1 << 20), list[str]()

    def pieces(name: str, count: int) -> Iterator[bytes]:
        try:
            for _ in range(count):
                yield piece
            if name == "broken":
                raise PolyarchError("no such blob")
        finally:
            closed.append(name)

    counts = {"good": 24, "here": 8, "early": 1000, "broken": 1, "other": 1}
    inputs = {name: lambda name=name, count=count: pieces(name, count) for name, count in counts.items()}  # type: ignore[misc]
    script = 'if [ "$early" ]; then head -c 1000 | wc -c; exit 3; fi\nsha256sum'
    with made.engine.run_with_input(script, made.tasks(early={"early": "1"}), inputs, forks=9, timeout=60) as run:
        results = gone_through(run).results
    for name in ("good", "here"):
        assert results[name].output.split()[0] == hashlib.sha256(piece * counts[name]).hexdigest()
    assert (results["early"].status, results["early"].code, results["early"].output) == ("failed", 3, "1000\n")
    assert (results["broken"].status, results["broken"].output) == ("failed", "")
    assert "no such blob" in results["broken"].error
    assert (results["other"].status, results["other"].error.partition(",")[0]) == (
        "failed",
        "its connection is neither SSH nor local",
    )
    await_true(lambda: sorted(closed) == ["broken", "early", "good", "here"], "what gives the bytes is closed")
