"""Manifests, indexes and names: `Registry.get`, `Registry.head`, `ListsTags` and `NamesImages` of the contract."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from polyarch.contract import (
    Index,
    ListsTags,
    Manifest,
    NamesImages,
    NotFoundError,
    Reference,
    Registry,
    UnauthorizedError,
    UsageError,
    digest_of,
    parse_document,
    parse_reference,
)
from polyarch.testing.conformance.content import DOCKER, DOCKER_LIST, IMAGE, INDEX, LONG_TAG, ODD, Content, Source
from polyarch.testing.conformance.registry_base import NOTHING, RegistryBase, exact, held, wanted
from polyarch.testing.conformance.storage_abilities import able
from polyarch.testing.conformance.trials import in_threads, refused

ABSENT = "a-tag-that-nobody-has"


class RegistryDocuments(RegistryBase):
    """The promises that a name gives the documents as they are, or an error that says what is wrong."""

    def test_an_image_is_got(self, registry: Registry, reference: Reference) -> None:
        """`get` answers what the name points at, as a Manifest or an Index."""
        document = registry.get(reference)
        assert isinstance(document, Manifest | Index), "`get` gives a Manifest or an Index (Registry.get)"

    def test_a_documents_digest_is_of_its_bytes(
        self, registry: Registry, source: Source, polyarch_content: Content
    ) -> None:
        """`digest` is taken of `raw`, and what was parsed is what `raw` says."""
        for name in held(polyarch_content, source):
            document = registry.get(source.references[name])
            assert digest_of(document.raw) == document.digest, "the digest is of the bytes received (Document.digest)"
            assert parse_document(document.raw, document.media_type) == document, "parsed of `raw` (Document.raw)"

    def test_documents_are_handed_on_byte_for_byte(
        self, registry: Registry, source: Source, polyarch_content: Content
    ) -> None:
        """Every manifest and index has the bytes that were put in: nothing is repaired or written again."""
        exact(source)
        for name, document in held(polyarch_content, source).items():
            assert registry.get(source.references[name]).raw == document.raw, "bytes are handed on (Registry.get)"

    def test_odd_documents_are_handed_on(self, registry: Registry, source: Source, polyarch_content: Content) -> None:
        """Odd spaces, unknown fields and unicode come as they are, in the index and in what it lists."""
        exact(source)
        reference = wanted(source, ODD)
        index = registry.get(reference)
        assert index.raw == polyarch_content.names[ODD].raw, "an odd index is handed on as it is (Registry.get)"
        assert isinstance(index, Index)
        entry = index.manifests[0]
        manifest = registry.get(reference.with_digest(entry.digest))
        assert manifest.raw == polyarch_content.file(entry.digest).read_bytes(), "an odd manifest, too (Registry.get)"

    def test_dockers_documents_keep_their_types(
        self, registry: Registry, source: Source, polyarch_content: Content
    ) -> None:
        """Docker's manifest and manifest list are handed on as what they are."""
        exact(source)
        names = [name for name in (DOCKER, DOCKER_LIST) if name in source.references]
        if not names:
            pytest.skip("the source holds no image of Docker's types")
        for name in names:
            document = registry.get(source.references[name])
            assert document == polyarch_content.names[name], (
                "the media type is the document's own (Document.media_type)"
            )

    def test_the_same_name_gives_the_same(self, registry: Registry, reference: Reference) -> None:
        """Asked twice, `get` gives the same bytes, also where the source makes the manifest itself."""
        assert registry.get(reference) == registry.get(reference), "what a name points at is told stably (Registry.get)"

    def test_a_digest_gives_the_document(self, registry: Registry, reference: Reference, source: Source) -> None:
        """What was got by tag can be got by its digest, with the tag; and without, unless it was made for the tag."""
        document = registry.get(reference)
        both = reference.with_digest(document.digest)
        assert registry.get(both) == document, "a digest is looked for (Reference.target)"
        if source.exact:
            assert registry.get(replace(both, tag="")) == document, "a digest needs no tag (Reference.target)"

    def test_the_digest_outweighs_the_tag(self, registry: Registry, source: Source) -> None:
        """With tag and digest it is the digest that counts: a tag may have moved."""
        exact(source)
        others = [name for name in source.references if name not in (IMAGE, LONG_TAG)]
        if not others:
            pytest.skip("the source holds one image")
        wanted_one = registry.get(source.references[others[0]])
        mixed = replace(wanted(source, IMAGE), digest=wanted_one.digest)
        if replace(mixed, tag="", digest="") != replace(source.references[others[0]], tag="", digest=""):
            pytest.skip("the source holds each image in a repository of its own")
        assert registry.get(mixed).digest == wanted_one.digest, "the digest is the stricter (Reference.target)"

    def test_all_that_an_index_lists_can_be_got(self, registry: Registry, source: Source) -> None:
        """Each entry of an index is a document of that digest and size."""
        reference = wanted(source, INDEX)
        index = registry.get(reference)
        assert isinstance(index, Index), "the name points at an index (Registry.get)"
        for entry in index.manifests:
            document = registry.get(reference.with_digest(entry.digest))
            assert isinstance(document, Manifest), "an index lists manifests"
            assert document.digest == entry.digest, "what is got by digest has it (Registry.get)"
            assert len(document.raw) == entry.size, "an entry's size is that of the document (Descriptor.size)"

    def test_an_index_names_its_platforms(self, registry: Registry, source: Source) -> None:
        """All platforms that were put in are there, each with its own manifest."""
        index = registry.get(wanted(source, INDEX))
        assert isinstance(index, Index)
        listed = [str(entry.platform) for entry in index.manifests]
        assert sorted(listed) == ["linux/amd64", "linux/arm/v7", "linux/arm64"], "entries keep their platforms"
        assert len({entry.digest for entry in index.manifests}) == 3, "each platform has its own manifest"

    def test_the_longest_tag(self, registry: Registry, source: Source) -> None:
        """A tag of 128 characters is a tag like any other."""
        long = registry.get(wanted(source, LONG_TAG))
        assert long == registry.get(wanted(source, IMAGE)), "a tag has up to 128 characters (Registry.get)"

    def test_head_tells_what_get_gives(self, registry: Registry, source: Source, polyarch_content: Content) -> None:
        """`head` answers digest, size and media type of what `get` gives, or None."""
        for name in held(polyarch_content, source):
            told = registry.head(source.references[name])
            document = registry.get(source.references[name])
            assert told is None or (told.digest, told.size, told.media_type) == (
                document.digest,
                len(document.raw),
                document.media_type,
            ), "`head` tells of the document that `get` gives, or None (Registry.head)"

    def test_head_by_digest(self, registry: Registry, reference: Reference, source: Source) -> None:
        """`head` of a digest tells of that document, or None."""
        document = registry.get(reference)
        tag = "" if source.exact else reference.tag  # what is made for a tag is known by it alone
        told = registry.head(replace(reference, tag=tag, digest=document.digest))
        assert told is None or told.digest == document.digest, "`head` looks for the digest (Registry.head)"

    def test_a_missing_tag(self, registry: Registry, reference: Reference) -> None:
        """NotFoundError for a tag that is not there, and not another image."""
        with refused("a tag that is not there is not found (Registry.get)", NotFoundError):
            registry.get(replace(reference, tag=ABSENT))

    def test_a_missing_digest(self, registry: Registry, reference: Reference) -> None:
        """NotFoundError for a digest that is not there, although the tag is."""
        for absent in (replace(reference, digest=NOTHING), replace(reference, tag="", digest=NOTHING)):
            with refused("a digest that is not there is not found (Registry.get)", NotFoundError):
                registry.get(absent)

    def test_a_missing_repository(self, registry: Registry, reference: Reference) -> None:
        """NotFoundError for a place that is not there; UnauthorizedError where nobody may know."""
        absent = replace(reference, repository=f"{reference.repository}-absent")
        with refused("a place that is not there is not found (Registry)", NotFoundError, UnauthorizedError):
            registry.get(absent)

    def test_head_of_what_is_missing(self, registry: Registry, reference: Reference) -> None:
        """`head` answers None or raises NotFoundError for a tag that is not there."""
        try:
            told = registry.head(replace(reference, tag=ABSENT))
        except (NotFoundError, UnauthorizedError):
            return
        assert told is None, "what is not there has no descriptor (Registry.head)"

    def test_odd_places_are_not_found(self, registry: Registry, reference: Reference) -> None:
        """Long names and unicode end in an error of the contract, never in one of Python's."""
        words = ["x" * 230, "日本"] if reference.scheme else ["x" * 200, "under__score/do.t/da--sh"]
        for word in words:
            absent = replace(reference, repository=f"{reference.repository}-{word}")
            with refused(f"{word[:20]}… is no place", NotFoundError, UnauthorizedError, UsageError):
                registry.get(absent)

    def test_threads_get_documents(self, registry: Registry, source: Source) -> None:
        """Several threads ask one object at once, and each gets its own answer."""
        references = list(source.references.values()) * 3
        expected = [registry.get(reference) for reference in references]
        got = in_threads([partial(registry.get, reference) for reference in references])
        assert got == expected, "a registry is used by several threads at once (Registry)"

    def test_all_tags_are_listed(self, registry: Registry, source: Source) -> None:
        """ListsTags: each tag of the repository, once."""
        lister = able(registry, ListsTags)
        for reference in source.references.values():
            tags = list(lister.tags(reference))
            assert reference.tag in tags, "every tag is listed (ListsTags.tags)"
            assert len(tags) == len(set(tags)), "a tag is listed once (ListsTags.tags)"

    def test_listed_tags_can_be_got(self, registry: Registry, reference: Reference) -> None:
        """ListsTags: what is listed is there."""
        for tag in list(able(registry, ListsTags).tags(reference))[:20]:
            assert registry.get(replace(reference, tag=tag, digest="")), "a listed tag points at something (ListsTags)"

    def test_tags_of_a_missing_repository(self, registry: Registry, reference: Reference) -> None:
        """ListsTags: NotFoundError for a repository that is not there."""
        absent = replace(reference, repository=f"{reference.repository}-absent")
        with refused("a place that is not there has no tags (ListsTags)", NotFoundError, UnauthorizedError):
            list(able(registry, ListsTags).tags(absent))

    def test_images_get_proper_names(self, registry: Registry, source: Source) -> None:
        """NamesImages: a name without the source's scheme, which can be written and read again."""
        namer = able(registry, NamesImages)
        for reference in source.references.values():
            name = namer.kept_name(reference)
            assert name.scheme == "", "the name is a proper one, without the source's scheme (NamesImages.name)"
            assert parse_reference(str(name)) == name, f"{name} can be read again (NamesImages.name)"

    def test_a_name_stays(self, registry: Registry, reference: Reference) -> None:
        """NamesImages: the same image is kept under the same name each time."""
        namer = able(registry, NamesImages)
        assert namer.kept_name(reference) == namer.kept_name(reference), (
            "a second pull finds the first (NamesImages.name)"
        )
