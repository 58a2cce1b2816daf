"""Secrets planted where they belong, and the search for them, in all their usual forms, everywhere else."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from support.command import NO_FILES_OF_THE_MACHINE
from support.forked_commands import ForkedCommands, Ran
from support.registry_faults.case import Image, challenge, encoded
from support.registry_faults.server import Answer, FaultServer, Reply, Request

PASSWORD = "Pa55-w0rd/of+ali="
REFRESH = "refresh-token-of-ali-6f1e"
TOKEN = "bearer-token-from-the-server-9c2a"
PROXY = "proxy-Passw0rd-77"
HEADER = "header-of-a-mirror-31d0"
SIGNED = "signature-in-a-url-5be2"
PLANTED = (PASSWORD, REFRESH, TOKEN, PROXY, HEADER, SIGNED)


def forms() -> list[bytes]:
    """Each secret as it is, in a URL, in JSON, and as part of what Basic makes of it."""
    found = []
    for secret in PLANTED:
        found += [secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]
    for user, secret in (("ali", PASSWORD), ("<token>", REFRESH), ("prox", PROXY)):
        found.append(base64.b64encode(f"{user}:{secret}".encode()).decode().rstrip("="))
    return [form.encode() for form in found]


class Watch:
    """Looks at the command lines of all processes, and at the variables of none, while something runs."""

    def __init__(self, wanted: list[bytes] | None = None) -> None:
        self._wanted = wanted or forms()
        self.found: set[str] = set()
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.005):
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    words = process.read_bytes()
                    if any(form in words for form in self._wanted):
                        self.found.add(words[:300].decode(errors="replace"))


def asks(request: Request, then: Answer | None = None) -> Answer:
    """Basic for repositories that begin with `basic`, a token for the others; whoever has it gets `then`."""
    image = Image()
    if request.kind == "token":
        return Reply(200, {}, encoded({"token": TOKEN}))
    if not request.headers.get("Authorization"):
        if request.kind == "api" or request.repository.startswith("basic"):
            return challenge('Basic realm="x"')
        return challenge(f'Bearer realm="http://{request.host}/token/{request.repository}/t",service="s"')
    return then or image.honest(request)


class Stage:
    """A home with secrets in it, and a registry that wants them."""

    def __init__(self, folder: Path, commands: ForkedCommands, answer: Callable[[Request], Answer]) -> None:
        self.home, self._commands = folder / "home", commands
        self.planted = folder / "planted"
        for path in (self.home, self.planted, self.home / "tmp"):
            path.mkdir()
        self.server = FaultServer(answer, api=True)
        (self.home / "polyarch.toml").write_text("retries = 1\nread_timeout = 2.0\n")
        self.environ = {
            **NO_FILES_OF_THE_MACHINE,
            "POLYARCH_ROOT": str(self.home / "root"),
            "POLYARCH_CONFIG": str(self.home / "polyarch.toml"),
            "TMPDIR": str(self.home / "tmp"),
            "REGISTRY_AUTH_FILE": str(self.planted / "auth.json"),
        }
        self.know()

    def know(self, *, refresh: bool = False, helper: bool = False) -> None:
        """Let the credentials be in the file, as a password or a token, or with a helper."""
        auth = base64.b64encode(f"ali:{PASSWORD}".encode()).decode()
        entry: dict[str, str] = {"identitytoken": REFRESH} if refresh else {"auth": auth}
        document: dict[str, object] = {"auths": {self.server.address: entry}}
        if helper:
            document = {"credHelpers": {self.server.address: "planted"}}
            program = self.planted / "docker-credential-planted"
            answer = json.dumps({"ServerURL": "x", "Username": "ali", "Secret": PASSWORD})
            program.write_text(f"#!/bin/sh\ncat >/dev/null\ncat <<'END'\n{answer}\nEND\n")
            program.chmod(0o755)
            self.environ["PATH"] = f"{self.planted}:/usr/bin:/bin"
        (self.planted / "auth.json").write_text(json.dumps(document))

    def run(self, *words: str, stdin: str = "") -> Ran:
        return self._commands.run(self.home, [*words, "--debug"], self.environ, stdin=stdin)

    def found(self, *told: Ran) -> list[str]:
        """Where a secret is that should not be there; and files that others may read."""
        wanted = forms()
        texts = {f"output of {number}": ran.told.encode() for number, ran in enumerate(told)}
        texts |= {str(path): path.read_bytes() for path in self.home.rglob("*") if path.is_file()}
        return [f"{where}: {form!r}" for where, text in texts.items() for form in wanted if form in text]
