"""The host's network files as a container sees them: copies, so that nothing inside changes the host's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from polyarch.errors import StorageError
from polyarch.files import disk_error, read_bounded

_MAX_FILE = 4 << 20
_LOOPBACK = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def write_etc_files(directory: Path, hostname: str, network: Literal["host", "none"]) -> dict[str, Path]:
    """Write hosts, hostname and resolv.conf into `directory`: path inside -> file. Raises StorageError."""
    hosts = _copied("/etc/hosts") if network == "host" else _LOOPBACK
    if hostname != os.uname().nodename or network == "none":
        hosts = hosts.removesuffix(b"\n") + b"\n127.0.1.1\t%b\n" % hostname.encode()
    contents = {"hosts": hosts, "hostname": hostname.encode() + b"\n", "resolv.conf": _copied("/etc/resolv.conf")}
    try:
        for name, content in contents.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o644)
    except OSError as error:
        raise disk_error(error, f"cannot write to {directory}") from error
    return {f"/etc/{name}": directory / name for name in contents}


def _copied(path: str) -> bytes:
    """The host's file, through symlinks; nothing where it has none."""
    try:
        return read_bounded(Path(path).resolve(), _MAX_FILE)
    except (OSError, StorageError):
        return b""
