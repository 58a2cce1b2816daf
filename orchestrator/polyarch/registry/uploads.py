"""Pushing blobs (distribution-spec 1.1, "Push"): whole, in chunks, or by mounting what another repository has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import urlencode

from polyarch.contract.registry import BlobStream, Endpoint
from polyarch.errors import PolyarchError, UnauthorizedError, UnreachableError
from polyarch.limits import LEAST_PROGRESS, MAX_SHORT_CHUNKS
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import short
from polyarch.reference import Reference
from polyarch.registry.authenticator import Account
from polyarch.registry.documents import account_of
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.http_client import Call, HttpClient, redirected
from polyarch.registry.origin import Origin, split_url
from polyarch.registry.place import call_to
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import about, error_codes, refusal

OpenAt: TypeAlias = Callable[[int], AbstractContextManager[BlobStream]]

CHUNK = 64 << 20
"""Bytes of a chunk, for a registry that does not take a blob whole (413); a quarter of it, where that is too much."""

SMALLEST_CHUNK = 1 << 20

_MOST_RESTARTS = 6
"""Times that one try goes on after the registry has said that it wants another part, less at once, or all again."""

_MOST_ANSWERED = 64 << 10
"""Bytes of an answer's body that are read."""

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})", re.ASCII | re.IGNORECASE)
_OCTETS = {"Content-Type": "application/octet-stream"}


def has_blob(http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor) -> bool:
    """True if the repository has the blob, in its whole size. Raises UnauthorizedError, UnreachableError."""
    path = f"/v2/{endpoint.repository}/blobs/{blob.digest}"
    with about(reference, endpoint.host):
        answer = http.fetch(call_to(endpoint, "HEAD", path, account=pusher(endpoint, reference)), 0)
    if answer.status == 200:
        return answer.headers.get("content-length", str(blob.size)) == str(blob.size)
    if answer.status in (404, 405):
        return False
    raise _refused(http, endpoint, reference, blob, answer)


def mount_blob(http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, repository: str) -> bool:
    """Let the repository have a blob of `repository` at the same registry; False if it is not granted.

    Raises UnreachableError.
    """
    query = urlencode({"mount": blob.digest, "from": repository})
    account = replace(pusher(endpoint, reference), reads=repository)
    call = call_to(endpoint, "POST", f"/v2/{endpoint.repository}/blobs/uploads/?{query}", account=account)
    with about(reference, endpoint.host):
        try:
            answer = http.fetch(call, _MOST_ANSWERED)
        except UnauthorizedError:  # of the token server
            return False
        place = _place(answer) if answer.status == 202 else None
        if place is not None:  # an upload was begun instead, which nobody wants
            with suppress(PolyarchError):
                http.fetch(replace(_at(call, place), method="DELETE", retries=0), _MOST_ANSWERED)
    return answer.status == 201


def put_blob(http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
    """Upload a blob; nothing of it is there before all is.

    In one request, or in chunks where that is too much for the registry. What broke off goes on where the registry
    says that it stands, or from the first byte where it does not. Raises what `open_at` raises, UnauthorizedError,
    UnreachableError, NotFoundError.
    """
    upload = _Upload(http, endpoint, reference, blob, open_at)
    with about(reference, endpoint.host):
        while True:
            before = upload.furthest
            try:
                answer = http.persist(endpoint.host, upload.attempt)
            except ConnectionFault as fault:
                if fault.passing and upload.furthest - before >= LEAST_PROGRESS:  # as long as it gets on, it goes on
                    continue
                raise
            except PolyarchError:
                upload.cancel()
                raise
            break
    if answer.status not in (201, 204):
        upload.cancel()
        raise _refused(http, endpoint, reference, blob, answer)


def pusher(endpoint: Endpoint, reference: Reference) -> Account:
    """On whose behalf a reference is pushed."""
    return replace(account_of(endpoint, reference), writes=True)


class _Upload:
    """One blob on its way, over as many requests and tries as it takes. `furthest` is how far the registry has been."""

    def __init__(
        self, http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, open_at: OpenAt
    ) -> None:
        self.furthest = 0
        self._http = http
        self._endpoint = endpoint
        self._reference = reference
        self._account = pusher(endpoint, reference)
        self._blob = blob
        self._open_at = open_at
        self._place: tuple[Origin, str] | None = None
        self._offset = 0
        self._certain = True
        self._chunk = 0
        self._short = 0
        self._least = 0

    def attempt(self) -> Answer:
        """Goes on with the upload until it is finished or refused. Raises ConnectionFault where it breaks off."""
        answer = self._go_on()
        for _ in range(_MOST_RESTARTS):
            if answer.status == 416 or (answer.status == 413 and self._smaller()):
                self._certain = False
            elif answer.status == 404 and self._place is not None and "NAME_UNKNOWN" not in error_codes(answer.body):
                self._place = None
            else:
                break
            answer = self._go_on()
        return answer

    def cancel(self) -> None:
        """Tells the registry that nobody goes on with it, whatever it answers ("Cancel a blob upload")."""
        if self._place is not None:
            with suppress(PolyarchError):
                self._fetch(_at(self._call("DELETE", self._place[1]), self._place), None)

    def _go_on(self) -> Answer:
        if self._place is not None and not self._certain and not self._ask():
            if has_blob(self._http, self._endpoint, self._reference, self._blob):  # only the last answer was lost
                return Answer(201, {}, b"")
            self._place = None
        if self._place is None:
            algorithm = self._blob.digest.partition(":")[0]
            query = "" if algorithm == "sha256" else f"?{urlencode({'digest-algorithm': algorithm})}"
            answer = self._fetch(self._call("POST", f"/v2/{self._endpoint.repository}/blobs/uploads/{query}"), None)
            if answer.status != 202:
                return answer
            self._moved(answer)
            least = answer.headers.get("oci-chunk-min-length", "")
            self._least = int(least[:18]) if least.isascii() and least.isdigit() else 0
            self._offset = 0
        self._certain = False
        if self._offset or self._chunk:
            while self._offset < self._blob.size:
                size = max(self._chunk, self._least) or self._blob.size
                end = min(self._offset + size, self._blob.size)
                answer = self._send("PATCH", end)
                if answer.status != 202:
                    return answer
                self._moved(answer)
                received = min(_received(answer, end), end)
                if received <= self._offset:
                    raise ConnectionFault(self._endpoint.host, "it took nothing of an upload", "broken")
                self._short += received < end
                if self._short > MAX_SHORT_CHUNKS:
                    raise ConnectionFault(self._endpoint.host, "it takes ever too little of an upload", "request")
                self._reached(received)
        return self._finish()

    def _finish(self) -> Answer:
        answer = self._send("PUT", self._blob.size)
        if answer.status in (201, 204):
            self._reached(self._blob.size)
        return answer

    def _send(self, method: str, end: int) -> Answer:
        assert self._place is not None
        origin, path = self._place
        headers = dict(_OCTETS)
        if method == "PUT":
            path += f"{'&' if '?' in path else '?'}{urlencode({'digest': self._blob.digest})}"
        else:
            headers["Content-Range"] = f"{self._offset}-{end - 1}"
        body = _Body(self._open_at, self._offset, end) if end > self._offset else None
        headers["Content-Length"] = str(end - self._offset)
        return self._fetch(replace(_at(self._call(method, path), (origin, path)), headers=headers), body)

    def _ask(self) -> bool:
        """How far the upload is; False where nobody knows."""
        assert self._place is not None
        answer = self._fetch(_at(self._call("GET", self._place[1]), self._place), None)
        if answer.status != 204:
            return False
        self._moved(answer)
        # "0-0" is what an empty upload answers, too (distribution).
        received = _received(answer, 0)
        self._reached(received if 1 < received <= self._blob.size else 0)
        return True

    def _reached(self, offset: int) -> None:
        self._offset = offset
        self._certain = True
        self.furthest = max(self.furthest, offset)

    def _moved(self, answer: Answer) -> None:
        """Take over where the upload goes on. Raises ConnectionFault where nobody may be sent there."""
        self._place = _place(answer) or self._place
        if self._place is None:
            raise ConnectionFault(self._endpoint.host, "it does not say where to upload to", "request")

    def _smaller(self) -> bool:
        """Send less at once; False where it is the least already."""
        smaller = self._chunk // 4 if self._chunk else min(CHUNK, max(self._blob.size // 2, SMALLEST_CHUNK))
        if smaller < max(SMALLEST_CHUNK, self._least) and self._chunk:
            return False
        self._chunk = smaller
        return True

    def _call(self, method: str, path: str) -> Call:
        return replace(call_to(self._endpoint, method, path, account=self._account, bulk=True), retries=0)

    def _fetch(self, call: Call, body: _Body | None) -> Answer:
        return self._http.fetch(replace(call, content=body), _MOST_ANSWERED)


class _Body:
    """The bytes of a blob from `start` to `end`, anew each time they are asked for."""

    def __init__(self, open_at: OpenAt, start: int, end: int) -> None:
        self._open_at = open_at
        self._start = start
        self._end = end

    def __iter__(self) -> Iterator[bytes | memoryview]:
        position = self._start
        with self._open_at(position) as stream:
            known = position - stream.offset
            for chunk in stream.chunks:
                fresh = memoryview(chunk)[known:] if known else chunk
                known = max(known - len(chunk), 0)
                if len(fresh) > self._end - position:
                    fresh = memoryview(fresh)[: self._end - position]
                position += len(fresh)
                if fresh:
                    yield fresh
                if position == self._end:
                    return
        raise UnreachableError(f"the source ended at byte {position} of {self._end}")


def _received(answer: Answer, otherwise: int) -> int:
    """How many bytes are there by an answer's Range field ("0-99" for 100)."""
    match = _RANGE.fullmatch(answer.headers.get("range", "").strip())
    return int(match[1]) + 1 if match else otherwise


def _place(answer: Answer) -> tuple[Origin, str] | None:
    """Where a Location leads, by the rules for redirects. Raises ConnectionFault for a place nobody may be sent to."""
    location = answer.headers.get("location", "")
    if not location:
        return None
    here, path = split_url(answer.url)
    target, there = redirected(here, path, location, here, same_host=True)
    return target, there


def _at(call: Call, place: tuple[Origin, str]) -> Call:
    """The call at a place where the registry has sent us: that path as it stands, no account of another origin's."""
    origin, path = place
    return replace(call, path=path, sent_to=origin)


def _refused(
    http: HttpClient, endpoint: Endpoint, reference: Reference, blob: Descriptor, answer: Answer
) -> PolyarchError:
    login = http.login_words(reference.registry)
    return refusal(reference, endpoint.host, answer, f"upload of blob {short(blob.digest)}", login)
