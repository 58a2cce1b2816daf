"""`python -m release [--into DIR]`: makes the files of a release of what is committed, and checks them.

The wheel, the sdist, a bill of materials (CycloneDX) and SHA256SUMS. Each is built again in another folder, at another
time, with another umask and locale, and the wheel once more from the sdist: all have to give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from release import check, sbom
from release.build import ANOTHER_WAY, ONE_WAY, Built, Commit, build, export, last_commit, unpack
from release.pins import CHECKOUT, DEV, ReleaseError, read


def main() -> int:
    """Make the release; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m release", description="builds and checks a release")
    parser.add_argument("--into", type=Path, default=CHECKOUT / "dist", metavar="DIR", help="made anew (default: dist)")
    target = parser.parse_args().into
    try:
        with tempfile.TemporaryDirectory() as folder:
            made = release(CHECKOUT, Path(folder))
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(made, target)
        check.sums(target, (target / "SHA256SUMS").read_text())
    except (ReleaseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print((target / "SHA256SUMS").read_text(), end="")
    return 0


def release(checkout: Path, folder: Path) -> Path:
    """Makes all files in a folder of `folder` and checks them; that folder. Raises ReleaseError."""
    commit = last_commit(checkout)
    source, target = folder / "source", folder / "release"
    export(checkout, commit, source, 0o022)
    built = build(source, target, commit.epoch, ONE_WAY, 0o022)
    _build_again(checkout, commit, built, folder)
    check.wheel(built.wheel, commit.files)
    about = check.about(built.wheel)
    check.starts(built.wheel, about["Version"])
    digest = check.sha256(built.wheel)
    pins = {pin.key: pin for pin in read((source / DEV.relative_to(CHECKOUT)).read_text())}
    bill = target / f"polyarch-{about['Version']}.cdx.json"
    bill.write_text(json.dumps(sbom.document(digest, about, pins, commit.epoch), indent=1, ensure_ascii=False) + "\n")
    check.bill(check.read_json(bill), digest)
    lines = [f"{check.sha256(path)}  {path.name}\n" for path in sorted(target.iterdir())]
    (target / "SHA256SUMS").write_text("".join(lines))
    check.sums(target, "".join(lines))
    return target


def _build_again(checkout: Path, commit: Commit, built: Built, folder: Path) -> None:
    """Nothing may depend on where, when and how it is built, or on what the sdist leaves out. Raises ReleaseError."""
    elsewhere = folder / "another" / "way"
    export(checkout, commit, elsewhere, 0o077)
    again = build(elsewhere, folder / "again", commit.epoch, ANOTHER_WAY, 0o077)
    check.same(built.wheel, again.wheel)
    check.same(built.sdist, again.sdist)
    source = unpack(built.sdist, folder / "unpacked")
    check.same(built.wheel, build(source, folder / "from-sdist", commit.epoch, ANOTHER_WAY, 0o022).wheel)


if __name__ == "__main__":
    sys.exit(main())
