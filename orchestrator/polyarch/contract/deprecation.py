"""How a name leaves the contract: it warns for two minor versions, then it is gone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

from polyarch.contract.version import CONTRACT_VERSION, version_of
from polyarch_platforms.lazy_dataclass import dataclass

WARNED_FOR = 2
"""Minor versions for which a deprecated name still works."""


@dataclass(frozen=True, slots=True)
class Deprecated:
    """A name that is about to go: what it still stands for, the version that said so first, and what to write."""

    value: object
    since: str
    instead: str


def deprecated_names(
    module: str, names: Mapping[str, Deprecated], version: str = CONTRACT_VERSION
) -> Callable[[str], object]:
    """The `__getattr__` of a module whose `names` are deprecated.

    It raises AttributeError for every other name, and for those whose time is over; the text says what to write.
    """
    major, minor = version_of(version)

    def getattr_(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        going = names[name]
        since = version_of(going.since)
        end = f"{since[0]}.{since[1] + WARNED_FOR}"
        if (major, minor) >= version_of(end):
            raise AttributeError(f"{module}.{name} went with contract {end}: use {going.instead}")
        text = f"{module}.{name} is deprecated since contract {going.since} and goes with {end}: use {going.instead}"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return going.value

    return getattr_
