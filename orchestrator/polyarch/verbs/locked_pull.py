"""Holding a pull to a lock: the locked manifests, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from polyarch.errors import IntegrityError, NoVariantError
from polyarch.lock.locked import LockedImage, LockedVariant
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document
from polyarch.reference import parse_reference
from polyarch.resolution.candidates import candidates_of
from polyarch.resolution.documents import Documents
from polyarch.resolution.resolve import Resolution
from polyarch.selection.types import Candidate


def held_to(locked: LockedImage, resolution: Resolution) -> Resolution:
    """The resolution with the locked variants alone as choices.

    Raises IntegrityError: the name, or the variant, is another one than was locked, or the lock was changed by hand;
    NoVariantError: the variant that
    would be taken is not locked, though others are.
    """
    selection = resolution.selection
    for verdict in selection.verdicts:  # the name may have moved since `check_root`
        if verdict.candidate.reference == resolution.reference:
            check_root(locked, resolution.root_of[verdict.candidate.manifest.digest])
    ranked = tuple(each for each in selection.ranked if _locked(locked, each.candidate))
    if not ranked or ranked[0] != resolution.chosen:
        chosen = resolution.chosen.candidate
        listed = next((each for each in locked.variants if each.platform == str(chosen.platform)), None)
        if listed is not None and chosen.source == "tag":
            raise _moved(locked, chosen.reference.familiar, chosen.manifest.digest)
        if listed is not None:  # what the name points at is as it was locked, so nothing moved
            raise _other_manifest(locked, listed, chosen.manifest.digest)
        have = ", ".join(locked.manifests)
        wanted = ",".join([*(locked.platforms or locked.manifests), str(chosen.platform)])
        raise NoVariantError(
            f"{locked.reference.familiar}: {chosen.platform} would be taken, which the lock lacks (it has {have})",
            f"lock it with: polyarch lock --update {locked.reference.familiar} --platform {wanted}",
        )
    return replace(resolution, selection=replace(selection, ranked=ranked))


def check_root(locked: LockedImage, root: Document) -> None:
    """Raises IntegrityError unless the name points at what it was locked to."""
    if root.digest != locked.digest:
        raise _moved(locked, locked.reference.familiar, root.digest)


def changed_by_hand(locked: LockedImage, documents: Documents, root: Document) -> IntegrityError | None:
    """What is wrong with a lock whose variants are not those of `root`, the document that it was locked to.

    Variants that a tag convention led to are under other names, and not looked at.
    """
    held = [each for each in candidates_of(documents, locked.reference, root) if each.platform]
    for variant in locked.variants:
        of_platform = [each.manifest for each in held if str(each.platform) == variant.platform]
        same = next((each for each in of_platform if each.digest == variant.manifest), None)
        if variant.reference or (same and same.size == variant.size):
            continue
        if same:
            return _other_size(locked, variant, same.size)
        return _other_manifest(locked, variant, of_platform[0].digest if of_platform else None)
    return None


def locked_candidates(
    documents: Documents, locked: LockedImage, root: Document
) -> Iterator[tuple[Candidate, Document]]:
    """All locked variants, each with what its name points at."""
    check_root(locked, root)
    for candidate in candidates_of(documents, locked.reference, root):
        if _locked(locked, candidate):
            yield candidate, root
    for each in locked.variants:
        if each.reference:
            name = parse_reference(each.reference)
            manifest = documents.by_descriptor(name, Descriptor("", each.manifest, each.size))
            descriptor = Descriptor(manifest.media_type, each.manifest, each.size)
            yield Candidate(each.stated, descriptor, name, "tag"), manifest


def _locked(locked: LockedImage, candidate: Candidate) -> bool:
    """True if the candidate is in the lock. Raises IntegrityError if the lock says another size."""
    variant = locked.variant(candidate.manifest.digest)
    if variant is not None and variant.size != candidate.manifest.size:
        raise _other_size(locked, variant, candidate.manifest.size)
    return variant is not None


def _other_manifest(locked: LockedImage, variant: LockedVariant, manifest: str | None) -> IntegrityError:
    return IntegrityError(
        f"{locked.reference.familiar}: the lock says manifest {variant.manifest} for {variant.platform}, the"
        f" registry {manifest or 'none'}: the lock was changed by hand",
        _anew(locked),
    )


def _other_size(locked: LockedImage, variant: LockedVariant, size: int) -> IntegrityError:
    return IntegrityError(
        f"{locked.reference.familiar}: the lock says {variant.size} bytes of manifest {variant.manifest}, the"
        f" registry {size}: the lock was changed by hand",
        _anew(locked),
    )


def _moved(locked: LockedImage, name: str, now: str) -> IntegrityError:
    return IntegrityError(
        f"{name} moved since it was locked: from {locked.digest} to {now}"
        if name == locked.reference.familiar
        else f"{name} moved since it was locked: to {now}",
        _hint(locked),
        reference=str(locked.reference),
        locked=locked.digest,
        now=now,
    )


def _anew(locked: LockedImage) -> str:
    return f"lock it anew: polyarch lock --update {locked.reference.familiar}"


def _hint(locked: LockedImage) -> str:
    return f"to take what it stands for now: polyarch lock --update {locked.reference.familiar}"
