"""Registries that break a promise about taking images, each for the tests that its `breaks` names."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from polyarch.contract import (
    BlobStream,
    Descriptor,
    Document,
    Index,
    IntegrityError,
    NotFoundError,
    Reference,
    UnreachableError,
    parse_document,
)
from polyarch.testing.conformance import PushConformance
from support.mutants import Mutants
from support.plain_taker import PlainTaker, taker_fixtures

MUTANTS = Mutants(PushConformance, taker_fixtures, PlainTaker)
breaks = MUTANTS.breaks

OpenAt = Callable[[int], AbstractContextManager[BlobStream]]


@breaks("test_what_was_not_put_is_not_there")
class RaisesForWhatIsMissing(PlainTaker):
    def has_blob(self, reference: Reference, blob: Descriptor) -> bool:
        if not super().has_blob(reference, blob):
            raise NotFoundError("no such blob")
        return True


@breaks("test_what_was_not_put_is_not_there")
class HasEveryName(PlainTaker):
    def has(self, reference: Reference) -> bool:
        return True


@breaks("test_a_blob_is_put")
class Forgets(PlainTaker):
    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        with open_at(0) as stream:
            for _ in stream.chunks:
                pass


@breaks("test_a_blob_is_put")
class LosesTheEnd(PlainTaker):
    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        super().put_blob(reference, blob, open_at)
        path = self.file(reference, blob.digest)
        path.write_bytes(path.read_bytes()[:-1])


@breaks("test_an_empty_blob_is_put")
class TakesNothingForNothing(PlainTaker):
    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        if blob.size:
            super().put_blob(reference, blob, open_at)


@breaks("test_a_blob_is_put_twice")
class RefusesWhatIsThere(PlainTaker):
    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        if self.has_blob(reference, blob):
            raise UnreachableError("it is there")
        super().put_blob(reference, blob, open_at)


class Collects(PlainTaker):
    """Holds all chunks at once."""

    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        with open_at(0) as stream:
            chunks = list(stream.chunks)
        self.file(reference, blob.digest).write_bytes(b"".join(chunks))


@breaks("test_chunks_are_used_before_the_next_is_asked_for")
class CollectsChunks(Collects):
    pass


@breaks("test_a_big_blob_is_not_held")
class HoldsABlob(Collects):
    pass


@breaks("test_what_its_source_raises_leaves_no_blob")
class KeepsHalves(PlainTaker):
    def partial(self, reference: Reference) -> Path:
        return self.file(reference, "half")

    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        try:
            super().put_blob(reference, blob, open_at)
        except IntegrityError:
            self.partial(reference).rename(self.file(reference, blob.digest))
            raise


@breaks("test_what_its_source_raises_leaves_no_blob")
class HasWordsOfItsOwn(PlainTaker):
    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        try:
            super().put_blob(reference, blob, open_at)
        except IntegrityError as error:
            raise UnreachableError("something went wrong") from error


@breaks("test_threads_put_blobs")
class IsOneThreads(PlainTaker):
    owner = 0

    def put_blob(self, reference: Reference, blob: Descriptor, open_at: OpenAt) -> None:
        self.owner = self.owner or threading.get_ident()
        if self.owner != threading.get_ident():
            raise UnreachableError("made in another thread")
        super().put_blob(reference, blob, open_at)


@breaks("test_mounting")
class MountsAnything(PlainTaker):
    def mount_blob(self, reference: Reference, blob: Descriptor, repository: str) -> bool:
        return True


@breaks("test_mounting")
class MountsAndSaysNo(PlainTaker):
    def mount_blob(self, reference: Reference, blob: Descriptor, repository: str) -> bool:
        super().mount_blob(reference, blob, repository)
        return False


@breaks("test_documents_are_kept_byte_for_byte")
class Tidies(PlainTaker):
    def put(self, reference: Reference, document: Document) -> None:
        raw = json.dumps(json.loads(document.raw)).encode()
        super().put(reference, parse_document(raw, document.media_type))


@breaks("test_what_is_put_by_digest_has_no_tag")
class GivesTheTag(PlainTaker):
    def put(self, reference: Reference, document: Document) -> None:
        super().put(reference, document)
        if reference.tag:
            self.file(reference, f"document-{reference.tag}").write_bytes(document.raw)


@breaks("test_a_tag_moves")
class KeepsTheFirst(PlainTaker):
    def put(self, reference: Reference, document: Document) -> None:
        if not (reference.target == reference.tag and self.has(reference)):
            super().put(reference, document)


@breaks("test_a_tag_moves")
class LosesTheFirst(PlainTaker):
    def put(self, reference: Reference, document: Document) -> None:
        if isinstance(document, Index):
            old = self.get(reference) if self.has(reference) else None
            if old is not None:
                self.file(reference, f"document-{old.digest}").unlink(missing_ok=True)
        super().put(reference, document)


@breaks("test_a_subject_lists_what_refers_to_it")
class ListsNothing(PlainTaker):
    def referrers(self, reference: Reference, artifact_type: str = "") -> Iterator[Descriptor]:
        return iter(())


@breaks("test_a_subject_lists_what_refers_to_it")
class ListsTwice(PlainTaker):
    def referrers(self, reference: Reference, artifact_type: str = "") -> Iterator[Descriptor]:
        for each in super().referrers(reference, artifact_type):
            yield from (each, each)


globals().update(MUTANTS.classes())
