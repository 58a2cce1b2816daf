"""Images under names: `Storage.commit`, `Storage.find` and `Storage.close` of the contract."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from polyarch.contract import Image, Platform, Storage, StorageError, UsageError, digest_of
from polyarch.testing.conformance.images import SampleImages, names_of
from polyarch.testing.conformance.storage_base import (
    Opener,
    StorageBase,
    platforms,
    put_blobs_and_die,
    store,
    store_anew,
)
from polyarch.testing.conformance.trials import in_processes, in_threads, killed, refused


class StorageImages(StorageBase):
    """The promises that a name points at whole images, at the right ones, and at them only."""

    def test_an_unknown_name_has_no_images(self, storage: Storage, sample: SampleImages) -> None:
        """`find` answers () for a name that nobody has committed: that is no error."""
        assert tuple(storage.find(sample.name())) == (), "no image is found under an unknown name (Storage.find)"

    def test_what_was_committed_is_found(self, storage: Storage, sample: SampleImages) -> None:
        """`find` gives the image back: reference, root, manifest, config and platform."""
        image = store(storage, sample.image(), sample.name())
        assert storage.find(sample.name()) == (image,), "`find` gives the image as it was committed (Storage.find)"

    def test_what_was_committed_is_found_by_everybody(self, reopen: Opener, sample: SampleImages) -> None:
        """Another object over the same place, and so the next process, finds the image."""
        image = store(reopen(), sample.image(), sample.name())
        assert reopen().find(sample.name()) == (image,), "names are kept at the storage's place (Storage.commit)"

    def test_documents_are_kept_byte_for_byte(self, reopen: Opener, sample: SampleImages) -> None:
        """Manifest, index and config keep odd spaces and unknown fields: digests are of the bytes received."""
        made = sample.image(odd=True)
        root = sample.index(made, odd=True)
        store(reopen(), made, sample.name(), root)
        (found,) = reopen().find(sample.name())
        assert found.manifest.raw == made.manifest.raw, "the manifest's bytes are kept, not written again (Image)"
        assert found.root.raw == root.raw, "the index's bytes are kept, not written again (Image.root)"
        assert found.config.raw == made.config.raw, "the config's bytes are kept, not written again (Image)"

    def test_dockers_media_types_are_kept(self, reopen: Opener, sample: SampleImages) -> None:
        """A Docker schema 2 manifest in a manifest list stays what it is."""
        made = sample.image(docker=True)
        image = store(reopen(), made, sample.name(), sample.index(made, docker=True))
        assert reopen().find(sample.name()) == (image,), "media types are kept as they came (Image)"

    def test_the_proven_platform_is_kept(self, reopen: Opener, sample: SampleImages) -> None:
        """An image's platform is what was proven; the config may say something else, and both are kept."""
        store(reopen(), sample.image("linux/arm/v7"), sample.name(), platform=Platform("linux", "arm", "v6"))
        (found,) = reopen().find(sample.name())
        assert str(found.platform) == "linux/arm/v6", "the platform is the image's, not the config's (Image.platform)"
        assert str(found.config.platform) == "linux/arm/v7", "the config stays as it came (Image.config)"

    def test_an_image_without_its_blobs_is_refused(self, storage: Storage, sample: SampleImages) -> None:
        """`commit` raises StorageError where a blob is missing, and no name points at the image."""
        made = sample.image()
        with refused("an image whose blobs are not here is refused (Storage.commit)", StorageError):
            storage.commit(made.named(sample.name()))
        assert tuple(storage.find(sample.name())) == (), "a name never points at half an image (Storage.commit)"

    def test_a_refused_image_leaves_the_name_as_it_was(self, storage: Storage, sample: SampleImages) -> None:
        """After a `commit` that was refused the name points at what it pointed at before."""
        image = store(storage, sample.image(), sample.name())
        with refused("an image whose blobs are not here is refused (Storage.commit)", StorageError):
            storage.commit(sample.image(text="-newer").named(sample.name()))
        assert storage.find(sample.name()) == (image,), "a refused commit changes nothing (Storage.commit)"

    def test_nothing_is_found_before_commit(self, open_storage: Opener, reopen: Opener, sample: SampleImages) -> None:
        """A process that is killed before `commit` leaves blobs, but no name."""
        image = sample.image()
        killed(partial(put_blobs_and_die, open_storage, image), forks=self.forks)
        assert tuple(reopen().find(sample.name())) == (), "a name is written by `commit` alone (Storage.commit)"
        store(reopen(), image, sample.name())
        assert reopen().find(sample.name()) == (image.named(sample.name()),), "and the next process gets on"

    def test_a_name_moves(self, storage: Storage, sample: SampleImages) -> None:
        """The name of an earlier image points at the new one, and at no other."""
        store(storage, sample.image(), sample.name())
        newer = store(storage, sample.image(text="-newer"), sample.name())
        assert storage.find(sample.name()) == (newer,), "a name points at what was committed last (Storage.commit)"

    def test_the_same_image_comes_twice(self, storage: Storage, sample: SampleImages) -> None:
        """Committed once more, an image is there once."""
        made = sample.image()
        store(storage, made, sample.name())
        image = store(storage, made, sample.name())
        assert storage.find(sample.name()) == (image,), "the same variant is kept once under a name (Storage.commit)"

    def test_other_names_stay(self, storage: Storage, sample: SampleImages) -> None:
        """A commit moves its own name: other tags and other repositories stay."""
        first, second, third = sample.name("app", "1.0"), sample.name("app", "2.0"), sample.name("other", "1.0")
        images = [store(storage, sample.image(text=f"-{name.tag}"), name) for name in (first, second, third)]
        newer = store(storage, sample.image(text="-newer"), first)
        assert storage.find(first) == (newer,)
        assert storage.find(second) == (images[1],), "another tag stays as it is (Storage.commit)"
        assert storage.find(third) == (images[2],), "another repository stays as it is (Storage.commit)"

    def test_images_share_blobs(self, reopen: Opener, sample: SampleImages) -> None:
        """An image whose layers are here already needs only its own ones, and both images are whole."""
        base = sample.layer("base")
        one = sample.image(layers=[base, sample.layer("one")])
        two = sample.image(layers=[base, sample.layer("two")])
        first = store(reopen(), one, sample.name("one"))
        assert reopen().has_blob(two.manifest.layers[0]), "blobs are the storage's, not an image's (Storage.has_blob)"
        second = store(reopen(), two, sample.name("two"))
        assert reopen().find(sample.name("one")) == (first,)
        assert reopen().find(sample.name("two")) == (second,)

    def test_platforms_of_one_name(self, storage: Storage, sample: SampleImages) -> None:
        """Further platforms with the same root join the first, or replace it: as `several_platforms` says."""
        made = [sample.image(platform) for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7")]
        root = sample.index(*made)
        for image in made:
            store(storage, image, sample.name(), root)
        expected = {"linux/amd64", "linux/arm64", "linux/arm/v7"} if self.several_platforms else {"linux/arm/v7"}
        found = storage.find(sample.name())
        assert platforms(found) == expected, f"several_platforms is {self.several_platforms} (StoragePlugin)"
        assert len(found) == len(expected), "each platform is found once (Storage.find)"

    def test_another_root_takes_the_name_alone(self, storage: Storage, sample: SampleImages) -> None:
        """When the name points at something else in the registry, the platforms of before are no longer its own."""
        old = [sample.image("linux/amd64"), sample.image("linux/arm64")]
        for each in old:
            store(storage, each, sample.name(), sample.index(*old))
        newer = sample.image("linux/arm64", text="-newer")
        image = store(storage, newer, sample.name(), sample.index(newer))
        assert storage.find(sample.name()) == (image,), "those with another root go (Storage.commit)"

    def test_found_by_tag_and_digest(self, storage: Storage, sample: SampleImages) -> None:
        """With tag and digest those images are found under the tag whose root or manifest has the digest."""
        made = sample.image()
        root = sample.index(made)
        image = store(storage, made, sample.name(), root)
        for digest in (root.digest, made.manifest.digest):
            assert storage.find(sample.name().with_digest(digest)) == (image,), "root or manifest has it (Storage.find)"
        other = sample.name().with_digest(digest_of(b"other"))
        assert tuple(storage.find(other)) == (), "an image with another digest is not the one asked for (Storage.find)"

    def test_found_by_digest_alone(self, storage: Storage, sample: SampleImages) -> None:
        """Without a tag all of the repository are found whose root or manifest has the digest."""
        made = sample.image()
        root = sample.index(made)
        store(storage, made, sample.name(), root)
        store(storage, sample.image(text="-else"), sample.name(tag="2.0"))
        for digest in (root.digest, made.manifest.digest):
            found = storage.find(replace(sample.name(), tag="", digest=digest))
            assert [image.manifest for image in found] == [made.manifest], "root or manifest has it (Storage.find)"
            elsewhere = replace(sample.name("other"), tag="", digest=digest)
            assert tuple(storage.find(elsewhere)) == (), "a digest is looked for in its repository (Storage.find)"

    def test_a_name_without_a_tag(self, reopen: Opener, sample: SampleImages) -> None:
        """An image that was asked for by digest alone is kept under that, and not as `latest`."""
        made = sample.image()
        name = replace(sample.name(), tag="", digest=made.manifest.digest)
        store(reopen(), made, name)
        assert [image.manifest for image in reopen().find(name)] == [made.manifest], "kept by digest (Storage.find)"
        assert tuple(reopen().find(sample.name(tag="latest"))) == (), "a digest makes no tag (Storage.find)"

    def test_names_of_all_forms(self, reopen: Opener, sample: SampleImages) -> None:
        """Ports, IPv6, 128 characters of tag, 255 of name, a scheme with unicode: kept apart, or UsageError."""
        kept = {}
        for number, name in enumerate(names_of(sample)):
            made = sample.image(text=f"-{number}")
            try:
                kept[name] = store(reopen(), made, name)
            except UsageError:
                assert tuple(reopen().find(name)) == (), "a name that was refused points at nothing (UsageError)"
        assert kept, "at least one of these names can be given"
        for name, image in kept.items():
            assert reopen().find(name) == (image,), f"{name} points at its own image (Storage.find)"

    def test_tags_differ_by_case(self, storage: Storage, sample: SampleImages) -> None:
        """`V1` and `v1` are two tags (distribution-spec, "Pulling manifests")."""
        upper = store(storage, sample.image(text="-upper"), sample.name(tag="V1"))
        lower = store(storage, sample.image(text="-lower"), sample.name(tag="v1"))
        assert storage.find(sample.name(tag="V1")) == (upper,), "tags keep their case (Storage.find)"
        assert storage.find(sample.name(tag="v1")) == (lower,), "tags keep their case (Storage.find)"

    def test_readers_see_whole_images_while_a_name_moves(self, reopen: Opener, sample: SampleImages) -> None:
        """A name points at the old or at the new image at any moment: never at none, nor at both."""
        reader, writer, name = reopen(), reopen(), sample.name()
        images = [store(writer, sample.image(text=f"-{number}"), name) for number in range(2)]
        seen: list[tuple[Image, ...]] = []

        def read() -> None:
            while len(seen) < 100:
                seen.append(tuple(reader.find(name)))

        def move() -> None:
            while len(seen) < 100:
                for image in images:
                    writer.commit(image)

        in_threads([read, move])
        assert all(each in [(image,) for image in images] for each in seen), "a name moves in one step (Storage.commit)"

    def test_threads_commit_names(self, storage: Storage, sample: SampleImages) -> None:
        """Several threads commit through one object: each name is there in the end."""
        made = {sample.name(tag=f"v{number}"): sample.image(text=f"-{number}") for number in range(6)}
        in_threads([partial(store, storage, image, name) for name, image in made.items()])
        for name, image in made.items():
            assert storage.find(name) == (image.named(name),), "no commit loses another's name (Storage)"

    def test_processes_commit_names(self, open_storage: Opener, reopen: Opener, sample: SampleImages) -> None:
        """Several processes commit at once: each name is there in the end."""
        made = {sample.name(tag=f"v{number}"): sample.image(text=f"-{number}") for number in range(4)}
        works = [partial(store_anew, open_storage, image, name) for name, image in made.items()]
        in_processes(works, forks=self.forks)
        for name, image in made.items():
            assert reopen().find(name) == (image.named(name),), "no commit loses another's name (Storage)"

    def test_closed_twice(self, reopen: Opener, sample: SampleImages) -> None:
        """`close` can come once more, and takes no image away."""
        storage = reopen()
        image = store(storage, sample.image(), sample.name())
        storage.close()
        storage.close()
        assert reopen().find(sample.name()) == (image,), "what was committed outlives the object (Storage.close)"

    def test_closed_unused(self, reopen: Opener) -> None:
        """A storage that was opened and not used can be closed."""
        reopen().close()
