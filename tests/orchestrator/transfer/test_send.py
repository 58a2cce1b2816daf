"""All blobs first, then the documents, the name last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from polyarch.contract.registry import BlobStream, TakesImages
from polyarch.errors import IntegrityError, UnreachableError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Document, Manifest
from polyarch.oci.media_types import OCI_CONFIG, OCI_LAYER
from polyarch.oci.written import write_index, write_manifest
from polyarch.reference import Reference
from polyarch.transfer.send import Push, blobs_of, send

NAME = Reference("registry.example", "app", "1.0")
CONTENT = {digest_of(data): data for data in (b"config", *(bytes([number]) * 1000 * number for number in range(1, 9)))}


CONFIG, *LAYERS = (Descriptor(OCI_LAYER, digest, len(data)) for digest, data in CONTENT.items())
MANIFEST: Manifest = write_manifest(Descriptor(OCI_CONFIG, CONFIG.digest, CONFIG.size), LAYERS)


@contextmanager
def source(blob: Descriptor, offset: int) -> Iterator[BlobStream]:
    yield BlobStream(offset, iter([CONTENT[blob.digest][offset:]]))


class Target:
    """Takes images, and notes in which order."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.put_blobs: dict[str, bytes] = {}
        self.names: list[str] = []
        self.busy = self.most = 0
        self.lock = threading.Lock()

    def has_blob(self, reference: Reference, blob: Descriptor) -> bool:
        return blob.digest in self.put_blobs

    def mount_blob(self, reference: Reference, blob: Descriptor, repository: str) -> bool:
        if repository == "there":
            self.put_blobs[blob.digest] = CONTENT[blob.digest]
        return repository == "there"

    def put_blob(
        self, reference: Reference, blob: Descriptor, open_at: Callable[[int], AbstractContextManager[BlobStream]]
    ) -> None:
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            if blob.digest == self.fails:
                raise UnreachableError("no")
            with open_at(0) as stream:
                data = b"".join(bytes(chunk) for chunk in stream.chunks)
            self.put_blobs[blob.digest] = data
        finally:
            with self.lock:
                self.busy -= 1

    def has(self, reference: Reference) -> bool:
        return reference.target in self.names

    def put(self, reference: Reference, document: Document) -> None:
        assert {blob.digest for blob in blobs_of([document])} <= set(self.put_blobs)
        self.names.append(reference.target)


def sent(target: Target, pushes: list[Push], **more: object):  # type: ignore[no-untyped-def]
    assert isinstance(target, TakesImages)
    given = {"source": source, "mounts": lambda blob: [], "max_connections": 3, "retries": 1, **more}
    return send(target, pushes, emit=lambda event: None, **given)  # type: ignore[arg-type]


def test_the_name_comes_last() -> None:
    target, index = Target(), write_index([MANIFEST.descriptor])
    pushes = [Push(NAME.with_digest(MANIFEST.digest), MANIFEST), Push(NAME, index)]
    results = sent(target, pushes)
    assert target.names == [MANIFEST.digest, "1.0"]
    assert target.put_blobs == CONTENT
    assert [result.descriptor.digest for result in results] == [blob.digest for blob in MANIFEST.blobs]
    assert {(result.status, result.sent == result.descriptor.size) for result in results} == {("uploaded", True)}
    assert target.most <= 3
    assert {result.status for result in sent(target, pushes)} == {"exists"}


@pytest.mark.parametrize("failing", range(len(MANIFEST.blobs)))
def test_a_failure_leaves_no_name(failing: int) -> None:
    target = Target(MANIFEST.blobs[failing].digest)
    with pytest.raises(UnreachableError):
        sent(target, [Push(NAME, MANIFEST)])
    assert target.names == []


def test_mounts_are_tried_in_their_order() -> None:
    target = Target()
    results = sent(target, [Push(NAME, MANIFEST)], mounts=lambda blob: ["elsewhere", "there"])
    assert {(result.status, result.sent) for result in results} == {("mounted", 0)}


@pytest.mark.parametrize(
    ("media_type", "urls"),
    [
        (OCI_LAYER, ("https://elsewhere.example",)),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", ()),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", ()),
    ],
)
def test_what_is_kept_elsewhere_is_not_asked_for(media_type: str, urls: tuple[str, ...]) -> None:
    foreign = Descriptor(media_type, digest_of(b"elsewhere"), 9, urls=urls)
    target = Target()
    manifest = write_manifest(MANIFEST.config, [foreign, LAYERS[0]])
    assert len(sent(target, [Push(NAME, manifest)])) == 2
    assert foreign.digest not in target.put_blobs


def test_wrong_bytes_of_a_mirror_are_asked_for_elsewhere() -> None:
    wrong = {LAYERS[3].digest: [b"x" * LAYERS[3].size]}

    @contextmanager
    def mirrored(blob: Descriptor, offset: int) -> Iterator[BlobStream]:
        data = wrong[blob.digest].pop() if wrong.get(blob.digest) else CONTENT[blob.digest]
        yield BlobStream(offset, iter([data[offset:]]))

    target, doubted = Target(), []

    def doubt(blob: Descriptor) -> bool:
        doubted.append(blob.digest)
        return True

    sent(target, [Push(NAME, MANIFEST)], source=mirrored, doubt=doubt)
    assert doubted == [LAYERS[3].digest]
    assert target.put_blobs == CONTENT
    wrong[LAYERS[3].digest] = [b"x" * LAYERS[3].size]
    with pytest.raises(IntegrityError):
        sent(Target(), [Push(NAME, MANIFEST)], source=mirrored)
