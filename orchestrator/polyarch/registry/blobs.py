"""Blobs (distribution-spec, "Pulling blobs"), from any offset (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from polyarch.contract.registry import BlobStream, Endpoint
from polyarch.errors import IntegrityError
from polyarch.limits import MAX_REFUSAL
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import short
from polyarch.reference import Reference
from polyarch.registry.documents import account_of
from polyarch.registry.http_client import Call, HttpClient, redirected
from polyarch.registry.origin import origin_of, split_url
from polyarch.registry.place import call_to
from polyarch.registry.reply import Answer, Reply
from polyarch.registry.statuses import about, refusal

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)


@contextmanager
def open_blob(
    http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, offset: int
) -> Iterator[BlobStream]:
    """The blob's bytes from `offset` on, or from its first byte where the registry does not give that part.

    A foreign layer that the registry does not have is fetched from where its `urls` say, if the settings allow that.

    Raises NotFoundError, UnauthorizedError, UnreachableError; the last also from the iterator, where it breaks off.
    """
    elsewhere = list(blob.urls) if http.foreign_layers else []
    call, start = _call(endpoint, reference, blob), offset
    while True:
        with ExitStack() as opened:
            with about(reference, endpoint.host):
                ranged = {"Range": f"bytes={start}-"} if start else {}
                reply = opened.enter_context(http.open(replace(call, headers={**call.headers, **ranged})))
            if reply.status in (403, 404, 410) and elsewhere:
                call, start = _foreign(endpoint, elsewhere.pop(0), reply), offset
                continue
            if reply.status >= 400 and not (reply.status == 416 and start):
                answer = Answer(reply.status, reply.headers, reply.excerpt(MAX_REFUSAL))
                login = http.login_words(reference.registry)
                raise refusal(reference, endpoint.host, answer, f"blob {short(blob.digest)}", login)
            if (begins := _begins_at(reply, blob)) in (0, start):
                yield BlobStream(begins or 0, _chunks(reply, reference, endpoint.host))
                return
            if not start:
                raise IntegrityError(
                    f"{reference}: {endpoint.host} answered {reply.status}, with something else than blob {blob.digest}"
                )
            start = 0


@contextmanager
def open_range(
    http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, offset: int, size: int
) -> Iterator[BlobStream | None]:
    """The blob's `size` bytes from `offset` on; None where the registry gives something else than that part.

    Raises as `open_blob`.
    """
    call = _call(endpoint, reference, blob)
    with ExitStack() as opened:
        with about(reference, endpoint.host):
            ranged = {**call.headers, "Range": f"bytes={offset}-{offset + size - 1}"}
            reply = opened.enter_context(http.open(replace(call, headers=ranged)))
        if reply.status >= 400 and reply.status != 416:
            answer = Answer(reply.status, reply.headers, reply.excerpt(MAX_REFUSAL))
            login = http.login_words(reference.registry)
            raise refusal(reference, endpoint.host, answer, f"blob {short(blob.digest)}", login)
        part = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", "").strip())
        asked = (str(offset), str(offset + size - 1))
        if reply.status != 206 or part is None or part.groups()[:2] != asked or part[3] not in ("*", str(blob.size)):
            yield None
            return
        yield BlobStream(offset, _chunks(reply, reference, endpoint.host))


def _foreign(endpoint: Endpoint, url: str, reply: Reply) -> Call:
    """The request for a URL of a foreign layer: nobody's, guarded as a redirect of the registry's."""
    here, path = split_url(reply.url)
    target, there = redirected(here, path, url, origin_of(here.scheme, endpoint.host))
    return Call("GET", endpoint.host, there, bulk=True, sent_to=target)


def _call(endpoint: Endpoint, reference: Reference, blob: Descriptor) -> Call:
    return call_to(
        endpoint,
        "GET",
        f"/v2/{endpoint.repository}/blobs/{blob.digest}",
        account=account_of(endpoint, reference),
        bulk=True,
    )


def _begins_at(reply: Reply, blob: Descriptor) -> int | None:
    """The offset of the first byte in the answer; None if it is not the rest of this blob."""
    if reply.status == 200:
        return 0
    if reply.status != 206:
        return None
    match = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", "").strip())
    if match is None:
        return None
    first, last, whole = match.groups()
    if int(last) != blob.size - 1 or whole not in ("*", str(blob.size)):
        return None
    return int(first)


def _chunks(reply: Reply, reference: Reference, host: str) -> Iterator[bytes | memoryview]:
    with about(reference, host):
        yield from reply.parts()
