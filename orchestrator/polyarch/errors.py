"""The tree of errors that polyarch raises, and the exit code of each.

::

    PolyarchError            1  internal
    ├── UsageError           2  usage
    ├── NotFoundError        3  not-found
    ├── NoVariantError       4  no-variant
    ├── UnauthorizedError    5  unauthorized
    ├── UnreachableError     6  unreachable
    ├── IntegrityError       7  integrity
    ├── HostError            8  host
    ├── StorageError         9  storage
    │   └── DeniedError      8  host
    ├── PartialError        10  partial
    └── InterruptedPull    130  interrupted

The names and codes are the ones of the command line: scripts rely on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from polyarch.redaction import redacted
from polyarch_platforms.errors import DeviceError, FactsError, PlatformError, PlatformsError


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line, cut to `limit` characters, everything escaped that is not seen: control and direction
    characters, lone surrogates, spaces of other kinds. Secrets that this process knows are taken out.

    Whatever comes from a registry, an image or a plugin goes through here before a person sees it.
    """
    shown = redacted(text)[: limit + 1]
    if not shown.isprintable():
        shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def foreign(error: BaseException) -> str:
    """What an exception from outside this tree says, its type in front; not yet `printable`."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class PolyarchError(Exception):
    """Something failed. `message` is one line; `hint`, where there is one, is what to do next.

    `details` are further facts for scripts (JSON values); they never hold a secret.
    """

    code = "internal"
    exit_code = 1

    def __init__(self, message: str, hint: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = printable(message, 2000)
        self.hint = printable(hint, 2000) if hint else None
        self.details = details

    def __str__(self) -> str:
        return self.message


class UsageError(PolyarchError):
    """The words of the caller are wrong: a reference, a platform, a setting, an auth file."""

    code = "usage"
    exit_code = 2


class NotFoundError(PolyarchError):
    """The registry, the storage or the fleet does not have it."""

    code = "not-found"
    exit_code = 3


class NoVariantError(PolyarchError):
    """The image exists, but no variant of it can run on the device."""

    code = "no-variant"
    exit_code = 4


class UnauthorizedError(PolyarchError):
    """Credentials are missing or refused."""

    code = "unauthorized"
    exit_code = 5


class UnreachableError(PolyarchError):
    """A network or registry fault that outlasted the retries."""

    code = "unreachable"
    exit_code = 6


class IntegrityError(PolyarchError):
    """What came is not what was promised."""

    code = "integrity"
    exit_code = 7


class HostError(PolyarchError):
    """This machine lacks something: emulator, kernel feature, helper program, permission."""

    code = "host"
    exit_code = 8


class StorageError(PolyarchError):
    """Disk full, storage locked too long, corrupt or of a newer version."""

    code = "storage"
    exit_code = 9


class DeniedError(StorageError):
    """The storage is there, and this user may not use it: for scripts a lack of the machine's, as every permission."""

    code = HostError.code
    exit_code = HostError.exit_code


class PartialError(PolyarchError):
    """Of several images or devices some succeeded and some did not."""

    code = "partial"
    exit_code = 10


class InterruptedPull(PolyarchError):
    """Ctrl-C, SIGTERM or SIGHUP; what was fetched is kept for the next try."""

    code = "interrupted"
    exit_code = 130


@contextlib.contextmanager
def platforms_errors() -> Iterator[None]:
    """Turn the platforms package's errors into those of this tree: bad words are `usage`, the rest is `host`."""
    try:
        yield
    except (PlatformError, DeviceError, FactsError) as error:
        raise UsageError(str(error), getattr(error, "hint", None)) from error
    except PlatformsError as error:
        raise HostError(str(error), getattr(error, "hint", None)) from error
