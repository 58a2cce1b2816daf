"""Images at hand: finding one by what a person writes, and choosing the one that a target would take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from polyarch.contract.storage import Image, Storage
from polyarch.errors import NotFoundError, StorageError, UsageError
from polyarch.events import Emit, Warned
from polyarch.files import is_fault
from polyarch.oci.digest import hex_of
from polyarch.oci.document import Index
from polyarch.oci.media_types import MANIFESTS
from polyarch.reference import Reference
from polyarch.selection.select import select
from polyarch.selection.types import Candidate, EmulationPolicy, Target

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})", re.ASCII)
_SHORT = re.compile(r"[0-9a-f]{1,3}", re.ASCII)
_SHORT_DIGEST = re.compile(r"sha256:[0-9a-f]{0,3}", re.ASCII)


def by_id(images: Iterable[Image], text: str) -> tuple[Image, ...]:
    """The images whose ID (config digest) or manifest digest starts with `text`, else those whose index's digest does:
    the platforms of it that are at hand. () if it is no ID or none fits.

    Raises UsageError if several different images fit, or several indexes; for a digest of too few digits.
    """
    if _SHORT_DIGEST.fullmatch(text):
        raise UsageError(f"{text} is no digest and no beginning of one", "write at least 4 of its digits")
    match = _ID.fullmatch(text)
    if not match:
        return ()
    images = list(images)
    found = [
        image
        for image in images
        if hex_of(image.config.digest).startswith(match[1]) or hex_of(image.manifest.digest).startswith(match[1])
    ]
    if len({image.manifest.digest for image in found}) > 1:
        raise UsageError(f"{text} is the start of several image IDs", "write more of it; see: polyarch image ls")
    if not found:
        found = [image for image in images if hex_of(image.root.digest).startswith(match[1])]
        if len({image.root.digest for image in found}) > 1:
            raise UsageError(f"{text} is the start of several digests", "write more of it")
    return tuple(found)


def find_whole(storage: Storage, name: Reference, emit: Emit | None = None) -> tuple[Image, ...]:
    """The images under a name, for who would bring them anew; none where a document of them is damaged, which is told.

    Raises StorageError where the disk cannot be read.
    """
    try:
        return storage.find(name)
    except StorageError as error:
        if is_fault(error):
            raise
        if emit:
            emit(Warned(f"{error.message}; it is brought anew"))
        return ()


def is_start_of_digest(text: str) -> bool:
    """Whether a text may begin an ID or a digest: it has four hexadecimal digits or more, and nothing else."""
    return _ID.fullmatch(text) is not None


def not_at_hand(text: str, *, of_a_place: bool = False) -> NotFoundError:
    """The error where nothing in the storage is called so. `of_a_place`: the text says where an image is, as
    `oci:DIR:TAG` does, not what it is called here.
    """
    hint = f"bring it with: polyarch pull {text}"
    if of_a_place:
        hint += "; the last line of that is its name here (see: polyarch image ls)"
    if _SHORT.fullmatch(text):
        hint += "; or if it is an ID, write at least 4 of its digits"
    return NotFoundError(f"{text} is not in the storage", hint)


def means_one(text: str, image: Image) -> bool:
    """Whether `text` is an image's ID, or the digest of its manifest (or its beginning, or NAME@ and that): this one
    variant is meant then, whatever else the image's name leads to.
    """
    match = _ID.fullmatch(text.rpartition("@")[2])
    return match is not None and any(
        hex_of(digest).startswith(match[1]) for digest in (image.config.digest, image.manifest.digest)
    )


def one_of(images: Sequence[Image], name: str, target: Target, *, asked: bool) -> Image:
    """The image among the platforms at hand that fits `target`; the only one if nothing was `asked` for by name.

    Raises NotFoundError for none, UsageError if several are at hand and none fits.
    """
    if not images:
        raise not_at_hand(name)
    chosen = best_of(images, target, "auto")
    if chosen is not None:
        return chosen
    at_hand = ", ".join(str(image.platform) for image in images)
    if asked:
        raise NotFoundError(
            f"{name} is not in the storage for {target.name} (at hand: {at_hand})",
            f"bring it with: polyarch pull --platform {target.name} {name}",
        )
    if len({image.manifest.digest for image in images}) == 1:
        return images[0]
    raise UsageError(f"{name} is at hand for several platforms ({at_hand})", "name one with --platform")


def best_of(images: Sequence[Image], target: Target, policy: EmulationPolicy) -> Image | None:
    """The image that selection would take among those at hand."""
    candidates = [
        Candidate(image.platform, image.manifest.descriptor, image.reference, "manifest", image.manifest.size)
        for image in images
    ]
    chosen = select(candidates, target, policy).chosen
    if chosen is None:
        return None
    return next(image for image in images if image.manifest.digest == chosen.candidate.manifest.digest)


def still_best(image: Image, target: Target, policy: EmulationPolicy) -> bool:
    """True unless the index that `image` came from names another variant that the target would rather take."""
    if not isinstance(image.root, Index):
        return True
    entries = [
        Candidate(entry.platform, entry, image.reference, "index")
        for entry in image.root.manifests
        if entry.platform is not None and entry.media_type in MANIFESTS
    ]
    chosen = select(entries, target, policy).chosen
    return chosen is None or chosen.candidate.manifest.digest == image.manifest.digest
