"""Which podman is meant: its program, or a service of it that listens on a unix socket. The other is not loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from polyarch.contract import (
    HasBlobFiles,
    Image,
    OfferedImage,
    RegistryServices,
    StorageServices,
    UsageError,
    printable,
)
from polyarch_plugins.storages.engine_http import socket_path
from polyarch_plugins.storages.podman.engine import Engine

_HINT = 'known are: command = ["podman", "--root", "/images"], or socket = "/run/podman/podman.sock"'


@dataclass(frozen=True, slots=True)
class Place:
    """The words that podman's program starts with, or the socket of its service."""

    command: tuple[str, ...] = ("podman",)
    socket: Path | None = None


def find_place(location: str, options: Mapping[str, object], environ: Mapping[str, str]) -> Place:
    """`location` (a socket), the options `command` or `socket`, CONTAINER_HOST as podman itself reads it, else podman.

    Raises UsageError: a service that is reached in another way, an option that is unknown or of the wrong type.
    """
    if unknown := sorted(set(options) - {"command", "socket"}):
        raise UsageError(f"podman has no option '{printable(unknown[0], 100)}'", _HINT)
    if location:
        return Place(socket=_socket(location, "the storage's location"))
    command, socket = options.get("command"), options.get("socket")
    if socket is not None:
        if command is not None or not isinstance(socket, str):
            raise UsageError("podman's option socket is a text, and takes the place of command", _HINT)
        return Place(socket=_socket(socket, "podman's option socket"))
    if command is not None:
        if not (isinstance(command, list) and command and all(isinstance(word, str) for word in command)):
            raise UsageError("podman's option command is no list of words", _HINT)
        return Place(tuple(command))
    if host := environ.get("CONTAINER_HOST"):
        return Place(socket=_socket(host, "CONTAINER_HOST"))
    return Place()


def open_engine(
    services: RegistryServices | StorageServices,
    location: str = "",
    offer: Callable[[Image, HasBlobFiles], AbstractContextManager[OfferedImage]] | None = None,
) -> Engine:
    """The podman at `find_place`. Asks it nothing yet. `offer` is not needed where nothing is taken."""
    place = find_place(location, services.options, services.environ)
    if place.socket is not None:
        from polyarch_plugins.storages.podman.service import Service

        return Service(services.http_at(place.socket), place.socket)
    from polyarch_plugins.storages.podman.program import Program

    return Program(place.command, services.environ, services.temporary, offer)


def _socket(text: str, what: str) -> Path:
    return socket_path(text, what, "podman's service", "--into podman:/run/podman/podman.sock")
