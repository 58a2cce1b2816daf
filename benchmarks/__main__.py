"""`python -m benchmarks [CASE…] [--runs N] [--format table|json] [--json FILE] [--picture FILE]`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.fresh import private_mounts
from benchmarks.guard import LIMITS, judged, limits
from benchmarks.picture import picture
from benchmarks.process import BenchmarkError, MissingError
from benchmarks.registry import origin, prepare
from benchmarks.result import Case, block, document, heading, read_json, write_json

CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the cases and print them; the exit code: 1 where a limit is passed or something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="polyarch beside its peers")
    parser.add_argument("case", nargs="*", help=f"which ones: {', '.join(CASES)}; all if none is named")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender (default: 5)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json: one case a line")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there, one case a line")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them, as SVG")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="measure nothing: read --json's FILE")
    parser.add_argument(
        "--directory", type=Path, default=CHECKOUT / ".cache" / "bench", help="where images are kept and pulled to"
    )
    options = parser.parse_args()
    if unknown := set(options.case) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if options.runs < 1:
        parser.error("--runs wants at least 1")
    # Whoever ends it by a signal finds no daemon, mount or folder left.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        documents, whole = (read_json(options.source), True) if options.source else _measured(options)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.picture:
        options.picture.write_text(picture(documents))
    return 0 if whole and (options.source or _guarded(documents)) else 1


def _measured(options: argparse.Namespace) -> tuple[list[dict[str, object]], bool]:
    """Run the cases, print each when it is done, and write all so far; whether none failed."""
    directory = options.directory.absolute()
    if not (directory / "big").exists():
        print("Making an image of 420 MB from the files below /usr; that takes a while, once.", file=sys.stderr)
    storage = prepare(directory)
    private_mounts()
    # Pulled images stay until the end: deleting much slows a file system down for what comes after.
    with tempfile.TemporaryDirectory(dir=directory) as work, origin(storage, Path(work) / "registry.log") as source:
        Path(work).chmod(0o755)  # an ordinary user's runs lie in it, too
        documents, whole = list[dict[str, object]](), True
        if options.format == "table":
            print(heading())
        for name in options.case or CASES:
            print(f"{name} …", file=sys.stderr)
            try:
                case: Case = CASES[name](Bench(source, directory, Path(work), options.runs))
            except MissingError as error:
                print(f"{name}: left out, {error}", file=sys.stderr)
                continue
            except BenchmarkError as error:
                print(f"error: {name}: {error}", file=sys.stderr)
                whole = False
                continue
            documents.append(document(case, name))
            print(block(case) if options.format == "table" else json.dumps(documents[-1]), flush=True)
            if options.json:
                write_json(documents, options.json)
    return documents, whole


def _guarded(documents: list[dict[str, object]]) -> bool:
    """Hold what was measured against the limits; whether none is passed."""
    verdicts = judged(documents, limits(LIMITS))
    for verdict in verdicts:
        print(verdict.line(), file=sys.stderr)
    return not any(verdict.passed for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
