"""Giving up images: which names a person means, whether a container stands in the way, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from polyarch.container.record import Record
from polyarch.contract.storage import Image, KeepsUnnamed, ListsImages, RemovesImages, is_unnamed
from polyarch.errors import NotFoundError, StorageError, UsageError
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch.verbs.images.at_hand import AtHand, at_hand, brief, layers_of
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform


@dataclass(frozen=True, slots=True)
class Removed:
    """The names that were taken away, and the digests of the blobs that went with them."""

    names: tuple[Reference, ...]
    blobs: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to go: `images`, each under its name. `last` are the manifests that nothing leads to any more then.

    Of the names in `partly` other platforms stay.
    """

    text: str
    images: tuple[Image, ...]
    last: frozenset[Digest]
    partly: frozenset[Reference]

    @property
    def names(self) -> tuple[Reference, ...]:
        """The names that go, or of which something goes."""
        return tuple(dict.fromkeys(image.reference for image in self.images))

    @property
    def layers(self) -> set[str]:
        """What their layers are called when they are ready."""
        return layers_of(map(brief, self.images))

    @property
    def steps(self) -> list[tuple[Reference, Platform | None]]:
        """What has to be taken away: names, or one platform of them."""
        steps = ((each.reference, each.platform if each.reference in self.partly else None) for each in self.images)
        return list(dict.fromkeys(steps))


def removal(
    text: str,
    found: Sequence[Image],
    at_hand: Iterable[tuple[Reference, Digest]],
    platform: Platform | None,
    *,
    force: bool,
) -> Removal:
    """What `text` means among `found`, the images that it leads to: a name as a whole, or an image by ID or digest.

    `at_hand` are the names and manifests of all images.

    Raises NotFoundError for a platform that is not here; UsageError for an image with several names, without `force`.
    """
    images = tuple(image for image in found if platform in (None, image.platform))
    if not images:
        known = ", ".join(dict.fromkeys(str(image.platform) for image in found))
        raise NotFoundError(f"{text} is not in the storage for {platform} (at hand: {known})", "see: polyarch image ls")
    names = tuple(dict.fromkeys(image.reference for image in images))
    if len(names) > 1 and not force:
        raise UsageError(
            f"the image {text} has several names ({', '.join(name.familiar for name in names)})",
            "name the one that is to go, or take all of them away with --force",
        )
    going = {(image.reference, image.manifest.digest) for image in images}
    staying = {*((image.reference, image.manifest.digest) for image in found), *at_hand} - going
    last = {image.manifest.digest for image in images} - {manifest for _, manifest in staying}
    return Removal(text, images, frozenset(last), frozenset(names) & {name for name, _ in staying})


def remove(
    storage: RemovesImages, removal: Removal, records: Iterable[Record], broken: Sequence[Path], *, force: bool
) -> Removed:
    """Take the images away. With `force` the names of one that a container uses that does not run: the image stays.

    It may be used by containers whose record cannot be read, too; `broken` are their folders.
    Raises UsageError where a container uses an image of which no name would be left.
    """
    users = [record for record in records if record.manifest in removal.last]
    unsure = broken if removal.last else ()
    if users or unsure:
        if not force or not isinstance(storage, KeepsUnnamed) or _stays(removal, users):
            raise _in_use(removal.text, removal.names, users) if users else _unsure(removal.text, unsure[0].name[:12])
        for name, platform in removal.steps:
            storage.untag(name, platform)
        return Removed(removal.names)
    blobs = [blob for name, platform in removal.steps for blob in storage.remove(name, platform)]
    return Removed(removal.names, tuple(blobs))


def remove_damaged(
    storage: RemovesImages, text: str, names: Sequence[Reference], records: Iterable[Record], *, force: bool
) -> Removed:
    """Take names away of which nobody can tell any more what they lead to.

    Raises UsageError where a container was made from one of them; with `force` only where that runs.
    """
    users = [record for record in records if record.image in map(str, names)]
    if users and (not force or any(record.status == "running" for record in users)):
        raise _in_use(text, names, users)
    return Removed(tuple(names), tuple(blob for name in names for blob in storage.remove(name)))


def _stays(removal: Removal, users: Iterable[Record]) -> bool:
    """Whether not even the name can go: it is none, or a container runs."""
    return any(map(is_unnamed, removal.names)) or any(record.status == "running" for record in users)


def _in_use(text: str, going: Iterable[Reference], users: Sequence[Record]) -> UsageError:
    names = " ".join(record.name for record in users)
    running = [record.name for record in users if record.status == "running"]
    used = f"the container{'s' if len(users) > 1 else ''} {', '.join(record.name for record in users)}"
    if running:
        hint = f"end and remove it first: polyarch rm -f {names}"
    elif any(map(is_unnamed, going)):
        hint = f"remove it first: polyarch rm {names}"
    else:
        hint = f"remove it first: polyarch rm {names}; or take only the name away: polyarch image rm -f {text}"
    return UsageError(f"{text} cannot go: {used} stand{'s' if len(users) == 1 else ''} on it", hint)


def _unsure(text: str, identifier: str) -> UsageError:
    return UsageError(
        f"{text} cannot go: the container {identifier} may stand on it, whose record is damaged",
        f"remove it first: polyarch rm -f {identifier}",
    )


def names_at_hand(storage: object) -> tuple[tuple[Reference, Digest], ...]:
    """Name and manifest of all images of a storage; () where one of them is damaged, or it cannot tell."""
    try:
        return tuple((each.reference, each.manifest) for each in _at_hand(storage))
    except StorageError:
        return ()


def layers_at_hand(storage: object) -> set[str] | None:
    """`layers_of` all images of a storage; None where one of them is damaged."""
    try:
        return layers_of(_at_hand(storage))
    except StorageError:
        return None


def _at_hand(storage: object) -> tuple[AtHand, ...]:
    return at_hand(storage) if isinstance(storage, ListsImages) else ()
