"""Registries that break a promise about documents, each for the tests that its `breaks` names."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from polyarch.contract import (
    OCI_MANIFEST,
    Descriptor,
    Digest,
    Document,
    Index,
    Layout,
    Manifest,
    NotFoundError,
    Reference,
    StorageError,
    UsageError,
    digest_of,
)
from polyarch.testing.conformance.registry_documents import RegistryDocuments
from support.mutants import Mutants
from support.plain_registry import PlainRegistry, registry_fixtures

MUTANTS = Mutants(RegistryDocuments, registry_fixtures, PlainRegistry)
breaks = MUTANTS.breaks


@breaks("test_an_image_is_got")
class GivesBytes(PlainRegistry):
    def get(self, reference: Reference) -> Document:
        return super().get(reference).raw  # type: ignore[return-value]


@breaks("test_a_documents_digest_is_of_its_bytes")
class MakesDigestsUp(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        return replace(super().parsed(raw), digest=digest_of(raw.strip() + b"\n"))


@breaks("test_a_documents_digest_is_of_its_bytes")
class SortsLayers(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        document = super().parsed(raw)
        if isinstance(document, Manifest):
            return replace(document, layers=tuple(sorted(document.layers, key=lambda layer: layer.size, reverse=True)))
        return replace(document, manifests=document.manifests[::-1])


class Tidies(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        return super().parsed(json.dumps(json.loads(raw), separators=(",", ":"), ensure_ascii=False).encode() + b"\n")


@breaks("test_documents_are_handed_on_byte_for_byte")
class TidiesDocuments(Tidies):
    pass


@breaks("test_odd_documents_are_handed_on")
class TidiesOddDocuments(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        return super().parsed(raw.strip())


@breaks("test_odd_documents_are_handed_on")
class TidiesOddManifests(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        document = super().parsed(raw)
        return document if isinstance(document, Index) else super().parsed(raw.strip())


@breaks("test_dockers_documents_keep_their_types")
class CallsEverythingOci(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        return replace(super().parsed(raw), media_type=OCI_MANIFEST)


@breaks("test_the_same_name_gives_the_same")
class MakesManifestsAnew(PlainRegistry):
    asked = 0

    def parsed(self, raw: bytes) -> Document:
        self.asked += 1
        return super().parsed(raw + b" " * self.asked)


@breaks("test_a_digest_gives_the_document")
class KnowsTagsAlone(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        return super().entry(replace(reference, digest=""))


@breaks("test_a_digest_gives_the_document")
class KnowsNoDigests(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        if not reference.tag:
            raise UsageError("a tag is needed")
        return super().entry(reference)


@breaks("test_the_digest_outweighs_the_tag")
class PrefersTheTag(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        return super().entry(replace(reference, digest="") if reference.tag else reference)


@breaks("test_all_that_an_index_lists_can_be_got")
class KnowsNamedDocumentsAlone(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        digest = super().entry(reference)
        if digest not in [entry.digest for entry in self.layout(reference).entries()]:
            raise NotFoundError(f"{digest} has no name")
        return digest


@breaks("test_an_index_names_its_platforms")
class ListsOnePlatform(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        document = super().parsed(raw)
        return replace(document, manifests=document.manifests[:1]) if isinstance(document, Index) else document


@breaks("test_an_index_names_its_platforms")
class LosesPlatforms(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        document = super().parsed(raw)
        if isinstance(document, Index):
            return replace(document, manifests=tuple(replace(each, platform=None) for each in document.manifests))
        return document


@breaks("test_the_longest_tag")
class CutsTags(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        return super().entry(replace(reference, tag=reference.tag[:100]))


@breaks("test_head_tells_what_get_gives")
class TellsNoSizes(PlainRegistry):
    def head(self, reference: Reference) -> Descriptor | None:
        return replace(self.get(reference).descriptor, size=0)


@breaks("test_head_by_digest")
class TellsOfTheFirst(PlainRegistry):
    def head(self, reference: Reference) -> Descriptor | None:
        return super().head(replace(reference, tag=reference.tag or "index", digest=""))


@breaks("test_a_missing_tag")
class GivesTheFirstForUnknownTags(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        with suppress(NotFoundError):
            return super().entry(reference)
        return self.layout(reference).entries()[0].digest


@breaks("test_a_missing_tag")
class RaisesPythonsErrorForTags(PlainRegistry):
    def entry(self, reference: Reference) -> Digest:
        names = {
            each.annotations["org.opencontainers.image.ref.name"]: each for each in self.layout(reference).entries()
        }
        return reference.digest or names[reference.tag].digest


@breaks("test_a_missing_digest")
class FallsBackToTheTag(PlainRegistry):
    def get(self, reference: Reference) -> Document:
        with suppress(NotFoundError):
            return super().get(reference)
        return super().get(replace(reference, digest=""))


@breaks("test_a_missing_repository", "test_tags_of_a_missing_repository")
class BlamesTheStorage(PlainRegistry):
    def layout(self, reference: Reference) -> Layout:
        try:
            return super().layout(reference)
        except NotFoundError as error:
            raise StorageError(str(error)) from error


@breaks("test_head_of_what_is_missing")
class TellsOfAnyName(PlainRegistry):
    def head(self, reference: Reference) -> Descriptor | None:
        with suppress(NotFoundError):
            return super().head(reference)
        return super().head(replace(reference, tag="image"))


@breaks("test_odd_places_are_not_found")
class LooksForLongNames(PlainRegistry):
    def layout(self, reference: Reference) -> Layout:
        Path(reference.repository).stat()
        return super().layout(reference)


@breaks("test_threads_get_documents")
class IsOfOneThread(PlainRegistry):
    def __init__(self) -> None:
        self.owner = threading.get_ident()

    def get(self, reference: Reference) -> Document:
        if threading.get_ident() != self.owner:
            raise StorageError("made in another thread")
        return super().get(reference)


@breaks("test_all_tags_are_listed")
class ListsTheFirstPage(PlainRegistry):
    def tags(self, reference: Reference) -> Iterator[str]:
        yield from list(super().tags(reference))[:2]


@breaks("test_all_tags_are_listed")
class ListsTheFirstPageTwice(PlainRegistry):
    def tags(self, reference: Reference) -> Iterator[str]:
        yield from super().tags(reference)
        yield from list(super().tags(reference))[:2]


@breaks("test_listed_tags_can_be_got")
class ListsWhatIsGone(PlainRegistry):
    def tags(self, reference: Reference) -> Iterator[str]:
        yield "deleted-long-ago"
        yield from super().tags(reference)


@breaks("test_images_get_proper_names")
class KeepsItsScheme(PlainRegistry):
    def kept_name(self, reference: Reference) -> Reference:
        return reference


@breaks("test_images_get_proper_names")
class NamesAfterTheFolder(PlainRegistry):
    def kept_name(self, reference: Reference) -> Reference:
        return Reference("localhost", reference.repository, reference.tag)


@breaks("test_a_name_stays")
class CountsNames(PlainRegistry):
    asked = 0

    def kept_name(self, reference: Reference) -> Reference:
        self.asked += 1
        return Reference("localhost", f"plain-{self.asked}", reference.tag)


globals().update(MUTANTS.classes())
