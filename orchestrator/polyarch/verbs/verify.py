"""Reading a stored image again, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from polyarch.contract.others import ChosenVariant, Verifier
from polyarch.contract.registry import BlobStream, HasPlaces, Registry
from polyarch.contract.storage import Image, ReadsBlobs, is_unnamed
from polyarch.errors import IntegrityError, NotFoundError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, hasher
from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch.unpack.limits import Limits
from polyarch.unpack.listing import Listing, outline_layer
from polyarch.unpack.merge import merge
from polyarch.verbs.proof import entrypoint_of
from polyarch.verbs.results import VerifiedImage
from polyarch.verbs.rules import check_name, check_variant, rules_of
from polyarch_platforms.elf import contradiction

_CHUNK = 1 << 20


def verify_image(storage: ReadsBlobs, image: Image, page_size: int | None = None, *, limits: Limits) -> VerifiedImage:
    """Digest and size of every blob, the diff ID and the archive of every layer, and the platform that the image's
    program proves.
    """
    problems: list[str] = []
    blobs = (image.manifest.descriptor, *image.manifest.blobs)
    for blob in blobs:
        problems += _blob_problems(storage, blob)
    if not problems:
        problems += _layer_problems(storage, image, limits)
    if not problems:
        found = entrypoint_of(storage, image.manifest, image.config, limits)
        fault = contradiction(found.elf, image.platform, page_size) if found else None
        if found and fault:
            problems.append(f"{found.path}: {fault}")
    return VerifiedImage(
        reference=image.reference,
        platform=str(image.platform),
        manifest=image.manifest.digest,
        blobs=len(blobs),
        bytes=sum(blob.size for blob in blobs),
        problems=tuple(problems),
    )


def verify_rules(
    verifiers: Sequence[Verifier], image: Image, registry: Callable[[Reference], Registry], result: VerifiedImage
) -> VerifiedImage:
    """`result` with what verifiers ask of the image's name, and why they refuse it if they do.

    `registry` is where a name comes from. Raises what reading signatures raises.
    """
    name = image.reference
    if is_unnamed(name):
        return result
    result = replace(result, policy=rules_of(verifiers, name))
    try:
        check_name(verifiers, name, image.root)
        check_variant(verifiers, ChosenVariant(name, name, image.root, image.manifest, _Later(lambda: registry(name))))
    except IntegrityError as error:
        hint = None if result.problems else error.hint or "see the policy: polyarch doctor"
        return replace(result, problems=(*result.problems, error.message.removeprefix(f"{name.familiar}: ")), hint=hint)
    return result


class _Later:
    """A registry that is made when it is asked something: most verifiers ask for nothing."""

    def __init__(self, make: Callable[[], Registry]) -> None:
        self._make = make

    def head(self, reference: Reference) -> Descriptor | None:
        return self._make().head(reference)

    def get(self, reference: Reference) -> Document:
        return self._make().get(reference)

    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> AbstractContextManager[BlobStream]:
        return self._make().open_blob(reference, blob, offset)

    def place_of(self, reference: Reference, digest: Digest) -> tuple[Reference, Registry]:
        made = self._make()
        return made.place_of(reference, digest) if isinstance(made, HasPlaces) else (reference, made)

    def close(self) -> None:
        """Its maker closes it."""


def _blob_problems(storage: ReadsBlobs, blob: Descriptor) -> list[str]:
    try:
        with storage.open_blob(blob.digest) as stream:
            hashed, size = hasher(blob.digest), 0
            while chunk := stream.read(_CHUNK):
                hashed.update(chunk)
                size += len(chunk)
    except NotFoundError:
        return [f"blob {blob.digest} is missing"]
    if size != blob.size:
        return [f"blob {blob.digest} has {size} bytes, not {blob.size}"]
    if hashed.hexdigest() != blob.digest.partition(":")[2]:
        return [f"blob {blob.digest} does not have that digest"]
    return []


def _layer_problems(storage: ReadsBlobs, image: Image, limits: Limits) -> list[str]:
    """What is wrong with the layers: their diff IDs, their archives, and whether each can be laid over those below."""
    if len(image.config.diff_ids) != len(image.manifest.layers):
        return [f"{len(image.manifest.layers)} layers, but {len(image.config.diff_ids)} diff IDs"]
    problems: list[str] = []

    def outlines() -> Iterator[Listing]:
        held_to = limits.of_layers(len(image.manifest.layers))
        for layer, diff_id, each in zip(image.manifest.layers, image.config.diff_ids, held_to, strict=True):
            try:
                with storage.open_blob(layer.digest) as stream:
                    yield outline_layer(stream, diff_id, f"layer {layer.digest}", limits=each)
            except IntegrityError as error:
                problems.append(error.message)

    listed = outlines()
    try:
        merge(listed, limits)  # one by one: what they hold takes memory
    except IntegrityError as error:
        for _ in listed:
            pass  # what else is wrong
        if not problems:  # else one is missing from below those above it
            problems.append(error.message)
    return problems
