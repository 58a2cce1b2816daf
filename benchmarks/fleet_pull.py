"""Fleets, measured: `python -m benchmarks.fleet_pull [CASE…]`. It takes root.

race        many devices at once against a loop over them, the origin behind a slow link
bytes       what travels to a device against the layers that it lacks
memory      the controller's, for images of many sizes; and of the server that tunnels lead to
ansible     reading a large inventory; what a task costs
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.fleet_ansible import inventory, task
from benchmarks.fleet_bytes import bytes_to_devices
from benchmarks.fleet_memory import controller, downloads
from benchmarks.fleet_race import DEVICES, race
from benchmarks.process import BenchmarkError
from benchmarks.result import Case, document, table, write_json

CASES: Mapping[str, Callable[[argparse.Namespace], list[Case]]] = {
    "race": lambda options: [race(options.devices, options.runs)],
    "bytes": lambda options: [bytes_to_devices()],
    "memory": lambda options: [controller(), downloads()],
    "ansible": lambda options: [inventory(), task()],
}


def main() -> int:
    """Run the cases and print them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_pull", description="fleets, measured")
    parser.add_argument("case", nargs="*", help=f"which ones: {', '.join(CASES)}; all if none is named")
    parser.add_argument("--devices", type=int, default=DEVICES, help=f"of the race (default: {DEVICES})")
    parser.add_argument("--runs", type=int, default=1, help="runs of each contender (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    options = parser.parse_args()
    if unknown := set(options.case) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if options.runs < 1 or not 1 <= options.devices <= 200:
        parser.error("--runs wants at least 1, --devices 1 to 200")
    if os.geteuid() != 0:
        print("fleets are not measured: devices with networks of their own take root", file=sys.stderr)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind then, either
    cases = []
    try:
        for name in options.case or CASES:
            print(f"{name} …", file=sys.stderr)
            cases += CASES[name](options)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(cases))
    if options.json:
        write_json([document(case) for case in cases], options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
