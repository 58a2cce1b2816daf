"""Which blob is asked for first: tables of layers, bottom first, and where each comes."""

from __future__ import annotations

import json

import pytest

from polyarch.oci.digest import digest_of
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.media_types import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from polyarch.transfer.order import SMALL, in_order

M = 1_000_000


def _manifest(sizes: list[int]) -> Manifest:
    def descriptor(media_type: str, name: str, size: int) -> dict[str, object]:
        return {"mediaType": media_type, "digest": digest_of(name.encode()), "size": size}

    layers = [descriptor(OCI_LAYER_GZIP, str(number), size) for number, size in enumerate(sizes)]
    config = descriptor(OCI_CONFIG, "config", 700)
    fields = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    document = parse_document(json.dumps(fields).encode())
    assert isinstance(document, Manifest)
    return document


@pytest.mark.parametrize(
    ("sizes", "connections", "order"),
    [
        pytest.param([M * 5, M * 60, M * 30], 4, [1, 2, 0], id="the largest first"),
        pytest.param([M * 70, M * 70 + 5, M * 70 - 5, M * 71], 4, [3, 2, 1, 0], id="of about a size the upper first"),
        pytest.param([M * 130, M * 70, M * 70, M * 70, M * 70], 4, [0, 4, 3, 2, 1], id="a half more is larger"),
        pytest.param([M * 30, M * 90, M * 9, 10, SMALL], 4, [1, 0, 2, 4, 3], id="small ones by the last connection"),
        pytest.param([M * 30, M * 90, M * 9, 10, SMALL], 2, [1, 4, 3, 0, 2], id="small ones by the second of two"),
        pytest.param([M * 30, M * 90, 10], 1, [2, 1, 0], id="one connection"),
    ],
)
def test_the_order_of_layers(sizes: list[int], connections: int, order: list[int]) -> None:
    manifest = _manifest(sizes)
    blobs = in_order(manifest.blobs, manifest, connections)
    assert blobs[0] == manifest.config
    assert blobs[1:] == [manifest.layers[number] for number in order]


def test_what_is_not_missing_is_left_out() -> None:
    manifest = _manifest([M * 30, M * 60, 10])
    assert in_order(manifest.layers[:2], manifest, 4) == [manifest.layers[1], manifest.layers[0]]
    assert in_order([manifest.config], manifest, 4) == [manifest.config]
    assert in_order([], manifest, 4) == []
