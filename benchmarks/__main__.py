"""`python -m benchmarks [CASE…] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.process import BenchmarkError
from benchmarks.registry import origin, prepare
from benchmarks.result import table, write_json

CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the cases and print them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="polyarch beside its peers")
    parser.add_argument("case", nargs="*", help=f"which ones: {', '.join(CASES)}; all if none is named")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    parser.add_argument(
        "--directory", type=Path, default=CHECKOUT / ".cache" / "bench", help="where images are kept and pulled to"
    )
    options = parser.parse_args()
    if unknown := set(options.case) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if options.runs < 1:
        parser.error("--runs wants at least 1")
    directory = options.directory.absolute()
    try:
        if not (directory / "big").exists():
            print("Making an image of 420 MB from the files below /usr; that takes a while, once.", file=sys.stderr)
        storage = prepare(directory)
        # Pulled images stay until the end: deleting much slows a file system down for what comes after.
        with tempfile.TemporaryDirectory(dir=directory) as work, origin(storage, Path(work) / "registry.log") as source:
            cases = []
            for name in options.case or CASES:
                print(f"{name} …", file=sys.stderr)
                cases.append(CASES[name](Bench(source, directory, Path(work), options.runs)))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(cases))
    if options.json:
        write_json(cases, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
