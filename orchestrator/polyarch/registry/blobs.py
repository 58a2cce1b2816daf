"""Blobs (distribution-spec, "Pulling blobs"), from any offset (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from polyarch.contract.registry import BlobStream, Endpoint
from polyarch.errors import IntegrityError
from polyarch.limits import MAX_REFUSAL
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import short
from polyarch.reference import Reference
from polyarch.registry.documents import account_of
from polyarch.registry.http_client import Call, HttpClient
from polyarch.registry.place import call_to
from polyarch.registry.reply import Answer, Reply
from polyarch.registry.statuses import about, refusal

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)


@contextmanager
def open_blob(
    http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, offset: int
) -> Iterator[BlobStream]:
    """The blob's bytes from `offset` on, or from its first byte where the registry does not give that part.

    Raises NotFoundError, UnauthorizedError, UnreachableError; the last also from the iterator, where it breaks off.
    """
    for start in dict.fromkeys((offset, 0)):
        with ExitStack() as opened:
            with about(reference, endpoint.host):
                reply = opened.enter_context(http.open(_call(endpoint, reference, blob, start)))
            if reply.status >= 400 and not (reply.status == 416 and start):
                answer = Answer(reply.status, reply.headers, reply.excerpt(MAX_REFUSAL))
                login = http.login_words(reference.registry)
                raise refusal(reference, endpoint.host, answer, f"blob {short(blob.digest)}", login)
            if (begins := _begins_at(reply, blob)) in (0, start):
                yield BlobStream(begins or 0, _chunks(reply, reference, endpoint.host))
                return
            status = reply.status
    raise IntegrityError(f"{reference}: {endpoint.host} answered {status}, with something else than blob {blob.digest}")


def _call(endpoint: Endpoint, reference: Reference, blob: Descriptor, offset: int) -> Call:
    return call_to(
        endpoint,
        "GET",
        f"/v2/{endpoint.repository}/blobs/{blob.digest}",
        {"Range": f"bytes={offset}-"} if offset else {},
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


def _chunks(reply: Reply, reference: Reference, host: str) -> Iterator[bytes]:
    with about(reference, host):
        yield from reply.chunks()
