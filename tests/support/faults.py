"""Faults that a real registry does not show on demand. Each makes another answer from the honest one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from time import time

from support.exchange import Answer, Body, Request

Fault = Callable[[Request, Answer], Answer]


def honest(_: Request, answer: Answer) -> Answer:
    """No fault: for "fails, works, fails" scripts."""
    return answer


def cut_after(size: int) -> Fault:
    """Closes the connection after so many bytes of the body, though Content-Length promised all."""
    return lambda _, answer: replace(answer, cut_after=size)


def stall_after(size: int, until: threading.Event | None = None) -> Fault:
    """Sends so many bytes of the body, then nothing; closes the connection when the event is set, if ever."""
    return lambda _, answer: replace(answer, stall_after=size, stall_until=until or threading.Event())


def slow(bytes_per_second: int) -> Fault:
    """Sends the body at that pace: long enough to be interrupted."""
    return lambda _, answer: replace(answer, bytes_per_second=bytes_per_second)


def status(code: int, body: bytes = b'{"errors":[]}', **headers: str) -> Fault:
    """Another status with a body and headers (`_` in a name stands for `-`)."""
    said = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda *_: Answer(code, said, Body(body))


def too_many_requests(retry_after: str | None = None) -> Fault:
    """429 as registries write it; `Retry-After` holds seconds or a date (RFC 9110, 10.2.3)."""
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit","detail":null}]}'
    return status(429, body, **({"Retry_After": retry_after} if retry_after is not None else {}))


def http_date(seconds_from_now: float) -> str:
    """A date for `too_many_requests`, with whole seconds."""
    return formatdate(time() + seconds_from_now, usegmt=True)


def html_error(code: int = 502) -> Fault:
    """A proxy's page instead of the registry's JSON."""
    page = b"<html><head><title>Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
    return status(code, page, Content_Type="text/html")


def unauthorized(challenge: str | None) -> Fault:
    """401 with this WWW-Authenticate header, however broken, or without one."""
    body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}'
    return status(401, body, **({"WWW_Authenticate": challenge} if challenge is not None else {}))


def redirect(location: str | None = None, code: int = 307) -> Fault:
    """A redirect: to a fixed place, or to the request's own (a loop)."""
    return lambda request, _: Answer(code, {"Location": request.target if location is None else location})


def redirect_to_host(address: str, code: int = 307) -> Fault:
    """A redirect to the same path on another host, as registries do with blobs."""
    return lambda request, _: Answer(code, {"Location": f"http://{address}{request.target}"})


def wrong_bytes(_: Request, answer: Answer) -> Answer:
    """As many bytes as promised, the first one turned over: another digest."""
    data = b"".join(answer.body.chunks())
    return replace(answer, body=Body(bytes([data[0] ^ 0xFF]) + data[1:]))


def more_bytes(extra: int) -> Fault:
    """A body that is longer than the descriptor says, with a Content-Length that agrees with the body."""
    return lambda _, answer: replace(answer, body=Body(b"".join(answer.body.chunks()) + bytes(extra)))


def fewer_bytes(missing: int) -> Fault:
    """A body that is shorter than the descriptor says, with a Content-Length that agrees with the body."""
    return lambda _, answer: replace(answer, body=Body(b"".join(answer.body.chunks())[:-missing]))


def wrong_length(declared: int) -> Fault:
    """A Content-Length that does not agree with the body."""
    return lambda _, answer: replace(answer, declared_length=declared)


def huge(size: int) -> Fault:
    """A body of so many spaces (in steps of 64 KiB), which JSON allows: only a bounded read stops it."""
    return lambda _, answer: replace(answer, body=Body(b" " * 65536, times=size // 65536))


def headers(**changed: str | None) -> Fault:
    """Other headers (`_` stands for `-`, None leaves one out): a wrong Content-Type, no Docker-Content-Digest, …"""
    return lambda _, answer: answer.with_headers(**changed)


def ignore_range(request: Request, answer: Answer) -> Answer:
    """200 with everything, though a range was asked for (RFC 9110, 14.2 allows it)."""
    if answer.status != 206:
        return answer
    return replace(answer, status=200, body=replace(answer.body, offset=0, length=None)).with_headers(
        Content_Range=None
    )


def wrong_range(shift: int) -> Fault:
    """206 with the bytes, and the Content-Range, of a place that lies `shift` bytes before the one asked for."""

    def shifted(request: Request, answer: Answer) -> Answer:
        if request.byte_range is None or answer.body.file is None:
            return answer
        total = answer.body.file.stat().st_size
        first = max(0, request.byte_range[0] - shift)
        body = replace(answer.body, offset=first, length=None)
        return replace(answer, body=body).with_headers(Content_Range=f"bytes {first}-{total - 1}/{total}")

    return shifted
