"""The storage: images that containerd pulls from polyarch, under the names that they were asked for by."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from polyarch.contract import (
    Descriptor,
    Digest,
    HasBlobFiles,
    Image,
    ImageSummary,
    Index,
    NotFoundError,
    OfferedImage,
    PolyarchError,
    Reference,
    StorageError,
    StorageServices,
    UsageError,
    disk_error,
    parse_config,
    parse_document,
    parse_reference,
)
from polyarch_plugins.storages.containerd.ctr import Ctr
from polyarch_plugins.storages.containerd.place import words_of

_LOADING = "polyarch.invalid/loading"
"""The repository of the names that images have until they are whole and unpacked (RFC 2606: no host is called so)."""
_MAX_NESTING = 4
_GRACE = 5.0
"""Seconds that a load which was given up gets to end."""


def open_containerd(services: StorageServices) -> ContainerdLoader:
    """The namespace that the user named, else the one that `ctr` takes. Asks containerd nothing yet."""
    return ContainerdLoader(Ctr(words_of(services.location, services.options), services.environ), services)


class ContainerdLoader:
    """Satisfies ImageLoader, LoadsEarly and SummarisesImages.

    Images come in by `ctr images pull` from polyarch itself: that takes several blobs at once and none that is there,
    keeps the index that the name points at, and ties all that belongs to it together before containerd's garbage
    collection may look at it. `ctr images import` ties together the platform that it brings, and no other.
    """

    def __init__(self, ctr: Ctr, services: StorageServices) -> None:
        self._ctr = ctr
        self._services = services
        self._loading = threading.Lock()

    def has(self, image: Image) -> bool:
        """True if the name points at the image's index or manifest, and the manifest and the config are there."""
        name = _name(image.reference)
        if self._ctr.images(name).get(name) not in (image.root.digest, image.manifest.digest):
            return False
        return {image.manifest.digest, image.manifest.config.digest} <= self._ctr.blobs()

    def lacks(self, image: Image) -> Collection[Digest]:
        """The layers that no image there has; the config travels with the image itself."""
        kept = self._ctr.kept()
        return frozenset(layer.digest for layer in image.manifest.layers if layer.digest not in kept)

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Let containerd pull and unpack it, under another name first: `ctr` gives the name before it unpacks."""
        self.load_early(image, blobs, lambda: None)

    def load_early(self, image: Image, blobs: HasBlobFiles, proven: Callable[[], None]) -> None:
        """The same with layers that still come. The image gets its name when it is unpacked and proven."""
        name, loading = _name(image.reference), f"{_LOADING}-{os.getpid()}/{uuid.uuid4().hex}:latest"
        self._remove_left_over()
        try:
            with self._loading, self._services.offer(image, blobs) as offered, self._hosts(offered) as hosts:
                try:
                    self._ctr.pull(loading, str(offered.platform), hosts)
                    proven()
                    self._ctr.pull(name, str(offered.platform), hosts)
                finally:
                    # What made the pull fail is more than that there is nothing to take away.
                    with contextlib.suppress(PolyarchError):
                        self._ctr.remove(loading)
        except NotFoundError as error:
            hint = "try again"
            raise StorageError(f"{name}: containerd gave up what it had a moment ago: {error.message}", hint) from error
        except StorageError as error:
            raise StorageError(f"{name}: {error.message}", error.hint, **error.details) from error
        if not self.has(image):
            raise StorageError(f"{name}: containerd pulled it, but the name points at another image there", "try again")

    @contextlib.contextmanager
    def _hosts(self, offered: OfferedImage) -> Iterator[str]:
        """A folder that sends every name to the offered image (containerd, docs/hosts.md)."""
        folder = self._services.temporary() / uuid.uuid4().hex
        server = f"http://{offered.registry}/v2/{offered.repository}"
        lines = [
            f"server = {json.dumps(server)}",
            f"[host.{json.dumps(server)}]",
            'capabilities = ["pull", "resolve"]',
            "override_path = true",
        ]
        try:
            (folder / "_default").mkdir(parents=True)
            (folder / "_default" / "hosts.toml").write_text("\n".join(lines))
        except OSError as error:
            raise disk_error(error, f"cannot write into {folder}") from error
        try:
            yield str(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_left_over(self) -> None:
        """Take away the names that killed processes left."""
        for name in self._ctr.images():
            owner = name.removeprefix(f"{_LOADING}-").partition("/")[0]
            if name.startswith(_LOADING) and owner.isdecimal() and not Path("/proc", owner).exists():
                with contextlib.suppress(NotFoundError):  # another process is at it, too
                    self._ctr.remove(name)

    def summaries(self) -> Iterator[ImageSummary]:
        """Every name with each of its platforms that is there."""
        there = self._ctr.blobs()
        for name, digest in self._ctr.images().items():
            if name.startswith(("sha256:", _LOADING)):  # Kubernetes' names for images' IDs
                continue
            with contextlib.suppress(UsageError, NotFoundError):  # a name as only containerd has them; one that went
                yield from self._summaries(parse_reference(name), digest, Descriptor("", digest, 0), there)

    def _summaries(
        self, name: Reference, root: Digest, at: Descriptor, there: Collection[Digest], depth: int = 0
    ) -> Iterator[ImageSummary]:
        if at.digest not in there or depth > _MAX_NESTING:
            return
        document = parse_document(self._ctr.read(at.digest), at.media_type, f"{at.digest} in containerd")
        if isinstance(document, Index):
            for entry in document.manifests:
                yield from self._summaries(name, root, entry, there, depth + 1)
        elif document.config.digest in there and document.layers:
            config = parse_config(self._ctr.read(document.config.digest), f"{document.config.digest} in containerd")
            yield ImageSummary(
                reference=name,
                id=document.config.digest,
                digest=root,
                platform=at.platform or config.platform,
                created=config.created,
                size=document.size,
            )

    def close(self) -> None:
        """End what still runs, and wait until a load that was given up has taken its name away."""
        self._ctr.close()
        if self._loading.acquire(timeout=_GRACE):
            self._loading.release()


def _name(reference: Reference) -> str:
    """The name as containerd has it: a tag, where there is one, else a digest. Raises UsageError."""
    if reference.scheme:
        hint = "containerd keeps images under the names of registries"
        raise UsageError(f"{reference.familiar} is no name for containerd", hint)
    return f"{reference.name}:{reference.tag}" if reference.tag else f"{reference.name}@{reference.digest}"
