"""Starting a program in new namespaces: who is whose parent, who writes which ID map, and how a failure comes back.

::

    this process ──fork── first ──fork── last ── execve(program)
                            │              │
                            │              └─ process 1 of a new PID namespace: when it ends, all in it end
                            └─ new user namespace (ordinary user); ends once `last` is there

`last` becomes a child of this process, dies with it (SIGKILL too), and takes every mount and process inside with it.
Without a PID namespace `first` is `last`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Self, TypeAlias

from polyarch.container import syscalls
from polyarch.container.id_maps import IdMaps
from polyarch.container.refusals import no_user_namespace
from polyarch.errors import HostError, PolyarchError
from polyarch_platforms.lazy_dataclass import dataclass

_Mask: TypeAlias = set[int] | set[signal.Signals]
_ANSWER = b"g"
_MAX_MESSAGE = 1 << 16
_CHILD, _MAP, _READY, _FAILED = b"c", b"m", b"r", b"f"
"""What a child says first: its child's process ID comes, or it wants IDs, or it lives, or a pickled failure comes."""
FORWARDED = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))
"""Signals that are passed on to the program."""
HEARD = FORWARDED | {signal.SIGCHLD, signal.SIGWINCH}
"""Signals that are blocked from before the start, so that none is lost."""
SI_KERNEL = 0x80  # Linux, siginfo.h: sent by the kernel; for these signals, by the terminal to all of its processes


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, and in what.

    `joined`: the process whose namespaces are entered; then none is made, and `mounts` is not called.
    `outer`: a user namespace around all. `inner`: one that begins after `mounts`, which prepares the mount namespace;
    with None there is no mount namespace, which needs no right if there is none of the others either.
    `command` does the last things and gives the words to execute; with an `environment`, which it may fill, the first
    one is a path. `own_group`: what is typed (Ctrl-C) does not reach
    the program by the terminal; it is passed on as every signal is. `resized` is called when the terminal's size has
    changed.
    """

    command: Callable[[], Sequence[str]]
    mounts: Callable[[], None] | None = lambda: None
    joined: int | None = None
    outer: IdMaps | None = None
    inner: IdMaps | None = None
    pid_namespace: bool = True
    environment: dict[str, str] | None = None
    own_group: bool = False
    resized: Callable[[], None] = lambda: None

    def run(self, started: Callable[[int], None] = lambda pid: None) -> int:
        """Start it, pass signals on, wait for its end; the wait status. `started` is given its process ID.

        Raises what `mounts` or `command` raised, HostError where a namespace is refused, OSError of execve.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        try:
            child = self.start(before)
            try:
                started(child)
                return self._wait(child)
            except BaseException:
                _end(child)
                raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _wait(self, child: int) -> int:
        """Wait for `child` and pass signals on to it, but none that the terminal gave to both; the wait status."""
        while threading.current_thread() is threading.main_thread():
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            heard = signal.sigwaitinfo(HEARD)
            if heard.si_signo == signal.SIGWINCH:
                self.resized()
            elif heard.si_signo in FORWARDED and (self.own_group or heard.si_code != SI_KERNEL):
                os.kill(child, heard.si_signo)
        return os.waitpid(child, 0)[1]

    def start(self, mask: _Mask) -> int:
        """Start it, with signals masked as `mask` says; its process ID, once it executes or has ended."""
        ours, theirs = _channel()
        if self.pid_namespace:
            syscalls.adopt_orphans(True)  # before the fork: the first child may end, and leave the last one, at once
        try:
            with ours, theirs:
                first = os.fork()
                if first == 0:
                    ours.close()
                    _Child(self, theirs, mask).first()
                theirs.close()
                return self._guided(first, ours)
        finally:
            if self.pid_namespace:
                syscalls.adopt_orphans(False)

    def _guided(self, child: int, channel: _Channel) -> int:
        """Do for the children what only this process can; the process ID of the last one once it executes."""
        try:
            while message := channel.receive():
                kind, value = message[:1], message[1:]
                if kind == _FAILED:
                    raise _told(value + channel.rest())
                if kind == _MAP:
                    assert self.outer is not None
                    self.outer.write(child)
                elif kind == _CHILD:
                    os.waitpid(child, 0)
                    child = int(value)
                channel.send(_ANSWER)
            return child
        except KeyboardInterrupt:
            channel.close()  # nothing is answered any more
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
        except BaseException:
            _end(child)
            raise


class _Channel:
    """One end of two pipes between a process and its child, each of which waits for the other's answer.

    Nothing more comes where all other ends are closed: the child executes its program, has ended, or is alone.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._files = [incoming, outgoing]

    def send(self, message: bytes) -> None:
        """Raises OSError where nobody is there."""
        while message:
            message = message[os.write(self._files[1], message) :]

    def receive(self) -> bytes:
        """The message, or its beginning; nothing where nothing more comes."""
        return os.read(self._files[0], _MAX_MESSAGE)

    def rest(self) -> bytes:
        """All that comes until nothing more does."""
        return b"".join(iter(self.receive, b""))

    def close(self) -> None:
        """Let go of it; it may be called again."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _channel() -> tuple[_Channel, _Channel]:
    """Both ends, which no executed program keeps."""
    (here, there), (back, forth) = os.pipe(), os.pipe()
    return _Channel(here, forth), _Channel(back, there)


def _told(data: bytes) -> BaseException:
    """What a child raised."""
    import pickle

    return unpacked(pickle.loads(data))


class _Child:
    """What runs between the first fork and the program."""

    def __init__(self, launch: Launch, channel: _Channel, mask: _Mask) -> None:
        self._launch = launch
        self._channel = channel
        self._mask = mask

    def first(self) -> NoReturn:
        try:
            if self._launch.joined is not None:
                _join(self._launch.joined)
            elif self._launch.outer is not None:
                self._unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
                self._ask(_MAP)
            if self._launch.pid_namespace:
                if self._launch.joined is None:
                    self._unshare(syscalls.CLONE_NEWPID)
                last = os.fork()
                if last:
                    self._channel.send(b"%b%d" % (_CHILD, last))
                    os._exit(0)
                self._await_answer()
            self._last()
        except BaseException as error:
            self._fail(error)

    def _last(self) -> NoReturn:
        launch = self._launch
        if launch.own_group:
            os.setpgid(0, 0)
        syscalls.die_with_parent()
        self._ask(_READY)  # the parent was there after this process had bound its life to it
        if launch.mounts is not None:
            self._unshare(syscalls.CLONE_NEWNS)
            syscalls.mounts_to_slaves()
            launch.mounts()
        if launch.inner is not None:
            self._enter(launch.inner)
        argv = launch.command()
        syscalls.die_with_parent()  # other rights may have undone it
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python
            signal.signal(number, signal.SIG_DFL)
        if signal.sigpending() & FORWARDED:
            raise KeyboardInterrupt
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if launch.environment is None:
            os.execvp(argv[0], list(argv))
        os.execve(argv[0], list(argv), launch.environment)

    def _enter(self, maps: IdMaps) -> None:
        """A further user namespace; a child that stays behind writes its IDs, as only the namespace above may."""
        pid = os.getpid()
        ours, theirs = _channel()
        with ours, theirs:
            helper = os.fork()
            if helper == 0:
                ours.close()
                os._exit(_written(maps, pid, theirs))
            theirs.close()
            self._unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            ours.send(_ANSWER)
            said = ours.receive()
            if os.waitpid(helper, 0)[1] != 0:
                raise HostError(said.decode("utf-8", "replace") or "no IDs for a user namespace")

    def _unshare(self, flags: int) -> None:
        try:
            syscalls.unshare(flags)
        except OSError as error:
            raise no_user_namespace(error) from error

    def _ask(self, kind: bytes) -> None:
        self._channel.send(kind)
        self._await_answer()

    def _await_answer(self) -> None:
        if self._channel.receive() != _ANSWER:
            os._exit(1)  # the parent is gone

    def _fail(self, error: BaseException) -> NoReturn:
        try:
            import pickle

            self._channel.send(_FAILED + pickle.dumps(packed(error)))
        finally:
            os._exit(1)


def _join(pid: int) -> None:
    """Go into a process's namespaces; only children of this process are in its PID namespace.

    Raises HostError where it has ended, or is not this user's.
    """
    own, its = Path("/proc/self/ns"), Path(f"/proc/{pid}/ns")
    try:
        # All are opened before the first is entered: afterwards /proc is another one.
        others = [name for name in ("pid", "user", "mnt") if not (its / name).samefile(own / name)]
        files = {name: os.open(its / name, os.O_RDONLY | os.O_CLOEXEC) for name in others}
        # Who made the PID namespace has the right to it: root before it enters the user namespace, others in there.
        if os.geteuid() != 0:
            files["pid"] = files.pop("pid")
        for file in files.values():
            syscalls.enter(file)
    except OSError as error:
        raise HostError(f"the namespaces of process {pid} cannot be entered: {error.strerror}") from error


def _written(maps: IdMaps, pid: int, channel: _Channel) -> int:
    """0 once the IDs are written; 1 with the reason on the channel."""
    if channel.receive() != _ANSWER:
        return 1
    try:
        maps.write(pid)
    except HostError as error:
        channel.send(error.message.encode())
        return 1
    return 0


def _end(child: int) -> None:
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def call_inside(maps: IdMaps, function: Callable[[], None]) -> None:
    """Call `function` in a child in a user namespace with these IDs; what it raises is raised here.

    An interruption here (KeyboardInterrupt) is one there, too, so that it can tidy up.
    """

    def command() -> Sequence[str]:
        function()
        os._exit(0)

    launch = Launch(command, outer=maps, pid_namespace=False)
    child = launch.start(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    if os.waitpid(child, 0)[1] != 0:
        raise HostError("a part of polyarch was killed", "try again")


_Packed = tuple[type[BaseException], tuple[object, ...], dict[str, object]]


def packed(error: BaseException) -> _Packed:
    """An exception as its type and arguments: those with names do not survive pickling."""
    if isinstance(error, PolyarchError):
        return type(error), (error.message, error.hint), dict(error.details)
    if isinstance(error, OSError):
        return OSError, (error.errno, error.strerror, error.filename), {}
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt, (), {}
    import traceback

    return RuntimeError, ("".join(traceback.format_exception(error)),), {}


def unpacked(packed: _Packed) -> BaseException:
    kind, arguments, details = packed
    return kind(*arguments, **details)
