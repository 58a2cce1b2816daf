"""Documents made here are read again as what they were made of."""

from __future__ import annotations

from dataclasses import replace

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import parse_document
from polyarch.oci.json import parse_json
from polyarch.oci.media_types import DOCKER_MANIFEST_LIST, OCI_CONFIG, OCI_LAYER_GZIP
from polyarch.oci.written import encode, write_index, write_manifest
from polyarch_platforms.platform import parse

CONFIG = Descriptor(OCI_CONFIG, digest_of(b"config"), 6)
LAYER = Descriptor(OCI_LAYER_GZIP, digest_of(b"layer"), 5)


def test_a_manifest_is_read_as_it_was_made() -> None:
    written = write_manifest(CONFIG, [LAYER, LAYER], {"b": "2", "ü": "1"})
    assert parse_document(written.raw) == written
    assert written.layers == (LAYER, LAYER)


def test_an_index_is_read_as_it_was_made() -> None:
    manifest = write_manifest(CONFIG, [LAYER])
    entries = [replace(manifest.descriptor, platform=parse(text)) for text in ("linux/arm/v7", "linux/amd64")]
    for written in (write_index(entries), write_index(entries, media_type=DOCKER_MANIFEST_LIST)):
        assert parse_document(written.raw) == written
        assert written.manifests == tuple(entries)


def test_annotations_in_another_order_give_the_same_digest() -> None:
    assert (
        write_manifest(CONFIG, [], {"a": "1", "b": "2"}).digest
        == write_manifest(CONFIG, [], {"b": "2", "a": "1"}).digest
    )


def test_what_is_no_text_comes_back_as_it_was() -> None:
    document = {"created_by": "echo \udcff", "ü": "\ud800"}
    assert parse_json(encode(document), "document") == document
    assert encode({"ü": "ü"}) == '{"ü":"ü"}'.encode()
