"""What an ImageLoader promises, a test for each promise. See `polyarch.testing.conformance` for how to use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from polyarch.contract import Digest, HostError, Image, ImageLoader, StorageError, UsageError
from polyarch.testing.conformance.images import BlobFiles, SampleImage, SampleImages, names_of
from polyarch.testing.conformance.loader_abilities import LoaderAbilities
from polyarch.testing.conformance.loader_base import LoaderBase, LoaderOpener, files_for, load, load_anew
from polyarch.testing.conformance.trials import die, in_processes, killed, memory, refused


class FailingFiles:
    """Blobs as files, until the last of those that are lacked is wanted: then `fault` is done."""

    def __init__(self, files: BlobFiles, last: int, fault: Callable[[], object]) -> None:
        self._files, self._last, self._fault = files, last, fault
        self._asked: set[Digest] = set()

    def blob_path(self, digest: Digest) -> Path:
        """The file, or the fault."""
        self._asked.add(digest)
        if len(self._asked) >= self._last:
            self._fault()
        return self._files.blob_path(digest)


def _disk_error() -> None:
    raise StorageError("the disk broke off")


class LoaderPromises(LoaderBase):
    """What each loader promises."""

    def test_an_image_is_not_here_before_it_came(self, loader: ImageLoader, sample: SampleImages) -> None:
        """`has` answers False for an image that nobody has loaded."""
        assert loader.has(sample.image().named(sample.name())) is False, "nothing is here yet (ImageLoader.has)"

    def test_a_loaded_image_is_here(self, loader: ImageLoader, sample: SampleImages) -> None:
        """After `load` the name points at the image."""
        made = sample.image()
        image = load(loader, made, made.named(sample.name()))
        assert loader.has(image) is True, "after `load` the image is here (ImageLoader.has)"

    def test_a_loaded_image_is_here_for_everybody(self, reopen: LoaderOpener, sample: SampleImages) -> None:
        """Another object, and so the next process, sees the image."""
        made = sample.image()
        image = load(reopen(), made, made.named(sample.name()))
        assert reopen().has(image), "images are kept where the loader takes them, not in memory (ImageLoader.load)"

    def test_only_blobs_of_the_image_are_lacked(self, loader: ImageLoader, sample: SampleImages) -> None:
        """`lacks` names blobs of the image, each at most once."""
        image = sample.image().named(sample.name())
        lacked = list(loader.lacks(image))
        assert set(lacked) <= {blob.digest for blob in image.manifest.blobs}, "config and layers (ImageLoader.lacks)"
        assert len(lacked) == len(set(lacked)), "each blob is fetched once (ImageLoader.lacks)"

    def test_new_layers_are_lacked(self, loader: ImageLoader, sample: SampleImages) -> None:
        """Layers that nobody has seen before cannot be here: `lacks` names them."""
        image = sample.image().named(sample.name())
        lacked = loader.lacks(image)
        assert all(layer.digest in lacked for layer in image.manifest.layers), "what is new is lacked (lacks)"

    def test_asking_changes_nothing(self, loader: ImageLoader, sample: SampleImages) -> None:
        """`has` and `lacks` only look: an image is not here because somebody asked for it (a dry run does)."""
        image = sample.image().named(sample.name())
        first = set(loader.lacks(image))
        assert not loader.has(image), "asking loads nothing (ImageLoader.has)"
        assert set(loader.lacks(image)) == first, "asking once more gives the same answer (ImageLoader.lacks)"

    def test_only_what_was_lacked_is_read(self, loader: ImageLoader, sample: SampleImages) -> None:
        """`load` asks for no file beyond what `lacks` named: the others were not fetched."""
        made = sample.image()
        image = made.named(sample.name())
        files = files_for(loader, made, image)
        lacked = set(loader.lacks(image))
        loader.load(image, files)
        assert set(files.asked) <= lacked, "`load` reads what `lacks` named, and nothing else (ImageLoader.lacks)"

    def test_the_files_stay_as_they_are(self, loader: ImageLoader, sample: SampleImages) -> None:
        """The files are only read: not changed, moved or removed."""
        made = sample.image()
        before = {path: path.read_bytes() for path in made.files.values()}
        load(loader, made, made.named(sample.name()))
        for path, data in before.items():
            assert path.is_file(), "blob files are only to be read (HasBlobFiles.blob_path)"
            assert path.read_bytes() == data, "blob files are only to be read (HasBlobFiles.blob_path)"

    def test_another_image_is_not_here(self, loader: ImageLoader, sample: SampleImages) -> None:
        """The name of a loaded image points at that one, and at no other."""
        made = sample.image()
        load(loader, made, made.named(sample.name()))
        other = sample.image(text="-other").named(sample.name())
        assert not loader.has(other), "the name has to point at this very variant (ImageLoader.has)"

    def test_another_name_does_not_point_here(self, loader: ImageLoader, sample: SampleImages) -> None:
        """A loaded image is not here under a name that nobody gave it."""
        made = sample.image()
        load(loader, made, made.named(sample.name(tag="1.0")))
        for name in (sample.name(tag="2.0"), sample.name("other", tag="1.0")):
            assert not loader.has(made.named(name)), "it is the image's own name that has to point at it (has)"

    def test_a_name_moves(self, loader: ImageLoader, sample: SampleImages) -> None:
        """The name of an earlier image points at the new one."""
        old, new = sample.image(), sample.image(text="-newer")
        first = load(loader, old, old.named(sample.name()))
        second = load(loader, new, new.named(sample.name()))
        assert loader.has(second), "a name points at what was loaded last (ImageLoader.load)"
        assert not loader.has(first), "a name points at one image of a platform (ImageLoader.load)"

    def test_the_same_image_comes_twice(self, loader: ImageLoader, sample: SampleImages) -> None:
        """An image is loaded once more without a fault."""
        made = sample.image()
        image = made.named(sample.name())
        load(loader, made, image)
        load(loader, made, image)
        assert loader.has(image), "loading again changes nothing (ImageLoader.load)"

    @pytest.mark.usefixtures("_names")
    def test_one_image_under_two_names(self, loader: ImageLoader, sample: SampleImages) -> None:
        """The same image gets a second name, and keeps the first."""
        made = sample.image()
        images = [load(loader, made, made.named(sample.name(tag=tag))) for tag in ("1.0", "2.0")]
        assert all(loader.has(image) for image in images), "a further name takes none away (ImageLoader.load)"

    @pytest.mark.usefixtures("_names")
    def test_other_names_stay(self, loader: ImageLoader, sample: SampleImages) -> None:
        """Loading moves its own name: other tags and other repositories stay."""
        kept = []
        for name in (sample.name(tag="1.0"), sample.name("other", "1.0")):
            made = sample.image(text=f"-{name.repository[-1]}")
            kept.append(load(loader, made, made.named(name)))
        newer = sample.image(text="-newer")
        load(loader, newer, newer.named(sample.name(tag="2.0")))
        assert all(loader.has(image) for image in kept), "other names stay as they are (ImageLoader.load)"

    @pytest.mark.usefixtures("_names")
    def test_images_share_layers(self, loader: ImageLoader, sample: SampleImages) -> None:
        """A second image on the same layers is loaded from those that the loader says to lack, and both are here."""
        base = sample.layer("base")
        one = sample.image(layers=[base, sample.layer("one")])
        two = sample.image(layers=[base, sample.layer("two")])
        first = load(loader, one, one.named(sample.name("one")))
        second = load(loader, two, two.named(sample.name("two")))
        assert loader.has(first), "an image with the same layers takes none away (ImageLoader.load)"
        assert loader.has(second), "layers that are not lacked are here already (ImageLoader.lacks)"

    def test_platforms_of_one_name(self, loader: ImageLoader, sample: SampleImages) -> None:
        """Further platforms with the same root join the first, or replace it: as `several_platforms` says."""
        made = [sample.image(platform) for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7")]
        root = sample.index(*made)
        images = [load(loader, each, each.named(sample.name(), root)) for each in made]
        expected = [True, True, True] if self.several_platforms else [False, False, True]
        assert [loader.has(image) for image in images] == expected, (
            f"several_platforms is {self.several_platforms} (StoragePlugin)"
        )

    def test_another_root_takes_the_name_alone(self, loader: ImageLoader, sample: SampleImages) -> None:
        """When the name points at something else in the registry, the platforms of before are no longer its own."""
        old = [sample.image("linux/amd64"), sample.image("linux/arm64")]
        before = [load(loader, each, each.named(sample.name(), sample.index(*old))) for each in old]
        new = sample.image("linux/arm64", text="-newer")
        image = load(loader, new, new.named(sample.name(), sample.index(new)))
        assert loader.has(image)
        assert not any(loader.has(each) for each in before), "those with another root go (ImageLoader.load)"

    def test_foreign_platforms_are_taken(self, loader: ImageLoader, sample: SampleImages) -> None:
        """An image is not refused because this machine cannot run it."""
        for platform in ("linux/arm64", "linux/s390x", "linux/arm/v6"):
            made = sample.image(platform)
            image = load(loader, made, made.named(sample.name()))
            assert loader.has(image), f"an image for {platform} is taken like any other (ImageLoader.load)"

    def test_odd_documents_are_taken(self, loader: ImageLoader, sample: SampleImages) -> None:
        """Spaces, unknown fields and unicode in manifest, index and config do no harm."""
        made = sample.image(odd=True)
        image = load(loader, made, made.named(sample.name(), sample.index(made, odd=True)))
        assert loader.has(image), "the config's digest is of the bytes received (ImageLoader.has)"

    def test_dockers_media_types_are_taken(self, loader: ImageLoader, sample: SampleImages) -> None:
        """A Docker schema 2 manifest in a manifest list is loaded like OCI's."""
        made = sample.image(docker=True)
        image = load(loader, made, made.named(sample.name(), sample.index(made, docker=True)))
        assert loader.has(image), "Docker's media types are images, too (contract.MANIFESTS)"

    def test_a_layer_may_come_twice(self, loader: ImageLoader, sample: SampleImages) -> None:
        """One blob can stand several times among the layers: each place counts."""
        once = sample.layer("twice")
        made = sample.image(layers=[once, sample.layer("between"), once])
        image = load(loader, made, made.named(sample.name()))
        assert loader.has(image), "an image with the same layer twice is whole (ImageLoader.load)"

    def test_names_of_all_forms(self, loader: ImageLoader, sample: SampleImages) -> None:
        """Ports, IPv6, 128 characters of tag, 255 of name, a plugin's scheme with unicode: given, or UsageError."""
        given = 0
        for number, name in enumerate(names_of(sample)):
            made = sample.image(text=f"-{number}")
            image = made.named(name)
            try:
                load(loader, made, image)
            except UsageError:
                assert not _has(loader, image), "a name that was refused points at nothing (UsageError)"
            else:
                assert loader.has(image), f"{name} points at its image (ImageLoader.load)"
                given += 1
        assert given, "at least one of these names can be given"

    def test_a_name_without_a_tag(self, loader: ImageLoader, sample: SampleImages) -> None:
        """An image that was asked for by digest alone is loaded under that, or refused with a UsageError."""
        made = sample.image()
        image = made.named(replace(sample.name(), tag="", digest=made.manifest.digest))
        try:
            load(loader, made, image)
        except UsageError:
            assert not _has(loader, image), "a name that was refused points at nothing (UsageError)"
        else:
            assert loader.has(image), "a name by digest is given, or refused with a UsageError (ImageLoader.load)"

    def test_tag_and_digest_name_the_tag(self, loader: ImageLoader, sample: SampleImages) -> None:
        """`NAME:TAG@DIGEST` is kept as the tag that was asked for."""
        made = sample.image()
        load(loader, made, made.named(sample.name().with_digest(made.manifest.digest)))
        assert loader.has(made.named(sample.name())), "the tag points at the image (ImageLoader.load)"

    @pytest.mark.usefixtures("_names")
    def test_tags_differ_by_case(self, loader: ImageLoader, sample: SampleImages) -> None:
        """`V1` and `v1` are two tags (distribution-spec, "Pulling manifests")."""
        upper, lower = sample.image(text="-upper"), sample.image(text="-lower")
        first = load(loader, upper, upper.named(sample.name(tag="V1")))
        second = load(loader, lower, lower.named(sample.name(tag="v1")))
        assert loader.has(first), "tags keep their case (ImageLoader.load)"
        assert loader.has(second), "tags keep their case (ImageLoader.load)"

    def test_a_load_that_fails_leaves_nothing(self, reopen: LoaderOpener, sample: SampleImages) -> None:
        """When a file cannot be read in the midst, the failure is told and no name points at half an image."""
        made, loader = sample.image(), reopen()
        image = made.named(sample.name())
        _fail(loader, files_for(loader, made, image), image)
        assert not reopen().has(image), "an image is seen when it is whole (ImageLoader.load)"

    def test_a_load_that_fails_leaves_the_earlier_image(self, reopen: LoaderOpener, sample: SampleImages) -> None:
        """After a failure the name points at what it pointed at before."""
        old, new = sample.image(), sample.image(text="-newer")
        before = load(reopen(), old, old.named(sample.name()))
        loader, image = reopen(), new.named(sample.name())
        _fail(loader, files_for(loader, new, image), image)
        assert reopen().has(before), "a name moves in one step, or not at all (ImageLoader.load)"

    def test_a_load_that_failed_can_be_tried_again(self, reopen: LoaderOpener, sample: SampleImages) -> None:
        """The same object loads the image when the fault is over."""
        made, loader = sample.image(), reopen()
        image = made.named(sample.name())
        _fail(loader, files_for(loader, made, image), image)
        load(loader, made, image)
        assert reopen().has(image), "what failed once can be loaded later (ImageLoader.load)"

    def test_a_killed_load_leaves_nothing_visible(
        self, open_loader: LoaderOpener, reopen: LoaderOpener, sample: SampleImages
    ) -> None:
        """A process that is killed in the midst of a load changes no name, and the next one gets on."""
        old, new = sample.image(), sample.image(text="-newer")
        before = load(reopen(), old, old.named(sample.name()))
        image = new.named(sample.name())
        killed(partial(_load_and_die, open_loader, new, image), forks=self.forks)
        assert not reopen().has(image), "an image is seen when it is whole (ImageLoader.load)"
        assert reopen().has(before), "a name moves in one step, or not at all (ImageLoader.load)"
        load(reopen(), new, image)
        assert reopen().has(image), "what a killed process began can be loaded (ImageLoader.load)"

    def test_processes_load_one_image(
        self, open_loader: LoaderOpener, reopen: LoaderOpener, sample: SampleImages
    ) -> None:
        """Several processes load the same image: none fails, and it is here."""
        made = sample.image()
        image = made.named(sample.name())
        in_processes([partial(load_anew, open_loader, made, image)] * 3, forks=self.forks)
        assert reopen().has(image), "several processes may load at once (ImageLoader)"

    @pytest.mark.usefixtures("_names")
    def test_processes_load_several_images(
        self, open_loader: LoaderOpener, reopen: LoaderOpener, sample: SampleImages
    ) -> None:
        """Several processes load at once: each name is there in the end."""
        made = {sample.name(tag=f"v{number}"): sample.image(text=f"-{number}") for number in range(3)}
        works = [partial(load_anew, open_loader, each, each.named(name)) for name, each in made.items()]
        in_processes(works, forks=self.forks)
        for name, each in made.items():
            assert reopen().has(each.named(name)), "no load loses another's name (ImageLoader)"

    def test_big_layers_pass_through(self, loader: ImageLoader, sample: SampleImages) -> None:
        """A layer is never held whole: layers have gigabytes, and a Raspberry Pi Zero has 512 MB."""
        made = sample.image(layers=[sample.layer("big", 2 * self.most_held)])
        image = made.named(sample.name())
        assert not loader.has(image)  # code that is loaded when it is first used is held, too
        with memory() as held:
            load(loader, made, image)
        assert loader.has(image)
        assert held.most < self.most_held, f"{held.most} bytes were held at once (ImageLoader.load)"

    def test_closed_twice(self, reopen: LoaderOpener, sample: SampleImages) -> None:
        """`close` can come once more, and takes no image away."""
        made, loader = sample.image(), reopen()
        image = load(loader, made, made.named(sample.name()))
        loader.close()
        loader.close()
        assert reopen().has(image), "what was loaded outlives the object (ImageLoader.close)"

    def test_closed_unused(self, reopen: LoaderOpener) -> None:
        """A loader that was opened and not used can be closed."""
        reopen().close()


def _load_and_die(open_loader: LoaderOpener, made: SampleImage, image: Image) -> None:
    """In another process: is killed in the midst of a load."""
    loader = open_loader()
    files = files_for(loader, made, image)
    loader.load(image, FailingFiles(files, len(set(loader.lacks(image))), die))


def _has(loader: ImageLoader, image: Image) -> bool:
    """`has`, of a name that the loader may refuse even to look for."""
    try:
        return loader.has(image)
    except UsageError:
        return False


def _fail(loader: ImageLoader, files: BlobFiles, image: Image) -> None:
    """Loads the image from files of which the last one cannot be read."""
    failing = FailingFiles(files, len(set(loader.lacks(image))), _disk_error)
    with refused("a load whose files cannot be read fails (ImageLoader.load)", StorageError, HostError):
        loader.load(image, failing)


class LoaderConformance(LoaderPromises, LoaderAbilities):
    """Subclass it as `Test…`, and give the fixture `open_loader`: a function that opens it at one place.

    `several_platforms` is that of the plugin's StoragePlugin; `several_names` is False where one place keeps one name
    (a file); `most_held` is how many bytes of a layer may be held at once. `forks` is False where what the plugin uses
    cannot be used in a forked process: processes are started anew then, and `open_loader` has to be one that can be
    pickled, such as a functools.partial.
    """
