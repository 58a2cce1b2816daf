"""Starting an image's program without an OCI runtime, where polyarch itself runs under an emulator.

QEMU's user mode lets none work: it gives clone(2) no namespaces (linux-user/syscall.c, CLONE_INVALID_FORK_FLAGS), and
the kernel gives a process with threads, as QEMU is, no user namespace (user_namespaces(7)). unshare(2) of the others,
mounts and chroot(2) work. So the program gets those namespaces and a root of its own, and no walls beyond: whoever may
do something in the machine that is emulated may do it here.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polyarch.container import syscalls
from polyarch.container.emulation import exit_code
from polyarch.container.etc_files import write_etc_files
from polyarch.container.launch import Launch
from polyarch.container.overlay import mount_overlay
from polyarch.container.programs import Program, check_program
from polyarch.container.request import RunRequest, Volume
from polyarch.container.rights import Rights
from polyarch.container.spec import environment_of, working_directory, write_spec
from polyarch.container.state import Container
from polyarch.container.users import User, user_inside
from polyarch.contract.storage import Image
from polyarch.errors import HostError, UsageError
from polyarch.unpack.beneath import Root

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


@dataclass(frozen=True, slots=True)
class BareStart:
    """What is needed to start a program so; the fields are those of `Start`."""

    request: RunRequest
    image: Image
    variables: Mapping[str, str]
    volumes: Sequence[Volume]
    rights: Rights
    layers: Sequence[Path]
    container: Container
    environment: dict[str, str] = field(default_factory=dict)

    def to_its_end(self) -> int:
        """Start it on this process's input and output, pass signals on, wait; the exit code.

        This process's later children would be in the program's PID namespace: it has none.
        """
        flags = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
        with contextlib.ExitStack() as stack:
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, nothing)
            try:
                syscalls.unshare(flags | (syscalls.CLONE_NEWNET if self.request.network == "none" else 0))
                launch = Launch(
                    lambda: self._command(nothing),
                    self._mounts,
                    pid_namespace=False,  # this process has it made already: it is the only parent there can be
                    environment=self.environment,
                    own_group=not self.request.tty,
                )
                code = exit_code(launch.run(self.container.started))
            except OSError as error:
                raise HostError(f"the program cannot be started: {error.strerror}") from error
        self.container.ended(code)
        return code

    def _mounts(self) -> None:
        directory = self.container.directory
        places = (directory / "upper", directory / "work", directory / "rootfs")
        (directory / "upper").chmod(self.layers[0].stat().st_mode & 0o7777 if self.layers else 0o755)
        mount_overlay(self.layers, *places, self.rights.flavour, volatile=self.request.rm)

    def _command(self, nothing: int) -> Sequence[str]:
        """In the new namespaces: the root, what is mounted in it, the user; then the words to execute."""
        request, config, directory = self.request, self.image.config, self.container.directory
        rootfs = Root(directory / "rootfs")
        user = user_inside(request.user or config.user, rootfs, None)
        hostname = request.hostname or socket.gethostname()
        self.environment.update(environment_of(config, self.variables, user, hostname, tty=request.tty))
        workdir = working_directory(request, config)
        targets = [volume.target for volume in self.volumes]
        command = self.container.record.command
        program = check_program(command, self.environment["PATH"], workdir, rootfs, volumes=targets)
        files = write_etc_files(directory / "etc", hostname, request.network)
        self._change_root(directory / "rootfs", files)
        socket.sethostname(hostname)
        if not (request.interactive or request.tty):
            os.dup2(nothing, 0)
        Path(workdir).mkdir(parents=True, exist_ok=True)
        if request.read_only:
            syscalls.mount("none", "/", None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY)
        os.chdir(workdir)
        _become(user)
        return _words(command, program)

    def _change_root(self, rootfs: Path, files: Mapping[str, Path]) -> None:
        """Sources are opened outside, targets are found inside: no symlink of the image leads out."""
        binds = [("/dev", Path("/dev"), False), ("/sys", Path("/sys"), True)]
        binds += [(target, source, False) for target, source in files.items()]
        binds += [(volume.target, volume.source, volume.read_only) for volume in self.volumes]
        # As much of a runtime's spec as `diff` asks: what is mounted is no change.
        mounts = [{"destination": target} for target in ("/proc", *(target for target, _, _ in binds))]
        write_spec(self.container.directory / "config.json", {"mounts": mounts})
        opened = [(target, source.is_dir(), os.open(source, os.O_PATH), ro) for target, source, ro in binds]
        os.chroot(rootfs)
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
                syscalls.mount("none", target, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY)
            os.close(file)


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
