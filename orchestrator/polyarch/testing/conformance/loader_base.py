"""What the tests of an ImageLoader stand on: how it is opened, and how an image is brought to it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from polyarch.contract import Image, ImageLoader
from polyarch.testing.conformance.images import MOST_HELD, BlobFiles, SampleImage, SampleImages

LoaderOpener = Callable[[], ImageLoader]


class LoaderBase:
    """The fixtures."""

    several_platforms = True
    several_names = True
    forks = True
    most_held = MOST_HELD

    @pytest.fixture
    def open_loader(self) -> LoaderOpener:
        """The author's: a function that opens the loader at the same place each time it is called."""
        pytest.fail(
            f"{type(self).__name__} has to give, within it, a fixture `open_loader`: a function that opens the loader"
        )

    @pytest.fixture
    def reopen(self, open_loader: LoaderOpener) -> Iterator[LoaderOpener]:
        """Opens the loader once more, as another process would; closed when the test is over."""
        opened: list[ImageLoader] = []

        def open_one() -> ImageLoader:
            loader = open_loader()
            if not isinstance(loader, ImageLoader):
                pytest.fail(f"{type(loader).__name__} is no ImageLoader: subclass StorageConformance for a Storage")
            opened.append(loader)
            return loader

        yield open_one
        for loader in opened:
            with suppress(Exception):  # there are tests of `close`
                loader.close()

    @pytest.fixture
    def loader(self, reopen: LoaderOpener) -> ImageLoader:
        """The loader, with nothing of this test in it."""
        return reopen()

    @pytest.fixture
    def sample(self, tmp_path: Path) -> SampleImages:
        """Images and names that are new to the engine."""
        return SampleImages(tmp_path / "sample", uuid.uuid4().hex[:12])

    @pytest.fixture
    def _names(self) -> None:
        if not self.several_names:
            pytest.skip(f"{type(self).__name__}.several_names is False: one place keeps one name")


def files_for(loader: ImageLoader, made: SampleImage, image: Image) -> BlobFiles:
    """The files that a pull has when it loads the image: those that the loader lacks, and no others."""
    lacked = set(loader.lacks(image))
    return BlobFiles({digest: path for digest, path in made.files.items() if digest in lacked})


def load(loader: ImageLoader, made: SampleImage, image: Image) -> Image:
    """All that a pull does with a loader; the image."""
    loader.load(image, files_for(loader, made, image))
    return image


def load_anew(open_loader: LoaderOpener, made: SampleImage, image: Image) -> None:
    """In another process: opens the loader, and does all that a pull does."""
    loader = open_loader()
    load(loader, made, image)
    loader.close()
