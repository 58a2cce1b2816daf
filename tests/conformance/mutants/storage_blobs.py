"""Storages that break a promise about blobs, each for the tests that its `breaks` names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from polyarch.contract import (
    BlobWriter,
    Descriptor,
    Digest,
    StorageError,
)
from polyarch.testing.conformance.storage_blobs import StorageBlobs
from support.mutants import Mutants
from support.plain_storage import OfOneThread, PlainStorage, PlainWriter, storage_fixtures

MUTANTS = Mutants(StorageBlobs, storage_fixtures, PlainStorage)
breaks = MUTANTS.breaks


@breaks("test_a_blob_is_not_here_before_it_came")
class HasEverything(PlainStorage):
    def has_blob(self, blob: Descriptor) -> bool:
        return True


@breaks("test_a_finished_blob_is_here")
class PublishesNothing(PlainStorage):
    def publish(self, digest: Digest) -> None:
        pass


@breaks("test_a_finished_blob_is_here_for_everybody")
class RemembersBlobs(PlainStorage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known: set[Digest] = set()

    def has_blob(self, blob: Descriptor) -> bool:
        return blob.digest in self.known

    def publish(self, digest: Digest) -> None:
        self.known.add(digest)


@breaks("test_nothing_is_seen_before_finish")
class SeesFullPartials(PlainStorage):
    def has_blob(self, blob: Descriptor) -> bool:
        partial = self.partial(blob.digest)
        return super().has_blob(blob) or (partial.exists() and partial.stat().st_size == blob.size)


@breaks("test_a_blob_that_broke_off_is_not_here")
class SeesPartials(PlainStorage):
    def has_blob(self, blob: Descriptor) -> bool:
        return super().has_blob(blob) or self.partial(blob.digest).exists()


@breaks("test_a_blob_that_broke_off_is_not_here")
class SwallowsFailures(PlainStorage):
    @contextmanager
    def write_blob(self, blob: Descriptor) -> Iterator[BlobWriter | None]:
        with super().write_blob(blob) as writer:
            with suppress(ZeroDivisionError):
                yield writer


@breaks("test_a_blob_that_is_here_needs_no_writer")
class WritesAgain(PlainStorage):
    @contextmanager
    def write_blob(self, blob: Descriptor) -> Iterator[BlobWriter | None]:
        yield PlainWriter(self.partial(blob.digest), lambda: self.publish(blob.digest))


@breaks("test_offset_counts_what_was_written")
class CountsOnlyAtTheStart(PlainStorage):
    class writer(PlainWriter):
        offset = 0  # type: ignore[assignment]


@breaks("test_kept_gives_what_was_written")
class KeepsOnlyTheFirstPiece(PlainStorage):
    class writer(PlainWriter):
        def kept(self) -> Iterator[bytes]:
            yield self.path.read_bytes()[:100]


@breaks("test_a_written_buffer_may_be_used_again")
class KeepsTheBuffers(PlainStorage):
    class writer(PlainWriter):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.buffers: list[bytes | memoryview] = []

        def write(self, data: bytes | memoryview) -> None:
            self.buffers.append(data)

        def kept(self) -> Iterator[bytes]:
            return (bytes(buffer) for buffer in self.buffers)


@breaks("test_what_broke_off_is_kept_truly")
class LeavesZeros(PlainStorage):
    class writer(PlainWriter):
        def close(self) -> None:
            if self.path.exists():
                self.path.write_bytes(bytes(self.offset))
            super().close()


@breaks("test_what_broke_off_is_kept_truly")
class LosesWhatWasKept(PlainStorage):
    class writer(PlainWriter):
        def kept(self) -> Iterator[bytes]:
            return iter(())


@breaks("test_a_blob_that_broke_off_can_be_finished")
class BeginsAgainAtTheFront(PlainStorage):
    class writer(PlainWriter):
        def __init__(self, path: Path, *arguments: Any) -> None:
            path.touch()
            super().__init__(path, *arguments)
            self.file = path.open("rb+", buffering=0)


@breaks("test_restart_throws_away_what_is_here")
class NeverRestarts(PlainStorage):
    class writer(PlainWriter):
        def restart(self) -> None:
            pass


@breaks("test_a_restarted_blob_stays_thrown_away")
class RestartsInMemoryOnly(PlainStorage):
    class writer(PlainWriter):
        start = 0

        @property
        def offset(self) -> int:
            return super().offset - self.start

        def restart(self) -> None:
            self.start = super().offset


@breaks("test_blobs_come_side_by_side")
class HasOneDesk(PlainStorage):
    def partial(self, digest: Digest) -> Path:
        return self.folder / "partial" / "one"


@breaks("test_blobs_of_another_algorithm")
class KnowsSha256Alone(PlainStorage):
    def path(self, digest: Digest) -> Path:
        if not digest.startswith("sha256:"):
            raise StorageError(f"{digest} is no digest")
        return super().path(digest)


@breaks("test_threads_bring_blobs")
class WritesInOneThread(OfOneThread):
    def publish(self, digest: Digest) -> None:
        self.check_thread()
        super().publish(digest)


@breaks("test_processes_bring_the_same_blob")
class WritesInOneProcess(PlainStorage):
    def publish(self, digest: Digest) -> None:
        self.path(digest).write_bytes(b"another process came between")

    @contextmanager
    def write_blob(self, blob: Descriptor) -> Iterator[BlobWriter | None]:
        yield PlainWriter(self.partial(f"{blob.digest}.{os.getpid()}"), lambda: self.publish(blob.digest))


@breaks("test_a_killed_write_leaves_nothing_visible")
class WritesInPlace(PlainStorage):
    def partial(self, digest: Digest) -> Path:
        return self.path(digest)

    def publish(self, digest: Digest) -> None:
        pass


@breaks("test_a_killed_write_holds_nobody_up")
class LeavesItsLock(PlainStorage):
    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        lock = self.folder / f"{what.replace(':', '-')}.lock"
        try:
            lock.open("x").close()
        except FileExistsError:
            raise StorageError("locked") from None
        yield
        lock.unlink()


@breaks("test_a_killed_pull_loses_no_finished_blob")
class PublishesAtCommit(PlainStorage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.waiting: set[Digest] = set()

    def has_blob(self, blob: Descriptor) -> bool:
        return blob.digest in self.waiting or super().has_blob(blob)

    def publish(self, digest: Digest) -> None:
        self.waiting.add(digest)


@breaks("test_what_is_written_can_be_read_meanwhile")
class ShowsWhatWasWritten(PlainStorage):
    class writer(PlainWriter):
        def open_written(self) -> BinaryIO:
            copy = self.path.with_suffix(".copy")
            copy.write_bytes(self.path.read_bytes())
            return copy.open("rb", buffering=0)


@breaks("test_what_is_written_can_be_read_meanwhile")
class ShowsItsOwnPlace(PlainStorage):
    class writer(PlainWriter):
        def open_written(self) -> BinaryIO:
            return os.fdopen(os.dup(self.file.fileno()), "rb", buffering=0)


@breaks("test_what_is_written_can_be_read_meanwhile")
class BeginsInAnotherFile(PlainStorage):
    class writer(PlainWriter):
        def restart(self) -> None:
            self.path.unlink()
            self.file = self.path.open("ab+", buffering=0)


@breaks("test_big_blobs_pass_through")
class HoldsBlobsWhole(PlainStorage):
    class writer(PlainWriter):
        def finish(self) -> None:
            self.path.write_bytes(b"".join(self.kept()))
            super().finish()


globals().update(MUTANTS.classes())
