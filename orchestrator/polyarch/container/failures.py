"""Why a program in a container did not start, with the exit codes that docker gives for it."""

from __future__ import annotations

from polyarch.errors import HostError, NotFoundError


class CannotExecute(HostError):
    """The program is there, but cannot be executed: a directory, no permission, another architecture."""

    exit_code = 126


class JustRemoved(NotFoundError):
    """Another process removed the image between the moment it was found and the container's record."""


class ProgramNotFound(NotFoundError):
    """The program, or the interpreter that it names, is not there."""

    exit_code = 127
