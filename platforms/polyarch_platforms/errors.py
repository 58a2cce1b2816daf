"""What can go wrong here, each with one clear line and, where there is one, what to do next.

::

    PlatformsError
    ├── PlatformError   a platform's text or JSON is wrong (also a ValueError)
    ├── FactsError      a probe's answer is wrong, cut or of another version
    ├── DeviceError     no device of that name, or a broken device file
    ├── ElfError        not an ELF file, or a broken one
    ├── BinfmtError     the kernel's binfmt_misc table cannot be read or written
    └── QemuError       no QEMU binary, or its script failed
"""

from __future__ import annotations

import re

# Control and direction characters: what is quoted in a message may come from a registry, an image or a broken probe.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def quoted(text: str, limit: int = 80) -> str:
    """`text` in quotes, fit for a message: on one line, control characters escaped, cut to `limit` characters."""
    head = text[:limit]
    clean = _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), head)
    return f"'{clean}'" if len(head) == len(text) else f"'{clean}…'"


class PlatformsError(Exception):
    """Something failed. `message` is one line; `hint`, where there is one, is what to do next."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class PlatformError(PlatformsError, ValueError):
    """A platform that nobody can have meant: `linux//amd64`, `arm64/v8/x/y`, a number where a text belongs."""


class FactsError(PlatformsError):
    """The answer of a probe cannot be used: cut short, of another version, or not a probe's answer at all."""


class DeviceError(PlatformsError):
    """No device has this name, or a device file is broken. `nearest` are the names that come closest."""

    def __init__(self, message: str, hint: str | None = None, *, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.nearest = nearest


class ElfError(PlatformsError):
    """Not an ELF file, or one whose headers contradict themselves."""


class BinfmtError(PlatformsError):
    """The kernel's binfmt_misc table could not be read or changed. `errno` is the system's number, if it gave one."""

    def __init__(self, message: str, hint: str | None = None, *, errno: int | None = None) -> None:
        super().__init__(message, hint)
        self.errno = errno


class QemuError(PlatformsError):
    """No QEMU binary for an architecture, one that does not serve, or a script that failed."""
