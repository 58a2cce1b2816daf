"""Builds the wheel and the sdist of a commit so that whoever builds them again gets the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.pins import ReleaseError

ONE_WAY = {"LC_ALL": "C", "TZ": "UTC0", "PYTHONHASHSEED": "0"}
ANOTHER_WAY = {"LC_ALL": "C.UTF-8", "TZ": "XYZ-14", "PYTHONHASHSEED": "1"}
"""Environments in which the same has to come out."""


@dataclass(frozen=True, slots=True)
class Built:
    """The two files of a release."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True, slots=True)
class Commit:
    """What is released: its hash, its time in seconds since 1970, and the paths of its files."""

    name: str
    epoch: int
    files: tuple[str, ...]


def last_commit(checkout: Path) -> Commit:
    """The one that is released, whatever is committed meanwhile. Raises ReleaseError."""
    name, epoch = _run(["git", "log", "-1", "--format=%H %ct"], checkout, {}).split()
    listed = _run(["git", "ls-tree", "-r", "-z", "--name-only", name], checkout, {})
    return Commit(name, int(epoch), tuple(filter(None, listed.split("\0"))))


def export(checkout: Path, commit: Commit, folder: Path, umask: int) -> None:
    """A commit, as files of now in a new folder. Raises ReleaseError."""
    folder.mkdir(parents=True)
    archive = folder.with_name(f"{folder.name}.tar")
    _run(["git", "archive", "--output", str(archive), commit.name], checkout, {})
    _run(["tar", "-xmf", str(archive), "--no-same-permissions", "--no-same-owner"], folder, {}, umask)
    archive.unlink()


def unpack(sdist: Path, folder: Path) -> Path:
    """The source tree of an sdist, in a new folder. Raises ReleaseError."""
    folder.mkdir()
    _run(["tar", "-xmf", str(sdist), "--no-same-permissions", "--no-same-owner"], folder, {})
    (source,) = folder.iterdir()
    return source


def build(source: Path, target: Path, epoch: int, environ: Mapping[str, str], umask: int) -> Built:
    """Both files of the source tree, in `target`, with `epoch` as their files' time. Raises ReleaseError."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target)]
    _run(command, source, {**environ, "SOURCE_DATE_EPOCH": str(epoch)}, umask)
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Built(wheel, sdist)


def _run(command: list[str], folder: Path, environ: Mapping[str, str], umask: int = 0o022) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **environ}, umask=umask, capture_output=True, text=True
        )
    except OSError as error:
        raise ReleaseError(f"{command[0]} could not be run: {error.strerror}") from None
    if done.returncode:
        raise ReleaseError(f"{' '.join(command[:3])} failed: {(done.stderr.strip() or done.stdout.strip())[-500:]}")
    return done.stdout
