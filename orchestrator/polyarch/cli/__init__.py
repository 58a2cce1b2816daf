"""The command line: prints, asks and exits, and decides nothing. Nobody imports it."""

import sys


def main() -> None:
    """The command `polyarch`; ends the process with its exit code."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        # The page needs nothing but its words; on a small board everything else takes a noticeable moment to load.
        from polyarch.cli.help_page import help_page

        sys.stdout.write(help_page())
        return
    from polyarch.cli.app import run

    sys.exit(run(sys.argv[1:]))
