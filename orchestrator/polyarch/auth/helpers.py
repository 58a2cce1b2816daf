"""Credential helpers: programs `docker-credential-NAME` that keep secrets (docker/docker-credential-helpers, README).

The action is the argument; `get` and `erase` read the server's name, `store` reads JSON, from standard input. `get`
answers JSON with Username and Secret; the user name `<token>` says that the secret is an identity token. `list` answers
JSON with a user name for each server. Secrets are on no command line. What went wrong stands on standard output; some
helpers write it to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from typing import IO

from polyarch.auth.credentials import Credentials
from polyarch.errors import HostError, IntegrityError, printable
from polyarch.oci.json import parse_json, string_map, text_of

TIME_LIMIT = 60.0
"""Seconds that a helper may take: it may ask its user for a pass phrase."""

MAX_ANSWER = 64 << 10
"""Bytes of an answer that are read."""

_MAX_SAID = 4096

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_IDENTITY_TOKEN = "<token>"
# What helpers print where they have nothing (docker-credential-helpers, credentials/error.go).
_NOT_FOUND = "credentials not found in native keychain"


def is_helper_name(name: str) -> bool:
    """True if `docker-credential-NAME` can be a program, found by name alone."""
    return _NAME.fullmatch(name) is not None


def get(name: str, server: str) -> Credentials | None:
    """What the helper keeps for a server; None if nothing. Raises HostError."""
    program, code, answer = _run(name, "get", server.encode())
    if code != 0:
        if _NOT_FOUND in answer.decode(errors="replace").lower():
            return None
        raise _failed(program, "get", server, answer)
    try:
        document = parse_json(answer, program)
        username = text_of(document, "Username", program)
        secret = text_of(document, "Secret", program)
    except IntegrityError as error:
        raise HostError(f"credential helper {error.message}") from error
    if not secret:
        return None
    return Credentials("" if username == _IDENTITY_TOKEN else username, secret, username == _IDENTITY_TOKEN)


def store(name: str, server: str, credentials: Credentials) -> str:
    """Let the helper keep credentials; returns the program's name. Raises HostError."""
    username = _IDENTITY_TOKEN if credentials.is_identity_token else credentials.username
    data = json.dumps({"ServerURL": server, "Username": username, "Secret": credentials.secret}).encode()
    program, code, answer = _run(name, "store", data)
    if code != 0:
        raise _failed(program, "store", server, answer)
    return program


def erase(name: str, server: str) -> None:
    """Let the helper forget a server. Raises HostError."""
    program, code, answer = _run(name, "erase", server.encode())
    if code != 0 and _NOT_FOUND not in answer.decode(errors="replace").lower():
        raise _failed(program, "erase", server, answer)


def servers(name: str, seconds: float | None = None) -> dict[str, str]:
    """The servers that the helper keeps something for, each with its user name, within `seconds`. Raises HostError."""
    program, code, answer = _run(name, "list", b"", seconds)
    if code != 0:
        raise _failed(program, "list", "", answer)
    try:
        return string_map(parse_json(answer, program), program)
    except IntegrityError as error:
        raise HostError(f"credential helper {error.message}") from error


def _failed(program: str, action: str, server: str, answer: bytes) -> HostError:
    words = printable(answer.decode(errors="replace").strip(), 200)
    if '"Secret"' in words:  # it failed behind its answer
        words = "with an answer that is not shown"
    of = f" for {server}" if server else ""
    return HostError(f"{program} {action}{of} failed: {words or 'it printed nothing'}")


def _run(name: str, action: str, data: bytes, seconds: float | None = None) -> tuple[str, int, bytes]:
    """The program's name, its exit code and what it printed; where it failed in silence, what it complained of."""
    try:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise HostError(f"no room for what docker-credential-{name} complains of: {error.strerror}") from error
    with errors as said:
        program, code, answer = _started(name, action, data, said, TIME_LIMIT if seconds is None else seconds)
        if code != 0 and not answer.strip():
            said.seek(0)
            answer = said.read(_MAX_SAID)
    return program, code, answer


def _started(name: str, action: str, data: bytes, said: IO[bytes], seconds: float) -> tuple[str, int, bytes]:
    program = f"docker-credential-{name}"
    path = shutil.which(program)
    if path is None:
        raise HostError(
            f"the credential helper {program} is not installed, but an auth file names it",
            f"install {program}, or take it out of credsStore and credHelpers",
        )
    try:
        # A session of its own, so that what the helper started can be ended with it.
        process = subprocess.Popen(
            [path, action],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"{path} cannot be started: {error.strerror}") from error
    expired = threading.Event()

    def end() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        answer = _talk(process, data)
        if len(answer) > MAX_ANSWER:
            raise HostError(f"{program} {action} answered more than {MAX_ANSWER} bytes")
        code = process.wait()
    except BaseException:
        _kill(process)
        process.wait()
        raise
    finally:
        timer.cancel()
    if expired.is_set():
        raise HostError(f"{program} {action} did not answer within {seconds:g} seconds")
    return program, code, answer


def _talk(process: subprocess.Popen[bytes], data: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        # A helper that does not want to hear it all says by its exit code what that means.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(data)
        return process.stdout.read(MAX_ANSWER + 1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
