"""What a name is served as, by what is at hand of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from polyarch.oci.document import Index
from polyarch.oci.media_types import OCI_INDEX
from polyarch.serve.offer import generated_index, offer_of
from support.small_images import SmallStorage, attestation_of, encoded, index_of

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")


def test_a_plain_manifest_stays_one(small_storage: SmallStorage) -> None:
    small_storage.add("app:1", [small_storage.manifest("linux/arm64")])
    (image,) = small_storage.listed
    offer = offer_of([image], small_storage)
    assert offer.document == image.manifest
    assert offer.documents == (image.manifest,)
    assert offer.blobs == {image.manifest.config.digest, image.manifest.layers[0].digest}


def test_the_whole_index_stays_as_it_is(small_storage: SmallStorage) -> None:
    images = [small_storage.manifest(platform) for platform in PLATFORMS]
    small_storage.add("app:1", images, root := index_of(images))
    offer = offer_of(small_storage.listed, small_storage)
    assert offer.document.raw == root.raw
    assert {each.digest for each in offer.documents} == {root.digest, *(image.manifest.digest for image in images)}


@pytest.mark.parametrize("missing", PLATFORMS)
def test_an_index_with_gaps_is_made_anew(small_storage: SmallStorage, missing: str) -> None:
    images = [small_storage.manifest(platform) for platform in PLATFORMS]
    here = [image for image in images if str(image.platform) != missing]
    small_storage.add("app:1", here, root := index_of(images))
    offer = offer_of(small_storage.listed, small_storage)
    assert isinstance(offer.document, Index)
    assert [entry.digest for entry in offer.document.manifests] == [image.manifest.digest for image in here]
    assert [str(entry.platform) for entry in offer.document.manifests] == [p for p in PLATFORMS if p != missing]
    assert offer.by_digest(root.digest) == root, "the original is still there for who has pinned it"
    assert offer.by_digest(offer.document.digest) == offer.document


def test_a_single_variant_of_an_index_is_served_as_an_index(small_storage: SmallStorage) -> None:
    images = [small_storage.manifest(platform) for platform in PLATFORMS]
    small_storage.add("app:1", images[1:2], index_of(images))
    offer = offer_of(small_storage.listed, small_storage)
    assert isinstance(offer.document, Index)
    assert [str(entry.platform) for entry in offer.document.manifests] == ["linux/arm64"]


def test_variants_of_different_roots_share_a_made_index(small_storage: SmallStorage) -> None:
    small_storage.add("app:1", [small_storage.manifest(platform) for platform in PLATFORMS])
    offer = offer_of(small_storage.listed, small_storage)
    assert isinstance(offer.document, Index)
    assert [str(entry.platform) for entry in offer.document.manifests] == sorted(PLATFORMS)


def test_the_same_variants_give_the_same_bytes(small_storage: SmallStorage) -> None:
    small_storage.add("app:1", [small_storage.manifest(platform) for platform in PLATFORMS])
    first = generated_index(small_storage.listed)
    assert generated_index(small_storage.listed[::-1]).raw == first.raw
    document = json.loads(first.raw)
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == first.media_type == OCI_INDEX


def test_the_platform_that_was_proven_is_shown(small_storage: SmallStorage) -> None:
    small_storage.add("app:1", [small_storage.manifest("linux/arm/v7"), small_storage.manifest("linux/amd64")])
    proven = [replace(small_storage.listed[0], platform=replace(small_storage.listed[0].platform, variant="v5"))]
    (entry,) = generated_index(proven).manifests
    assert str(entry.platform) == "linux/arm/v5"


def test_an_attestation_that_is_not_here_is_a_gap(small_storage: SmallStorage) -> None:
    images = [small_storage.manifest(platform) for platform in PLATFORMS]
    entry, raw = attestation_of(images[0], small_storage)
    small_storage.add("app:1", images, root := index_of(images, [entry]))
    assert offer_of(small_storage.listed, small_storage).document != root
    small_storage.path(entry.digest).write_bytes(raw)
    offer = offer_of(small_storage.listed, small_storage)
    assert offer.document == root
    attestation = offer.by_digest(entry.digest)
    assert attestation is not None
    assert attestation.raw == raw
    statement = json.loads(raw)["layers"][0]["digest"]
    assert statement in offer.blobs
    small_storage.path(statement).unlink()
    assert offer_of(small_storage.listed, small_storage).document != root


def test_a_changed_attestation_is_a_gap(small_storage: SmallStorage) -> None:
    images = [small_storage.manifest(platform) for platform in PLATFORMS]
    entry, raw = attestation_of(images[0], small_storage)
    small_storage.add("app:1", images, root := index_of(images, [entry]))
    small_storage.path(entry.digest).write_bytes(raw.replace(b"\n", b" "))
    assert offer_of(small_storage.listed, small_storage).document != root


def test_indexes_within_indexes(small_storage: SmallStorage) -> None:
    images = [small_storage.manifest(platform) for platform in PLATFORMS]
    inner = index_of(images[1:])
    small_storage.add("app:1", images, root := index_of(images[:1], [inner.descriptor]))
    assert offer_of(small_storage.listed, small_storage).document != root
    small_storage.path(inner.digest).write_bytes(inner.raw)
    offer = offer_of(small_storage.listed, small_storage)
    assert offer.document == root
    assert offer.by_digest(inner.digest) == inner


def test_indexes_nest_only_so_deep(small_storage: SmallStorage) -> None:
    image = small_storage.manifest("linux/amd64")
    root = index_of([image])
    for _ in range(8):
        small_storage.path(root.digest).write_bytes(root.raw)
        root = index_of([], [root.descriptor])
    small_storage.add("app:1", [image], root)
    assert offer_of(small_storage.listed, small_storage).document != root


def test_documents_are_found_by_sha512_too(small_storage: SmallStorage) -> None:
    import hashlib

    small_storage.add("app:1", [small_storage.manifest("linux/arm64")])
    (image,) = small_storage.listed
    digest = f"sha512:{hashlib.sha512(image.manifest.raw).hexdigest()}"
    assert offer_of([image], small_storage).by_digest(digest) == image.manifest
    assert offer_of([image], small_storage).by_digest("sha512:" + "0" * 128) is None


def test_an_index_that_names_manifests_by_sha512(small_storage: SmallStorage) -> None:
    import hashlib

    image = small_storage.manifest("linux/arm64")
    entry = replace(
        image.manifest.descriptor,
        digest=f"sha512:{hashlib.sha512(image.manifest.raw).hexdigest()}",
        platform=image.platform,
    )
    small_storage.add("app:1", [image], root := index_of([], [entry]))
    offer = offer_of(small_storage.listed, small_storage)
    assert offer.document == root
    assert entry.digest in set(offer.digests)


def test_encoded_is_not_what_polyarch_writes(small_storage: SmallStorage) -> None:
    """The tests above would prove little if both wrote JSON in one way."""
    small_storage.add("app:1", [small_storage.manifest("linux/arm64")])
    made = generated_index(small_storage.listed)
    assert encoded(json.loads(made.raw)) != made.raw
