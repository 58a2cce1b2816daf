"""What is made here comes into the storage as what it says, or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.media_types import OCI_LAYER
from polyarch.transfer.made import chunks_of, store_made
from polyarch_plugins.storages.oci.storage import OciStorage

BLOB = Descriptor(OCI_LAYER, digest_of(b"layer"), 5)


@pytest.fixture
def storage(tmp_path: Path) -> OciStorage:
    return OciStorage(tmp_path, sync=False)


def test_a_blob_from_its_beginning_on(storage: OciStorage) -> None:
    file = io.BytesIO(b"layer")
    file.seek(3)
    for _ in range(2):  # also where it is there
        store_made(storage, BLOB, chunks_of(file))
    assert storage.open_blob(BLOB.digest).read() == b"layer"


def test_what_another_one_began_is_not_gone_on_with(storage: OciStorage) -> None:
    with storage.write_blob(BLOB) as writer:
        assert writer is not None
        writer.write(b"la")
    store_made(storage, BLOB, [b"lay", b"er"])
    assert storage.open_blob(BLOB.digest).read() == b"layer"


@pytest.mark.parametrize("chunks", [[b"Layer"], [b"layer", b"s"], [b"laye"], []])
def test_another_blob_is_none(chunks: list[bytes], storage: OciStorage) -> None:
    with pytest.raises(IntegrityError, match="was made here is not"):
        store_made(storage, BLOB, chunks)
    assert not storage.has_blob(BLOB)
