"""Which files a package index has of a version, and their hashes.

Sources: PEP 503 (pages in HTML, with `#sha256=…` behind the addresses), PEP 691 (the same as JSON).
"""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from urllib.parse import unquote

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from release.needs import MACHINES

_JSON = "application/vnd.pypi.simple.v1+json"
_LINK = re.compile(r'<a\s[^>]*href="[^"#]*?([^"/#]+)#sha256=([0-9a-f]{64})[^"]*"', re.IGNORECASE)
_GLIBC = 36  # that of Debian 12


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A wheel (its tags) or an sdist (no tags) of one version."""

    name: str
    sha256: str
    tags: frozenset[Tag]


def address() -> tuple[str, str | None]:
    """The index that pip is set up to ask, and the file of certificates that it trusts (None: the system's)."""
    # pip has no command that tells its default; the pip that is asked is the pinned one.
    from pip._internal.configuration import Configuration
    from pip._internal.models.index import PyPI

    configuration = Configuration(isolated=False)
    configuration.load()
    said = {name.partition(".")[2]: str(value) for name, value in configuration.items() if isinstance(value, str)}
    return said.get("index-url", PyPI.simple_url).rstrip("/"), said.get("cert") or os.environ.get("PIP_CERT")


def page(package: str) -> tuple[str, bytes]:
    """A package's page at that index: its media type and its bytes. Raises OSError."""
    index, certificates = address()
    request = urllib.request.Request(f"{index}/{package}/", headers={"Accept": f"{_JSON}, text/html;q=0.1"})
    trust = ssl.create_default_context(cafile=certificates)
    with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
        return answer.headers.get_content_type(), answer.read()


def files(media_type: str, content: bytes, version: str) -> list[IndexFile]:
    """The files of a version that Linux can use and that have a SHA-256 on this page."""
    if media_type == _JSON:
        listed = [(file["filename"], file["hashes"].get("sha256")) for file in json.loads(content)["files"]]
    else:
        listed = [(unquote(unescape(name)), sha256) for name, sha256 in _LINK.findall(content.decode())]
    found = []
    for name, sha256 in listed:
        try:
            if name.endswith(".whl"):
                _, its_version, _, tags = parse_wheel_filename(name)
            else:
                (_, its_version), tags = parse_sdist_filename(name), frozenset()
        except (InvalidWheelFilename, InvalidSdistFilename):
            continue  # eggs and installers of old
        usable = not tags or any("linux" in tag.platform or tag.platform == "any" for tag in tags)
        if its_version == Version(version) and sha256 and usable:
            found.append(IndexFile(name, sha256, tags))
    return found


def without_wheel(found: list[IndexFile], pythons: Sequence[str]) -> list[str]:
    """`3.12 armv7l`, …: where none of the wheels fits, so that the sdist is built there."""
    offered = {tag for file in found for tag in file.tags}
    return [f"{python} {machine}" for python in pythons for machine in MACHINES if not offered & _tags(python, machine)]


def _tags(python: str, machine: str) -> set[Tag]:
    version = tuple(int(part) for part in python.split("."))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, _GLIBC + 1)]
    platforms += [f"{old}_{machine}" for old in ("manylinux1", "manylinux2010", "manylinux2014", "linux")]
    interpreter = f"cp{python.replace('.', '')}"
    return {*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms)}
