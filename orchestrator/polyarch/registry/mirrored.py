"""A registry with mirrors: each thing is read from the first place that has it, whole and unharmed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from polyarch.auth.credentials import Credentials
from polyarch.contract.registry import BlobStream, Endpoint
from polyarch.errors import (
    IntegrityError,
    NotFoundError,
    PolyarchError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)
from polyarch.events import Emit, ServedElsewhere, Warned
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, short
from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch.registry.blobs import open_blob, open_range
from polyarch.registry.client import DistributionRegistry
from polyarch.registry.documents import get_document, head_document
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.http_client import HttpClient
from polyarch.registry.login import check_login
from polyarch.registry.mirrors import Source
from polyarch.registry.ping import ping

T = TypeVar("T")


class MirroredRegistry(DistributionRegistry):
    """A `DistributionRegistry` whose documents and blobs may come from mirrors: the contract's `HasPlaces`, this
    package's `HasMirrors`.

    Lists, logins, pings and all that is pushed are the registry's own. A mirror that cannot be reached, or answers with
    a fault of its own, is not asked again; one that refuses an image, or has it wrong, not for this image. Either is
    told once.
    """

    def __init__(
        self,
        http: HttpClient,
        locate: Callable[[Reference], Endpoint],
        plan: Callable[[Reference], tuple[Source, ...]],
        emit: Emit,
    ) -> None:
        """`locate` says where the registry keeps a reference, `plan` who is asked for it, the registry last."""
        super().__init__(http, lambda reference: plan(reference)[-1].place)
        self._kept = locate
        self._plan = plan
        self._emit = emit
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, str], str] = {}
        self._told: set[tuple[str, str]] = set()
        self._by_tag: set[tuple[str, str]] = set()
        self._served: dict[Digest, Source] = {}
        self._gave: dict[Digest, list[Source]] = {}

    def head(self, reference: Reference) -> Descriptor | None:
        """What the reference points at, by a HEAD request; None where who is asked does not answer that usefully."""
        source, found = self._first(reference, lambda source: head_document(self._http, source.place, source.reference))
        if found is not None:
            self._note(reference, source, found.digest)
        return found

    def get(self, reference: Reference) -> Document:
        """The manifest or index; if it was asked for by digest, it has that digest."""
        source, found = self._first(reference, lambda source: get_document(self._http, source.place, source.reference))
        self._note(reference, source, found.digest)
        return found

    def get_itself(self, reference: Reference) -> Document:
        """The manifest or index as the registry itself has it."""
        return get_document(self._http, self._itself(reference), reference)

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        """The bytes of a blob. The iterator raises UnreachableError where the connection breaks."""
        with ExitStack() as opened:
            source, stream = self._first(
                reference,
                lambda source: opened.enter_context(
                    open_blob(self._http, source.place, source.reference, blob, offset)
                ),
                blob,
            )
            self._note_blob(source, blob)
            yield BlobStream(stream.offset, self._watched(source, blob, stream) if source.mirror else stream.chunks)

    @contextmanager
    def open_range(self, reference: Reference, blob: Descriptor, offset: int, size: int) -> Iterator[BlobStream | None]:
        """A part of a blob; None where the first place that has the blob gives no parts."""
        with ExitStack() as opened:
            source, stream = self._first(
                reference,
                lambda source: opened.enter_context(
                    open_range(self._http, source.place, source.reference, blob, offset, size)
                ),
                blob,
            )
            if stream is not None:
                self._note_blob(source, blob)
            yield stream

    def _note_blob(self, source: Source, blob: Descriptor) -> None:
        with self._lock:
            self._served[blob.digest] = source
            gave = self._gave.setdefault(blob.digest, [])
            if source not in gave:
                gave.append(source)

    def served_by(self, digest: Digest) -> str | None:
        """The host that a document or a blob came from; None if it was not asked for."""
        with self._lock:
            source = self._served.get(digest)
        return source.name if source else None

    def place_of(self, reference: Reference, digest: Digest) -> tuple[Reference, DistributionRegistry]:
        """Where a document was read, or would be now. Where nobody answers, that is the registry itself."""
        if self.served_by(digest) is None:
            with suppress(PolyarchError):
                self.head(reference.with_digest(digest))
        with self._lock:
            source = self._served.get(digest) or self._plan(reference)[-1]
        return source.known_as, DistributionRegistry(self._http, lambda _: source.place)

    def doubt(self, blob: Descriptor) -> bool:
        """What came of the blob was wrong: its mirrors are not asked for it again. False if it came from none."""
        with self._lock:
            mirrors = [source for source in self._gave.pop(blob.digest, ()) if source.mirror]
        for source in mirrors:
            self._pass_over(source, blob.digest, f"it served something else than blob {short(blob.digest)}")
        return bool(mirrors)

    def check_login(self, reference: Reference, credentials: Credentials) -> None:
        """Try credentials at the registry itself, wherever its images are read from. Raises UnauthorizedError."""
        check_login(self._http, self._itself(reference), reference, credentials)

    def ping(self, reference: Reference) -> None:
        """Ask whether the registry itself is there, without credentials. Raises UnreachableError."""
        ping(self._http, self._itself(reference))

    def _itself(self, reference: Reference) -> Endpoint:
        last = self._plan(reference)[-1]
        return last.place if last.reference == reference else self._kept(reference)

    def _first(
        self, reference: Reference, read: Callable[[Source], T], blob: Descriptor | None = None
    ) -> tuple[Source, T]:
        """What the first place that can has to say, and which it is."""
        image = (reference.name, reference.tag or reference.digest)
        if not reference.digest:
            self._by_tag.add(image)
        by_digest, tag = image not in self._by_tag, not reference.digest and blob is None
        asked = [source for source in self._plan(reference) if source.serves(by_digest=by_digest, tag=tag)]
        if not asked:
            raise UsageError(f"{reference}: the files of this machine let no host say what a tag points at")
        what = f"{image[0]} {image[1]}"
        passed: list[tuple[Source, str, str]] = []  # with the reason, and the host that comes next
        for source, following in zip(asked, [each.name for each in asked[1:]], strict=False):
            reason = self._reason(source, what, blob)
            if reason is None:
                try:
                    return source, self._told_of(read(source), reference, passed)
                except (NotFoundError, UnauthorizedError, IntegrityError) as error:
                    reason = _because(error, source)
                    self._pass_over(source, blob.digest if blob else what, reason)
                except UnreachableError as error:
                    if isinstance(error.__cause__, ConnectionFault) and error.__cause__.kind == "closed":
                        raise
                    reason = _because(error, source)
                    self._pass_over(source, "", reason)
                    self._tell(source, reference, reason, following)
            passed.append((source, reason, following))
        last = asked[-1]
        try:
            return last, self._told_of(read(last), reference, passed)
        except PolyarchError as error:
            raise _final(error, reference, last, passed) from error

    def _reason(self, source: Source, image: str, blob: Descriptor | None) -> str | None:
        """Why a mirror is passed over without being asked; None if it is asked."""
        with self._lock:
            for what in ("", image, blob.digest if blob else ""):
                if (reason := self._passed.get((_key(source, what), what))) is not None:
                    return reason
        return None

    def _pass_over(self, source: Source, what: str, reason: str) -> None:
        """Do not ask the mirror for an image or a blob any more, or with "" for anything."""
        with self._lock:
            self._passed.setdefault((_key(source, what), what), reason)

    def _told_of(self, result: T, reference: Reference, passed: list[tuple[Source, str, str]]) -> T:
        """`result`, when it has been told who did not have it. Of what nobody has, nothing is said."""
        for source, reason, following in passed:
            self._tell(source, reference, reason, following)
        return result

    def _tell(self, source: Source, reference: Reference, reason: str, following: str) -> None:
        with self._lock:
            if (source.name, reason) in self._told:
                return
            self._told.add((source.name, reason))
        self._emit(Warned(f"mirror {source.name} did not serve {reference}: {reason}; asking {following}"))

    def _note(self, reference: Reference, source: Source, digest: Digest) -> None:
        with self._lock:
            self._served[digest] = source
            key = (source.name, f"for {reference.name}")
            new = (source.mirror or source.reference.name != reference.name) and key not in self._told
            self._told.add(key)
        if new:
            self._emit(ServedElsewhere(str(reference), source.name))

    def _watched(self, source: Source, blob: Descriptor, stream: BlobStream) -> Iterator[bytes | memoryview]:
        """The chunks; a mirror whose stream breaks off is not asked for the blob again."""
        received = stream.offset
        try:
            for chunk in stream.chunks:
                received += len(chunk)
                yield chunk
        except UnreachableError as error:
            self._pass_over(source, blob.digest, _because(error, source))
            raise
        if received < blob.size:
            self._pass_over(source, blob.digest, f"its stream of blob {short(blob.digest)} ended early")


def _key(source: Source, what: str) -> str:
    """A fault of a host is one of all that it has; another place there may have what one refuses."""
    return source.place.host if not what else f"{source.place.host}{source.place.api}/{source.place.repository}"


def _because(error: PolyarchError, source: Source) -> str:
    said = error.message.removeprefix(f"{source.reference}: ").removeprefix("registry ")
    return said.removeprefix(f"{source.place.host} ")


def _final(
    error: PolyarchError, reference: Reference, last: Source, passed: list[tuple[Source, str, str]]
) -> PolyarchError:
    """The error of the last place, about what was asked for, with the mirrors' reasons in its details."""
    if last.reference != reference:
        details = {**error.details, "reference": str(reference)}
        said = error.message.removeprefix(f"{last.reference}: ")
        error = type(error)(f"{reference}: {said}", error.hint, **details)
    if passed:
        error.details["mirrors"] = [{"mirror": source.name, "reason": reason} for source, reason, _ in passed]
    return error
