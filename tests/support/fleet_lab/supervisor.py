"""The process that holds a lab: its devices, its network and its file system in memory are gone when it ends.

It is told what to do in lines of JSON on standard input, answers each with a line, and takes all down when that input
ends, whoever ended it. A device is killed with its supervisor, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from polyarch.container import syscalls
from support.fleet_lab import boot, files, groups, network
from support.fleet_lab.spec import Folders, Spec


class Supervisor:
    """`folder` is the lab's; `parent` the process whose network the lab's is tied to."""

    def __init__(self, folder: Path, parent: int) -> None:
        self._folder = folder
        self._disk = folder / "disk"
        self._parent = parent
        self._running: dict[str, tuple[int, Spec]] = {}
        """Name -> the ID of the first process, and what it was started as."""
        self._pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
        syscalls.mount("none", "/", None, syscalls.MS_REC | boot.MS_PRIVATE)
        self._disk.mkdir()
        syscalls.mount("polyarch-lab", self._disk, "tmpfs", 0, "mode=0755")
        self.network = network.claim(parent)
        self._group = f"polyarch-lab-{self.network.number}"

    def start(self, spec: Spec) -> int:
        """Starts a device; the first time its files are made. The ID of its first process. Raises OSError."""
        folders = Folders(self._disk / spec.name)
        if not folders.top.exists():
            files.write_files(spec, folders)
            if spec.kind.store:
                syscalls.mount("polyarch-lab", folders.store, "tmpfs", 0, f"mode=0755,size={spec.kind.store}")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.close(self._pids)
            null = os.open("/dev/null", os.O_RDWR)
            for standard in (0, 1):
                os.dup2(null, standard)
            boot.boot(spec, folders, theirs)
        syscalls.enter(self._pids)
        theirs.close()
        self._running[spec.name] = pid, spec
        with ours:
            while (said := ours.recv(4096)) != b"running":
                if said == b"network":
                    network.attach(spec.number, pid, spec.address, spec.gateway)
                    if not spec.emulator:
                        groups.place(pid, f"{self._group}/{spec.name}")
                elif said == b"users":
                    for name in ("uid_map", "gid_map"):
                        Path(f"/proc/{pid}/{name}").write_text("0 0 4294967295\n")
                else:
                    self.stop(spec.name)
                    raise OSError(f"{spec.name}: {said.decode() or 'it ended while it started'}")
                ours.send(b"go")
        return pid

    def stop(self, name: str) -> None:
        """Kills a device, as if its plug were pulled; what is on its disk stays."""
        if name in self._running:
            pid, spec = self._running.pop(name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # the whole namespace is gone then (pid_namespaces(7))
            groups.remove(f"{self._group}/{name}")
            with contextlib.suppress(network.NetworkError):  # it may be gone by now
                network.detach(spec.number, spec.address, self._parent)

    def close(self) -> None:
        """Takes all down."""
        for name in list(self._running):
            self.stop(name)
        groups.remove(self._group)
        with contextlib.suppress(network.NetworkError):
            network.release()
        boot.unmount(self._disk)
        shutil.rmtree(self._folder, ignore_errors=True)

    def do(self, request: Mapping[str, str]) -> Mapping[str, object]:
        """One line's work."""
        if "start" in request:
            return {"pid": self.start(Spec.load(request["start"]))}
        if "attach" in request:
            number, address = int(request["number"]), request["address"]
            network.attach(number, int(request["attach"]), address, self.network.gateway)
            return {}
        self.stop(request["stop"])
        return {}


def main(folder: Path, parent: int) -> None:
    """Serves until standard input ends."""
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C is for who started it
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        supervisor = Supervisor(folder, parent)
    except (OSError, network.NetworkError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    try:
        print(json.dumps({"network": supervisor.network.number}), flush=True)
        for line in sys.stdin:
            try:
                answer = supervisor.do(json.loads(line))
            except (OSError, network.NetworkError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        supervisor.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
