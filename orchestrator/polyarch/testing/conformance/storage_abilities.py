"""What some storages can do beyond the plain Protocol; a test of an ability that one lacks is skipped, and says so."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

from polyarch.contract import (
    Descriptor,
    HasBlobFiles,
    ListsImages,
    NotFoundError,
    ReadsBlobs,
    RemovesImages,
    Storage,
    SummarisesImages,
    digest_of,
)
from polyarch.testing.conformance.images import SampleImages
from polyarch.testing.conformance.storage_base import Opener, StorageBase, put, store
from polyarch.testing.conformance.trials import refused
from polyarch_platforms.platform import parse

A = TypeVar("A")


def able(thing: object, ability: type[A]) -> A:
    """`thing`, if it has the ability; else the test is skipped."""
    if not isinstance(thing, ability):
        pytest.skip(f"{type(thing).__name__} has not the ability {ability.__name__}")
    return thing


class StorageAbilities(StorageBase):
    """Reading blobs, blobs as files, listing, summaries, removing."""

    def test_blobs_are_read(self, storage: Storage, sample: SampleImages) -> None:
        """ReadsBlobs: config and layers have the bytes that were written."""
        reader, made = able(storage, ReadsBlobs), sample.image()
        store(storage, made, sample.name())
        for blob in made.manifest.blobs:
            with reader.open_blob(blob.digest) as stream:
                assert stream.read() == made.bytes_of(blob), "the bytes are kept (ReadsBlobs.open_blob)"

    def test_blobs_are_read_from_anywhere(self, storage: Storage, sample: SampleImages) -> None:
        """ReadsBlobs: the stream can be sought, from the beginning and from the end, and beyond."""
        reader, made = able(storage, ReadsBlobs), sample.image()
        store(storage, made, sample.name())
        blob = made.manifest.layers[0]
        data = made.bytes_of(blob)
        with reader.open_blob(blob.digest) as stream:
            assert stream.seek(0, os.SEEK_END) == len(data), "a stream tells its size (ReadsBlobs: seekable)"
            for offset in (len(data) // 2, 0, len(data) - 1):
                assert stream.seek(offset) == offset
                assert stream.read() == data[offset:], f"from byte {offset} on (ReadsBlobs: seekable)"
            stream.seek(len(data) + 10)
            assert stream.read() == b"", "behind the end there is nothing (ReadsBlobs: seekable)"

    def test_a_blob_that_is_not_here_cannot_be_read(self, storage: Storage, sample: SampleImages) -> None:
        """ReadsBlobs: NotFoundError for a blob that never came, and for one that is on its way."""
        reader, made = able(storage, ReadsBlobs), sample.image()
        with refused("a blob that never came cannot be read (ReadsBlobs.open_blob)", NotFoundError):
            reader.open_blob(digest_of(b"never came")).close()
        blob = made.manifest.layers[0]
        with storage.write_blob(blob) as writer:
            assert writer is not None
            writer.write(made.bytes_of(blob))
            with refused("a blob on its way cannot be read (ReadsBlobs.open_blob)", NotFoundError):
                reader.open_blob(blob.digest).close()

    def test_blobs_are_files(self, storage: Storage, sample: SampleImages) -> None:
        """HasBlobFiles: a plain file has the blob's bytes."""
        holder, made = able(storage, HasBlobFiles), sample.image()
        store(storage, made, sample.name())
        for blob in made.manifest.blobs:
            path = holder.blob_path(blob.digest)
            assert path.is_file(), "each blob is a plain file (HasBlobFiles.blob_path)"
            assert path.read_bytes() == made.bytes_of(blob), "the file has the blob's bytes, and no others"

    def test_a_blob_that_is_not_here_is_no_file(self, storage: Storage, sample: SampleImages) -> None:
        """HasBlobFiles: NotFoundError for a blob that never came, and for one that is on its way."""
        holder, made = able(storage, HasBlobFiles), sample.image()
        with refused("a blob that never came is no file (HasBlobFiles.blob_path)", NotFoundError):
            holder.blob_path(digest_of(b"never came"))
        blob = made.manifest.layers[0]
        with storage.write_blob(blob) as writer:
            assert writer is not None
            writer.write(made.bytes_of(blob))
            with refused("a blob on its way is no file (HasBlobFiles.blob_path)", NotFoundError):
                holder.blob_path(blob.digest)

    def test_all_images_are_listed(self, reopen: Opener, sample: SampleImages) -> None:
        """ListsImages: every image under every name, once each, also one that stands under two names."""
        made = sample.image()
        names = [sample.name(tag="1.0"), sample.name(tag="2.0"), sample.name("other")]
        expected = [store(reopen(), made, name) for name in names]
        listed = [image for image in able(reopen(), ListsImages).images() if image.reference in names]
        assert len(listed) == len(expected), "each image is listed once under each name (ListsImages.images)"
        assert all(image in listed for image in expected), "what is listed is what `find` gives (ListsImages.images)"

    def test_images_that_were_replaced_are_not_listed(self, storage: Storage, sample: SampleImages) -> None:
        """ListsImages: only what a name points at now."""
        lister = able(storage, ListsImages)
        store(storage, sample.image(), sample.name())
        newer = store(storage, sample.image(text="-newer"), sample.name())
        listed = [image for image in lister.images() if image.reference == sample.name()]
        assert listed == [newer], "an image that lost its name is not listed (ListsImages.images)"

    def test_images_are_summarised(self, storage: Storage, sample: SampleImages) -> None:
        """SummarisesImages: each image's name, config digest, root digest (or ""), platform and size."""
        summariser, made = able(storage, SummarisesImages), sample.image()
        image = store(storage, made, sample.name())
        (summary,) = [each for each in summariser.summaries() if each.reference == sample.name()]
        assert summary.id == image.config.digest, "the ID is the config's digest (ImageSummary)"
        assert summary.digest in ("", image.root.digest), "the digest is what the name points at (ImageSummary)"
        assert summary.platform == image.platform
        assert summary.size > 0, "the size is in bytes (ImageSummary)"

    def test_a_removed_image_is_gone(self, reopen: Opener, sample: SampleImages) -> None:
        """RemovesImages: the name points at nothing, and the blobs that only it needed are told and gone."""
        made, storage = sample.image(), reopen()
        remover = able(storage, RemovesImages)
        store(storage, made, sample.name())
        gone = remover.remove(sample.name())
        assert tuple(reopen().find(sample.name())) == (), "a removed name points at nothing (RemovesImages.remove)"
        for blob in made.manifest.blobs:
            assert blob.digest in gone, "the digests of the blobs that went are told (RemovesImages.remove)"
            assert not reopen().has_blob(blob), "a blob that nothing needs goes (RemovesImages.remove)"

    def test_removing_leaves_what_others_need(self, reopen: Opener, sample: SampleImages) -> None:
        """RemovesImages: an image with the same layers stays whole."""
        base = sample.layer("base")
        going = sample.image(layers=[base, sample.layer("one")])
        staying = sample.image(layers=[base, sample.layer("two")])
        storage = reopen()
        remover = able(storage, RemovesImages)
        store(storage, going, sample.name("going"))
        kept = store(storage, staying, sample.name("staying"))
        gone = remover.remove(sample.name("going"))
        assert base.digest not in gone, "what another name needs stays (RemovesImages.remove)"
        assert reopen().find(sample.name("staying")) == (kept,), "the other image is whole (RemovesImages.remove)"
        for blob in staying.manifest.blobs:
            assert reopen().has_blob(blob), "the other image is whole (RemovesImages.remove)"

    def test_one_of_two_names_is_removed(self, storage: Storage, sample: SampleImages) -> None:
        """RemovesImages: the same image under another name stays."""
        remover, made = able(storage, RemovesImages), sample.image()
        store(storage, made, sample.name(tag="1.0"))
        kept = store(storage, made, sample.name(tag="2.0"))
        remover.remove(sample.name(tag="1.0"))
        assert tuple(storage.find(sample.name(tag="1.0"))) == ()
        assert storage.find(sample.name(tag="2.0")) == (kept,), "a name is removed, not an image (RemovesImages.remove)"

    def test_one_platform_is_removed(self, storage: Storage, sample: SampleImages) -> None:
        """RemovesImages: with a platform only that one goes."""
        remover = able(storage, RemovesImages)
        if not self.several_platforms:
            pytest.skip("one platform a name is kept")
        made = [sample.image("linux/amd64"), sample.image("linux/arm64")]
        for each in made:
            store(storage, each, sample.name(), sample.index(*made))
        remover.remove(sample.name(), parse("linux/amd64"))
        assert [image.manifest for image in storage.find(sample.name())] == [made[1].manifest], (
            "one platform of the name goes, the others stay (RemovesImages.remove)"
        )
        with refused("a platform that is not here cannot be removed (RemovesImages.remove)", NotFoundError):
            remover.remove(sample.name(), parse("linux/amd64"))

    def test_what_is_not_here_cannot_be_removed(self, storage: Storage, sample: SampleImages) -> None:
        """RemovesImages: NotFoundError for an unknown name."""
        remover = able(storage, RemovesImages)
        with refused("an unknown name cannot be removed (RemovesImages.remove)", NotFoundError):
            remover.remove(sample.name())

    def test_a_removed_image_can_come_again(self, storage: Storage, sample: SampleImages) -> None:
        """RemovesImages: after its removal an image is pulled and found like any other."""
        remover, made = able(storage, RemovesImages), sample.image()
        store(storage, made, sample.name())
        remover.remove(sample.name())
        image = store(storage, made, sample.name())
        assert storage.find(sample.name()) == (image,), "nothing of a removal lingers (RemovesImages.remove)"

    def test_prune_takes_what_no_name_needs(self, reopen: Opener, sample: SampleImages) -> None:
        """RemovesImages: `prune` removes blobs that came for an image that was never committed, and tells them."""
        able(reopen(), RemovesImages)
        orphan, data = _orphan(sample)
        came = reopen()
        put(came, orphan, data)
        came.close()
        pruned = dict(able(reopen(), RemovesImages).prune())
        assert pruned.get(orphan.digest) == len(data), "each removed blob is told, with its bytes (RemovesImages.prune)"
        assert not reopen().has_blob(orphan), "a blob that no name needs goes (RemovesImages.prune)"

    def test_prune_leaves_what_names_need(self, reopen: Opener, sample: SampleImages) -> None:
        """RemovesImages: no image loses anything by `prune`."""
        able(reopen(), RemovesImages)
        made = sample.image(odd=True)
        image = store(reopen(), made, sample.name(), sample.index(made))
        pruned = dict(able(reopen(), RemovesImages).prune())
        assert reopen().find(sample.name()) == (image,), "an image with a name stays whole (RemovesImages.prune)"
        for blob in made.manifest.blobs:
            assert blob.digest not in pruned
            assert reopen().has_blob(blob), "an image with a name stays whole (RemovesImages.prune)"


def _orphan(sample: SampleImages) -> tuple[Descriptor, bytes]:
    """A layer of an image that nobody commits."""
    made = sample.image(text="-orphan")
    blob = made.manifest.layers[0]
    return blob, made.bytes_of(blob)
