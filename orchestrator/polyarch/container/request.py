"""What a user asks of a container: the words of `run`, checked, before anything is started."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Literal

from polyarch.errors import UsageError, printable
from polyarch_platforms.lazy_dataclass import dataclass

MAX_ENV_FILE = 1 << 20
"""Bytes of one file of variables."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", re.ASCII)
_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?", re.ASCII)  # 64 bytes: hostname(7), Linux


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The words of `run`, as docker means them.

    `argv` stands in place of the image's command, `entrypoint` in place of its entrypoint (and empties its command; ""
    takes the entrypoint away). `env` has `NAME=VALUE`, or `NAME` alone, which is passed on from `environ`, the caller's
    environment. `volumes` are `SOURCE:TARGET[:ro]`. `memory` and the three below it are limits, `cap_add` and the two
    below it say how tight it is. `detach`: nobody waits for the end. Strings that are "" were not given.
    """

    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    env_files: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    volumes: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: str | None = None
    hostname: str = ""
    read_only: bool = False
    network: Literal["host", "none"] = "host"
    memory: str = ""
    memory_swap: str = ""
    cpus: str = ""
    pids_limit: str = ""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opts: tuple[str, ...] = ()
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    rm: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise UsageError(
                f"'{printable(self.name)}' cannot be the name of a container", "letters, digits, '_', '.' and '-'"
            )
        if self.hostname and not _HOSTNAME.fullmatch(self.hostname):
            raise UsageError(f"'{printable(self.hostname)}' cannot be a host name")
        check_workdir(self.workdir)
        check_zero_bytes(*self.argv, *self.env, self.workdir, self.user, self.entrypoint or "")
        if self.is_limited:
            from polyarch.container.limits import limits_of

            limits_of(self)
        if self.cap_add or self.cap_drop or self.security_opts:
            from polyarch.container.security import check_security

            check_security(self)

    @property
    def is_limited(self) -> bool:
        """Whether it may use less than all of the machine."""
        return bool(self.memory or self.memory_swap or self.cpus or self.pids_limit)


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """The words of `exec`, as docker means them; the fields are those of RunRequest."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    env_files: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    workdir: str = ""
    user: str = ""
    tty: bool = False
    interactive: bool = False

    def __post_init__(self) -> None:
        check_workdir(self.workdir)
        check_zero_bytes(*self.argv, *self.env, self.workdir, self.user)


def check_workdir(text: str) -> None:
    """UsageError unless it is absolute, or ""."""
    if text and not text.startswith("/"):
        raise UsageError(f"the working directory '{printable(text)}' is no absolute path")


def check_zero_bytes(*texts: str) -> None:
    """UsageError if a text has one: the kernel would end it there."""
    for text in texts:
        if "\0" in text:
            raise UsageError(f"a zero byte in '{printable(text)}'")


@dataclass(frozen=True, slots=True)
class Volume:
    """A file or directory of the host that is seen inside."""

    source: Path
    target: str
    read_only: bool


def parse_volume(text: str) -> Volume:
    """`SOURCE:TARGET[:ro|rw]`; SOURCE is a path (`./data`, `/srv`), made absolute.

    Raises UsageError: another form, a source that does not exist, a target that is no absolute path.
    """
    parts = text.split(":")
    options = parts[2].split(",") if len(parts) == 3 else []
    if len(parts) not in (2, 3) or not parts[0] or any(option not in ("ro", "rw") for option in options):
        raise UsageError(f"volume '{printable(text)}': SOURCE:TARGET or SOURCE:TARGET:ro is wanted")
    source, target = parts[0], parts[1]
    if not target.startswith("/") or target.strip("/.") == "":
        raise UsageError(f"volume '{printable(text)}': the target is an absolute path, and not /")
    if "/" not in source and source not in (".", ".."):
        raise UsageError(
            f"volume '{printable(text)}': there are no named volumes", f"for a folder here, write ./{printable(source)}"
        )
    path = Path(source).absolute()
    if not path.exists():
        raise UsageError(f"volume '{printable(text)}': {printable(str(path))} does not exist")
    return Volume(path, target, "ro" in options)


def parse_environment(request: RunRequest | ExecRequest) -> dict[str, str]:
    """The variables that the user sets: those of the files, then the others; later ones win.

    Raises UsageError: a file that cannot be read or has a broken line, a variable without a name.
    """
    variables: dict[str, str] = {}
    for path in request.env_files:
        for number, line in enumerate(_env_lines(path), 1):
            if line and not line.startswith("#"):
                _set(variables, line, request.environ, f"{path}, line {number}")
    for text in request.env:
        _set(variables, text, request.environ, "variable")
    return variables


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of a RunRequest name, read once: a file of variables may be a pipe.

    `profile` is the text of the seccomp profile that it names; "" where it names none.
    """

    volumes: tuple[Volume, ...]
    variables: dict[str, str]
    profile: str = ""


def read_words(request: RunRequest, *, starts: bool = True) -> Words:
    """Read them, before anything is pulled; it `starts` now, or later.

    Raises UsageError for what cannot be meant; HostError: this machine cannot hold a container to its limits.
    """
    check_terminal(request.tty and not request.detach and starts)
    if request.is_limited:
        from polyarch.container.limits import held_by_this_machine

        held_by_this_machine(request)
    profile = ""
    if request.security_opts:
        from polyarch.container.security import given_profile

        profile = given_profile(request)
    return Words(tuple(parse_volume(text) for text in request.volumes), parse_environment(request), profile)


def check_terminal(wanted: bool) -> None:
    """UsageError if the input has to be a terminal and is none."""
    if wanted and not os.isatty(0):
        raise UsageError("the input is no terminal, as -t wants it", "leave out -t")


def _env_lines(path: Path) -> Sequence[str]:
    """docker's form: no quotes, no continuation; blanks in front of a name are not part of it."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_ENV_FILE + 1)
        if len(data) > MAX_ENV_FILE:
            raise UsageError(f"{path}: more than {MAX_ENV_FILE} bytes are no file of variables")
        return [line.lstrip() for line in data.decode("utf-8").splitlines()]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8") from None


def _set(variables: dict[str, str], text: str, environ: Mapping[str, str], where: str) -> None:
    name, equals, value = text.partition("=")
    if not name or "\0" in text or any(letter.isspace() for letter in name):
        raise UsageError(f"{where}: '{printable(text, 80)}' has no name that a variable can have", "write NAME=VALUE")
    if equals:
        variables[name] = value
    elif name in environ:
        variables[name] = environ[name]
