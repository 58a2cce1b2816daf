"""Single files out of Debian's archive, kept in the tests' cache: from a source package, or a program of a package.

The machine's own apt sources and keys are used with a private apt state. Nothing is installed.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

_SECONDS = 900


class NotToBeHad(Exception):
    """The file cannot be fetched here; the message says why."""


def from_source_package(package: str, member: str, cache: Path) -> Path:
    """The file `member` (`scripts/x.sh`, below the source's top folder) of a Debian source package."""

    def fetch(folder: Path, target: Path) -> None:
        _apt_get(folder, "deb-src", "source", "--download-only", package)
        archives = [path for path in folder.glob("*.tar.*") if ".orig.tar." in path.name]
        if len(archives) != 1:
            raise NotToBeHad(f"the source package {package} has not one archive but {len(archives)}")
        # Streamed: the archive is large and xz knows no random access.
        with tarfile.open(archives[0], "r|*") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.name.partition("/")[2] == member else None
                if content is not None:
                    target.write_bytes(content.read())
                    return
        raise NotToBeHad(f"the source package {package} has no {member}")

    return _cached(cache / "debian" / Path(member).name, fetch)


def from_package(package: str, member: str, cache: Path) -> Path:
    """The file `member` (`usr/sbin/x`, a pattern; links are followed) of a Debian binary package for this machine."""

    def fetch(folder: Path, target: Path) -> None:
        _apt_get(folder, "deb", "download", package)
        (archive,) = folder.glob("*.deb")
        _run(["dpkg-deb", "-x", str(archive), str(folder / "tree")], folder)
        found = next((folder / "tree").glob(member), None)
        if found is None:
            raise NotToBeHad(f"the package {package} has no {member}")
        found.resolve().rename(target)

    return _cached(cache / "debian" / Path(member).name, fetch)


def _cached(target: Path, fetch: Callable[[Path, Path], None]) -> Path:
    """`target`, made by `fetch(scratch folder, path to write)` unless it is there; several processes may ask."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as name:
                made = Path(name, "made")
                fetch(Path(name), made)
                made.rename(target)
    return target


def _apt_get(folder: Path, kind: str, *command: str) -> None:
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    # apt.conf(5); one-line and deb822 sources as in sources.list(5).
    (folder / "sources" / "all.sources").write_text("\n".join(_deb822(kind)))
    (folder / "sources" / "all.list").write_text("\n".join(_one_line(kind)) + "\n")
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": f"{folder}/sources",
        "Dir::State::Lists": f"{folder}/lists",
        "Dir::Cache": f"{folder}/cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    arguments = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    _run(["apt-get", *arguments, "-qq", "update"], folder)
    _run(["apt-get", *arguments, "-qq", *command], folder)


def _deb822(kind: str) -> list[str]:
    paragraphs = []
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            if re.search(r"^Types:.*\bdeb\b", paragraph, re.MULTILINE):
                paragraphs.append(re.sub(r"^Types:.*$", f"Types: {kind}", paragraph, flags=re.MULTILINE) + "\n")
    return paragraphs


def _one_line(kind: str) -> list[str]:
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]
    lines = [line for path in files if path.is_file() for line in path.read_text().splitlines()]
    return [re.sub(r"^deb\s", f"{kind} ", line) for line in lines if re.match(r"deb\s", line)]


def _run(argv: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise NotToBeHad(f"{' '.join(argv[-3:])}: {' '.join(done.stderr.split())}")
