"""`python -m release.lock [--update NAME…]`: writes constraints.txt and the lock with hashes in `requirements`.

Pinned versions stay, but for those that `--update` names (`all`: every one); where pyproject.toml forbids one, pip says
so. Which versions go together is pip's own answer; the hashes are those that its index tells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from release import index, needs
from release.pins import CHECKOUT, CONSTRAINTS, DEV, INSTALLER, Pin, ReleaseError, write

BACK_END = ("hatchling", "editables")
"""What builds polyarch, also as an editable install."""

_TRIES = 5


def roots() -> list[str]:
    """What is installed for development, as requirements."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    return ["polyarch[all]", *project["dependency-groups"]["dev"], *BACK_END, "pip"]


def main() -> int:
    """Write the lock; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m release.lock", description="pins what polyarch is tested with")
    parser.add_argument("--update", nargs="*", default=[], metavar="NAME", help="take the newest; all: of every one")
    updated: set[str] = {canonicalize_name(name) for name in parser.parse_args().update}
    try:
        pins = _pins(_resolved(updated))
    except (ReleaseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    INSTALLER.parent.mkdir(exist_ok=True)
    INSTALLER.write_text(write(pin for pin in pins if pin.key == "pip"))
    DEV.write_text(write(pin for pin in pins if pin.key != "pip"))
    CONSTRAINTS.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in pins))
    print(f"{len(pins)} packages, {sum(len(pin.hashes) for pin in pins)} hashes")
    return 0


def _resolved(updated: set[str]) -> list[dict[str, Any]]:
    """pip's report of all that is needed by some Python of needs.PYTHONS; polyarch itself is its first entry."""
    kept = [
        line for line in CONSTRAINTS.read_text().split() if canonicalize_name(line.partition("==")[0]) not in updated
    ]
    asked = [text for text in roots() if not text.startswith("polyarch")]
    for _ in range(_TRIES):
        report = _pip_report([".[all]", *asked], [] if "all" in updated else kept)
        requires = {_key(entry): entry["metadata"].get("requires_dist", []) for entry in report}
        try:
            for python in needs.PYTHONS:
                needs.closure(roots(), requires, needs.environment(python))
        except needs.Missing as missing:
            asked.append(missing.requirement)
            continue
        return report
    raise ReleaseError(f"{asked[-1]} is needed by another Python, and pip does not tell of it")


def _pip_report(asked: Sequence[str], constraints: Iterable[str]) -> list[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        words = ["install", "--dry-run", "--ignore-installed", "--no-build-isolation", "--quiet", "--report", "-"]
        command = [sys.executable, "-m", "pip", *words, "--constraint", file.name, *asked]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"pip found no versions that go together: {done.stderr.strip().splitlines()[-1]}")
    entries: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return entries


def _pins(report: list[dict[str, Any]]) -> list[Pin]:
    requires = {_key(entry): entry["metadata"].get("requires_dist", []) for entry in report}
    wanted = {python: needs.closure(roots(), requires, needs.environment(python)) for python in needs.PYTHONS}
    entries = sorted((entry for entry in report if _key(entry) != "polyarch"), key=_key)
    with ThreadPoolExecutor(8) as several:
        found = several.map(_files, entries)
    pins = []
    for entry, files in zip(entries, found, strict=True):
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        pythons = [python for python in wanted if _key(entry) in wanted[python]]
        if lacking := index.without_wheel(files, pythons):
            print(f"{name} {version} is built from source with {', '.join(lacking)}")
        marker = needs.marker(pythons)
        pins.append(Pin(name, version, marker, tuple(f"sha256:{file.sha256}" for file in files)))
    return pins


def _files(entry: dict[str, Any]) -> list[index.IndexFile]:
    """All that the index has of what pip chose. Raises ReleaseError where the two do not agree."""
    name, version = entry["metadata"]["name"], entry["metadata"]["version"]
    found = index.files(*index.page(_key(entry)), version)
    chosen = entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if chosen not in {file.sha256 for file in found}:
        file = Path(entry["download_info"]["url"]).name
        raise ReleaseError(f"the index tells no hash of {name} {version}, or another one than that of {file}")
    return found


def _key(entry: dict[str, Any]) -> str:
    return canonicalize_name(entry["metadata"]["name"])


if __name__ == "__main__":
    sys.exit(main())
