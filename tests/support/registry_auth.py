"""Registries that ask who is there: Basic auth, and bearer tokens from a token server that signs them as Docker's does.

Sources: distribution's docs/spec/auth/token.md, jwt.md and oauth.md.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.certificates import self_signed

USERNAME = "ali"
PASSWORD = "open sesame"
_BCRYPT = "$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"  # of PASSWORD


def basic_header(username: str = USERNAME, password: str = PASSWORD) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def write_auth_file(path: Path, address: str, username: str = USERNAME, password: str = PASSWORD) -> Path:
    """Writes a file as `docker login` and `podman login` do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    auth = basic_header(username, password).removeprefix("Basic ")
    path.write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    return path


def basic_settings(folder: Path) -> dict[str, Any]:
    """Settings for a `DockerRegistry` that lets only USERNAME in."""
    file = folder / "htpasswd"
    file.write_text(f"{USERNAME}:{_BCRYPT}\n")
    return {"auth": {"htpasswd": {"realm": "polyarch tests", "path": str(file)}}}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What somebody asked the token server: query (GET) or form (POST), and the Authorization header or None."""

    method: str
    fields: Mapping[str, list[str]]
    authorization: str | None


class TokenServer:
    """Gives tokens: to USERNAME for everything, to nobody in particular for pulling from the repositories in `public`.

    Refusals come as Docker Hub's: a wrong password is a 401; without credentials there is a token that allows nothing.
    A test may set `lifetime` (seconds, as told in `expires_in`) and must put it back.
    """

    service = "registry.test"
    issuer = "polyarch tests"

    def __init__(self, folder: Path, public: frozenset[str] = frozenset()) -> None:
        self._key, self.certificate = self_signed(folder)
        self.public = public
        self.lifetime = 300
        self.requests: list[TokenRequest] = []
        self.refresh_token = secrets.token_urlsafe()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_TokenHandler,), {"tokens": self}))
        self.realm = f"http://127.0.0.1:{self._http.server_port}/token"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def settings(self) -> dict[str, Any]:
        """Settings for a `DockerRegistry` that believes this server."""
        return {
            "auth": {
                "token": {
                    "realm": self.realm,
                    "service": self.service,
                    "issuer": self.issuer,
                    "rootcertbundle": str(self.certificate),
                }
            }
        }

    def token(self, subject: str, scopes: list[str]) -> str:
        """A signed JWT that grants the subject what it may have of the scopes; "" is nobody."""
        now = int(time.time())
        chain = "".join(line for line in self.certificate.read_text().splitlines() if "-----" not in line)
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.service,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [grant for scope in scopes if (grant := self._grant(subject, scope))],
        }
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(sign, input=signed, stdout=subprocess.PIPE, check=True).stdout
        return (signed + b"." + _base64url(signature)).decode()

    def _grant(self, subject: str, scope: str) -> dict[str, Any] | None:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed = set(actions.split(",")) if subject else {"pull"} & set(actions.split(","))
        if not subject and name not in self.public:
            return None
        return {"type": kind, "name": name, "actions": sorted(allowed)}

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _TokenHandler(BaseHTTPRequestHandler):
    tokens: TokenServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fields = parse_qs(urlsplit(self.path).query)
        header = self.headers.get("Authorization")
        self.tokens.requests.append(TokenRequest("GET", fields, header))
        if header not in (None, basic_header()):
            self._answer(401, {"details": "incorrect username or password"})
            return
        self._give(USERNAME if header else "", fields)

    def do_POST(self) -> None:
        fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.tokens.requests.append(TokenRequest("POST", fields, self.headers.get("Authorization")))
        by_password = fields.get("username") == [USERNAME] and fields.get("password") == [PASSWORD]
        by_refresh = fields.get("refresh_token") == [self.tokens.refresh_token]
        if {"password": by_password, "refresh_token": by_refresh}.get(fields.get("grant_type", [""])[0]):
            self._give(USERNAME, fields)
        else:
            self._answer(401, {"details": "incorrect username or password"})

    def _give(self, subject: str, fields: Mapping[str, list[str]]) -> None:
        scopes = [scope for value in fields.get("scope", []) for scope in value.split(" ")]
        token = self.tokens.token(subject, scopes)
        answer: dict[str, object] = {"access_token": token, "expires_in": self.tokens.lifetime}
        if self.command == "GET":
            answer["token"] = token
        if subject and (fields.get("offline_token") == ["true"] or fields.get("access_type") == ["offline"]):
            answer["refresh_token"] = self.tokens.refresh_token
        self._answer(200, answer)

    def _answer(self, status: int, document: Mapping[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed: `TokenServer.requests` tells what came."""


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
