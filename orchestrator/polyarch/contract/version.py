"""The version of the contract.

MAJOR.MINOR: a minor version adds, and may deprecate; only a major version takes away or changes what a name means. A
plugin of major version N is an entry point in the group `polyarch.vN`. One that needs names or abilities of a later
minor version says so with the module attribute `POLYARCH_CONTRACT = "1.3"`.
"""

from __future__ import annotations

import re

CONTRACT_VERSION = "1.3"
MAJOR = int(CONTRACT_VERSION.partition(".")[0])
ENTRY_POINT_GROUP = f"polyarch.v{MAJOR}"
NEEDED = "POLYARCH_CONTRACT"
"""The attribute of a plugin that says which contract it needs, at least."""


def version_of(text: object) -> tuple[int, int]:
    """The two numbers of "MAJOR.MINOR". Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", text, re.ASCII) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'a version of the contract is written "MAJOR.MINOR", not {text!r}')
    return int(match[1]), int(match[2])


def unmet(needed: object) -> str:
    """Why a plugin that needs this contract cannot be used here, in words; "" if it can. Raises ValueError."""
    major, minor = version_of(needed)
    here, have = version_of(CONTRACT_VERSION)
    if major == here and minor <= have:
        return ""
    age = "newer" if (major, minor) > (here, have) else "older"
    return f"it needs contract {major}.{minor}, which is {age} than the contract {CONTRACT_VERSION} of this polyarch"
