"""Manifests and indexes, as OCI and Docker write them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import (
    MAX_DOCUMENT_SIZE,
    MAX_INDEX_ENTRIES,
    Index,
    Manifest,
    check_document,
    is_attestation,
    parse_document,
)
from polyarch.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    DOCKER_SCHEMA1,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    is_layer,
)
from polyarch_platforms.platform import Platform


def _entry(media_type: str, data: bytes = b"", **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


CONFIG, LAYER = _entry(OCI_CONFIG, b"c"), _entry(OCI_LAYER_GZIP, b"l")
MANIFEST: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
INDEX: dict[str, object] = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [_entry(OCI_MANIFEST, b"m", platform={"os": "linux", "architecture": "arm", "variant": "v7"})],
}


def _raw(document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_manifest() -> None:
    raw = b" " + _raw({**MANIFEST, "layers": [LAYER, CONFIG, LAYER], "annotations": {"a": "b"}, "artifactType": "t"})
    manifest = parse_document(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.raw is raw
    assert manifest.digest == digest_of(raw)
    assert manifest.descriptor == Descriptor(OCI_MANIFEST, digest_of(raw), len(raw))
    assert [blob.digest for blob in manifest.blobs] == [digest_of(b"c"), digest_of(b"l")]
    assert len(manifest.layers) == 3
    assert (manifest.size, manifest.annotations, manifest.artifact_type) == (2, {"a": "b"}, "t")


def test_an_index() -> None:
    raw = _raw({**INDEX, "subject": _entry(OCI_MANIFEST, b"s")})
    index = parse_document(raw)
    assert isinstance(index, Index)
    assert index.manifests[0].platform == Platform("linux", "arm", "v7")
    assert index.subject is not None
    assert index.descriptor == Descriptor(OCI_INDEX, digest_of(raw), len(raw))


@pytest.mark.parametrize(
    ("document", "given", "found"),
    [
        (MANIFEST, "", OCI_MANIFEST),
        (MANIFEST, OCI_MANIFEST, OCI_MANIFEST),
        (MANIFEST, f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (MANIFEST, OCI_MANIFEST.upper(), OCI_MANIFEST),
        (MANIFEST, "application/octet-stream", OCI_MANIFEST),
        (MANIFEST, "text/html", OCI_MANIFEST),
        ({**MANIFEST, "mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST, DOCKER_MANIFEST),
        ({**INDEX, "mediaType": DOCKER_MANIFEST_LIST}, "", DOCKER_MANIFEST_LIST),
        # The field is only recommended (manifest.md): then the header counts, then the shape.
        ({**MANIFEST, "mediaType": None}, OCI_MANIFEST, OCI_MANIFEST),
        ({**MANIFEST, "mediaType": None}, DOCKER_MANIFEST, DOCKER_MANIFEST),
        ({**MANIFEST, "mediaType": None}, "", OCI_MANIFEST),
        ({**INDEX, "mediaType": None}, "", OCI_INDEX),
        ({**INDEX, "mediaType": None}, "application/json", OCI_INDEX),
        ({**INDEX, "manifests": []}, "", OCI_INDEX),
        ({**MANIFEST, "layers": []}, "", OCI_MANIFEST),
        ({**MANIFEST, "layers": None}, "", OCI_MANIFEST),
    ],
)
def test_the_type_of_a_document(document: object, given: str, found: str) -> None:
    assert parse_document(_raw(document), given).media_type == found


@pytest.mark.parametrize(
    ("document", "given", "said"),
    [
        (MANIFEST, OCI_INDEX, "the media type was given as"),
        (MANIFEST, DOCKER_MANIFEST, "the document calls itself"),
        ({**INDEX, "mediaType": None}, OCI_MANIFEST, "without config"),
        ({**MANIFEST, "mediaType": None}, OCI_INDEX, "without manifests"),
        # CVE-2021-41190: read as a manifest by one tool and as an index by another.
        ({**MANIFEST, **INDEX}, "", "ambiguous"),
        ({**INDEX, "layers": []}, "", "ambiguous"),
        ({**MANIFEST, "manifests": []}, "", "ambiguous"),
        ({"schemaVersion": 1, "fsLayers": []}, "", "schema 1"),
        ({"schemaVersion": 1, "mediaType": None}, "application/json", "schema 1"),
        ({}, DOCKER_SCHEMA1[0], "no manifest and no index"),
        ({"schemaVersion": 2, "mediaType": DOCKER_SCHEMA1[1]}, "", "schema 1"),
        ({}, "", "media type 'unknown'"),
        ({"schemaVersion": 2}, "", "no manifest and no index"),
        ({"schemaVersion": 2, "mediaType": "application/x"}, OCI_MANIFEST, "'application/x' is no manifest"),
        ({**MANIFEST, "config": None}, "", "config"),
        ({**MANIFEST, "config": []}, "", "config"),
        ({**MANIFEST, "layers": {}}, "", "layers"),
        ({**MANIFEST, "layers": [LAYER, {}]}, "", "layer 2"),
        ({**INDEX, "manifests": {}}, "", "manifests"),
        ({**INDEX, "manifests": [7]}, "", "entry 1"),
        ({**INDEX, "subject": 7}, "", "subject"),
        ({**INDEX, "annotations": 7}, "", "annotations"),
        ({**INDEX, "mediaType": 7}, "", "mediaType"),
        ({**INDEX, "manifests": INDEX["manifests"] * (MAX_INDEX_ENTRIES + 1)}, "", "1001 entries"),  # type: ignore[operator]
        ({**INDEX, "annotations": {"a": "x" * MAX_DOCUMENT_SIZE}}, "", "more than a manifest may have"),
    ],
)
def test_a_bad_document_is_refused(document: object, given: str, said: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_document(_raw(document), given, "here")
    assert said in caught.value.message
    assert caught.value.message.startswith("here")


def test_a_local_index_may_have_more_entries() -> None:
    raw = _raw({**INDEX, "manifests": INDEX["manifests"] * (MAX_INDEX_ENTRIES + 1)})  # type: ignore[operator]
    index = parse_document(raw, max_size=MAX_DOCUMENT_SIZE * 2, max_entries=MAX_INDEX_ENTRIES + 1)
    assert isinstance(index, Index)
    assert len(index.manifests) == MAX_INDEX_ENTRIES + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"media_type": "application/octet-stream"}, ""),
        ({"digest": "sha512"}, ""),
        ({"digest": digest_of(b"other")}, "was promised, sha256:"),
        ({"size": 1}, "1 bytes were promised"),
        ({"media_type": OCI_INDEX}, f"{OCI_INDEX} was promised"),
    ],
)
def test_a_document_is_held_against_its_descriptor(change: dict[str, object], said: str) -> None:
    document = parse_document(_raw(MANIFEST))
    if change.get("digest") == "sha512":
        change = {"digest": digest_of(document.raw, "sha512")}
    promised = replace(document.descriptor, **change)  # type: ignore[arg-type]
    if not said:
        check_document(document, promised, "here")
    else:
        with pytest.raises(IntegrityError, match="here: ") as caught:
            check_document(document, promised, "here")
        assert said in caught.value.message


@pytest.mark.parametrize(
    ("descriptor", "attests"),
    [
        (Descriptor(OCI_MANIFEST, "", 0, Platform("linux", "arm64")), False),
        (Descriptor(OCI_MANIFEST, "", 0, Platform("unknown", "unknown")), True),
        (Descriptor(OCI_MANIFEST, "", 0, None, {"vnd.docker.reference.type": "attestation-manifest"}), True),
        (Descriptor(OCI_MANIFEST, "", 0, None, {"vnd.docker.reference.digest": "x"}), False),
        (Descriptor(OCI_MANIFEST, "", 0), False),
    ],
)
def test_attestations_are_told_apart(descriptor: Descriptor, attests: bool) -> None:
    assert is_attestation(descriptor) is attests


@pytest.mark.parametrize(
    ("media_type", "layer"),
    [
        (OCI_LAYER_GZIP, True),
        ("application/vnd.oci.image.layer.v1.tar", True),
        ("application/vnd.oci.image.layer.v1.tar+zstd", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True),
        (DOCKER_LAYER_GZIP, True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True),
        (OCI_CONFIG, False),
        (DOCKER_CONFIG, False),
        ("application/vnd.in-toto+json", False),
    ],
)
def test_layers_are_told_by_their_type(media_type: str, layer: bool) -> None:
    assert is_layer(media_type) is layer


_junk = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})
_descriptors = st.sampled_from([CONFIG, LAYER, *INDEX["manifests"]]) | _junk  # type: ignore[misc]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "schemaVersion": st.sampled_from([1, 2, 2, 2]) | _junk,
            "mediaType": st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST]) | _junk,
            "config": _descriptors,
            "layers": st.lists(_descriptors, max_size=3) | _junk,
            "manifests": st.lists(_descriptors, max_size=3) | _junk,
            "annotations": _junk,
            "subject": _descriptors,
            "artifactType": _junk,
        },
    ).map(_raw)
    | st.binary(),
    st.sampled_from(["", OCI_MANIFEST, OCI_INDEX, "application/json"]) | st.text(max_size=5),
)
def test_any_bytes_are_a_document_or_an_integrity_error(raw: bytes, media_type: str) -> None:
    try:
        document = parse_document(raw, media_type)
    except IntegrityError:
        return
    assert document.raw is raw
    check_document(document, document.descriptor, "here")
    assert parse_document(document.raw, document.media_type) == document
