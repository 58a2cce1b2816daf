"""Configs and layers: `Registry.open_blob`, `BlobStream` and `Registry.close` of the contract."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial

import pytest

from polyarch.contract import (
    Descriptor,
    Manifest,
    NotFoundError,
    Reference,
    Registry,
    UnauthorizedError,
    digest_of,
    parse_config,
)
from polyarch.testing.conformance.content import BIG_LAYER, IMAGE, Content, Source
from polyarch.testing.conformance.images import MOST_HELD
from polyarch.testing.conformance.registry_base import (
    NOTHING,
    RegistryBase,
    diff_id,
    exact,
    held,
    image_at,
    join,
    read,
    wanted,
)
from polyarch.testing.conformance.trials import in_threads, memory, refused


class RegistryBlobs(RegistryBase):
    """The promises that a blob is a stream of the bytes that its digest is of, from wherever it is asked for."""

    def test_blobs_are_what_the_manifest_promises(
        self, registry: Registry, source: Source, polyarch_content: Content
    ) -> None:
        """Config and layers of every image have the digest and size that its manifest tells."""
        for name in held(polyarch_content, source):
            reference = source.references[name]
            for blob in image_at(registry, reference).blobs:
                data = read(registry, reference, blob)
                assert digest_of(data) == blob.digest, "a blob has the digest promised (Registry.open_blob)"
                assert len(data) == blob.size, "a blob has the size promised (Descriptor.size)"

    def test_layers_are_handed_on_byte_for_byte(
        self, registry: Registry, source: Source, polyarch_content: Content
    ) -> None:
        """A layer comes as it was put in: neither unpacked nor compressed anew."""
        exact(source)
        reference = wanted(source, IMAGE)
        for blob in polyarch_content.manifest(IMAGE).layers:
            assert read(registry, reference, blob) == polyarch_content.file(blob.digest).read_bytes(), (
                "bytes are handed on"
            )

    def test_the_config_is_the_one_put_in(self, registry: Registry, manifest: Manifest, source: Source) -> None:
        """The config is handed on byte for byte, and can be read: its digest is the image's ID."""
        config = parse_config(read(registry, wanted(source, IMAGE), manifest.config))
        assert str(config.platform) == "linux/amd64", "the config is the image's own (Registry.open_blob)"

    def test_the_config_keeps_its_digest(self, manifest: Manifest, polyarch_content: Content) -> None:
        """The config's digest, an image's ID, is that of what was put in, also where manifests are made anew."""
        assert manifest.config.digest == polyarch_content.manifest(IMAGE).config.digest, (
            "an image's ID stays (Manifest.config)"
        )

    def test_layers_stand_in_the_configs_order(
        self, registry: Registry, reference: Reference, manifest: Manifest
    ) -> None:
        """The tar in each layer has the diff ID that the config tells, bottom first (OCI image-spec, config.md)."""
        config = parse_config(read(registry, reference, manifest.config))
        assert tuple(diff_id(read(registry, reference, layer)) for layer in manifest.layers) == config.diff_ids, (
            "layers stand bottom first, as the config's diff IDs do (Manifest.layers)"
        )

    def test_from_the_first_byte(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """Without an offset the stream begins at the first byte, and says so."""
        with registry.open_blob(reference, manifest.layers[0]) as stream:
            assert stream.offset == 0, "without an offset a stream begins at 0 (BlobStream.offset)"
            assert digest_of(join(stream)) == manifest.layers[0].digest

    @pytest.mark.parametrize("where", ["second", "middle", "last"])
    def test_from_an_offset(self, registry: Registry, reference: Reference, manifest: Manifest, where: str) -> None:
        """From an offset the stream has the bytes behind it; one that knows no ranges says that it begins at 0."""
        layer = manifest.layers[0]
        whole = read(registry, reference, layer)
        offset = {"second": 1, "middle": len(whole) // 2, "last": len(whole) - 1}[where]
        with registry.open_blob(reference, layer, offset) as stream:
            assert stream.offset in (0, offset), "a stream begins where it was asked to, or at 0 (BlobStream.offset)"
            assert join(stream) == whole[stream.offset :], f"the bytes from {stream.offset} on (BlobStream.chunks)"

    @pytest.mark.parametrize("beyond", [0, 1, 1000])
    def test_from_the_end(self, registry: Registry, reference: Reference, manifest: Manifest, beyond: int) -> None:
        """At the end, and behind it, there is nothing; a stream that says to begin earlier gives what is there."""
        layer = manifest.layers[0]
        whole = read(registry, reference, layer)
        with registry.open_blob(reference, layer, len(whole) + beyond) as stream:
            assert 0 <= stream.offset <= len(whole) + beyond, "a stream says where it begins (BlobStream.offset)"
            assert join(stream) == whole[stream.offset :], "there are no bytes behind the end (BlobStream.chunks)"

    def test_the_config_from_an_offset(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """Configs are blobs like layers, also from an offset."""
        whole = read(registry, reference, manifest.config)
        with registry.open_blob(reference, manifest.config, 10) as stream:
            assert join(stream) == whole[stream.offset :], "the bytes from the offset on (BlobStream.chunks)"

    def test_a_missing_blob(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """NotFoundError for a blob that is not there, when the stream is opened."""
        absent = replace(manifest.layers[0], digest=NOTHING)
        with refused("a blob that is not there is not found (Registry.open_blob)", NotFoundError):
            with registry.open_blob(reference, absent):
                pass

    def test_a_blob_of_a_missing_repository(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """NotFoundError for a place that is not there; UnauthorizedError where nobody may know."""
        absent = replace(reference, repository=f"{reference.repository}-absent")
        with refused("a place that is not there is not found (Registry)", NotFoundError, UnauthorizedError):
            with registry.open_blob(absent, manifest.layers[0]):
                pass

    def test_a_stream_can_be_left_early(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """Who leaves a stream in the midst can open it, and others, again."""
        layer = manifest.layers[0]
        for _ in range(20):
            with registry.open_blob(reference, layer) as stream:
                next(iter(stream.chunks))
        assert digest_of(read(registry, reference, layer)) == layer.digest, "a left stream gives everything back"

    def test_what_is_raised_within_comes_out(
        self, registry: Registry, reference: Reference, manifest: Manifest
    ) -> None:
        """A fault of the reader (a full disk) is not swallowed by the stream."""
        with pytest.raises(ZeroDivisionError):
            with registry.open_blob(reference, manifest.layers[0]):
                raise ZeroDivisionError

    def test_streams_stand_side_by_side(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """Two open streams do not meet: a chunk is valid until the next one of its own stream is asked for."""
        first, second = manifest.layers[0], manifest.layers[1]
        with registry.open_blob(reference, first) as one, registry.open_blob(reference, second) as two:
            whole = {first.digest: b"", second.digest: b""}
            open_ones = {first.digest: iter(one.chunks), second.digest: iter(two.chunks)}
            while open_ones:
                chunks = {digest: next(chunks, None) for digest, chunks in open_ones.items()}
                for digest, chunk in chunks.items():
                    if chunk is None:
                        del open_ones[digest]
                    else:
                        whole[digest] += bytes(chunk)
        assert all(digest_of(data) == digest for digest, data in whole.items()), "streams share no buffer (BlobStream)"

    def test_threads_read_blobs(self, registry: Registry, reference: Reference, manifest: Manifest) -> None:
        """Several threads read at once through one object, also the same blob."""
        blobs: list[Descriptor] = [*manifest.blobs] * 3
        got = in_threads([partial(read, registry, reference, blob) for blob in blobs])
        assert [digest_of(data) for data in got] == [blob.digest for blob in blobs], (
            "used by several threads (Registry)"
        )

    def test_big_blobs_pass_through(self, registry: Registry, source: Source) -> None:
        """A blob is never held whole: layers have gigabytes, and a Raspberry Pi Zero has 512 MB."""
        reference = wanted(source, BIG_LAYER)
        layer = max(image_at(registry, reference).layers, key=lambda blob: blob.size)
        taken, most = hashlib.sha256(), 0
        with memory() as held_bytes, registry.open_blob(reference, layer) as stream:
            for chunk in stream.chunks:
                taken.update(chunk)
                most = max(most, len(chunk))
        assert f"sha256:{taken.hexdigest()}" == layer.digest
        assert most < MOST_HELD, f"a chunk of {most} bytes is too much (BlobStream.chunks)"
        assert held_bytes.most < MOST_HELD, f"{held_bytes.most} bytes were held at once (BlobStream.chunks)"

    def test_a_big_blob_goes_on_where_it_broke_off(self, registry: Registry, source: Source) -> None:
        """What a second stream gives from an offset joins what the first gave before it."""
        reference = wanted(source, BIG_LAYER)
        layer = max(image_at(registry, reference).layers, key=lambda blob: blob.size)
        taken = hashlib.sha256()
        with registry.open_blob(reference, layer) as stream:
            first = bytes(next(iter(stream.chunks)))
        taken.update(first)
        with registry.open_blob(reference, layer, len(first)) as stream:
            known = len(first) - stream.offset
            for chunk in stream.chunks:
                taken.update(memoryview(chunk)[known:])
                known = max(known - len(chunk), 0)
        assert f"sha256:{taken.hexdigest()}" == layer.digest, "a resumed stream joins the first (Registry.open_blob)"

    def test_nothing_is_needed_between_questions(
        self, registry: Registry, reference: Reference, manifest: Manifest
    ) -> None:
        """A blob can be asked for without its manifest, in any order: the descriptor says all."""
        for blob in reversed(manifest.blobs):
            bare = Descriptor(blob.media_type, blob.digest, blob.size)
            assert digest_of(read(registry, reference, bare)) == blob.digest, "a blob stands for itself (open_blob)"
