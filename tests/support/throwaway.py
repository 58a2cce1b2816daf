"""A throw-away copy of this machine: its files below an overlay in memory, in namespaces of its own.

Whatever is installed, removed, mounted, registered or forbidden there (packages, users, sysctls of user namespaces,
binfmt_misc on Linux >= 6.7) is not so here, and gone with it. Its root is that of a user namespace with the same IDs;
the network is the machine's own.

Run as a program, this file is the copy's first process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_ALL = "0 0 4294967295\n"
_CHECKOUT = Path(__file__).resolve().parents[2]
_USER = "alice"


class CannotCopy(Exception):
    """No copy of this machine can be made; the message says why."""


class ThrowawayMachine:
    """`run("apt install crun")` there. `disk` is a folder in memory that can hold an overlay's upper directory.

    Its user `alice` has subordinate IDs; `home` is hers.
    """

    home = Path("/home") / _USER

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split(" ", 1)
        if said[0] != "ready":
            self.stop()
            raise CannotCopy(" ".join(said).strip() or "its first process ended")
        self._pid = int(said[1])
        # What lies in root's home is closed to others, and may be the very Python that runs here.
        opened = {parent for path in (_CHECKOUT, Path(sys.executable).resolve()) for parent in path.parents}
        self.run(["chmod", "a+x", *sorted(map(str, opened))])
        self.run(["useradd", "--create-home", "--shell", "/bin/sh", _USER])

    def try_to(
        self,
        command: str | Sequence[str | Path],
        *,
        user: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        seconds: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Runs words, or a line for the shell, to their end: as root, or with `user` as alice."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        home = str(self.home) if user else "/root"
        variables = {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
        switch = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"] if user else []
        enter = ["nsenter", f"--target={self._pid}", "--user", "--mount", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *switch, *words], env=variables, input=stdin, capture_output=True, text=True, timeout=seconds
        )

    def run(self, command: str | Sequence[str | Path], *, user: bool = False, stdin: str = "") -> str:
        """The same for what has to succeed; its standard output."""
        done = self.try_to(command, user=user, stdin=stdin)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        """Ends every process there; mounts and files go with the last one."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: Path, kind: str | None, flags: int = 0, data: str = "") -> None:
    target.mkdir(parents=True, exist_ok=True)
    words = (source.encode(), os.fsencode(target), kind.encode() if kind else None)
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def _elsewhere() -> set[Path]:
    """What tests need and an overlay of the root file system alone does not show."""
    here = Path("/").stat().st_dev
    wanted = {_CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    return {path for path in wanted if path.stat().st_dev != here}


def _main(folder: Path) -> None:
    """Builds the copy and stays its first process's parent, until it is killed; says `ready PID` or why not."""
    try:
        _checked(_libc.prctl(1, signal.SIGKILL.value, 0, 0, 0), "prctl")  # PR_SET_PDEATHSIG
        _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
        _checked(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "mount /")
        memory, root = folder / "memory", folder / "memory" / "root"
        _mount("polyarch-test", memory, "tmpfs", 0, "mode=0755")
        for name in ("upper", "work", "disk"):
            (memory / name).mkdir()
        _mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work")
        for path in (Path("/dev"), Path("/sys"), *sorted(_elsewhere())):
            _mount(str(path), root / path.relative_to("/"), None, _MS_BIND | _MS_REC)
        _mount("none", root / "dev/shm", "tmpfs", 0, "mode=1777")
        _mount(str(memory / "disk"), root / (folder / "disk").relative_to("/"), None, _MS_BIND)
        for parent in (folder, *folder.parents):
            inside = root / parent.relative_to("/")
            inside.chmod(inside.stat().st_mode & 0o7777 | 0o555)
        _with_same_ids()
        ready_reader, ready_writer = os.pipe()
        first = os.fork()
        if first == 0:
            _first_process(root, ready_writer)
        os.close(ready_writer)
        said = os.read(ready_reader, 4096).decode()
        print(f"ready {first}" if said == "ready" else said or "its first process ended", flush=True)
        os.waitpid(first, 0)
    except OSError as error:
        print(error.strerror, flush=True)


def _with_same_ids() -> None:
    """New user, mount and PID namespaces; a child that stays outside gives them all IDs."""
    pid, (reader, writer) = os.getpid(), os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(writer)
        os.read(reader, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(_ALL)
        os._exit(0)
    os.close(reader)
    _checked(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID), "unshare")
    os.write(writer, b"g")
    os.close(writer)
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError(0, "no IDs for a user namespace")
    os.setgid(0)
    os.setuid(0)


def _first_process(root: Path, ready: int) -> None:
    try:
        _checked(_libc.prctl(1, signal.SIGKILL.value, 0, 0, 0), "prctl")
        _mount("proc", root / "proc", "proc")
        _mount(str(root), root, None, _MS_BIND | _MS_REC)  # what came from outside cannot be moved
        os.chdir(root)
        _checked(_libc.pivot_root(b".", b"."), "pivot_root")
        _checked(_libc.umount2(b".", _MNT_DETACH), "umount")
        os.chdir("/")
        os.write(ready, b"ready")
        os.close(ready)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
            signal.sigwait({signal.SIGCHLD})
    except OSError as error:
        os.write(ready, str(error).encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
