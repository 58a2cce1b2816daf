"""Why a device, or an image on it, cannot be served: the reason codes that scripts rely on."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from polyarch.errors import PolyarchError, printable

ReasonCode: TypeAlias = Literal[
    "not-found",
    "no-variant",
    "no-engine",
    "no-space",
    "disk",
    "no-forwarding",
    "unauthorized",
    "unreachable",
    "offline",
    "host-key",
    "timeout",
    "integrity",
    "interrupted",
    "stopped",
    "check",
    "held",
    "internal",
]
REASON_CODES: tuple[ReasonCode, ...] = get_args(ReasonCode)
"""Of those that do not say it themselves: `not-found` is an image that its registry does not have, `disk` one that is
faulty or read-only, `stopped` by the stop rule or before its turn came, `check` is the command that was to succeed
after the pull, `held` another rollout that is at the device.
"""


class FactsFault(PolyarchError):
    """There are no facts of a device: `reason_code` says of which kind the cause is, the message tells it in words."""

    def __init__(self, device: str, reason_code: ReasonCode, message: str, hint: str | None = None) -> None:
        super().__init__(f"{printable(device, 100)}: {message}", hint, device=device, reason_code=reason_code)
        self.device = device
        self.reason_code: ReasonCode = reason_code
        self.reason = printable(message)
