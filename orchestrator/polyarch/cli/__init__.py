"""The command line: prints, asks and exits, and decides nothing. Nobody imports it."""

import contextlib
import gc
import os
import sys

_FEWER = 50_000  # new objects from one search for garbage to the next: more than a short command makes


def main() -> None:
    """The command `polyarch`; ends the process with its exit code."""
    _open_what_is_closed()
    if sys.argv[1:] in (["--help"], ["-h"]):
        # The page needs nothing but its words; on a small board everything else takes a noticeable moment to load.
        from polyarch.cli.help_page import help_page

        with contextlib.suppress(OSError):  # a disk that is full, a reader that is gone: told as of every other command
            page = help_page().encode()
            while page:
                page = page[os.write(1, page) :]  # not by sys.stdout, which would keep what cannot be written
            return
    # Modules are no garbage: to search them while they load, and again at the end, takes a tenth of a short command.
    gc.set_threshold(_FEWER)
    from polyarch.cli.app import run

    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


def _open_what_is_closed() -> None:
    """A standard stream that was closed (`2>&-`) leads to nowhere: no file opened later may take its number.

    What is written to stdout fails (EBADF), here as in the programs that are started: it would be lost unseen.
    """
    for number, name, mode, access in (
        (0, "stdin", "r", os.O_RDWR),
        (1, "stdout", "w", os.O_RDONLY),
        (2, "stderr", "w", os.O_RDWR),
    ):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, access)
            if descriptor == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open as long as the process
