"""`PYTHONPATH=tests python -m support.fleet_lab up FOLDER [KIND…]` makes a lab that stays, and prints where its
inventory is; `… down FOLDER` takes it away. FOLDER must not be there; without kinds it has those of `SAMPLE`."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from support.fleet_lab import KINDS, SAMPLE, Lab, NoLab

_READY = "ready"
_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "tests"


def _up(folder: Path, kinds: Sequence[str]) -> None:
    if folder.exists():
        sys.exit(f"error: {folder} is there already")
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _hold(Lab(kinds, folder, Path(os.environ.get("POLYARCH_TEST_CACHE") or _CACHE)), writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    if said != _READY:
        sys.exit(f"error: {said or 'the lab ended'}")
    print(folder / "inventory.yml")


def _hold(lab: Lab, writer: int) -> NoReturn:
    """Keeps the lab until SIGTERM. That it is ready, or what prevents it, is written; it ends if nobody hears that."""
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    code = 0
    try:
        with lab:
            _pid_file(lab.folder).write_text(str(os.getpid()))
            os.write(writer, _READY.encode())
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            os.close(writer)
            while True:
                signal.pause()
    except (NoLab, OSError, AssertionError) as error:
        code = 1
        with contextlib.suppress(OSError):
            os.write(writer, str(error).encode())
    except SystemExit:
        pass
    finally:
        os._exit(code)


def _down(folder: Path) -> None:
    try:
        pid = int(_pid_file(folder).read_text())
        process = os.pidfd_open(pid)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        sys.exit(f"error: there is no lab in {folder}")
    if b"up" not in words:
        sys.exit(f"error: the process {pid}, which kept the lab in {folder}, is gone")
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGTERM)
    select.select([process], [], [])


def _pid_file(folder: Path) -> Path:
    return folder / "pid"


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m support.fleet_lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up")
    up.add_argument("folder", type=Path)
    up.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    verbs.add_parser("down").add_argument("folder", type=Path)
    words = parser.parse_args()
    folder = words.folder.absolute()
    if words.verb == "down":
        _down(folder)
        return
    if unknown := [kind for kind in words.kinds if kind not in KINDS]:
        parser.error(f"no kinds are called {', '.join(unknown)}")
    _up(folder, words.kinds or SAMPLE)


if __name__ == "__main__":
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(130)
