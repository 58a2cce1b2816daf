"""Starting an image's program without an OCI runtime, where polyarch itself runs under an emulator.

QEMU's user mode lets none work: it gives clone(2) no namespaces (linux-user/syscall.c, CLONE_INVALID_FORK_FLAGS), and
the kernel gives a process with threads, as QEMU is, no user namespace (user_namespaces(7)). unshare(2) of the others,
mounts and chroot(2) work. So the program gets those namespaces and a root of its own, and no walls beyond: whoever may
do something in the machine that is emulated may do it here.
"""

from __future__ import annotations

import os
import pickle  # noqa: F401 - a failure is told by it, and inside there is no Python to load it from
import socket
import traceback  # noqa: F401
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from polyarch.container import syscalls
from polyarch.container.emulation import exit_code
from polyarch.container.launch import Launch
from polyarch.container.prepared import Prepared
from polyarch.container.programs import Program
from polyarch.container.request import RunRequest
from polyarch.container.spec import write_spec
from polyarch.container.users import User
from polyarch.errors import HostError, UsageError
from polyarch_platforms.lazy_dataclass import dataclass

WARNING = (
    "polyarch itself runs under an emulator, which lets no OCI runtime work: the program has namespaces and a root of "
    "its own, but a runtime's further walls are missing"
)


def check_bare(request: RunRequest) -> None:
    """UsageError for what cannot be had without a runtime."""
    if request.detach:
        raise UsageError("under an emulator no container goes on in the background", "leave out -d")
    if os.geteuid() != 0:
        raise HostError("under an emulator only root can start containers", "start polyarch as root there")
    if request.is_limited or request.cap_add or request.cap_drop or request.security_opts:
        raise UsageError(
            "under an emulator there is no runtime that holds a container to limits, capabilities or --security-opt",
            "leave them out",
        )


@dataclass(frozen=True, slots=True)
class BareStart:
    """What is needed to start a program so."""

    prepared: Prepared
    environment: dict[str, str] = field(default_factory=dict)

    def to_its_end(self) -> int:
        """Start it on this process's input and output, pass signals on, wait; the exit code.

        This process's later children would be in the program's PID namespace: it has none.
        """
        request, container = self.prepared.request, self.prepared.container
        flags = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
        launch = Launch(
            self._command,
            self.prepared.mount,
            pid_namespace=False,  # this process has it made already: it is the only parent there can be
            environment=self.environment,
            own_group=not request.tty,
        )
        try:
            syscalls.unshare(flags | (syscalls.CLONE_NEWNET if request.network == "none" else 0))
            code = exit_code(launch.run(container.started))
        except OSError as error:
            raise HostError(f"the program cannot be started: {error.strerror}") from error
        container.ended(code)
        return code

    def _command(self) -> Sequence[str]:
        """In the new namespaces: the root, what is mounted in it, the user; then the words to execute."""
        prepared, request = self.prepared, self.prepared.request
        inside = prepared.look_inside(os.sysconf("SC_PAGE_SIZE"))
        self.environment.update(inside.environment)
        if not (request.interactive or request.tty):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._change_root(inside.files)
        socket.sethostname(inside.hostname)
        Path(inside.workdir).mkdir(parents=True, exist_ok=True)
        if request.read_only:
            _write_protect("/")
        os.chdir(inside.workdir)
        _become(inside.user)
        return _words(prepared.container.record.command, inside.program)

    def _change_root(self, files: Mapping[str, Path]) -> None:
        """Sources are opened outside, targets are found inside: no symlink of the image leads out."""
        binds = [("/dev", Path("/dev"), False), ("/sys", Path("/sys"), True)]
        binds += [(target, source, False) for target, source in files.items()]
        binds += [(volume.target, volume.source, volume.read_only) for volume in self.prepared.words.volumes]
        # As much of a runtime's spec as `diff` asks: what is mounted is no change.
        mounts = [{"destination": target} for target in ("/proc", *(target for target, _, _ in binds))]
        write_spec(self.prepared.container.directory / "config.json", {"mounts": mounts})
        opened = [(target, source.is_dir(), os.open(source, os.O_PATH), ro) for target, source, ro in binds]
        os.chroot(self.prepared.rootfs)
        os.chdir("/")
        Path("/proc").mkdir(exist_ok=True)
        syscalls.mount("proc", "/proc", "proc", syscalls.SEALED)
        for target, is_directory, file, read_only in opened:
            place = Path(target)
            (place if is_directory else place.parent).mkdir(parents=True, exist_ok=True)
            if not is_directory:
                place.touch()
            syscalls.mount(f"/proc/self/fd/{file}", target, None, syscalls.MS_BIND | syscalls.MS_REC)
            if read_only:
                _write_protect(target)
            os.close(file)


def _write_protect(target: str) -> None:
    syscalls.mount("none", target, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY)


def _become(user: User) -> None:
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)


def _words(command: Sequence[str], program: Program | None) -> Sequence[str]:
    """With a path in front; of a script, its interpreter's words, as the kernel would start them."""
    if program is not None:
        return (program.path, *program.argv[1:])
    if "/" not in command[0]:
        raise UsageError(f"{command[0]!r} is to be looked for on a volume", "name it by its path")
    return command
