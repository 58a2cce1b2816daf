"""Instructions of a Dockerfile that change an image's config: those of `commit --change`.

Sources: Dockerfile reference (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, "Environment
replacement"); moby, daemon/builder/dockerfile/dispatchers.go (an ENTRYPOINT empties a CMD that is not new itself).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from polyarch.errors import IntegrityError, UsageError, printable
from polyarch.lock.interpolation import Unreadable, expand
from polyarch.oci.json import strings

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_SIGNAL = re.compile(r"(SIG)?[A-Z]{2,6}\d?([+-]\d{1,2})?|\d{1,2}", re.ASCII | re.IGNORECASE)
_LAST_PORT = 65535
_MAX_PORTS = 1000
_SHELL = ("/bin/sh", "-c")

_Config: TypeAlias = dict[str, Any]


def apply_instructions(config: _Config, instructions: Sequence[str]) -> None:
    """Change an image config's `config` as the instructions say, one after the other. Raises UsageError."""
    command_is_new = False
    for text in instructions:
        word, _, rest = text.strip().partition(" ")
        name, rest = word.upper(), rest.strip()
        act = _ACTS.get(name)
        if act is None:
            raise UsageError(f"--change '{printable(text, 80)}': no instruction that a commit can have", _HINT)
        if not rest or "\n" in rest or "\0" in rest:
            raise UsageError(f"--change '{printable(text, 80)}': {name} wants something behind it, on one line", _HINT)
        try:
            act(config, rest)
        except (_Wrong, Unreadable) as error:
            raise UsageError(f"--change '{printable(text, 80)}': {error}") from None
        if name == "ENTRYPOINT" and not command_is_new:
            config.pop("Cmd", None)
        command_is_new = command_is_new or name == "CMD"


class _Wrong(Exception):
    """What an instruction cannot say."""


def _command(key: str) -> Callable[[_Config, str], None]:
    def act(config: _Config, rest: str) -> None:
        words = _exec_form(rest)
        config[key] = [*_shell(config), rest] if words is None else words

    return act


def _shell(config: _Config) -> tuple[str, ...]:
    """What a command that is no list is for: SHELL of the base's Dockerfile, which is Docker's field, not OCI's."""
    try:
        return strings(config.get("Shell"), "the base image's Shell") or _SHELL
    except IntegrityError as error:
        raise _Wrong(error.message) from None


def _exec_form(text: str) -> list[str] | None:
    """The words of `["a", "b"]`; None for any other text, which is for a shell then."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _env(config: _Config, rest: str) -> None:
    lines = list(config.get("Env") or [])
    for name, value in _pairs(rest, _variables(config)):
        lines = [line for line in lines if line.partition("=")[0] != name] + [f"{name}={value}"]
    config["Env"] = lines


def _label(config: _Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(rest, _variables(config)))}


def _user(config: _Config, rest: str) -> None:
    config["User"] = _one(config, rest)


def _workdir(config: _Config, rest: str) -> None:
    place = posixpath.normpath(posixpath.join("/", str(config.get("WorkingDir") or ""), _one(config, rest)))
    config["WorkingDir"] = "/" + place.lstrip("/")


def _expose(config: _Config, rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(rest, _variables(config)):
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= _LAST_PORT or last - first >= _MAX_PORTS:
            raise _Wrong(f"'{printable(word, 80)}' is no port, as 80, 53/udp or 8000-8010/tcp")
        ports |= {f"{port}/{(match[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _volume(config: _Config, rest: str) -> None:
    places = _exec_form(rest) or _words(rest, _variables(config))
    if not all(place.strip() for place in places):
        raise _Wrong("a volume has no name")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{place: {} for place in places}}


def _stop_signal(config: _Config, rest: str) -> None:
    word = _one(config, rest)
    if not _SIGNAL.fullmatch(word):
        raise _Wrong(f"'{printable(word, 80)}' is no signal, as SIGTERM, SIGRTMIN+3 or 15")
    config["StopSignal"] = word


_ACTS: Mapping[str, Callable[[_Config, str], None]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
_HINT = f"one of {', '.join(_ACTS)}, as in a Dockerfile: --change 'CMD [\"/app\"]'"


def _variables(config: _Config) -> dict[str, str]:
    return dict(str(line).partition("=")[::2] for line in config.get("Env") or [])


def _one(config: _Config, rest: str) -> str:
    """The only word. Raises _Wrong."""
    words = _words(rest, _variables(config))
    if len(words) != 1 or not words[0]:
        raise _Wrong("one word is wanted")
    return words[0]


def _pairs(rest: str, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`NAME=VALUE NAME2="VALUE 2"`, or the older `NAME VALUE`, where all behind the name is the value."""
    first, _, behind = rest.partition(" ")
    if "=" not in first:
        value = "".join(text for text, _ in _pieces(behind.strip(), variables))
        if not behind.strip() or not _words(first, variables):
            raise _Wrong("NAME=VALUE is wanted")
        yield _words(first, variables)[0], value
        return
    for word in _words(rest, variables):
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise _Wrong(f"NAME=VALUE is wanted, not '{printable(word, 80)}'")
        yield name, value


def _words(text: str, variables: Mapping[str, str]) -> list[str]:
    """Cut at blanks outside quotes, quotes taken away, variables filled in."""
    words: list[str] = []
    open_word = False
    for piece, is_blank in _pieces(text, variables):
        if is_blank:
            open_word = False
        elif open_word:
            words[-1] += piece
        else:
            words.append(piece)
            open_word = True
    return words


_PIECE = re.compile(
    r"""(?P<blank>[ \t]+)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>(?:[^'" \t\\]|\\.)+)"""
)


def _pieces(text: str, variables: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """Each part of a text in its meaning, and whether it is blank outside of quotes. Raises _Wrong, Unreadable."""

    def filled(part: str) -> str:
        return expand(part, lambda name: variables.get(name, ""), "\\")

    at = 0
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            raise _Wrong("a quotation mark has no partner, or the last \\ has nothing behind it")
        at = match.end()
        if match["blank"] is not None:
            yield match["blank"], True
        elif match["single"] is not None:
            yield match["single"], False
        elif match["double"] is not None:
            yield filled(re.sub(r'\\(["\\])', r"\1", match["double"])), False
        else:
            yield filled(re.sub(r"\\([^$])", r"\1", match["plain"])), False
