"""Parts of blobs: exactly what was asked for, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import Descriptor, NotFoundError, ReadsRanges, Reference
from polyarch.reference import parse_reference
from polyarch.registry.client import DistributionRegistry
from polyarch.registry.mirrored import MirroredRegistry
from support import faults
from support.docker_registry import DockerRegistry
from support.faulty_registry import FaultyRegistry
from support.layout_files import Layout
from support.registry_client import Connect

NAME = "single:1.0"


def _blob(layout: Layout) -> tuple[Descriptor, bytes]:
    layer = max(layout.layers(layout.names[NAME]["digest"]), key=lambda layer: layer["size"])
    return Descriptor(layer["mediaType"], layer["digest"], layer["size"]), layout.path(layer["digest"]).read_bytes()


def _read(client: DistributionRegistry, reference: Reference, blob: Descriptor, offset: int, size: int) -> bytes | None:
    assert isinstance(client, ReadsRanges)
    with client.open_range(reference, blob, offset, size) as stream:
        if stream is None:
            return None
        assert stream.offset == offset
        return b"".join(bytes(chunk) for chunk in stream.chunks)


def test_parts_of_a_blob_of_the_real_registry(connect: Connect, registry: DockerRegistry, sample_layout: Path) -> None:
    client, reference = connect().registry, parse_reference(registry.ref(NAME))
    blob, data = _blob(Layout(sample_layout))
    for offset, size in ((0, 1), (0, 500), (1000, 1), (1000, 2000), (blob.size - 1, 1), (0, blob.size)):
        assert _read(client, reference, blob, offset, size) == data[offset : offset + size]
    assert _read(client, reference, blob, blob.size, 1) is None


FAULTS = {
    "no ranges": faults.ignore_range,
    "another part": faults.wrong_range(1),
    "no Content-Range": faults.headers(Content_Range=None),
    "an end that was not asked for": faults.headers(Content_Range="bytes 1000-1999/*"),
    "of another size": faults.headers(Content_Range="bytes 1000-1499/1"),
    "416": faults.status(416),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_not_the_part_is_none(connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault) -> None:
    client, reference = connect().registry, parse_reference(faulty_registry.ref(NAME))
    blob, data = _blob(faulty_registry.layout)
    faulty_registry.script("GET", "/blobs/", fault)
    assert _read(client, reference, blob, 1000, 500) is None
    assert _read(client, reference, blob, 1000, 500) == data[1000:1500]


def test_a_missing_blob_is_named(connect: Connect, registry: DockerRegistry) -> None:
    with pytest.raises(NotFoundError, match="has no blob 000000000000 in single"):
        _read(
            connect().registry, parse_reference(registry.ref(NAME)), Descriptor("x", f"sha256:{'0' * 64}", 5000), 0, 9
        )


@pytest.fixture
def mirror(sample_layout: Path) -> Iterator[FaultyRegistry]:
    """A second registry with the same content."""
    server = FaultyRegistry(Layout(sample_layout))
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("fault", "asked"),
    [(faults.honest, "mirror"), (faults.ignore_range, "mirror"), (faults.status(404), "registry")],
    ids=["honest", "no ranges", "not there"],
)
def test_parts_come_from_the_mirror(
    connect: Connect,
    mirror: FaultyRegistry,
    faulty_registry: FaultyRegistry,
    tmp_path: Path,
    fault: faults.Fault,
    asked: str,
) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text(
        f'[[registry]]\nlocation = "{faulty_registry.address}"\n[[registry.mirror]]\nlocation = "{mirror.address}"\n'
    )
    client, reference = connect(registries_conf=str(conf)).registry, parse_reference(faulty_registry.ref(NAME))
    assert isinstance(client, MirroredRegistry)
    blob, data = _blob(mirror.layout)
    mirror.script("GET", "/blobs/", fault)
    gave = fault is not faults.ignore_range
    assert _read(client, reference, blob, 1000, 500) == (data[1000:1500] if gave else None)
    server = mirror if asked == "mirror" else faulty_registry
    assert client.served_by(blob.digest) == (server.address if gave else None)
    assert client.doubt(blob) is (gave and asked == "mirror")
