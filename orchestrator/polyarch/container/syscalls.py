"""System calls that Python 3.11 has no name for, by the C library. Each raises OSError as Python's own do."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Mapping

# Linux, include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

# Linux, include/uapi/linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
SEALED = MS_NOSUID | MS_NODEV | MS_NOEXEC
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19
_MNT_DETACH = 2

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_FLAGS = 0x14  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_SYMLINKS
_MOUNT_ATTR_RDONLY = 1
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6

# Linux, include/uapi/asm-generic/unistd.h; calls as young as these have one number on every architecture but Alpha
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_FSOPEN = 430
_FSCONFIG = 431
_FSMOUNT = 432
_MOUNT_SETATTR = 442
_X32_GETPID = 0x40000000 + 39  # Linux, arch/x86/include/uapi/asm/unistd.h

# Linux, include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_PR_SET_CHILD_SUBREAPER = 36
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2

# Linux, include/uapi/linux/capability.h
_CAPABILITY_VERSION_3 = 0x20080522
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SYS_CHROOT = 18
CAP_SETFCAP = 31

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _descriptor(result: int, what: str) -> int:
    _checked(0 if result >= 0 else result, what)
    return result


def unshare(flags: int) -> None:
    """New namespaces for this process (CLONE_NEWPID: for its children)."""
    _checked(_libc.unshare(flags), "unshare")


def enter(namespace: int) -> None:
    """Go into the namespace that this open file is (CLONE_NEWPID: this process's children do)."""
    _checked(_libc.setns(namespace, 0), "setns")


def enter_mounts(process: int) -> None:
    """Go into the mount namespace of the process that this pidfd is; root and working directory are that's (setns(2),
    Linux 5.8).
    """
    _checked(_libc.setns(process, CLONE_NEWNS), "setns")


def mount(source: str, target: str | os.PathLike[str], kind: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            os.fsencode(data) if data else None,
        ),
        f"mount {os.fspath(target)}",
    )


def unmount(target: str | os.PathLike[str]) -> None:
    """Take away what is mounted there, and in it; who has it open, or lies above it, keeps it (umount2(2))."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"unmount {os.fspath(target)}")


def detached_mount(kind: str, options: Mapping[str, str], attributes: int) -> int:
    """A file system mounted nowhere, as the descriptor of its root directory; it goes when that is closed.

    `attributes` are MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC (mount.h gives MOUNT_ATTR_… the same numbers). No option
    has more than 255 bytes.
    """
    context = _descriptor(_libc.syscall(_FSOPEN, kind.encode(), _FSOPEN_CLOEXEC), "fsopen")
    try:
        for name, value in options.items():
            done = _libc.syscall(_FSCONFIG, context, _FSCONFIG_SET_STRING, name.encode(), os.fsencode(value), 0)
            _checked(done, f"fsconfig {name}")
        if attributes & MS_RDONLY:
            _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_SET_FLAG, b"ro", None, 0), "fsconfig ro")
        _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig")
        return _descriptor(_libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), "fsmount")
    finally:
        os.close(context)


def write_protect(file: str | os.PathLike[str]) -> None:
    """In a mount namespace of one's own: nobody can open the file by this path for writing, nor what is executed by it.

    Unlike a remount, it needs to know nothing of the flags that the mount below has (mount_setattr(2), Linux 5.12).
    """
    path = os.fsencode(file)
    tree = _descriptor(_libc.syscall(_OPEN_TREE, _AT_FDCWD, path, _OPEN_TREE_CLONE | os.O_CLOEXEC), "open_tree")
    try:
        attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        _checked(_libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, size), "mount_setattr")
        _checked(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path, _MOVE_MOUNT_FLAGS), "move_mount")
    finally:
        os.close(tree)


def clone_mount(path: str | os.PathLike[str]) -> int:
    """What is mounted there once more, mounted nowhere, as the descriptor of its root; it goes when that is closed."""
    tree = _libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    return _descriptor(tree, "open_tree")


def attach(tree: int, target: str | os.PathLike[str]) -> None:
    """Mount what is mounted nowhere yet."""
    done = _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _checked(done, f"move_mount {os.fspath(target)}")


def file_system(file: int) -> int:
    """What kind of file system an open file is on, as its magic number (statfs(2))."""
    long = ctypes.c_uint if os.uname().machine == "s390x" else ctypes.c_ulong
    answer = (long * 64)()  # more than a struct statfs has; its first field is the number
    _checked(_libc.fstatfs(file, answer), "statfs")
    return int(answer[0]) & 0xFFFFFFFF


def mounts_to_slaves() -> None:
    """Nothing that this mount namespace mounts is seen outside; what the host mounts or unmounts is seen here."""
    mount("none", "/", None, MS_REC | MS_SLAVE)


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0), "prctl")


def kernel_filters() -> bool:
    """Whether the kernel knows filters of system calls: it then looks for the one that is not given (prctl(2))."""
    _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def executes_x32() -> bool:
    """Whether this kernel, of an x86_64, has the system calls of x32 as well; True where to ask might be punished."""
    filtered = _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) != 0
    return filtered or bool(_libc.syscall(_X32_GETPID) > 0)


def adopt_orphans(on: bool) -> None:
    """Children of ended children become this process's own, instead of init's."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0), "prctl")


def keep_capabilities(capabilities: tuple[int, ...]) -> None:
    """Let the programs that this process executes have these capabilities, whoever its user is."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()  # twice effective, permitted, inheritable: bits 0-31, then 32-63
    _checked(_libc.capget(header, data), "capget")
    for number in capabilities:
        data[2 + 3 * (number // 32)] |= 1 << number % 32
    _checked(_libc.capset(header, data), "capset")
    for number in capabilities:
        _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0), "prctl")
