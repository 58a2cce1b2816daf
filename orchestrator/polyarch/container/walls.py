"""What stands between a container and the machine, chosen before it starts: the filter, the rights, the limits."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from polyarch.container import syscalls
from polyarch.container.request import RunRequest, Words
from polyarch.container.runtime import Runtime
from polyarch.container.seccomp import (
    PACKAGE,
    UNCONFINED,
    Profile,
    default_profile,
    no_filter_here,
    parse_profile,
    this_machine,
    translated,
)
from polyarch.errors import HostError, printable
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.container.limits import Limits
    from polyarch.container.security import Security

_ON_PURPOSE = "where that is meant: --security-opt seccomp=unconfined"


@dataclass(frozen=True, slots=True)
class Walls:
    """`profile` is None where no system call is refused, `warning` says why if nobody asked for that."""

    profile: Profile | None = None
    new_privileges: bool = False
    limits: Limits | None = None
    warning: str = ""

    def filter(self, capabilities: Collection[str]) -> dict[str, object] | None:
        """`linux.seccomp` of the runtime-spec for a container with these capabilities."""
        return translated(self.profile, capabilities, this_machine()) if self.profile else None


def walls_of(request: RunRequest, words: Words, runtime: Runtime) -> Walls:
    """What a request asks for, and what is the default.

    Raises UsageError: a broken profile; HostError: limits, or a filter that was asked for, cannot be held.
    """
    security: Security | None = None
    if request.security_opts:
        from polyarch.container.security import parse_security

        security = parse_security(request.security_opts)
    limits = None
    if request.is_limited:
        from polyarch.container.limits import held_by_this_machine

        asked = held_by_this_machine(request)
        limits = asked if asked.controllers else None
    new_privileges = security.new_privileges if security else False
    if security and security.seccomp == UNCONFINED:
        return Walls(None, new_privileges, limits)
    named = security.seccomp if security else ""
    refusal = no_filter_here(runtime, syscalls.kernel_filters())
    if refusal and named:
        raise HostError(f"system calls cannot be filtered by {printable(named, 200)}: {refusal}")
    if refusal:
        return Walls(None, new_privileges, limits, f"system calls are not filtered: {refusal} ({_ON_PURPOSE})")
    profile = parse_profile(words.profile, named) if words.profile else default_profile()
    if profile is None:
        warning = (
            f"system calls are not filtered: there is no seccomp profile here (apt install {PACKAGE}; {_ON_PURPOSE})"
        )
        return Walls(None, new_privileges, limits, warning)
    return Walls(profile, new_privileges, limits)
