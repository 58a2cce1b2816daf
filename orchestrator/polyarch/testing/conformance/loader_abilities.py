"""What some loaders can do beyond the plain Protocol; a test of an ability that one lacks is skipped, and says so."""

from __future__ import annotations

import pytest

from polyarch.contract import ImageLoader, ListsImages, NotFoundError, RemovesImages, SummarisesImages
from polyarch.testing.conformance.images import SampleImages
from polyarch.testing.conformance.loader_base import LoaderBase, LoaderOpener, load
from polyarch.testing.conformance.storage_abilities import able
from polyarch.testing.conformance.trials import refused


class LoaderAbilities(LoaderBase):
    """Listing, summaries, removing."""

    def test_loaded_images_are_listed(self, loader: ImageLoader, sample: SampleImages) -> None:
        """ListsImages: each image, as it was loaded."""
        lister, made = able(loader, ListsImages), sample.image()
        image = load(loader, made, made.named(sample.name()))
        listed = [each for each in lister.images() if each.reference == sample.name()]
        assert [each.config.digest for each in listed] == [image.config.digest], "each image once (ListsImages.images)"

    def test_loaded_images_are_summarised(self, loader: ImageLoader, sample: SampleImages) -> None:
        """SummarisesImages: each image's name, config digest, root digest (or ""), platform, time and size."""
        summariser, made = able(loader, SummarisesImages), sample.image("linux/arm64")
        image = load(loader, made, made.named(sample.name()))
        (summary,) = [each for each in summariser.summaries() if each.reference == sample.name()]
        assert summary.id == image.config.digest, "the ID is the config's digest (ImageSummary)"
        assert summary.digest in ("", image.root.digest), "the digest is what the name points at (ImageSummary)"
        assert str(summary.platform) == "linux/arm64", "the platform is the image's, not this machine's (ImageSummary)"
        assert summary.created in ("", image.config.created), "the time is the config's (ImageSummary)"
        assert summary.size > 0, "the size is in bytes (ImageSummary)"

    def test_summaries_have_no_unknown_names(self, loader: ImageLoader, sample: SampleImages) -> None:
        """SummarisesImages: a name that nobody gave is not in it, and each summary has a name."""
        summaries = list(able(loader, SummarisesImages).summaries())
        assert all(each.reference.repository for each in summaries), "each summary has a name (ImageSummary)"
        assert sample.name() not in [each.reference for each in summaries], "what is not here is not summarised"

    def test_images_that_were_replaced_are_not_summarised(self, loader: ImageLoader, sample: SampleImages) -> None:
        """SummarisesImages: only what a name points at now."""
        summariser = able(loader, SummarisesImages)
        old, new = sample.image(), sample.image(text="-newer")
        load(loader, old, old.named(sample.name()))
        load(loader, new, new.named(sample.name()))
        found = [each.id for each in summariser.summaries() if each.reference == sample.name()]
        assert found == [new.config.digest], "an image that lost its name does not have it (SummarisesImages)"

    def test_a_removed_image_is_gone(self, reopen: LoaderOpener, sample: SampleImages) -> None:
        """RemovesImages: the name points at nothing."""
        made, loader = sample.image(), reopen()
        remover = able(loader, RemovesImages)
        image = load(loader, made, made.named(sample.name()))
        remover.remove(sample.name())
        assert not reopen().has(image), "a removed name points at nothing (RemovesImages.remove)"

    @pytest.mark.usefixtures("_names")
    def test_one_of_two_names_is_removed(self, loader: ImageLoader, sample: SampleImages) -> None:
        """RemovesImages: the same image under another name stays."""
        remover, made = able(loader, RemovesImages), sample.image()
        going, staying = (load(loader, made, made.named(sample.name(tag=tag))) for tag in ("1.0", "2.0"))
        remover.remove(sample.name(tag="1.0"))
        assert not loader.has(going)
        assert loader.has(staying), "a name is removed, not an image (RemovesImages.remove)"

    def test_what_is_not_here_cannot_be_removed(self, loader: ImageLoader, sample: SampleImages) -> None:
        """RemovesImages: NotFoundError for an unknown name."""
        remover = able(loader, RemovesImages)
        with refused("an unknown name cannot be removed (RemovesImages.remove)", NotFoundError):
            remover.remove(sample.name())

    def test_a_removed_image_can_come_again(self, loader: ImageLoader, sample: SampleImages) -> None:
        """RemovesImages: after its removal an image is loaded from what `lacks` names then."""
        remover, made = able(loader, RemovesImages), sample.image()
        image = made.named(sample.name())
        load(loader, made, image)
        remover.remove(sample.name())
        load(loader, made, image)
        assert loader.has(image), "nothing of a removal lingers (RemovesImages.remove)"
