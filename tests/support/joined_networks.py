"""Two networks of their own, joined by one wire: a registry's end and a client's, to be made slow, lossy, deaf or gone.

Both are network namespaces that a process holds, so that nothing is left of them after it. Sockets of the test's own
process listen in the registry's; polyarch is started in the client's, behind the words of `enter`. Addresses are of
192.0.2.0/24, which is kept for examples (RFC 5737).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
_WIRE = "wire"
_CLONE_NEWNET = 0x40000000
_RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 s


class JoinedNetworks:
    """`enter` are the words that start a command in the client's network; `stop` takes all of it away."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can make networks")
        for program in ("ip", "tc", "iptables", "nsenter"):
            if shutil.which(program) is None:
                pytest.skip(f"the program {program} is not installed")
        self._holders = [_holder() for _ in range(2)]
        try:
            self._join()
        except BaseException:
            self.stop()
            raise

    def _join(self) -> None:
        self.server(f"ip link add name {_WIRE} type veth peer name {_WIRE} netns {self._holders[1].pid}")
        for run, address in ((self.server, SERVER), (self.client, CLIENT)):
            # No wait for duplicates, and nobody else's multicast.
            run("ip link set lo up", f"ip link set {_WIRE} addrgenmode none", f"ip link set {_WIRE} up")
            run(f"ip addr add {address}/24 dev {_WIRE}")

    @property
    def enter(self) -> tuple[str, ...]:
        pid = self._holders[1].pid
        return ("nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt", f"--wd={os.sep}")

    def server(self, *commands: str) -> None:
        """Run each in the registry's network."""
        self._run(0, commands)

    def client(self, *commands: str) -> None:
        """Run each in the client's network, where /etc/resolv.conf may be its own."""
        self._run(1, commands)

    def _run(self, which: int, commands: Sequence[str]) -> None:
        pid = self._holders[which].pid
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt")
        for command in commands:
            done = subprocess.run([*inside, *command.split(" ")], capture_output=True, text=True)
            assert done.returncode == 0, f"{command}: {done.stderr}"

    def slow(self, bytes_per_second: int) -> None:
        """What comes to the client comes as slowly as that (tc-tbf(8))."""
        self.server(
            f"tc qdisc add dev {_WIRE} root tbf rate {bytes_per_second * 8}bit burst 8kb latency 200ms",
        )

    def lossy(self, probability: float) -> None:
        """So many of a hundred packets each way get lost, by chance."""
        for run in (self.server, self.client):
            run(f"iptables -A INPUT -i {_WIRE} -m statistic --mode random --probability {probability} -j DROP")

    def drop(self, what: str = "") -> None:
        """Nothing that comes to the registry is answered, or nothing of `what` (words of iptables)."""
        self.server(" ".join(f"iptables -A INPUT -i {_WIRE} {what} -j DROP".split()))

    def pass_again(self) -> None:
        """What `lossy` and `drop` did is over."""
        for run in (self.server, self.client):
            run("iptables -F INPUT")

    def gone(self) -> None:
        """The registry's machine loses its address."""
        self.server(f"ip addr del {SERVER}/24 dev {_WIRE}")

    def back(self) -> None:
        """It has it again."""
        self.server(f"ip addr add {SERVER}/24 dev {_WIRE}")
        self.client(f"ip neigh flush dev {_WIRE}")

    def unplug(self) -> None:
        """The client's end of the wire goes down."""
        self.client(f"ip link set {_WIRE} down")

    def plug(self) -> None:
        """It is up again."""
        self.client(f"ip link set {_WIRE} up")

    def listen(self, kind: socket.SocketKind = socket.SOCK_STREAM, port: int = 0) -> socket.socket:
        """A socket of this process at the registry's address."""

        def make() -> socket.socket:
            opened = socket.socket(socket.AF_INET, kind)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Little lies about on the way, so that what was sent is about what came.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
            opened.bind((SERVER, port))
            if kind == socket.SOCK_STREAM:
                opened.listen(64)
            return opened

        return _in_network(self._holders[0].pid, make)

    def resolve_by(self, text: str, folder: Path) -> None:
        """The client's /etc/resolv.conf."""
        file = folder / "resolv.conf"
        file.write_text(text)
        self.client(f"mount --bind {file} /etc/resolv.conf")

    def stop(self) -> None:
        for holder in self._holders:
            holder.communicate()


def _holder() -> subprocess.Popen[bytes]:
    """A process with a network of its own, which ends with ours."""
    argv = ["unshare", "--net", "--mount", "sh", "-c", "echo; exec cat"]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.read(1), "no network of its own can be made"
    return holder


def _in_network(pid: int, action: Callable[[], T]) -> T:
    """What a thread does that has changed into the network of a process; its sockets stay there."""
    made: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/proc/{pid}/ns/net").open() as there:
                assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            made.append(action())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


class Relay:
    """Passes connections of a listener on to `target`. `passed` counts the bytes that went to clients, `cuts` the
    connections that were reset: each after as many bytes of answers as `cut` says (None: never).
    """

    def __init__(self, listener: socket.socket, target: str, cut: Callable[[], int | None] = lambda: None) -> None:
        self.address = "{}:{}".format(*listener.getsockname())
        self.passed = self.cuts = self.connections = 0
        self._listener, self._cut = listener, cut
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.held = threading.Event()
        """Set once a connection is held."""
        self._most: int | None = None
        self._go = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, most: int) -> None:
        """Each connection waits for `let_go` once it has passed so many bytes of answers."""
        self.held.clear()
        self._go.clear()
        self._most = most

    def let_go(self) -> None:
        """Nothing is held any more."""
        self._most = None
        self._go.set()

    def ref(self, name: str) -> str:
        """The full reference of a name behind the relay."""
        return f"{self.address}/{name}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                registry = socket.create_connection(self._target)
                with self._lock:
                    self.connections += 1
                    self._open += [client, registry]
                threading.Thread(target=self._ask, args=(client, registry), daemon=True).start()
                threading.Thread(target=self._answer, args=(registry, client, self._cut()), daemon=True).start()

    def _ask(self, client: socket.socket, registry: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                registry.sendall(data)
        _shut(registry)

    def _answer(self, registry: socket.socket, client: socket.socket, left: int | None) -> None:
        came = 0
        with contextlib.suppress(OSError):
            while data := registry.recv(1 << 14):
                if self._most is not None and came >= self._most:
                    self.held.set()
                    self._go.wait()
                came += len(data)
                part = data if left is None else data[:left]
                client.sendall(part)
                with self._lock:
                    self.passed += len(part)
                if left is not None:
                    left -= len(part)
                    if not left:
                        with self._lock:
                            self.cuts += 1
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        client.shutdown(socket.SHUT_RD)  # whoever reads it holds it open
                        client.close()
                        break
        _shut(client)
        _shut(registry)

    def stop(self) -> None:
        """Take no further connections, and end those that there are."""
        self.let_go()
        for each in (self._listener, *self._open):
            _shut(each)
            each.close()


def random_cuts(seed: int, low: int, high: int) -> Callable[[], int]:
    """So many bytes until a connection is cut, by chance."""
    chance = random.Random(seed)
    return lambda: chance.randint(low, high)


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


class Resolver:
    """A name server at the registry's address that answers questions for addresses with `say`, or not at all.

    `say` is an error's number (RFC 1035, 4.1.1: 2 SERVFAIL, 3 NXDOMAIN), addresses, or None for silence. `asked`
    counts the questions.
    """

    def __init__(self, networks: JoinedNetworks, say: int | Sequence[str] | None) -> None:
        self.asked = 0
        self._say = say
        self._socket = networks.listen(socket.SOCK_DGRAM, 53)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, sender = self._socket.recvfrom(4096)
                if not question:  # shut
                    return
                self.asked += 1
                if self._say is not None:
                    self._socket.sendto(_answer_to(question, self._say), sender)

    def stop(self) -> None:
        _shut(self._socket)
        self._socket.close()


def _answer_to(question: bytes, say: int | Sequence[str]) -> bytes:
    end = question.index(b"\0", 12) + 5
    asked, kind = question[12:end], question[end - 4 : end - 2]
    addresses = [] if isinstance(say, int) or kind != b"\0\1" else [socket.inet_aton(each) for each in say]
    flags = 0x8180 | (say if isinstance(say, int) else 0)
    head = question[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(addresses).to_bytes(2, "big") + bytes(4)
    records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + each for each in addresses)
    return head + asked + records
