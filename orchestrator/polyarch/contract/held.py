"""A registry over places that hold images under names of their own: folders, archives, buckets."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from polyarch.contract.registry import BlobStream
from polyarch.errors import IntegrityError, NotFoundError, UsageError, printable
from polyarch.files import absolute_path
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Index, check_document, is_attestation, parse_document
from polyarch.oci.held import HeldImage, ImagePlace
from polyarch.reference import DEFAULT_TAG, Reference, parse_reference
from polyarch_platforms.lazy_dataclass import dataclass

_LISTED = 20
_NO_WORD = re.compile(r"[^a-z0-9]+")
_ENDINGS = re.compile(r"(?:\.(?:tar|oci|docker|gz|tgz|zst|zstd))+$")


@dataclass(frozen=True, slots=True)
class Located:
    """What a reference says: the place, what people call it, and the image's name there ("" for the only one)."""

    place: str
    base: str
    wanted: str


def locate_file(text: str) -> Located:
    """For places that are files or folders: `PATH` or `PATH:NAME`. The longest path that exists is taken."""
    cuts = [len(text)] + [i for i in range(len(text) - 1, 0, -1) if text[i] == ":"]
    paths = [absolute_path(text[:cut]) for cut in cuts]
    # Where nothing exists the path ends at the first colon: it will be told as missing.
    at = next((i for i, path in enumerate(paths) if os.path.lexists(path)), len(cuts) - 1)
    return Located(str(paths[at]), paths[at].name, text[cuts[at] + 1 :])


class HeldImages:
    """Satisfies Registry, ListsTags and NamesImages: `SCHEME:PLACE`, `SCHEME:PLACE:NAME`, `SCHEME:PLACE@DIGEST`.

    NAME is one as it is written there, the same name written differently (`busybox:1.36` for
    `docker.io/library/busybox:1.36`), or the tag of only one; without it the place has to hold one image.
    """

    def __init__(self, locate: Callable[[str], Located], open_place: Callable[[str], ImagePlace]) -> None:
        """`locate` reads what stands behind the scheme (digest left out); `open_place` opens a place, once each."""
        self._locate = locate
        self._open_place = open_place
        self._lock = threading.Lock()
        self._places: dict[str, ImagePlace] = {}

    def head(self, reference: Reference) -> Descriptor | None:
        """What the name points at."""
        place, located = self._place(reference)
        return None if reference.digest else replace(_root(place, _chosen(place, located, reference)), annotations={})

    def get(self, reference: Reference) -> Document:
        """The manifest or index that the name, or the digest, stands for."""
        place, located = self._place(reference)
        root = None if reference.digest else _root(place, _chosen(place, located, reference))
        digest = root.digest if root else reference.digest
        try:
            raw = place.read(digest, MAX_DOCUMENT_SIZE)
        except NotFoundError as error:
            raise NotFoundError(
                f"{reference.familiar}: {digest} is not in {place.where}",
                "it may hold some platforms of its index only: name one with --platform",
            ) from error
        document = parse_document(raw, root.media_type if root else "", f"{reference.familiar}: {digest}")
        if root:
            check_document(document, root, reference.familiar)
        return document

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        """The bytes of a config or layer."""
        place, located = self._place(reference)
        if not reference.digest:
            _chosen(place, located, reference)
        chunks = place.chunks(blob.digest, offset)
        first = next(chunks, b"")  # what is not here is told now
        yield BlobStream(offset, chain((first,), chunks))

    def tags(self, reference: Reference) -> Iterator[str]:
        """The names that the place has; behind the name of a repository, the tags of that one."""
        place, located = self._place(reference, whole=True)
        names = [name for image in place.images for name in image.names]
        if not located.wanted:
            return iter(names)
        repository = _read_name(located.wanted)
        wholes = [whole for name in names if (whole := _whole_name(name))]
        tags = [whole.tag for whole in wholes if repository and whole.name == repository.name and whole.tag]
        if not tags:
            raise NotFoundError(f"'{printable(located.wanted, 200)}' is not in {place.where}")
        return iter(tags)

    def kept_name(self, reference: Reference) -> Reference:
        """The whole name that the image carries, the asked one of several; else `localhost/BASE:TAG`."""
        place, located = self._place(reference)
        if not reference.digest or any(reference.digest in _digests(each) for each in place.images):
            image = _chosen(place, located, reference)
        elif located.wanted:  # the digest is of a manifest further in
            image = _chosen(place, located, replace(reference, digest=""))
        else:
            return Reference("localhost", _component(located.base), "", reference.digest)
        wholes = [whole for name in image.names if (whole := _whole_name(name))]
        asked = _read_name(located.wanted)
        wholes.sort(key=lambda whole: whole != asked and whole.tag != located.wanted)
        tag = next((name for name in image.names if _is_tag(name)), DEFAULT_TAG)
        found = wholes[0] if wholes else Reference("localhost", _component(located.base), tag)
        return replace(found, digest=reference.digest)

    def close(self) -> None:
        """Close the places."""
        for place in self._places.values():
            place.close()
        self._places.clear()

    def _place(self, reference: Reference, *, whole: bool = False) -> tuple[ImagePlace, Located]:
        tag = f":{reference.tag}" if reference.tag and not whole else ""
        located = self._locate(f"{reference.repository}{tag}")
        with self._lock:
            if located.place not in self._places:
                self._places[located.place] = self._open_place(located.place)
            return self._places[located.place], located


def _chosen(place: ImagePlace, located: Located, reference: Reference) -> HeldImage:
    """The image that the reference means. Raises NotFoundError, and UsageError where it may be several."""
    images = {(image.root.digest, image.names): image for image in place.images}.values()
    if reference.digest:
        fitting = [image for image in images if reference.digest in _digests(image)]
        if fitting:
            return next((image for image in fitting if located.wanted in image.names), fitting[0])
        raise NotFoundError(f"{place.where} names no image {reference.digest}")
    wanted = located.wanted
    if not wanted:
        fitting = list(images)
    else:
        asked = _read_name(wanted)
        fitting = (
            [image for image in images if wanted in image.names]
            or [image for image in images if asked and any(_whole_name(name) == asked for name in image.names)]
            or [
                image for image in images if any((it := _whole_name(name)) and it.tag == wanted for name in image.names)
            ]
        )
    if len({image.root.digest for image in fitting}) == 1:
        return fitting[0]
    known = [name for image in images for name in image.names[:1]] or ["images without a name"]
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    listed = printable(", ".join(known[:_LISTED]), 1000) + more
    if not images:
        raise NotFoundError(f"{place.where} holds no image")
    if not fitting:
        raise NotFoundError(f"'{printable(wanted, 200)}' is not in {place.where} (there are: {listed})")
    example = place.where if "://" in place.where else f"{reference.scheme}:{place.where}"
    raise UsageError(
        f"{place.where} holds several images (there are: {listed})",
        f"name one: {example}:{printable(known[0], 200)}, or {example}@{fitting[0].root.digest}",
    )


def _digests(image: HeldImage) -> tuple[Digest, ...]:
    return image.root.digest, image.origin


def _root(place: ImagePlace, image: HeldImage) -> Descriptor:
    """What the image's name stands for: the registry's own index, where all that it lists is here; else the entry's.

    So the digest stays the one that everybody knows, and no variant is chosen that the place does not have.
    """
    if not image.origin or place.size(image.origin) is None:
        return image.root
    where = f"{image.origin} in {place.where}"
    document = parse_document(place.read(image.origin, MAX_DOCUMENT_SIZE), "", where)
    if digest_of(document.raw, image.origin.partition(":")[0]) != image.origin:
        raise IntegrityError(f"{where} is damaged")
    entries = document.manifests if isinstance(document, Index) else ()
    if all(place.size(entry.digest) == entry.size for entry in entries if not is_attestation(entry)):
        return document.descriptor
    return image.root


def _is_tag(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", name, re.ASCII) is not None


def _whole_name(name: str) -> Reference | None:
    """The reference that a name is; None for one that is only a tag, and for what is no reference."""
    return None if _is_tag(name) else _read_name(name)


def _read_name(name: str) -> Reference | None:
    """The reference that a person means by a name; None for what is none."""
    try:
        return replace(parse_reference(name), digest="")
    except UsageError:
        return None


def _component(base: str) -> str:
    """A repository's name made of any text: its last part, without what tells a file's kind, in lower case."""
    word = base.rstrip("/").rpartition("/")[2].lower()
    return _NO_WORD.sub("-", _ENDINGS.sub("", word)).strip("-")[:100].strip("-") or "image"
