"""polyarch pulls the image variant that a device can really run, on one device or on a fleet of mixed ones.

As a library::

    from polyarch import Session

    with Session() as session:
        session.pull("alpine", platform="linux/arm64")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyarch.version import __version__

if TYPE_CHECKING:
    from polyarch.session import Session

__all__ = ["Session", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Session":  # loaded when it is first used: the command line starts without it
        from polyarch.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
