"""What can go wrong between here and a registry."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Literal, TypeAlias

from polyarch.errors import UnreachableError, printable

Kind: TypeAlias = Literal[
    "name", "lookup", "refused", "timeout", "broken", "tls", "certificate", "request", "forbidden", "proxy", "closed"
]

_PASSING = frozenset({"lookup", "refused", "timeout", "broken"})
_BEFORE_REQUEST = frozenset({"name", "lookup", "refused", "tls", "certificate", "forbidden", "closed"})


class ConnectionFault(UnreachableError):
    """No answer came from `host`, or not the whole of it. `reason` says why, without the host."""

    def __init__(self, host: str, reason: str, kind: Kind, hint: str | None = None) -> None:
        super().__init__(f"{host}: {reason}", hint, registry=host)
        self.host = host
        self.reason = reason
        self.kind = kind

    @property
    def passing(self) -> bool:
        """True if another try may help."""
        return self.kind in _PASSING

    @property
    def unsent(self) -> bool:
        """True if nothing of the request can have been acted upon."""
        return self.kind in _BEFORE_REQUEST


def timeout_fault(host: str, *, connecting: bool) -> ConnectionFault:
    """Too long without an answer: when connecting, or in the middle of an exchange."""
    reason = "no connection within the time limit" if connecting else "nothing more came within the time limit"
    return ConnectionFault(host, reason, "timeout")


def forbidden(host: str) -> ConnectionFault:
    """A server has sent us to an address where secrets of this machine are given out."""
    return ConnectionFault(host, "a link-local or metadata address, where nobody may send us", "forbidden")


def os_fault(host: str, error: OSError, *, connecting: bool) -> ConnectionFault:
    """What the system, the resolver or TLS said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFault(
            host,
            f"its certificate is not trusted ({printable(error.verify_message, 100)})",
            "certificate",
            f"put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt, or use --no-tls-verify",
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionFault(host, "the connection was closed", "broken")
    if isinstance(error, ssl.SSLError):
        return _tls_fault(host, error, connecting)
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return ConnectionFault(host, "its name cannot be looked up now", "lookup", "is this machine online?")
        return ConnectionFault(host, "there is no host of that name", "name", "look at the spelling of the registry")
    if isinstance(error, ConnectionRefusedError) or error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return ConnectionFault(host, (error.strerror or "connection refused").lower(), "refused")
    return ConnectionFault(host, (error.strerror or str(error) or "the connection broke").lower(), "broken")


def _tls_fault(host: str, error: ssl.SSLError, connecting: bool) -> ConnectionFault:
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "certificate required" in reason or "bad certificate" in reason:
        where = f"/etc/docker/certs.d/{host}"
        return ConnectionFault(
            host, "it wants a client certificate", "certificate", f"put client.cert and client.key into {where}"
        )
    if not connecting:
        return ConnectionFault(host, f"TLS broke: {printable(reason, 100)}", "broken")
    if "wrong version number" in reason or "http request" in reason or "record layer" in reason:
        return ConnectionFault(
            host, "it does not speak TLS here", "tls", "for a registry with plain HTTP use --no-tls-verify"
        )
    return ConnectionFault(host, f"no TLS with it: {printable(reason, 100)}", "tls", "--no-tls-verify may help to look")
