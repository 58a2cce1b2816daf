"""Indexes made of other indexes' entries."""

from __future__ import annotations

import json

import pytest

from polyarch.oci.digest import digest_of
from polyarch.oci.document import Index, parse_document
from polyarch.oci.joined import attested, joined, listed, narrowed
from polyarch.oci.media_types import OCI_INDEX, OCI_MANIFEST

ONE, TWO, ABOUT_ONE = (digest_of(bytes([number])) for number in range(3))


def entry(digest: str, **more: object) -> dict[str, object]:
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, **more}


ATTESTATION = entry(
    ABOUT_ONE,
    platform={"os": "unknown", "architecture": "unknown"},
    annotations={"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": ONE},
)
ENTRIES = [
    entry(ONE, platform={"architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["x"]}, data="AA=="),
    entry(TWO, platform={"architecture": "amd64", "os": "linux"}, annotations={"kept": "é"}),
    ATTESTATION,
]


@pytest.fixture
def index() -> Index:
    document = {"annotations": {"a": "b"}, "unknown": 1, "schemaVersion": 2, "mediaType": OCI_INDEX}
    found = parse_document(json.dumps({**document, "manifests": ENTRIES}, indent=3).encode())
    assert isinstance(found, Index)
    return found


def test_the_same_entries_are_the_same_bytes(index: Index) -> None:
    assert joined(index, listed(index)) is index
    assert narrowed(index, {ONE, TWO}) is index


def test_what_nobody_here_reads_is_kept(index: Index) -> None:
    made = joined(index, listed(index)[1:])
    document = json.loads(made.raw)
    assert document["manifests"] == ENTRIES[1:]
    assert {**document, "manifests": 0} == {**json.loads(index.raw), "manifests": 0}
    assert made.digest == digest_of(made.raw)


@pytest.mark.parametrize(
    ("wanted", "without", "left"),
    [
        ({ONE}, (), [ONE, ABOUT_ONE]),
        ({TWO}, (), [TWO]),
        ({ONE, TWO}, {ABOUT_ONE}, [ONE, TWO]),
        ({ABOUT_ONE}, (), []),
        ((), (), []),
    ],
)
def test_attestations_go_with_what_they_are_about(
    index: Index, wanted: set[str], without: set[str], left: list[str]
) -> None:
    assert [each.digest for each in narrowed(index, wanted, without).manifests] == left


def test_what_an_attestation_is_about(index: Index) -> None:
    assert [attested(each) for each in index.manifests] == ["", "", ONE]
