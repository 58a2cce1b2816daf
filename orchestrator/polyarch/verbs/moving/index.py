"""Joining images under one name at a registry, and looking at what was joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from polyarch.contract.registry import Registry, TakesImages
from polyarch.errors import NotFoundError, PolyarchError, UnauthorizedError, UsageError
from polyarch.events import PushFinished, PushStarted
from polyarch.oci.document import Document, Index
from polyarch.oci.joined import joined, listed, narrowed
from polyarch.oci.media_types import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX
from polyarch.oci.written import write_index
from polyarch.reference import Reference
from polyarch.registry.several import HasMirrors
from polyarch.resolution.documents import Documents
from polyarch.resolution.moved import tell_if_moved
from polyarch.transfer.send import Push, Sent, send
from polyarch.verbs.moving.copy import blobs_at, doubt_of, mounts_from
from polyarch.verbs.moving.index_entries import Part, as_index, entries_of, matching, merged, read_part
from polyarch.verbs.moving.moved import IndexResult
from polyarch.verbs.moving.push import Sending
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

_DIGEST = re.compile(r"sha256:[0-9a-f]{1,64}|[0-9a-f]{7,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Joining:
    """What the verbs of an index work with: `registry` is where a reference is read, `target` where one is pushed.

    `tag_defaulted`: the name that is pushed was written without a tag.
    """

    registry: Callable[[Reference], Registry]
    target: Callable[[Reference], TakesImages]
    sending: Sending
    dry_run: bool = False
    allow_mislabelled: bool = False
    tag_defaulted: bool = False


def create_index(work: Joining, name: Reference, references: Sequence[Reference]) -> IndexResult:
    """A new index of what these names hold; a name that it has already points at the new one.

    Raises UsageError for two of one platform, Mislabelled, and what reading and pushing raises.
    """
    parts = _read(work, references)
    entries = merged((part.entries, part.descriptors, part.reference.familiar) for part in parts)
    docker = all(entry["mediaType"] == DOCKER_MANIFEST for entry in entries)
    empty = write_index((), media_type=DOCKER_MANIFEST_LIST if docker else OCI_INDEX)
    return _push(work, name, joined(empty, entries), parts)


def append_to_index(work: Joining, name: Reference, references: Sequence[Reference]) -> IndexResult:
    """Add what these names hold to the index of a name. Raises as `create_index`, NotFoundError where it has none."""
    root = _to_change(work.registry(name), name)
    if not isinstance(root, Index):
        return create_index(work, name, [name.with_digest(root.digest), *references])
    parts = _read(work, references)
    known = (listed(root), root.manifests, name.familiar)
    entries = merged([known, *((part.entries, part.descriptors, part.reference.familiar) for part in parts)])
    return _push(work, name, joined(root, entries), parts)


def remove_from_index(
    work: Joining, name: Reference, words: Sequence[str], read: Callable[[str], Platform | Reference]
) -> IndexResult:
    """Take entries out of the index of a name: by platform, by digest or its beginning, or by what a reference is.

    What attests them goes with them. `read` says whether a word is a platform or a reference. Raises NotFoundError
    where nothing is meant by a word, UsageError where nothing would be left.
    """
    root = as_index(_to_change(work.registry(name), name), name.familiar)
    gone: set[str] = set()
    for word in words:
        if _DIGEST.fullmatch(word):
            found = matching(root, None, word)
        else:
            found = _meant(work, root, name, word, read)
        if not found:
            raise NotFoundError(
                f"{word} is not in the index {name.familiar}", f"see: polyarch index inspect {name.familiar}"
            )
        gone |= found
    rest = narrowed(root, {entry.digest for entry in root.manifests} - gone, gone)
    if not rest.manifests:
        raise UsageError(f"nothing would be left in {name.familiar}", "an index without images is of no use to anybody")
    return _push(work, name, rest, [])


def _meant(
    work: Joining, index: Index, name: Reference, word: str, read: Callable[[str], Platform | Reference]
) -> frozenset[str]:
    """The entries that a platform or a reference means."""
    try:
        meant = read(word)
        if isinstance(meant, Platform):
            return matching(index, meant, "")
        return _held(Documents(work.registry(meant)).root(meant), index)
    except (NotFoundError, UnauthorizedError) as error:
        raise type(error)(
            f"{word} is no platform and no digest in the index {name.familiar}, and as an image: {error.message}",
            f"see: polyarch index inspect {name.familiar}",
            **error.details,
        ) from error


def inspect_index(registry: Registry, name: Reference) -> IndexResult:
    """The index of a name. Raises UsageError for a single manifest."""
    root = as_index(Documents(registry).root(name), name.familiar)
    return IndexResult(name, root.digest, root.media_type, root.annotations, entries_of(root))


def _to_change(registry: Registry, name: Reference) -> Document:
    """What a name points at where it is pushed to: a mirror may have what it pointed at before."""
    return registry.get_itself(name) if isinstance(registry, HasMirrors) else registry.get(name)


def _held(document: Document, index: Index) -> frozenset[str]:
    """The entries of the index that are this document, or its entries."""
    own = {document.digest}
    if isinstance(document, Index):
        own |= {entry.digest for entry in document.manifests}
    return frozenset(own & {entry.digest for entry in index.manifests})


def _read(work: Joining, references: Sequence[Reference]) -> list[Part]:
    return [
        read_part(work.registry(each), each, work.sending, allow_mislabelled=work.allow_mislabelled)
        for each in dict.fromkeys(references)
    ]


def _push(work: Joining, name: Reference, index: Index, parts: Sequence[Part]) -> IndexResult:
    """What the parts bring is copied or mounted, where it is elsewhere; then the name is given."""
    blobs: dict[str, Sent] = {}
    if not work.dry_run:
        target, sending = work.target(name), work.sending
        sending.emit(PushStarted(str(name), work.tag_defaulted))
        for part in parts:
            source = part.reference
            if source.name == name.name:
                continue
            sent = send(
                target,
                [Push(name.with_digest(document.digest), document) for document in part.documents],
                blobs_at(part.registry, source),
                mounts=mounts_from(source, name),
                max_connections=sending.max_connections,
                retries=sending.retries,
                emit=sending.emit,
                doubt=doubt_of(part.registry),
            )
            blobs.update((each.descriptor.digest, each) for each in sent if each.descriptor.digest not in blobs)
        target.put(name, index)
        sending.emit(PushFinished(str(name), index.digest, len(index.raw)))
        for part in parts:
            tell_if_moved(part.registry, part.reference, part.root.digest, sending.emit)
    return IndexResult(
        name,
        index.digest,
        index.media_type,
        index.annotations,
        entries_of(index),
        not work.dry_run,
        tuple(blobs.values()),
    )


def platform_or_reference(
    text: str, platform: Callable[[str], Platform], reference: Callable[[str], Reference]
) -> Platform | Reference:
    """What a word means: a platform whose architecture somebody has, else a reference. Raises UsageError."""
    if ":" not in text and "@" not in text and "." not in text.partition("/")[0]:
        try:
            return platform(text)
        except PolyarchError:
            pass
    return reference(text)
