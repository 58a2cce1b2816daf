"""Code run in a child process with namespaces of its own, so that it may mount and register what it likes."""

from __future__ import annotations

import ctypes
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MNT_DETACH = 2
_MS_REC_PRIVATE = 0x4000 | 0x40000
_NOBODY = 65534


class CannotIsolate(Exception):
    """This machine gives nobody a user namespace; the message says why."""


def isolated(action: Callable[[], T]) -> T:
    """Runs the action as root of a new user and mount namespace, and hands back what it returned.

    A private binfmt_misc can be mounted there (Linux >= 6.7); the machine's own table is not in reach. What fails in
    the action, assertions included, fails here. Raises CannotIsolate.
    """
    return _in_child(lambda: _in_namespaces(action))


def own_mounts(action: Callable[[], T]) -> T:
    """Runs the action in a child with a mount namespace of its own, as root without a user namespace."""

    def mounting() -> tuple[str, T]:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(_CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
        libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None)
        return "returned", action()

    value: T = _in_child(mounting)
    return value


def without_privilege(action: Callable[[], T]) -> T:
    """Runs the action as the user `nobody`, if we are root."""

    def as_nobody() -> tuple[str, T]:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        return "returned", action()

    return _in_child(as_nobody)


def _in_child(action: Callable[[], tuple[str, Any]]) -> Any:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = action()
        except BaseException:
            answer = ("failed", traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        kind, value = pickle.load(pipe)
    os.waitpid(child, 0)
    if kind == "cannot":
        raise CannotIsolate(value)
    assert kind == "returned", value
    return value


def _in_namespaces(action: Callable[[], T]) -> tuple[str, Any]:
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if user == 0 and libc.unshare(_CLONE_NEWNS) == 0:
        # What the machine has mounted there could not be taken away from inside a user namespace.
        libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None)
        while libc.umount2(b"/proc/sys/fs/binfmt_misc", _MNT_DETACH) == 0:
            pass
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        return "cannot", f"no user namespace: {os.strerror(ctypes.get_errno())}"
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        return "cannot", f"no user namespace with an identity map: {error}"
    libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None)
    return "returned", action()


def mount_tmpfs(path: Path) -> None:
    """An empty file system over the folder, for the rest of the isolated action."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount a tmpfs on {path}")
