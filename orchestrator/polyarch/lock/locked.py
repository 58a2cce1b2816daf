"""What a lock holds: names, and the manifests that they stood for when they were locked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch_platforms.compatibility import asked, rank
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform


@dataclass(frozen=True, slots=True)
class LockedVariant:
    """A variant of a locked name: the platform that it states, and its manifest's digest and size in bytes.

    `reference` is the whole name that it was found under where that is another one, by a tag convention; else "".
    """

    platform: str
    manifest: Digest
    size: int
    reference: str = ""

    @property
    def stated(self) -> Platform:
        """The platform as it is stated: an `arm` without variant has none, where `parse` would make it v7."""
        system, architecture, variant = (*self.platform.split("/"), "")[:3]
        return Platform(system, architecture, variant)


@dataclass(frozen=True, slots=True)
class LockedImage:
    """A name and what it stood for.

    reference  the whole name
    digest     what it pointed at: an index, or a single manifest
    variants   sorted by platform; several of one platform (as an index may have them) in the index's order
    locked     when, in UTC, to the second: of the last change, not of the last look
    served_by  the registry's host that answered; "" if the source has none
    platforms  the platforms that were asked for; () if every one of the index was
    """

    reference: Reference
    digest: Digest
    variants: tuple[LockedVariant, ...]
    locked: datetime
    served_by: str = ""
    platforms: tuple[str, ...] = ()

    @property
    def manifests(self) -> Mapping[str, tuple[Digest, int]]:
        """The manifest's digest and size (bytes) for each platform; of several of one platform, the first."""
        found: dict[str, tuple[Digest, int]] = {}
        for each in self.variants:
            found.setdefault(each.platform, (each.manifest, each.size))
        return found

    def variant(self, manifest: Digest) -> LockedVariant | None:
        """The variant with that manifest."""
        return next((each for each in self.variants if each.manifest == manifest), None)

    def best_for(self, platform: Platform) -> LockedVariant | None:
        """The variant that a platform asked for by name would take; None if the lock has none for it."""
        vector = asked(platform)
        ranked = [(place, i) for i, each in enumerate(self.variants) if (place := rank(vector, each.stated))]
        return self.variants[min(ranked)[1]] if ranked else None

    def same_content(self, other: LockedImage) -> bool:
        """True if `other` stands for the same, whenever and from wherever it was locked."""
        return replace(self, locked=other.locked, served_by=other.served_by) == other


@dataclass(frozen=True, slots=True)
class Lock:
    """The content of a lock file: each name once, sorted."""

    images: tuple[LockedImage, ...] = ()

    def entry(self, reference: Reference | str) -> LockedImage | None:
        """What a whole name (`docker.io/library/busybox:1.36`) was locked to.

        A name with a tag and the very digest that the tag is locked to, as `lock --apply` writes it, is that tag.
        """
        text = str(reference)
        name, _, digest = text.partition("@")
        for image in self.images:
            if str(image.reference) == text or (digest and image.digest == digest and str(image.reference) == name):
                return image
        return None

    def with_images(self, images: Iterable[LockedImage]) -> Lock:
        """A lock with these images added, each in place of the one of its name."""
        names = {str(image.reference): image for image in (*self.images, *images)}
        return Lock(tuple(image for _, image in sorted(names.items())))


@dataclass(frozen=True, slots=True)
class Move:
    """A platform whose variant is another one now; `old` or `new` is None where there is none."""

    platform: str
    old: Digest | None
    new: Digest | None


def moves(old: LockedImage, new: LockedImage) -> tuple[Move, ...]:
    """What differs between the variants of two states of a name, by platform."""
    found: list[Move] = []
    for platform in sorted({each.platform for each in (*old.variants, *new.variants)}):
        before = [each.manifest for each in old.variants if each.platform == platform]
        after = [each.manifest for each in new.variants if each.platform == platform]
        for i in range(max(len(before), len(after))):
            left, right = (each[i] if i < len(each) else None for each in (before, after))
            if left != right:
                found.append(Move(platform, left, right))
    return tuple(found)
