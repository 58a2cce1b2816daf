"""The bill of materials of a wheel: CycloneDX 1.5 as JSON (https://cyclonedx.org/docs/1.5/json/).

It names every package that the wheel may bring along, with any extra and any supported Python, as the lock pins it.
What polyarch runs as a program (crun, QEMU, gpg, …) is the machine's and not in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from importlib import metadata
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from release import needs
from release.pins import Pin, ReleaseError

_CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Trove's licences -> SPDX's, for packages that say no more. Which of BSD's "BSD License" is, nobody knows."""

_LONGEST_LICENCE = 80  # some have the whole text there


def document(wheel_sha256: str, about: Message, pins: Mapping[str, Pin], epoch: int) -> dict[str, Any]:
    """The bill of a wheel with these metadata. Raises ReleaseError where one is not pinned or not installed."""
    requires = {"polyarch": about.get_all("Requires-Dist") or []}
    extras = sorted(about.get_all("Provides-Extra") or [])
    for key in pins:
        try:
            requires[key] = metadata.requires(key) or []
        except metadata.PackageNotFoundError:
            continue
    try:
        wanted = _wanted(requires, extras)
        core = _wanted(requires, [])
    except needs.Missing as missing:
        raise ReleaseError(f"{missing.requirement} is not installed here, so that its licence is not known") from None
    if unpinned := wanted.keys() - pins.keys() - {"polyarch"}:
        raise ReleaseError(f"not in the lock: {', '.join(sorted(unpinned))}")
    keys = sorted(wanted.keys() - {"polyarch"})
    by_extra = {extra: _wanted(requires, [extra]).keys() - core.keys() for extra in extras if extra != "all"}
    itself = {
        "type": "application",
        "bom-ref": _purl("polyarch", about["Version"]),
        "name": "polyarch",
        "version": about["Version"],
        "description": about["Summary"],
        "hashes": [{"alg": "SHA-256", "content": wheel_sha256}],
        "licenses": _licences(about),
        "purl": _purl("polyarch", about["Version"]),
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, wheel_sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": itself,
        },
        "components": [
            _component(pins[key], key in core, [extra for extra, brought in by_extra.items() if key in brought])
            for key in keys
        ],
        "dependencies": [
            {
                "ref": _reference(key, pins, itself),
                "dependsOn": sorted(_reference(name, pins, itself) for name in names),
            }
            for key, names in _edges(wanted, requires)
        ],
    }


def _wanted(requires: Mapping[str, list[str]], extras: Iterable[str]) -> dict[str, set[str]]:
    """Package -> its extras, for polyarch with these extras and any Python on any architecture."""
    root = f"polyarch[{','.join(extras)}]"
    found: dict[str, set[str]] = {}
    for python in needs.PYTHONS:
        for machine in needs.MACHINES:
            for key, its in needs.closure([root], requires, needs.environment(python, machine)).items():
                found.setdefault(key, set()).update(its)
    return found


def _edges(wanted: Mapping[str, set[str]], requires: Mapping[str, list[str]]) -> Iterator[tuple[str, set[str]]]:
    """Each package, and what it needs itself."""
    for key in sorted(wanted):
        found: set[str] = {
            canonicalize_name(requirement.name)
            for python in needs.PYTHONS
            for machine in needs.MACHINES
            for requirement in needs.direct(requires[key], wanted[key], needs.environment(python, machine))
        }
        yield key, found - {key}


def _component(pin: Pin, core: bool, extras: list[str]) -> dict[str, Any]:
    about = metadata.metadata(pin.key)
    if about["Version"] != pin.version:
        raise ReleaseError(f"{pin.name} {about['Version']} is installed, where the lock has {pin.version}")
    purl = _purl(pin.key, pin.version)
    properties = [{"name": "polyarch:extra", "value": extra} for extra in extras]
    if pin.marker:
        properties.append({"name": "polyarch:marker", "value": pin.marker})
    return {
        "type": "library",
        "bom-ref": purl,
        "name": pin.name,
        "version": pin.version,
        "scope": "required" if core else "optional",
        "licenses": _licences(about),
        "purl": purl,
        # Which of a version's files is installed depends on the machine: each is named by its hash.
        "externalReferences": [
            {"type": "distribution", "url": purl, "hashes": [_hash(value)]} for value in sorted(pin.hashes)
        ],
        **({"properties": properties} if properties else {}),
    }


def _hash(value: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": value.removeprefix("sha256:")}


def _purl(key: str, version: str) -> str:
    """A package URL (https://github.com/package-url/purl-spec, type pypi)."""
    return f"pkg:pypi/{key}@{version.replace('+', '%2B')}"


def _reference(key: str, pins: Mapping[str, Pin], itself: Mapping[str, Any]) -> str:
    return str(itself["bom-ref"]) if key == "polyarch" else _purl(key, pins[key].version)


def _licences(about: Message | Any) -> list[dict[str, Any]]:
    """As SPDX's expression where the package's words are one, else by name. Raises ReleaseError where it tells none."""
    classified = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith(":: OSI Approved")
    ]
    said = about["License-Expression"] or about["License"] or ""
    told = [said] if said and len(said) <= _LONGEST_LICENCE and "\n" not in said else []
    for name in (*told, *(classified if len(classified) == 1 else ())):  # of several: which may be chosen is not told
        try:
            return [{"expression": canonicalize_license_expression(_CLASSIFIED.get(name, name))}]
        except InvalidLicenseExpression:
            continue
    if not told + classified:
        raise ReleaseError(f"{about['Name']} does not tell its licence")
    return [{"license": {"name": name}} for name in told or classified]
