"""The images at hand of a session: unpacking, naming, reading again, and giving them up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from polyarch.contract.others import Verifier
from polyarch.contract.registry import Registry
from polyarch.contract.repair import TellsLacking
from polyarch.contract.storage import Image, ReadsBlobs, RemovesImages, Storage, is_unnamed
from polyarch.errors import IntegrityError, NotFoundError, StorageError, UsageError, platforms_errors
from polyarch.events import Emit
from polyarch.oci.digest import hex_of
from polyarch.reference import Reference, check_new_name, parse_reference
from polyarch.settings import Settings
from polyarch.transfer.staged import KeepsBlobs
from polyarch.unpack.limits import limits_of
from polyarch.verbs.results import PullResult, VerifiedImage
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, parse

if TYPE_CHECKING:
    from polyarch.contract.repair import Repairs
    from polyarch.verbs.images.archives import ArchiveKind, ArchiveParts
    from polyarch.verbs.images.prune import Pruned
    from polyarch.verbs.images.prune_choice import PruneRules
    from polyarch.verbs.images.removal import Removed


@dataclass(frozen=True, slots=True)
class KeptParts:
    """What these verbs work with; everything is made when it is first asked for.

    `found` are the images that a text means, `one` is the one of them that fits a platform, `names` are the names that
    it may mean; `schemes` are those of plugins; `registry` is where a name comes from.
    """

    storage: Callable[[], Storage]
    reads: Callable[[], ReadsBlobs]
    removes: Callable[[], RemovesImages]
    staging: Callable[[], KeepsBlobs]
    found: Callable[[str], tuple[Image, ...]]
    one: Callable[[str, str | None], Image]
    names: Callable[[str], tuple[Reference, ...]]
    schemes: Callable[[], Collection[str]]
    archives: Callable[[], ArchiveParts]
    verifiers: Callable[[], Sequence[Verifier]]
    registry: Callable[[Reference], Registry]
    emit: Emit


class KeptVerbs:
    """`session.kept`. An image is named by a name, or by an ID or digest that starts so."""

    def __init__(self, settings: Settings, parts: KeptParts) -> None:
        self._root = settings.root
        self._retries = settings.retries
        self._limits = limits_of(settings)
        self._parts = parts

    def unpack(self, reference: str, directory: Path, *, platform: str | None = None) -> Image:
        """Write the merged root file system of an image at hand into `directory`, which is made."""
        from polyarch.unpack.image import unpack_image

        image = self._parts.one(reference, platform)
        storage = self._parts.reads()
        layers = [partial(storage.open_blob, layer.digest) for layer in image.manifest.layers]
        unpack_image(layers, image.config.diff_ids, directory, limits=self._limits)
        return image

    def tag(self, reference: str, new: str) -> Reference:
        """Let a further name point at an image at hand, with all its platforms; that name, whole, by docker's rule."""
        name = parse_reference(new, self._parts.schemes())
        check_new_name(name, new)
        storage = self._parts.storage()
        for image in self._at_hand(reference):
            # Asked for, so that nobody removes them until the new name needs them.
            if [blob for blob in image.manifest.blobs if not storage.has_blob(blob) and not blob.urls]:
                raise NotFoundError(f"{image.reference.familiar} was removed just now", f"polyarch pull {reference}")
            storage.commit(replace(image, reference=name))
        return name

    def verify(self, reference: str, *, repair: bool = False) -> tuple[VerifiedImage, ...]:
        """Read an image at hand again, all its platforms, and ask verifiers of it; what is wrong stands in the results.

        With `repair` what is damaged is brought again before, by digest from where the name comes from: see `Repair`
        for what that raises. Verifiers may ask its registry for signatures, and raise what that raises.
        """
        from polyarch.verbs.verify import verify_image, verify_rules

        repaired = self._repaired(reference) if repair else ()
        if names := self._lacking(reference):
            raise IntegrityError(
                f"{reference} is damaged: parts of {names[0].familiar} are gone",
                f"polyarch image rm {reference}, then pull it again"
                if repair or is_unnamed(names[0])
                else f"polyarch verify --repair {reference}",
            )
        storage, found, verifiers = self._parts.reads(), self._at_hand(reference), self._parts.verifiers()
        results = []
        with platforms_errors():
            for image in found:
                result = verify_rules(
                    verifiers, image, self._parts.registry, verify_image(storage, image, limits=self._limits)
                )
                ready, wrong = self._ready_layers(storage, image, mend=repair and not result.problems)
                problems = (*result.problems, *wrong)
                results.append(replace(result, repaired=(*repaired, *ready), problems=problems))
        return tuple(results)

    def _ready_layers(self, storage: ReadsBlobs, image: Image, *, mend: bool) -> tuple[list[str], list[str]]:
        """What was made anew of the layers that are ready to be run, and what is damaged and was not."""
        from polyarch.container.ready_layers import damaged_layers, mend_layer

        mended, damaged = [], []
        diff_ids = image.config.diff_ids
        for number in damaged_layers(self._root, diff_ids):
            if mend:
                layer = image.manifest.layers[number]
                mend_layer(self._root, diff_ids, number, partial(storage.open_blob, layer.digest), self._limits)
                mended.append(f"the layer made ready of {diff_ids[number]} was damaged and is made anew")
            else:
                damaged.append(f"the layer made ready of {diff_ids[number]} is damaged")
        return mended, damaged

    def mend(self) -> tuple[str, ...]:
        """Put right what names images in the storage; a sentence for each thing that was done. Raises StorageError."""
        return self._repairs().mend()

    def _repairs(self) -> Repairs:
        from polyarch.contract.repair import Repairs

        storage = self._parts.storage()
        if not isinstance(storage, Repairs):
            raise UsageError("the storage oci cannot be repaired", "polyarch image rm, then pull again")
        return storage

    def _repaired(self, reference: str) -> tuple[str, ...]:
        from polyarch.verbs.repair import Repair

        storage = self._repairs()
        told = storage.mend()
        repair = Repair(storage, self._parts.registry, self._retries, self._parts.emit)
        names = repair.names_there(self._names(reference))
        if not names:  # an ID
            try:
                names = list({image.reference for image in self._at_hand(reference)})
            except NotFoundError as error:
                if not told:
                    raise
                lost = f"{reference} is not in the storage any more: {'; '.join(told)}"
                raise NotFoundError(lost, error.hint, repaired=list(told)) from error
        return (*told, *(digest for name in names for digest in repair.image(name)))

    def remove(self, reference: str, *, platform: str | None = None, force: bool = False) -> Removed:
        """Take a name away, or one platform of it, or by ID or digest the image; what nothing needs then goes, too.

        With `force` all names of an image that has several, and the name alone of one that a stopped container uses.
        Raises NotFoundError; UsageError where a container uses what would go.
        """
        from polyarch.container.snapshot_garbage import SnapshotGarbage
        from polyarch.verbs.images import removal

        storage = self._parts.removes()
        with platforms_errors():
            wanted: Platform | None = parse(platform) if platform else None
        garbage = SnapshotGarbage(self._root)
        with garbage.alone():
            with garbage.still() as records:
                try:
                    found = self._parts.found(reference)
                except StorageError:  # what is damaged goes by its name, and whole
                    names = self._there(reference)
                    if wanted is not None or not names:
                        raise
                    return removal.remove_damaged(storage, reference, names, records, force=force)
                if not found:
                    if wanted is None and (names := self._lacking(reference)):
                        return removal.remove_damaged(storage, reference, names, records, force=force)
                    raise NotFoundError(
                        f"{reference} is not in the storage", "see: polyarch image ls; an ID has at least 4 digits"
                    )
                at_hand = removal.names_at_hand(storage)
                chosen = removal.removal(reference, found, at_hand, wanted, force=force)
                removed = removal.remove(storage, chosen, records, garbage.broken, force=force)
                left = removal.layers_at_hand(storage)
                if left is not None:
                    garbage.choose(left, only=chosen.layers)
            garbage.delete()
        return removed

    def prune(self, rules: PruneRules | None = None, *, dry_run: bool = False) -> tuple[Pruned, ...]:
        """Remove images without a name and what no image or container needs; by `rules` more. `dry_run` only tells.

        Raises UsageError, StorageError.
        """
        from polyarch.verbs.images.prune import Places, prune
        from polyarch.verbs.images.prune_choice import PruneRules

        places = Places(self._root, self._parts.removes(), self._parts.staging(), self._parts.emit)
        return prune(places, rules or PruneRules(), dry_run=dry_run)

    def save(
        self,
        references: Sequence[str],
        target: Path | BinaryIO,
        *,
        kind: ArchiveKind = "oci-archive",
        platform: str | None = None,
        all_platforms: bool = False,
    ) -> tuple[Image, ...]:
        """Write images at hand into one archive, a file that takes the old one's place, or a stream; those images.

        Of each the variant for this machine, or the platforms asked for (with commas between). Raises NotFoundError,
        UsageError, StorageError.
        """
        from polyarch.verbs.images import archives

        images: dict[tuple[Reference, str], Image] = {}
        for reference in references:
            asked = platform.split(",") if platform else [None]
            found = self._at_hand(reference)
            for image in found if all_platforms else [self._parts.one(reference, each) for each in asked]:
                images[image.reference, image.manifest.digest] = image
        archives.save(self._parts.archives(), self._parts.storage(), tuple(images.values()), kind, target)
        return tuple(images.values())

    def load(self, source: Path | BinaryIO) -> Iterator[PullResult]:
        """Bring in what is in an archive, OCI's or docker's, compressed or not: all images with all their platforms.

        Raises NotFoundError, IntegrityError, StorageError.
        """
        from polyarch.verbs.images import archives

        return archives.load(self._parts.archives(), source)

    def _at_hand(self, reference: str) -> tuple[Image, ...]:
        found = self._parts.found(reference)
        if not found:
            from polyarch.verbs.stored import not_at_hand

            raise not_at_hand(reference)
        return found

    def _names(self, text: str) -> list[Reference]:
        """The names that a text may mean; that of an image without one which is damaged, by the start of its digest."""
        from polyarch.verbs.stored import is_start_of_digest

        names, storage = list(self._parts.names(text)), self._parts.storage()
        if is_start_of_digest(text) and isinstance(storage, TellsLacking):
            lacking = [each for each in storage.examined()[1] if is_unnamed(each)]
            meant = {each for each in lacking if hex_of(each.digest).startswith(text.removeprefix("sha256:"))}
            names += meant if len(meant) == 1 else ()
        return names

    def _lacking(self, reference: str) -> list[Reference]:
        """The first of the names that a text may mean, if parts are gone of what is under it."""
        storage = self._parts.storage()
        if not isinstance(storage, TellsLacking):
            return []
        return [name for name in self._names(reference) if storage.lacks(name)][:1]

    def _there(self, reference: str) -> list[Reference]:
        """The name among those that a text may mean under which there is something, whole or damaged."""
        for name in self._names(reference):
            try:
                if self._parts.storage().find(name):
                    return [name]
            except StorageError:
                return [name]
        return []
