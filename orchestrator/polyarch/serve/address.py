"""Where to listen: the words of `--listen`."""

from __future__ import annotations

import re

from polyarch.errors import UsageError, printable

LOOPBACK = "127.0.0.1"
_ADDRESS = re.compile(
    r"(?:(?P<host>[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]):)?(?P<port>[0-9]{1,5})", re.ASCII
)


def parse_listen(text: str | None) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[::1]:PORT`, `PORT` (on loopback) or `:PORT` (on every IPv4 address).

    None is loopback and port 0, for which the kernel chooses one. The host comes without brackets.
    Raises UsageError.
    """
    if text is None:
        return LOOPBACK, 0
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise UsageError(
            f"'{printable(text, 100)}' is no address to listen at",
            "write HOST:PORT, PORT for loopback, :PORT for every address, or [::1]:PORT for IPv6",
        )
    port = int(match["port"])
    if port > 65535:
        raise UsageError(f"'{printable(text, 100)}': port {port} does not exist", "the highest port is 65535")
    host = match["host"]
    if host is None:
        return LOOPBACK, port
    return host.strip("[]") or "0.0.0.0", port


def format_address(host: str, port: int) -> str:
    """HOST:PORT as it stands in front of a reference; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
