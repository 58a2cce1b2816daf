"""Refusals, logins, redirects and lists that lead astray."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Any

from support.registry_faults.case import (
    JSON,
    LAYER_BYTES,
    Case,
    Image,
    case_of,
    challenge,
    chunked,
    dripping,
    encoded,
    first,
    on,
    refusal,
    sha256,
    stalled,
)
from support.registry_faults.server import Answer, Reply, Request, for_ever

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\u0000\u009b31m\r\nerror: forged"


_BOMB = gzip.compress(b" " * (16 << 20), 9)


def _realm(realm: str) -> Callable[[Request, Image], Answer | None]:
    """Every manifest wants a token of this server; REGISTRY stands for the registry's own address."""

    def make(request: Request, image: Image) -> Answer | None:
        if request.kind != "manifests":
            return None
        where = realm.replace("REGISTRY", request.host).replace("REPOSITORY", request.repository)
        return challenge(f'Bearer realm="{where}",service="s"')

    return make


def _token(name: str, does: str, code: int, says: str, answer: Answer | Any, **more: Any) -> Case:
    """The registry's own token server answers so; with any token there is a manifest."""

    def make(request: Request, image: Image) -> Answer | None:
        if request.kind == "token":
            made: Answer | None = answer(request, image) if callable(answer) else answer
            return made
        if request.kind == "manifests" and not request.headers.get("Authorization"):
            return _realm("http://REGISTRY/token/REPOSITORY/t")(request, image)
        return None

    return Case(name, does, code, says, make, **more)


def _given(token: object, **more: object) -> Reply:
    return Reply(200, {"Content-Type": JSON}, encoded({"token": token, **more}))


def _away(location: str, status: int = 307, kind: str = "manifests") -> Callable[[Request, Image], Answer | None]:
    """A redirect; ELSEWHERE stands for the other address, HERE for the request's own place."""

    def make(request: Request, image: Image) -> Answer | None:
        if request.kind != kind or (request.host == request.elsewhere and "ELSEWHERE" in location):
            return None
        where = location.replace("ELSEWHERE", request.elsewhere).replace("HERE", request.url)
        return Reply(status, {"Location": where.replace("NUMBER", str(request.number))})

    return make


def _wants_basic_then_sends_away(request: Request, image: Image) -> Answer | None:
    if request.kind != "blobs" or request.host == request.elsewhere:
        return None
    if not request.headers.get("Authorization"):
        return challenge('Basic realm="x"')
    return Reply(307, {"Location": f"http://{request.elsewhere}{request.url}"})


def _tags(name: str, does: str, code: int, says: str, answer: Answer | Any, **more: Any) -> Case:
    return Case(name, does, code, says, on("tags", answer), command=("tags", "-q"), **more)


def _page(tags: object, link: str = "") -> Reply:
    return Reply(200, {"Content-Type": JSON, **({"Link": link} if link else {})}, encoded({"tags": tags}))


def _names(request: Request, image: Image) -> Reply:
    """A page of names nobody has heard of, and the next."""
    names = [f"{request.number}-{number}" for number in range(100_000)]
    return _page(names, f'</v2/{request.repository}/tags/list?page={request.number}>; rel="next"')


ANSWERS = [
    case_of("refusal-escapes", "puts control characters into an error's message", 6, r"u202e",
            on("manifests", refusal(400, "X", ESCAPES))),
    case_of("refusal-bytes", "sends an error that is no text", 6, "answered 418",
            on("manifests", Reply(418, {"Content-Type": "text/plain"}, bytes(range(256)) * 20))),
    case_of("refusal-endless", "sends an error without end", 3, "has no tag",
            on("manifests", chunked(b"HTTP/1.1 404 Not Found\r\n", for_ever(b"x" * 65536)))),
    case_of("refusal-deep", "nests an error 100,000 levels deep", 3, "has no tag",
            on("manifests", Reply(404, {"Content-Type": JSON}, b'{"errors":' + b"[" * 60_000))),
    case_of("refusal-strange", "sends errors that are no objects", 3, "has no tag",
            on("manifests", Reply(404, {"Content-Type": JSON}, b'{"errors":[1,null,{"code":{"a":1},"message":[2]}]}'))),
    case_of("refusal-drips", "sends an error a byte at a time, once", 3, "has no tag",
            first("manifests", dripping(b"HTTP/1.1 404 Not Found\r\nContent-Length: 60000\r\n\r\n"))),
    case_of("busy-seconds", "answers 429 once, with Retry-After: 0", 0, "",
            first("manifests", Reply(429, {"Retry-After": "0"}))),
    case_of("busy-date", "answers 503 once, with a date that is over", 0, "",
            first("manifests", Reply(503, {"Retry-After": formatdate(time() - 9, usegmt=True)}))),
    case_of("busy-for-days", "answers 429 with Retry-After: 864000", 6, "answered 429",
            on("manifests", Reply(429, {"Retry-After": "864000"}))),
    case_of("busy-for-centuries", "answers 503 with a date in 9999", 6, "answered 503",
            on("manifests", Reply(503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}))),
    case_of("busy-digits", "answers 429 with a Retry-After of 5,000 digits", 6, "answered 429",
            on("manifests", Reply(429, {"Retry-After": "9" * 5000}))),
    case_of("busy-nonsense", "answers 503 with Retry-After: -1, for ever", 6, "answered 503",
            on("manifests", Reply(503, {"Retry-After": "-1"}))),
    case_of("login-none", "answers 401 without saying how to log in", 5, "refuses the manifest",
            on("manifests", Reply(401))),
    case_of("login-malformed", "asks for a login in broken words", 6, "token server",
            on("manifests", challenge('Bearer realm="x, service===,,, "'))),
    case_of("login-long", "asks for a login in 60,000 commas", 5, "refuses the manifest",
            on("manifests", challenge("," * 60_000))),
    case_of("login-refused", "refuses the credentials that it asked for", 5, "refuses the manifest",
            on("manifests", challenge('Basic realm="x"')), secret=True),
    case_of("realm-ftp", "names a token server of ftp", 6, "token server that is none",
            on("manifests", _realm("ftp://REGISTRY/token")), secret=True),
    case_of("realm-file", "names a file as the token server", 6, "token server that is none",
            on("manifests", _realm("file:///etc/passwd")), secret=True),
    case_of("realm-metadata", "names a metadata server as the token server (CVE-2020-15157)", 6, "metadata address",
            on("manifests", _realm("http://169.254.169.254/latest/meta-data/")), secret=True),
    case_of("realm-metadata-6", "names a link-local address of IPv6 as the token server", 6, "metadata address",
            on("manifests", _realm("http://[fe80::1]/token")), secret=True),
    case_of("realm-password", "names a token server with a password in its URL", 6, "token server that is none",
            on("manifests", _realm("http://a:b@REGISTRY/token")), secret=True),
    case_of("token-refused", "refuses every token that it gives", 5, "refuses the manifest",
            lambda request, image: _given("t") if request.kind == "token"
            else _realm("http://REGISTRY/token/REPOSITORY/t")(request, image), secret=True),
    _token("token-honest", "gives a token for nobody's request", 0, "", _given("t", expires_in=1e308)),
    _token("token-no-json", "answers a token request with no JSON", 6, "token server", Reply(200, {}, b"token")),
    _token("token-list", "answers a token request with a list", 6, "token server", Reply(200, {}, b"[]")),
    _token("token-empty", "gives an empty token", 6, "without a proper token", _given("")),
    _token("token-number", "gives a number as a token", 6, "token server", _given(7)),
    _token("token-lines", "gives a token that would add a header field", 6, "without a proper token",
           _given("t\r\nX-Evil: yes")),
    _token("token-twice", "gives two tokens under one name", 6, "stands there twice",
           Reply(200, {}, b'{"token":"a","token":"b"}')),
    _token("token-long", "gives a token of 60,000 letters", 6, "without a proper token", _given("t" * 60_000)),
    _token("token-large", "answers a token request with 64 KiB and a byte", 6, "more than 65536 bytes",
           Reply(200, {}, b" " * 65537)),
    _token("token-endless", "answers a token request without end", 6, "more than 65536 bytes",
           lambda request, image: chunked(OK, for_ever(b" " * 4096))),
    _token("token-bomb", "packs 16 MiB of token into a few bytes", 6, "more than 65536 bytes",
           lambda request, image: Reply(200, {"Content-Encoding": "gzip"}, _BOMB)),
    _token("token-deep", "nests a token's answer 60,000 levels deep", 6, "nests deeper than 64",
           Reply(200, {}, b'{"token":' + b"[" * 60_000)),
    _token("token-lifetime", "gives a token for NaN seconds", 6, "NaN is no number",
           Reply(200, {}, b'{"token":"a","expires_in":NaN}')),
    _token("token-drips", "gives a token a byte at a time", 6, "time limit",
           dripping(OK + b"Content-Length: 60000\r\n\r\n")),
    _token("token-stalls", "gives no token, and keeps the connection", 6, "time limit", stalled(b"")),
    _token("token-error", "answers a token request with 500", 6, "answered 500", Reply(500)),
    _token("token-denied", "answers a token request with 401 and control characters", 5, "refuses",
           refusal(401, "UNAUTHORIZED", ESCAPES)),
    _token("token-away", "sends a token request to a metadata server", 6, "metadata address",
           Reply(307, {"Location": "http://169.254.169.254/"}), secret=True),
    _token("token-loop", "sends a token request round in circles", 6, "more than 5 redirects",
           lambda request, image: Reply(307, {"Location": request.url}), secret=True),
    _token("token-elsewhere", "sends a token request with credentials to another host", 0, "",
           lambda request, image: _given("t") if request.host == request.elsewhere
           else Reply(307, {"Location": f"http://{request.elsewhere}{request.url}"}), secret=True),
    case_of("redirect-loop", "redirects to the same place", 6, "more than 5 redirects",
            on("manifests", _away("HERE"))),
    case_of("redirect-chain", "redirects to ever other places", 6, "more than 5 redirects",
            on("manifests", _away("HERE?NUMBER"))),
    case_of("redirect-file", "redirects to a file", 6, "what is no URL", on("manifests", _away("file:///etc/passwd"))),
    case_of("redirect-ftp", "redirects to ftp", 6, "what is no URL", on("manifests", _away("ftp://127.0.0.1/x"))),
    case_of("redirect-script", "redirects to javascript:", 6, "no request can be made|no URL",
            on("manifests", _away("javascript:1"))),
    case_of("redirect-metadata", "redirects to a metadata server", 6, "metadata address",
            on("manifests", _away("http://169.254.169.254/latest/meta-data/"))),
    case_of("redirect-metadata-6", "redirects to a metadata server, IPv4 within IPv6", 6, "metadata address",
            on("manifests", _away("http://[::ffff:169.254.169.254]/"))),
    case_of("redirect-metadata-64", "redirects to a metadata server by NAT64", 6, "metadata address",
            on("manifests", _away("http://[64:ff9b::a9fe:a9fe]/"))),
    case_of("redirect-metadata-name", "redirects to a metadata server by its name", 6, "metadata address",
            on("manifests", _away("http://metadata.google.internal/computeMetadata/v1/"))),
    case_of("redirect-password", "redirects to a URL with a password", 6, "what is no URL",
            on("manifests", _away("http://user:secret@ELSEWHERE/"))),
    case_of("redirect-port", "redirects to the port 99999", 6, "what is no URL",
            on("manifests", _away("http://127.0.0.1:99999/"))),
    case_of("redirect-host", "redirects to a host name with a control character", 6,
            "no request can be made|no URL",
            on("manifests", _away("http://a\x1bb/"))),
    case_of("redirect-long", "redirects to a URL of 60,000 letters", 6, "",
            on("manifests", _away("HERE?" + "x" * 60_000))),
    case_of("redirect-nowhere", "redirects without saying where to", 6, "answered 307",
            on("manifests", Reply(307))),
    case_of("redirect-body", "sends a redirect with a body without end", 6, "more than 5 redirects",
            on("manifests", lambda request, image: chunked(
                f"HTTP/1.1 307 Away\r\nLocation: {request.url}\r\n".encode(), for_ever(b"x" * 65536)))),
    case_of("redirect-elsewhere", "redirects a layer to another host", 0, "",
            on("blobs", _away("http://ELSEWHEREHERE", kind="blobs"))),
    case_of("redirect-secret", "wants credentials for a layer, then redirects to another host", 0, "",
            _wants_basic_then_sends_away, secret=True),
    case_of("redirect-then-login", "redirects to another host, which wants credentials", 5, "refuses",
            lambda request, image: (challenge('Basic realm="x"') if request.host == request.elsewhere
                                    else Reply(307, {"Location": f"http://{request.elsewhere}{request.url}"}))
            if request.target == sha256(LAYER_BYTES) else None, secret=True),
    _tags("tags-no-list", "sends a number as the list of tags", 7, "list is wanted", _page(7)),
    _tags("tags-numbers", "sends numbers as tags", 7, "list of strings", _page([1, 2])),
    _tags("tags-page", "sends a page as the list of tags", 7, "not JSON", Reply(200, {}, b"<html>")),
    _tags("tags-null", "sends null as the list of tags", 0, "", _page(None)),
    _tags("tags-escapes", "sends tags with control characters", 0, "", _page([ESCAPES, "1"])),
    _tags("tags-half-pair", "sends tags of half a surrogate pair", 0, "", Reply(200, {}, b'{"tags":["\\ud800","1"]}')),
    _tags("tags-large", "sends a page of tags of more than 4 MiB", 7, "more than 4194304 bytes",
          Reply(200, {}, b" " * ((4 << 20) + 1))),
    _tags("tags-values", "sends a million tags in a page", 7, "more than [0-9]+ values",
          Reply(200, {}, b'{"tags":[' + b'"",' * 1_000_000 + b'""]}')),
    _tags("tags-circle", "sends the same page as the next, always", 0, "",
          lambda request, image: _page(["1"], f'<{request.url}>; rel="next"')),
    _tags("tags-same-names", "sends the same names on ever other pages", 0, "",
          lambda request, image: _page(["1"], f'</v2/{request.repository}/tags/list?p={request.number}>; rel="next"')),
    _tags("tags-empty-pages", "sends empty pages for ever", 7, "empty pages",
          lambda request, image: _page([], f'</v2/{request.repository}/tags/list?p={request.number}>; rel="next"')),
    _tags("tags-endless", "sends ever new names for ever", 7, "lists more than|more than", _names, heavy=True),
    _tags("tags-elsewhere", "names another host for the next page", 0, "",
          lambda request, image: _page(["1"], f'<http://{request.elsewhere}{request.url}>; rel="next"')),
    _tags("tags-link", "names a metadata server for the next page", 0, "",
          _page(["1"], '<http://169.254.169.254/>; rel="next"')),
    _tags("tags-stall", "sends half a list of tags", 6, "time limit",
          stalled(OK + b'Content-Length: 100\r\n\r\n{"tags":["1"')),
]  # fmt: skip
