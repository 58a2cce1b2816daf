"""Blobs on their way in: `Storage.has_blob`, `Storage.write_blob` and `BlobWriter` of the contract."""

from __future__ import annotations

import hashlib
import os
from functools import partial

import pytest

from polyarch.contract import Descriptor, NotFoundError, ReadsBack, ReadsBlobs, Storage
from polyarch.testing.conformance.images import SampleImage, SampleImages
from polyarch.testing.conformance.storage_base import (
    PIECE,
    Opener,
    StorageBase,
    put,
    put_anew,
    put_blobs_and_die,
    put_half_and_die,
)
from polyarch.testing.conformance.trials import in_processes, in_threads, killed, memory, refused

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Blob:
    """A layer of the sample, and its bytes."""

    def __init__(self, image: SampleImage, number: int = 0) -> None:
        self.descriptor = image.manifest.layers[number]
        self.data = image.bytes_of(self.descriptor)
        self.half = len(self.data) // 2


class StorageBlobs(StorageBase):
    """The promises that a blob is whole once it is seen, and never seen before."""

    @pytest.fixture
    def blob(self, sample: SampleImages) -> Blob:
        """A blob that nobody has seen before."""
        return Blob(sample.image())

    def test_a_blob_is_not_here_before_it_came(self, storage: Storage, blob: Blob) -> None:
        """`has_blob` answers False, and no more, for a blob that nobody has brought."""
        assert storage.has_blob(blob.descriptor) is False, "a blob that never came is not here (Storage.has_blob)"

    def test_a_finished_blob_is_here(self, storage: Storage, blob: Blob) -> None:
        """After `finish` the blob is here."""
        put(storage, blob.descriptor, blob.data)
        assert storage.has_blob(blob.descriptor) is True, "after `finish` the blob is here (BlobWriter.finish)"

    def test_a_finished_blob_is_here_for_everybody(self, reopen: Opener, blob: Blob) -> None:
        """Another object over the same place sees the blob, too: it is kept there, not in memory."""
        put(reopen(), blob.descriptor, blob.data)
        assert reopen().has_blob(blob.descriptor), "blobs are kept at the storage's place (Storage.has_blob)"

    def test_nothing_is_seen_before_finish(self, reopen: Opener, blob: Blob) -> None:
        """Although all bytes are written, the blob is not here before `finish`: nobody has verified it."""
        storage = reopen()
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(blob.data)
            assert not reopen().has_blob(blob.descriptor), "a blob is seen after `finish` only (BlobWriter)"
        assert not storage.has_blob(blob.descriptor), (
            "a writer that was left without `finish` makes no blob (BlobWriter)"
        )

    def test_a_blob_that_broke_off_is_not_here(self, reopen: Opener, blob: Blob) -> None:
        """A transfer that fails in the midst leaves no blob, and the failure is not swallowed."""

        def break_off() -> None:
            with reopen().write_blob(blob.descriptor) as writer:
                assert writer is not None
                writer.write(blob.data[: blob.half])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            break_off()
        assert not reopen().has_blob(blob.descriptor), "half a blob is none (Storage.has_blob)"

    def test_a_blob_that_is_here_needs_no_writer(self, storage: Storage, blob: Blob) -> None:
        """`write_blob` hands out None for a blob that is here."""
        put(storage, blob.descriptor, blob.data)
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is None, "what is here is not written again (Storage.write_blob)"

    def test_offset_counts_what_was_written(self, storage: Storage, blob: Blob) -> None:
        """`offset` is where the next byte goes: it grows with each write."""
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is not None
            assert writer.offset == 0, "of a blob that is new no byte is here (BlobWriter.offset)"
            for size in (1, 10, 3):
                before = writer.offset
                writer.write(blob.data[before : before + size])
                assert writer.offset == before + size, "`offset` grows by what is written (BlobWriter.offset)"

    def test_kept_gives_what_was_written(self, storage: Storage, blob: Blob) -> None:
        """`kept` reads back what is here, from the first byte on; writing goes on behind it."""
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(blob.data[: blob.half])
            assert b"".join(writer.kept()) == blob.data[: blob.half], "`kept` gives the bytes (BlobWriter.kept)"
            writer.write(blob.data[blob.half :])
            assert b"".join(writer.kept()) == blob.data, "reading does not move where writes go (BlobWriter.kept)"

    def test_a_written_buffer_may_be_used_again(self, storage: Storage, blob: Blob) -> None:
        """A chunk is valid until the next one comes: who keeps it has to copy it."""
        buffer = bytearray(10)
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is not None
            for start in range(0, 40, 10):
                buffer[:] = blob.data[start : start + 10]
                writer.write(memoryview(buffer))
            buffer[:] = bytes(10)
            assert b"".join(writer.kept()) == blob.data[:40], "a memoryview's bytes change later (BlobStream, write)"

    def test_what_broke_off_is_kept_truly(self, reopen: Opener, blob: Blob) -> None:
        """What an earlier try has left is the beginning of the blob, and `offset` says how much; it may be nothing."""
        with reopen().write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(blob.data[: blob.half])
        with reopen().write_blob(blob.descriptor) as writer:
            assert writer is not None
            kept = b"".join(writer.kept())
            assert len(kept) == writer.offset, "`kept` gives as many bytes as `offset` tells (BlobWriter)"
            assert blob.data.startswith(kept), "what is kept is what was written (BlobWriter.kept)"

    def test_a_blob_that_broke_off_can_be_finished(self, reopen: Opener, blob: Blob) -> None:
        """The next try goes on at `offset`, and the blob is whole then."""
        with reopen().write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(blob.data[: blob.half])
        with reopen().write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(blob.data[writer.offset :])
            assert b"".join(writer.kept()) == blob.data, "writes go on behind what is kept (BlobWriter.offset)"
            writer.finish()
        assert reopen().has_blob(blob.descriptor), "a blob that was resumed is whole (BlobWriter.finish)"

    def test_what_is_written_can_be_read_meanwhile(self, storage: Storage, blob: Blob) -> None:
        """The file of `open_written` shows each byte once it is written, is another one's reading, and stays open."""
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(blob.data[: blob.half])
            if not isinstance(writer, ReadsBack):
                pytest.skip(f"{type(writer).__name__} has not the ability ReadsBack")
            with writer.open_written() as file:
                assert os.pread(file.fileno(), len(blob.data), 0) == blob.data[: blob.half], (
                    "what was written before is there (ReadsBack.open_written)"
                )
                assert file.read(10) == blob.data[:10], "it is read from the first byte on (ReadsBack.open_written)"
                writer.write(b"wrong")
                assert os.pread(file.fileno(), len(blob.data), 0) == blob.data[: blob.half] + b"wrong", (
                    "what is written later appears, and goes behind what is here (ReadsBack.open_written)"
                )
                writer.restart()
                writer.write(blob.data)
                writer.finish()
                assert os.pread(file.fileno(), len(blob.data), 0) == blob.data, (
                    "it can be read after `restart` and `finish`, too (ReadsBack.open_written)"
                )

    def test_restart_throws_away_what_is_here(self, storage: Storage, blob: Blob) -> None:
        """After wrong bytes came, `restart` begins from nothing, and the right ones make the blob."""
        with storage.write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(bytes(len(blob.data)))
            writer.restart()
            assert writer.offset == 0, "after `restart` no byte is here (BlobWriter.restart)"
            assert b"".join(writer.kept()) == b"", "after `restart` no byte is kept (BlobWriter.restart)"
            writer.write(blob.data)
            assert b"".join(writer.kept()) == blob.data, (
                "after `restart` writes go to the beginning (BlobWriter.restart)"
            )
            writer.finish()
        assert storage.has_blob(blob.descriptor), "a restarted blob is finished like another (BlobWriter.restart)"

    def test_a_restarted_blob_stays_thrown_away(self, reopen: Opener, blob: Blob) -> None:
        """What `restart` threw away does not come back in the next try: it was wrong."""
        with reopen().write_blob(blob.descriptor) as writer:
            assert writer is not None
            writer.write(bytes(len(blob.data)))
            writer.restart()
        with reopen().write_blob(blob.descriptor) as writer:
            assert writer is not None
            assert writer.offset == 0, "what was thrown away is not kept for the next try (BlobWriter.restart)"

    def test_blobs_come_side_by_side(self, storage: Storage, sample: SampleImages) -> None:
        """Several blobs are on their way at once, and do not meet."""
        image = sample.image()
        one, two = Blob(image, 0), Blob(image, 1)
        with storage.write_blob(one.descriptor) as first, storage.write_blob(two.descriptor) as second:
            assert first is not None
            assert second is not None
            first.write(one.data[:20])
            second.write(two.data)
            first.write(one.data[20:])
            assert b"".join(first.kept()) == one.data, "writers of two blobs do not share anything (Storage.write_blob)"
            assert b"".join(second.kept()) == two.data, "writers of two blobs do not share anything"
            second.finish()
            assert not storage.has_blob(one.descriptor), "only the finished one is here (BlobWriter.finish)"
            first.finish()
        assert storage.has_blob(one.descriptor), "each of them is here in the end (BlobWriter.finish)"
        assert storage.has_blob(two.descriptor), "each of them is here in the end (BlobWriter.finish)"

    def test_blobs_of_another_algorithm(self, storage: Storage, blob: Blob) -> None:
        """A digest may be one of sha512 (OCI image-spec, descriptor.md): such a blob is kept under it."""
        digest = f"sha512:{hashlib.sha512(blob.data).hexdigest()}"
        descriptor = Descriptor(LAYER, digest, len(blob.data))
        put(storage, descriptor, blob.data)
        assert storage.has_blob(descriptor), "digests are of sha256 or sha512 (contract.Digest)"
        assert not storage.has_blob(blob.descriptor), "a blob is here under the digest that it came with"

    def test_threads_bring_blobs(self, storage: Storage, sample: SampleImages) -> None:
        """Several threads bring blobs through one object, each blob twice at once."""
        blobs = [Blob(sample.image(text=f"-{number}"), 1) for number in range(4)]
        in_threads([partial(put, storage, blob.descriptor, blob.data) for blob in [*blobs, *blobs]])
        for blob in blobs:
            assert storage.has_blob(blob.descriptor), "a storage is used by several threads at once (Storage)"
            _check_bytes(storage, blob)

    def test_processes_bring_the_same_blob(self, open_storage: Opener, reopen: Opener, blob: Blob) -> None:
        """Several processes bring one blob: none fails, and it is whole in the end."""
        in_processes([partial(put_anew, open_storage, blob.descriptor, blob.data)] * 4, forks=self.forks)
        storage = reopen()
        assert storage.has_blob(blob.descriptor), "a storage is used by several processes at once (Storage)"
        _check_bytes(storage, blob)

    def test_a_killed_write_leaves_nothing_visible(self, open_storage: Opener, reopen: Opener, blob: Blob) -> None:
        """A process that is killed in the midst of a write leaves no blob."""
        killed(partial(put_half_and_die, open_storage, blob.descriptor, blob.data[: blob.half]), forks=self.forks)
        storage = reopen()
        assert not storage.has_blob(blob.descriptor), "nothing is visible before `finish` (BlobWriter)"
        if isinstance(storage, ReadsBlobs):
            with refused("a blob on its way cannot be read (ReadsBlobs.open_blob)", NotFoundError):
                storage.open_blob(blob.descriptor.digest).close()

    def test_a_killed_write_holds_nobody_up(self, open_storage: Opener, reopen: Opener, blob: Blob) -> None:
        """The next process can bring the blob that a killed one was at: its lock went with it."""
        killed(partial(put_half_and_die, open_storage, blob.descriptor, blob.data[: blob.half]), forks=self.forks)
        in_processes([partial(put_anew, open_storage, blob.descriptor, blob.data)], forks=self.forks)
        storage = reopen()
        assert storage.has_blob(blob.descriptor), "what a killed process began can be finished (Storage.write_blob)"
        _check_bytes(storage, blob)

    def test_a_killed_pull_loses_no_finished_blob(
        self, open_storage: Opener, reopen: Opener, sample: SampleImages
    ) -> None:
        """What was finished before a process was killed is here for the next one."""
        image = sample.image()
        killed(partial(put_blobs_and_die, open_storage, image), forks=self.forks)
        storage = reopen()
        for blob in image.manifest.blobs:
            assert storage.has_blob(blob), "a finished blob stays, whatever becomes of the process (BlobWriter.finish)"

    def test_big_blobs_pass_through(self, storage: Storage, sample: SampleImages) -> None:
        """A blob is never held whole: layers have gigabytes, and a Raspberry Pi Zero has 512 MB."""
        image = sample.image(layers=[sample.layer("big", 2 * self.most_held)])
        layer = image.manifest.layers[0]
        with memory() as held, storage.write_blob(layer) as writer, image.files[layer.digest].open("rb") as source:
            assert writer is not None
            while piece := source.read(PIECE):
                writer.write(piece)
            taken = hashlib.sha256()
            for chunk in writer.kept():
                taken.update(chunk)
            writer.finish()
        assert f"sha256:{taken.hexdigest()}" == layer.digest, "`kept` gives the bytes, in pieces (BlobWriter.kept)"
        assert storage.has_blob(layer)
        assert held.most < self.most_held, f"of {layer.size} bytes {held.most} were held at once (BlobWriter)"


def _check_bytes(storage: Storage, blob: Blob) -> None:
    """The bytes of a finished blob, where they can be read."""
    if isinstance(storage, ReadsBlobs):
        with storage.open_blob(blob.descriptor.digest) as stream:
            assert stream.read() == blob.data, "a blob has the bytes that were written (ReadsBlobs.open_blob)"
