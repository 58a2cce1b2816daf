"""The command line: prints, asks and exits, and decides nothing. Nobody imports it."""

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

        sys.stdout.write(help_page())
        return
    # Modules are no garbage: to search them while they load, and again at the end, takes a tenth of a short command.
    gc.set_threshold(_FEWER)
    from polyarch.cli.app import run

    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


def _open_what_is_closed() -> None:
    """A standard stream that was closed (`2>&-`) leads to nowhere: no file opened later may take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open as long as the process
