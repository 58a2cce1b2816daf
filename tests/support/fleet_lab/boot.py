"""The first process of a device: makes its namespaces and its root, starts its daemons, and waits for orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
from pathlib import Path
from typing import NoReturn

from polyarch.container import syscalls
from polyarch_platforms import architecture, binfmt
from polyarch_platforms.platform import parse
from polyarch_platforms.qemu import QemuBinary
from support.fleet_lab import groups
from support.fleet_lab.files import PLACES
from support.fleet_lab.kinds import PLATFORMS
from support.fleet_lab.spec import Folders, Spec

MS_PRIVATE, _MNT_DETACH = 0x40000, 2  # Linux, include/uapi/linux/mount.h, include/linux/fs.h
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse")
_libc = ctypes.CDLL(None, use_errno=True)

DAEMONS = {"docker": ("dockerd",), "containerd": ("containerd",)}
"""Engine -> the words of its daemon."""


def environment(spec: Spec) -> dict[str, str]:
    """What programs of the device start with."""
    return {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **dict(spec.variables)}


def boot(spec: Spec, folders: Folders, supervisor: socket.socket) -> NoReturn:
    """Never returns. It is the first process of a new PID namespace; the supervisor hears `network`, then `users` from
    an emulated one, then `running`, or what failed, and lets it go on after each of the first two.
    """
    try:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        _boot(spec, folders, supervisor)
        for words in _daemons(spec):
            _start(words, spec)
        supervisor.send(b"running")
        supervisor.close()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            try:
                os.wait()
            except ChildProcessError:
                signal.sigwait({signal.SIGCHLD})
    except BaseException as error:
        with contextlib.suppress(OSError):
            supervisor.send(f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(1)


def _boot(spec: Spec, folders: Folders, supervisor: socket.socket) -> None:
    syscalls.die_with_parent()
    os.setsid()
    emulated = bool(spec.emulator)
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWNET)
    syscalls.mount("none", "/", None, syscalls.MS_REC | MS_PRIVATE)
    _ask(supervisor, b"network")
    if not emulated:
        syscalls.unshare(groups.CLONE_NEWCGROUP)
    socket.sethostname(spec.name)
    _mounts(spec, folders)
    registration = _registration(spec) if emulated else b""
    # Linux, pivot_root(2), NOTES: the old root lies over the new one, and goes.
    os.chdir(folders.root)
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    unmount(Path())
    os.chdir("/")
    if emulated:
        # sshd's port is below 1024, and this network belongs to the machine's user namespace.
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        _ask(supervisor, b"users")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.die_with_parent()
        # The private table, which lives as long as this mount of it.
        binfmt.mount()
        binfmt.register(registration)


def _ask(supervisor: socket.socket, what: bytes) -> None:
    supervisor.send(what)
    if supervisor.recv(16) != b"go":
        raise OSError(f"the supervisor does not go on after {what.decode()}")


def _registration(spec: Spec) -> bytes:
    """The line for a private emulation. The emulator is opened where it lies, and taken from there."""
    known = architecture.load()[parse(PLATFORMS[spec.kind.architecture]).architecture]
    opened = os.open(spec.emulator, os.O_RDONLY | os.O_CLOEXEC)
    flags = QemuBinary(Path(spec.emulator), static=True).flags
    return binfmt.register_line(known, f"/proc/self/fd/{opened}", flags)


def _mounts(spec: Spec, folders: Folders) -> None:
    root = folders.root
    data = f"lowerdir={spec.lower},upperdir={folders.upper},workdir={folders.work}"
    syscalls.mount("overlay", root, "overlay", 0, data)
    syscalls.mount("proc", root / "proc", "proc", syscalls.SEALED)
    with contextlib.suppress(OSError):  # in some containers none can be mounted, and little is asked of it
        syscalls.mount("sysfs", root / "sys", "sysfs", syscalls.SEALED)
        if not spec.emulator:
            groups.mount_own(root / "sys/fs/cgroup")
    _devices(root / "dev")
    for name, mode in (("run", "0755"), ("tmp", "1777")):
        syscalls.mount("tmpfs", root / name, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, f"mode={mode}")
    for name in ("run/sshd", "run/lock"):
        (root / name).mkdir(mode=0o755)
    place = root / PLACES[spec.kind.engine]
    syscalls.mount(str(folders.store), place, None, syscalls.MS_BIND)
    if spec.kind.board:
        syscalls.mount(str(root / "etc/cpuinfo"), root / "proc/cpuinfo", None, syscalls.MS_BIND)


def _devices(dev: Path) -> None:
    syscalls.mount("tmpfs", dev, "tmpfs", syscalls.MS_NOSUID, "mode=0755")
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    for name in _DEVICES:
        if (Path("/dev") / name).exists():
            (dev / name).touch()
            syscalls.mount(f"/dev/{name}", dev / name, None, syscalls.MS_BIND)
    syscalls.mount("devpts", dev / "pts", "devpts", syscalls.MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620")
    syscalls.mount("tmpfs", dev / "shm", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (dev / name).symlink_to(target)


def _daemons(spec: Spec) -> list[tuple[str, ...]]:
    sshd = [("/usr/sbin/sshd", "-D", "-e")] if spec.kind.listens else []
    return [*(words for engine, words in DAEMONS.items() if engine == spec.kind.engine), *sshd]


def _start(words: tuple[str, ...], spec: Spec) -> None:
    """A daemon of the device's own, with its log in /var/log there."""
    if os.fork() == 0:
        try:
            log = os.open(f"/var/log/{Path(words[0]).name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open("/dev/null", os.O_RDONLY)
            for old, new in ((null, 0), (log, 1), (log, 2)):
                os.dup2(old, new)
            os.closerange(3, 1024)
            os.execvpe(words[0], words, environment(spec))
        finally:
            os._exit(127)


def unmount(place: Path) -> None:
    """Takes a mount away from where it is; it is gone with its last user. Raises OSError."""
    _checked(_libc.umount2(os.fsencode(place), _MNT_DETACH), f"umount {place}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
