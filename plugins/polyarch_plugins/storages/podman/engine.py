"""What the loader and the source need of a podman, whichever way it is reached, and how its complaints are told."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

from polyarch.contract import Digest, HasBlobFiles, Image, PolyarchError, StorageError, UsageError, printable
from polyarch_plugins.storages.engine_answers import Described


class Engine(Protocol):
    """A podman. Raises HostError where it is not there or does not work, StorageError with its words for the rest."""

    def image(self, name: str) -> Described | None:
        """What it tells of an image; None if it has none. Raises UsageError for what is no name."""

    def images(self) -> Iterator[tuple[tuple[str, ...], Described]]:
        """The names of each image (none, or several), and what it tells of it."""

    def layers(self) -> Collection[Digest]:
        """The blobs that it need not be given again: those that its layers were made of."""

    def take(self, name: str, image: Image, blobs: HasBlobFiles) -> None:
        """Take the image under this name, in one step."""

    def remove(self, name: str) -> None:
        """Take a name away, if it is there, and the image with its last one."""

    def close(self) -> None:
        """End what still runs."""

    def save(self, name: str, path: Path) -> None:
        """Write an image into a new file, as a docker-archive. Raises NotFoundError."""


def complaint(said: str, what: str = "podman") -> PolyarchError:
    """The error for what podman said of why it could not do `what`."""
    words = printable(said.strip().removeprefix("Error: "), 600)
    hint = None
    if "no space left" in said or "quota exceeded" in said:
        hint = "free some space where podman keeps its images (podman image prune), then try again: what came is kept"
    elif "insufficient UIDs or GIDs" in said or "lchown" in said:
        hint = "an ordinary user's podman needs subordinate IDs: see /etc/subuid, then run: podman system migrate"
    elif "invalid reference format" in said or "repository name must be" in said:
        return UsageError(f"{what}: podman takes no such name: {words}")
    return StorageError(f"{what}: {words}", hint)
