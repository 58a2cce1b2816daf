"""Where the engine listens, found as docker's own command finds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyarch.contract import StorageError, UsageError, printable, read_bounded
from polyarch_plugins.storages.engine_http import socket_path

DEFAULT_SOCKET = Path("/var/run/docker.sock")
_LARGEST_FILE = 1 << 20


def find_socket(location: str, options: Mapping[str, object], environ: Mapping[str, str]) -> Path:
    """The engine's unix socket: `location`, the option `socket`, DOCKER_HOST, docker's current context, else the usual.

    For contexts see docs.docker.com/engine/manage-resources/contexts. Raises UsageError: an engine that is reached in
    another way, a broken file of docker's, an unknown option.
    """
    if unknown := sorted(set(options) - {"socket"}):
        raise UsageError(f"docker has no option '{printable(unknown[0], 100)}'", 'known is: socket = "/path/to.sock"')
    if location:
        return _path(location, "the storage's location")
    if (option := options.get("socket")) is not None:
        if not isinstance(option, str):
            raise UsageError("docker's option socket is no text", 'write socket = "/path/to.sock"')
        return _path(option, "docker's option socket")
    if host := environ.get("DOCKER_HOST"):
        return _path(host, "DOCKER_HOST")
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/") / ".docker")
    context = environ.get("DOCKER_CONTEXT") or _document(folder / "config.json").get("currentContext")
    if not isinstance(context, str) or context in ("", "default"):
        return DEFAULT_SOCKET
    # docker/cli, cli/context/store/store.go: a context's folder is named after the SHA-256 of its name.
    meta = folder / "contexts" / "meta" / hashlib.sha256(context.encode()).hexdigest() / "meta.json"
    what = f"docker's context {printable(context, 100)}"
    try:
        host = _document(meta)["Endpoints"]["docker"]["Host"]
    except (KeyError, TypeError):
        raise UsageError(f"{what} names no engine", "see: docker context ls") from None
    return _path(str(host), what)


def _path(text: str, what: str) -> Path:
    example = "--into docker:/path/to.sock, or DOCKER_HOST=unix:///path/to.sock"
    return socket_path(text, what, "docker", example)


def _document(path: Path) -> dict[str, Any]:
    """The JSON object in one of docker's files; {} where there is none."""
    try:
        document = json.loads(read_bounded(path, _LARGEST_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError, StorageError) as error:
        raise UsageError(f"docker's file {path} cannot be read: {printable(str(error), 200)}") from error
    if not isinstance(document, dict):
        raise UsageError(f"docker's file {path} holds no JSON object")
    return document
