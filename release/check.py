"""Looks at a finished release as a stranger would: each file by what it says of itself and by what the others say."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

from release.pins import ReleaseError

PACKAGES = ("orchestrator/polyarch", "platforms/polyarch_platforms", "plugins/polyarch_plugins")
"""What the wheel consists of."""


def sha256(path: Path) -> str:
    """Of a whole file, as hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same(one: Path, other: Path) -> None:
    """Raises ReleaseError where two builds differ, with the names of what does."""
    if one.read_bytes() == other.read_bytes():
        return
    mine, its = _members(one), _members(other)
    names = sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
    raise ReleaseError(f"{one.name} came out otherwise the second time: {', '.join(names[:5]) or 'the archive itself'}")


def about(wheel: Path) -> Message:
    """What the wheel tells of itself (METADATA)."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def wheel(path: Path, committed: Iterable[str]) -> None:
    """Its files are those that are committed, and those that its RECORD lists. Raises ReleaseError."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    (record,) = (name for name in held if name.endswith(".dist-info/RECORD"))
    for name, digest, _ in csv.reader(io.StringIO(held[record].decode())):
        own = base64.urlsafe_b64encode(hashlib.sha256(held.get(name, b"")).digest()).rstrip(b"=").decode()
        if name != record and digest != f"sha256={own}":
            raise ReleaseError(f"{path.name}: {name} is not what RECORD says")
    code = {name for name in held if ".dist-info/" not in name}
    expected = {name.partition("/")[2] for name in committed if name.startswith(tuple(f"{top}/" for top in PACKAGES))}
    if code != expected:
        raise ReleaseError(f"{path.name}: not as committed: {', '.join(sorted(code ^ expected)[:5])}")


def starts(path: Path, version: str) -> None:
    """The wheel, installed somewhere else, says its version. Raises ReleaseError."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
        isolated = f"import sys; sys.path.insert(0, {folder!r}); from polyarch.cli import main; main()"
        for command in ([*pip, "--target", folder, str(path)], [sys.executable, "-c", isolated, "--version"]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise ReleaseError(f"{path.name} cannot be installed and started: {done.stderr.strip()[-500:]}")
    if done.stdout.split()[-1:] != [version]:
        raise ReleaseError(f"{path.name} says that it is {done.stdout.strip()!r}")


def bill(document: dict[str, Any], wheel_sha256: str) -> None:
    """The bill is of that wheel, joins all packages that it names and tells enough of each. Raises ReleaseError."""
    itself, components = document["metadata"]["component"], document["components"]
    if itself["hashes"] != [{"alg": "SHA-256", "content": wheel_sha256}]:
        raise ReleaseError("the bill of materials is of another wheel")
    references = [itself["bom-ref"], *(component["bom-ref"] for component in components)]
    told = [line["ref"] for line in document["dependencies"]]
    if len(set(references)) != len(references) or sorted(told) != sorted(references):
        raise ReleaseError("the bill of materials does not join each package once")
    reached, waiting = {itself["bom-ref"]}, [itself["bom-ref"]]
    needs = {line["ref"]: line["dependsOn"] for line in document["dependencies"]}
    while waiting:
        new = set(needs.get(waiting.pop(), ())) - reached
        reached |= new
        waiting += new
    if reached != set(references):
        raise ReleaseError(f"the bill of materials: {', '.join(sorted(reached ^ set(references)))} stands alone")
    for component in components:
        named = component["purl"] == f"pkg:pypi/{component['purl'].partition('/')[2]}" and component["version"]
        if not named or not component["licenses"] or not component["externalReferences"]:
            raise ReleaseError(f"the bill of materials tells too little of {component['name']}")


def sums(folder: Path, text: str) -> None:
    """Every line of SHA256SUMS holds, and every file has one. Raises ReleaseError."""
    told = {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
    held = {path.name: sha256(path) for path in folder.iterdir() if path.name != "SHA256SUMS"}
    if told != held:
        raise ReleaseError("SHA256SUMS does not tell what is there")


def read_json(path: Path) -> dict[str, Any]:
    """A document of one object."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _members(path: Path) -> dict[str, tuple[object, ...]]:
    """Name -> what may differ of it."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {one.filename: (one.CRC, one.date_time, one.external_attr) for one in wheel.infolist()}
    with tarfile.open(path) as sdist:
        return {one.name: (one.size, one.mtime, one.mode, one.uid, one.uname, one.chksum) for one in sdist}
