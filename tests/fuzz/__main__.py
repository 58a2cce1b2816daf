"""`python -m fuzz [PARSER…] [--seconds N] [--keep FOLDER]`, in `tests`: fuzzes parsers and says what was found."""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

from fuzz.corpus import saved
from fuzz.engine import Run, fuzz
from fuzz.parsers import PARSERS

_ADDRESS_SPACE = 2 << 30
_GRACE = 60


def main() -> int:
    """1 if something was found."""
    options = argparse.ArgumentParser(prog="python -m fuzz")
    options.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}; all by default")
    options.add_argument("--seconds", type=float, default=60.0, help="of CPU, for each parser")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, help="where inputs are kept that found something or reached further")
    given = options.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    # What loops where Python takes no signal is ended by the kernel.
    longest = int((given.seconds + _GRACE) * len(given.parsers or PARSERS))
    resource.setrlimit(resource.RLIMIT_CPU, (longest, longest))
    failed = False
    for name in given.parsers or PARSERS:
        folder = given.keep / name if given.keep else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        seeds = list(saved(name).values())
        seeds += [path.read_bytes() for path in sorted(folder.glob("[0-9]*"))] if folder else []
        run = fuzz(PARSERS[name], seeds, given.seconds, given.seed, folder)
        print(line(name, run), flush=True)
        for what, data in run.findings.items():
            print(f"  {what}\n    {data[:200]!r}", flush=True)
        failed |= bool(run.findings)
    return failed


def line(name: str, run: Run) -> str:
    """What a run was, in a line."""
    return (
        f"{name}: {run.seconds:.0f} s of CPU, {run.executions} executions, {run.pairs} pairs of lines, "
        f"{run.corpus} inputs kept, slowest {run.slowest:.3f} s, {len(run.findings)} findings"
    )


if __name__ == "__main__":
    sys.exit(main())
