"""What stands in index.json: names, and several platforms under one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import OCI_INDEX, OCI_MANIFEST, Descriptor, Reference, digest_of
from polyarch.contract.layout_names import (
    MADE_HERE,
    POLYARCH_NAME,
    REF_NAME,
    ROOT,
    SCHEME,
    Root,
    is_made_here,
    new_entry,
    reference_of,
    root_of,
    stored_name,
)
from polyarch.oci.media_types import DOCKER_MANIFEST
from polyarch.reference import parse_reference
from polyarch_platforms.platform import Platform

D = digest_of(b"manifest")
ARM64, AMD64 = Platform("linux", "arm64"), Platform("linux", "amd64")
OCI = Descriptor(OCI_MANIFEST, D, 8, ARM64)
DOCKER = Descriptor(DOCKER_MANIFEST, digest_of(b"docker"), 6, AMD64)
ROOT_INDEX = Root(digest_of(b"index"), OCI_INDEX)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("busybox", REF_NAME, "docker.io/library/busybox:latest"),
        ("busybox:1.36", REF_NAME, "docker.io/library/busybox:1.36"),
        (f"busybox:1.36@{D}", REF_NAME, "docker.io/library/busybox:1.36"),
        (f"busybox@{D}", REF_NAME, f"docker.io/library/busybox@{D}"),
        ("10.0.0.7:5000/a/b:1.0-x", REF_NAME, "10.0.0.7:5000/a/b:1.0-x"),
        ("MYHOST/a-b", REF_NAME, "MYHOST/a-b:latest"),
        ("a--b", REF_NAME, "docker.io/library/a--b:latest"),
        # The grammar of a ref.name is narrower than that of a reference.
        ("a__b", POLYARCH_NAME, "docker.io/library/a__b:latest"),
        ("a---b", POLYARCH_NAME, "docker.io/library/a---b:latest"),
        ("a:1_", POLYARCH_NAME, "docker.io/library/a:1_"),
        ("a:_1", POLYARCH_NAME, "docker.io/library/a:_1"),
        ("[::1]:5000/a", POLYARCH_NAME, "[::1]:5000/a:latest"),
    ],
)
def test_a_name_is_kept_where_the_spec_allows_it(text: str, key: str, value: str) -> None:
    reference = parse_reference(text)
    entry = new_entry(reference, Root(D, OCI_MANIFEST), [OCI]).entry
    assert entry.annotations == {key: value}
    assert reference_of(entry) == stored_name(reference)


def test_a_scheme_is_kept_beside_the_name() -> None:
    reference = parse_reference("attic:box/thing:1", ("attic",))
    entry = new_entry(reference, Root(D, OCI_MANIFEST), [OCI]).entry
    assert entry.annotations == {REF_NAME: "attic:box/thing:1", SCHEME: "attic"}
    assert reference_of(entry) == reference


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io/library/busybox:1.36", parse_reference("busybox:1.36")),
        ("busybox:1.36", parse_reference("busybox:1.36")),
        ("busybox", parse_reference("busybox")),
        ("1.36", parse_reference("1.36")),
        (f"busybox:1.36@{D}", parse_reference("busybox:1.36")),
        ("Not A Name", Reference("localhost", "unnamed", "", D)),
        ("", Reference("localhost", "unnamed", "", D)),
        (None, Reference("localhost", "unnamed", "", D)),
    ],
)
def test_names_of_other_tools_are_read_as_a_person_writes_them(name: str | None, expected: Reference) -> None:
    entry = replace(OCI, annotations={} if name is None else {REF_NAME: name})
    assert reference_of(entry) == expected
    assert parse_reference(str(expected)) == expected


def test_one_oci_manifest_is_an_entry_of_its_own() -> None:
    new = new_entry(parse_reference("a"), Root(D, OCI_MANIFEST), [replace(OCI, annotations={"x": "y"})])
    assert new.index is None
    assert new.entry == replace(OCI, annotations={REF_NAME: "docker.io/library/a:latest"})
    assert root_of(new.entry) == Root(D, OCI_MANIFEST)
    assert not is_made_here(new.entry)


def test_the_root_is_an_annotation() -> None:
    new = new_entry(parse_reference("a"), ROOT_INDEX, [OCI])
    assert new.entry.annotations[ROOT] == ROOT_INDEX.digest
    assert root_of(new.entry) == ROOT_INDEX


def test_a_damaged_root_is_passed_over() -> None:
    assert root_of(replace(OCI, annotations={ROOT: "sha256:x"})) == Root(D, OCI_MANIFEST)


def test_a_docker_manifest_is_listed_without_its_platform() -> None:
    """So that a tool that chooses by platform takes it, whatever machine it is on."""
    new = new_entry(parse_reference("a"), Root(DOCKER.digest, DOCKER_MANIFEST), [DOCKER])
    assert new.index is not None
    assert json.loads(new.index) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": DOCKER_MANIFEST, "digest": DOCKER.digest, "size": 6}],
    }
    assert (new.entry.media_type, new.entry.digest, new.entry.size) == (
        OCI_INDEX,
        digest_of(new.index),
        len(new.index),
    )
    assert new.entry.platform == AMD64
    assert MADE_HERE in new.entry.annotations


def test_several_platforms_are_listed_in_one_order() -> None:
    new = new_entry(parse_reference("a"), ROOT_INDEX, [OCI, DOCKER])
    assert new == new_entry(parse_reference("a"), ROOT_INDEX, [DOCKER, OCI])
    assert new.index is not None
    assert [one["platform"]["architecture"] for one in json.loads(new.index)["manifests"]] == ["amd64", "arm64"]
    assert new.entry.platform is None
    assert root_of(new.entry) == ROOT_INDEX


@given(st.text())
def test_any_name_in_an_index_is_some_reference(name: str) -> None:
    reference = reference_of(replace(OCI, annotations={REF_NAME: name}))
    assert parse_reference(str(reference)) == reference
