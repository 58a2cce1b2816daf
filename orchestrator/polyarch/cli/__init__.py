"""The command line: prints, asks and exits, and decides nothing. Nobody imports it."""

import gc
import sys

_FEWER = 10_000  # new objects from one search for garbage to the next


def main() -> None:
    """The command `polyarch`; ends the process with its exit code."""
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
