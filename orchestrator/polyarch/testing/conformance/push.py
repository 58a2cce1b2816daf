"""What a registry that takes images promises (`TakesImages` of the contract), a test for each promise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest

from polyarch.contract import (
    BlobStream,
    Descriptor,
    Document,
    Index,
    IntegrityError,
    ListsReferrers,
    Manifest,
    Reference,
    Registry,
    TakesImages,
    digest_of,
    parse_document,
)
from polyarch.testing.conformance.content import BIG_LAYER, DOCKER_LIST, IMAGE, INDEX, ODD, Content
from polyarch.testing.conformance.registry_base import join
from polyarch.testing.conformance.storage_abilities import able
from polyarch.testing.conformance.trials import in_threads, memory

_PIECE = 1 << 16
_MOST_HELD = 4 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """A registry, a tag in a repository of it that has nothing yet, and another repository there, None if it has one.

    Both are new in each test.
    """

    registry: Registry
    reference: Reference
    other: Reference | None = None


class PushConformance:
    """Subclass it as `Test…`, and give the fixture `target`: a `Target`, the registry and where the tests may write."""

    @pytest.fixture
    def target(self) -> Target:
        """The author's: the registry, and names in it."""
        pytest.fail(f"{type(self).__name__} has to give, within it, a fixture `target`: a Target with the registry")

    @pytest.fixture
    def reference(self, target: Target) -> Reference:
        """The tag."""
        return target.reference

    @pytest.fixture
    def taker(self, target: Target) -> TakesImages:
        """The registry as what takes images."""
        assert isinstance(target.registry, TakesImages), "has_blob, mount_blob, put_blob, has and put (TakesImages)"
        return target.registry

    def test_what_was_not_put_is_not_there(
        self, taker: TakesImages, reference: Reference, polyarch_content: Content
    ) -> None:
        """A blob and a name that nobody has put are not there, and asking is no error."""
        for blob in polyarch_content.manifest(IMAGE).blobs:
            assert not taker.has_blob(reference, blob), "not there before it is put (TakesImages.has_blob)"
        assert not taker.has(reference), "not there before it is put (TakesImages.has)"

    def test_a_blob_is_put(self, taker: TakesImages, target: Target, polyarch_content: Content) -> None:
        """A blob that was put is there, with its bytes."""
        for blob in polyarch_content.manifest(IMAGE).blobs:
            taker.put_blob(target.reference, blob, _opener(polyarch_content, blob))
            assert taker.has_blob(target.reference, blob), "there when it was put (TakesImages.put_blob)"
            assert _read(target, blob) == polyarch_content.file(blob.digest).read_bytes(), "whole (put_blob)"

    def test_an_empty_blob_is_put(self, taker: TakesImages, reference: Reference) -> None:
        """A blob of no bytes is a blob."""
        empty = Descriptor("application/octet-stream", digest_of(b""), 0)
        taker.put_blob(reference, empty, _giving(b""))
        assert taker.has_blob(reference, empty), "an empty blob is put, too (TakesImages.put_blob)"

    def test_a_blob_is_put_twice(self, taker: TakesImages, reference: Reference, polyarch_content: Content) -> None:
        """Putting what is there changes nothing, and is no error."""
        blob = polyarch_content.manifest(IMAGE).config
        for _ in range(2):
            taker.put_blob(reference, blob, _opener(polyarch_content, blob))
        assert taker.has_blob(reference, blob), "put twice is put once (TakesImages.put_blob)"

    def test_chunks_are_used_before_the_next_is_asked_for(self, taker: TakesImages, target: Target) -> None:
        """A source may give out one buffer again and again."""
        data = bytes(number % 251 for number in range(5 * _PIECE + 17))
        blob = Descriptor("application/octet-stream", digest_of(data), len(data))
        buffer = bytearray(_PIECE)

        def chunks(offset: int) -> Iterator[memoryview]:
            for start in range(offset, len(data), _PIECE):
                part = data[start : start + _PIECE]
                buffer[: len(part)] = part
                yield memoryview(buffer)[: len(part)]

        taker.put_blob(target.reference, blob, lambda offset: _stream(offset, chunks(offset)))
        assert _read(target, blob) == data, "a chunk is valid until the next one (BlobStream)"

    def test_a_big_blob_is_not_held(self, taker: TakesImages, reference: Reference, polyarch_content: Content) -> None:
        """The bytes of a blob pass through: memory does not grow with its size."""
        blob = max(polyarch_content.manifest(BIG_LAYER).layers, key=lambda layer: layer.size)
        with memory() as used:
            taker.put_blob(reference, blob, _opener(polyarch_content, blob))
        assert used.most < _MOST_HELD, f"{used.most} bytes were held of a blob of {blob.size} (TakesImages.put_blob)"

    def test_what_its_source_raises_leaves_no_blob(
        self, taker: TakesImages, reference: Reference, polyarch_content: Content
    ) -> None:
        """What `open_at` raises comes out as it is, and the blob is not there."""
        blob = max(polyarch_content.manifest(BIG_LAYER).layers, key=lambda layer: layer.size)

        def chunks() -> Iterator[bytes]:
            yield polyarch_content.file(blob.digest).read_bytes()[: blob.size // 2]
            raise IntegrityError("the source's own words")

        with pytest.raises(IntegrityError, match="the source's own words"):
            taker.put_blob(reference, blob, lambda offset: _stream(offset, chunks()))
        assert not taker.has_blob(reference, blob), "an upload that ended is unfinished (TakesImages.put_blob)"

    def test_threads_put_blobs(self, taker: TakesImages, target: Target, polyarch_content: Content) -> None:
        """Several threads put blobs at once, and none gets another's bytes."""
        blobs = [blob for name in (IMAGE, BIG_LAYER) for blob in polyarch_content.manifest(name).blobs]
        in_threads([partial(taker.put_blob, target.reference, each, _opener(polyarch_content, each)) for each in blobs])
        for blob in blobs:
            assert digest_of(_read(target, blob)) == blob.digest, "used by several threads at once (TakesImages)"

    def test_mounting(self, taker: TakesImages, target: Target, polyarch_content: Content) -> None:
        """What is mounted is there; where it is not granted, or the other has it not, nothing is."""
        if target.other is None:
            pytest.skip("the registry has one repository")
        config, layer = polyarch_content.manifest(IMAGE).blobs[:2]
        taker.put_blob(target.other, config, _opener(polyarch_content, config))
        mounted = taker.mount_blob(target.reference, config, target.other.repository)
        assert taker.has_blob(target.reference, config) == mounted, "mounted is there (TakesImages.mount_blob)"
        absent = taker.mount_blob(target.reference, layer, target.other.repository)
        assert not absent, "what the other does not have is not mounted (TakesImages.mount_blob)"
        assert not taker.has_blob(target.reference, layer), "and is not there (TakesImages.mount_blob)"

    @pytest.mark.parametrize("name", [IMAGE, INDEX, ODD, DOCKER_LIST])
    def test_documents_are_kept_byte_for_byte(
        self, taker: TakesImages, target: Target, polyarch_content: Content, name: str
    ) -> None:
        """What is put under a tag is got under it as it was: nothing is repaired or written again."""
        root = _put_all(taker, target, polyarch_content, name)
        assert taker.has(target.reference), "there when it was put (TakesImages.put)"
        got = target.registry.get(target.reference)
        assert (got.raw, got.media_type) == (root.raw, root.media_type), "bytes are kept (TakesImages.put)"

    def test_what_is_put_by_digest_has_no_tag(
        self, taker: TakesImages, target: Target, polyarch_content: Content
    ) -> None:
        """A document that is put by its digest is got by it, and the tag of the reference stays as it was."""
        reference, manifest = target.reference, polyarch_content.manifest(IMAGE)
        _put_blobs(taker, target, polyarch_content, manifest)
        taker.put(reference.with_digest(manifest.digest), manifest)
        assert taker.has(reference.with_digest(manifest.digest)), "a digest is told (TakesImages.has)"
        assert target.registry.get(replace(reference, tag="", digest=manifest.digest)) == manifest, "by digest (put)"
        assert not taker.has(reference), "the digest is the stricter: no tag was given (TakesImages.put)"

    def test_a_tag_moves(self, taker: TakesImages, target: Target, polyarch_content: Content) -> None:
        """A tag points at what was put last; what it pointed at before is there by its digest."""
        first = _put_all(taker, target, polyarch_content, IMAGE)
        second = _put_all(taker, target, polyarch_content, INDEX)
        assert target.registry.get(target.reference).digest == second.digest, "the last one counts (TakesImages.put)"
        assert target.registry.get(target.reference.with_digest(first.digest)) == first, "the first one stays (put)"

    def test_a_subject_lists_what_refers_to_it(
        self, taker: TakesImages, target: Target, polyarch_content: Content
    ) -> None:
        """What has a subject is listed among the subject's referrers, once, whoever keeps that list."""
        lister = able(target.registry, ListsReferrers)
        subject = _put_all(taker, target, polyarch_content, IMAGE)
        assert isinstance(subject, Manifest)
        signatures = [_signature(subject, text) for text in ("one", "two")]
        for signature in [*signatures, signatures[0]]:
            taker.put(target.reference.with_digest(signature.digest), signature)
        listed = list(lister.referrers(target.reference.with_digest(subject.digest)))
        digests = sorted(entry.digest for entry in listed)
        assert digests == sorted(each.digest for each in signatures), "each is listed, once (TakesImages.put)"
        assert {entry.artifact_type for entry in listed} == {"application/vnd.example"}, "with its type (put)"


def _signature(subject: Manifest, text: str) -> Document:
    """A manifest that refers to another one, and has no blobs but the subject's config."""
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example",
        "config": subject.config.to_json(),
        "layers": [],
        "subject": subject.descriptor.to_json(),
        "annotations": {"text": text},
    }
    return parse_document(json.dumps(document).encode())


def _put_all(taker: TakesImages, target: Target, content: Content, name: str) -> Document:
    """What a name of the content points at, with all that it needs, under the target's tag."""
    root = content.names[name]
    for entry in root.manifests if isinstance(root, Index) else ():
        manifest = parse_document(content.file(entry.digest).read_bytes(), entry.media_type)
        assert isinstance(manifest, Manifest)
        _put_blobs(taker, target, content, manifest)
        taker.put(target.reference.with_digest(entry.digest), manifest)
    if isinstance(root, Manifest):
        _put_blobs(taker, target, content, root)
    taker.put(target.reference, root)
    return root


def _put_blobs(taker: TakesImages, target: Target, content: Content, manifest: Manifest) -> None:
    for blob in manifest.blobs:
        taker.put_blob(target.reference, blob, _opener(content, blob))


def _read(target: Target, blob: Descriptor) -> bytes:
    with target.registry.open_blob(target.reference, blob) as stream:
        return join(stream)


def _opener(content: Content, blob: Descriptor) -> Callable[[int], AbstractContextManager[BlobStream]]:
    """Opens a blob of the content, in small pieces."""

    def chunks(offset: int) -> Iterator[bytes]:
        with content.file(blob.digest).open("rb") as file:
            file.seek(offset)
            while piece := file.read(_PIECE):
                yield piece

    return lambda offset: _stream(offset, chunks(offset))


def _giving(data: bytes) -> Callable[[int], AbstractContextManager[BlobStream]]:
    return lambda offset: _stream(offset, iter([data[offset:]] if data[offset:] else []))


@contextmanager
def _stream(offset: int, chunks: Iterator[bytes | memoryview]) -> Iterator[BlobStream]:
    yield BlobStream(offset, chunks)
