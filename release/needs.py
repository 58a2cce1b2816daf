"""What a list of requirements needs in the end, with each Python and on each architecture that polyarch is made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64", "armv7l")


class Missing(Exception):
    """A requirement of a package that nobody has looked up yet: another Python needs it than the one that runs."""

    def __init__(self, requirement: str) -> None:
        super().__init__(f"nobody has looked up {requirement}")
        self.requirement = requirement


def environment(python: str, machine: str = MACHINES[0]) -> dict[str, str]:
    """The values of markers (PEP 508) for CPython of that version on Linux."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def direct(requirements: Iterable[str], extras: Iterable[str], values: Mapping[str, str]) -> list[Requirement]:
    """Those of a package's requirements that hold with these extras in that environment."""
    asked = ("", *extras)
    found = []
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**values, "extra": extra}) for extra in asked):
            found.append(requirement)
    return found


def closure(
    roots: Sequence[str], requires: Mapping[str, Sequence[str]], values: Mapping[str, str]
) -> dict[str, set[str]]:
    """Package -> the extras that it is wanted with, for `roots` and all that they need.

    `requires` is each package's own list. Names are in their normal form. Raises Missing.
    """
    found: dict[str, set[str]] = {}
    waiting = [Requirement(text) for text in roots]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({**values, "extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        extras = set(requirement.extras)
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | extras
        if name not in requires:
            raise Missing(str(requirement))
        for needed in direct(requires[name], found[name], values):
            needed.marker = None  # it holds
            waiting.append(needed)
    return found


def marker(pythons: Iterable[str]) -> str:
    """A marker that holds for these of PYTHONS; newer Pythons count as the newest one does."""
    asked = set(pythons)
    wanted = [python for python in PYTHONS if python in asked]
    if wanted == list(PYTHONS):
        return ""
    if wanted == list(PYTHONS[: len(wanted)]):
        return f'python_version < "{PYTHONS[len(wanted)]}"'
    if wanted == list(PYTHONS[-len(wanted) :]):
        return f'python_version >= "{wanted[0]}"'
    return " or ".join(f'python_version == "{python}"' for python in wanted)
