"""The entries of an index: what a name contributes, each held against its config and its program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from threading import Event as Flag
from typing import BinaryIO, Self, cast

from polyarch.contract.registry import Registry
from polyarch.errors import UsageError
from polyarch.events import Warned
from polyarch.oci.config import check_layer_count
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Index, Manifest, is_attestation
from polyarch.oci.joined import Entry, attested, listed
from polyarch.oci.media_types import CONFIGS
from polyarch.reference import Reference
from polyarch.resolution.documents import Documents
from polyarch.selection.types import Candidate, Verdict
from polyarch.transfer.outgoing import Outgoing
from polyarch.unpack.entrypoint import entrypoint_elf
from polyarch.verbs.moving.copy import blobs_at
from polyarch.verbs.moving.moved import IndexEntry
from polyarch.verbs.moving.push import Sending
from polyarch.verbs.moving.trees import tree_of
from polyarch.verbs.proof import prove
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, to_oci


@dataclass(frozen=True, slots=True)
class Part:
    """What one reference brings into an index: entries as they are written there, and the documents behind them."""

    registry: Registry
    reference: Reference
    root: Document
    entries: tuple[Entry, ...]
    descriptors: tuple[Descriptor, ...]
    documents: tuple[Document, ...]


def read_part(registry: Registry, reference: Reference, sending: Sending, *, allow_mislabelled: bool) -> Part:
    """The entries of an index, or the one that a single manifest makes, with their platforms proven.

    A platform that an entry does not state, or an arm variant, is filled in. Raises Mislabelled for an image that is
    not what it promises, unless that is allowed: then it is what its program is for.
    """
    documents = Documents(registry)
    root = documents.root(reference)
    written: Sequence[Entry] = listed(root) if isinstance(root, Index) else [root.descriptor.to_json()]
    stated = root.manifests if isinstance(root, Index) else (root.descriptor,)
    entries, descriptors = [], []
    for entry, descriptor in zip(written, stated, strict=True):
        document = documents.by_descriptor(reference, descriptor)
        if isinstance(document, Manifest) and not is_attestation(descriptor) and not descriptor.artifact_type:
            if document.config.media_type not in CONFIGS:
                raise UsageError(
                    f"{reference.familiar} is no image, but {document.artifact_type or document.config.media_type}"
                )
            platform = _proven(documents, reference, descriptor, document, sending, allow_mislabelled)
            if platform != descriptor.platform:
                entry = {**entry, "platform": to_oci(platform)}
                descriptor = replace(descriptor, platform=platform)
        entries.append(entry)
        descriptors.append(descriptor)
    tree = tree_of(documents, reference, root)
    whole = tree[:-1] if isinstance(root, Index) else tree
    return Part(registry, reference, root, tuple(entries), tuple(descriptors), tuple(whole))


def _proven(
    documents: Documents,
    reference: Reference,
    descriptor: Descriptor,
    manifest: Manifest,
    sending: Sending,
    allow_mislabelled: bool,
) -> Platform:
    config = documents.config(reference, manifest)
    promised = descriptor.platform or config.platform
    name = f"{reference.familiar} ({promised}, {manifest.digest[:19]}…)"
    check_layer_count(config, len(manifest.layers), name)
    ended = Flag()
    opened = [partial(_Streamed, documents.registry, reference, layer, sending, ended) for layer in manifest.layers]
    try:
        program = entrypoint_elf([partial(_opened, each) for each in opened], config, limits=sending.limits)
    finally:
        ended.set()

    def accept(fault: str) -> None:
        sending.emit(Warned(fault))

    verdict = Verdict(Candidate(promised, descriptor, reference, "manifest"), "exact")
    return prove(name, verdict, config, program, None, accept=accept if allow_mislabelled else None)


def _opened(make: partial[_Streamed]) -> BinaryIO:
    return cast("BinaryIO", make())


class _Streamed:
    """A layer as it comes from a registry, as far as it is read; verified where that is to its end."""

    def __init__(
        self, registry: Registry, reference: Reference, layer: Descriptor, sending: Sending, ended: Flag
    ) -> None:
        outgoing = Outgoing(
            layer, blobs_at(registry, reference), retries=sending.retries, emit=lambda event: None, cancelled=ended
        )
        self._context = outgoing.open_at(0)
        self._chunks = iter(self._context.__enter__().chunks)
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks = iter(())
        self._context.__exit__(None, None, None)


def merged(parts: Iterable[tuple[Sequence[Entry], Sequence[Descriptor], str]]) -> list[Entry]:
    """All entries, each digest once, in their order; each part has the name that it came from.

    Raises UsageError where two different manifests are for the same platform.
    """
    found: dict[Digest, Entry] = {}
    platforms: dict[Platform, tuple[Digest, str]] = {}
    for entries, descriptors, name in parts:
        for entry, descriptor in zip(entries, descriptors, strict=True):
            platform = descriptor.platform
            if platform is not None and not is_attestation(descriptor):
                before, other = platforms.setdefault(platform, (descriptor.digest, name))
                if before != descriptor.digest:
                    whose = f"{other} and {name} are both" if other != name else f"two manifests of {name} are"
                    raise UsageError(
                        f"{whose} for {platform}", "an index has one image a platform: take one out of the two"
                    )
            found.setdefault(descriptor.digest, entry)
    return list(found.values())


def entries_of(index: Index) -> tuple[IndexEntry, ...]:
    """The entries, for people and scripts."""
    return tuple(
        IndexEntry(
            entry,
            str(entry.platform) if entry.platform is not None and not is_attestation(entry) else "",
            attested(entry),
        )
        for entry in index.manifests
    )


def matching(index: Index, platform: Platform | None, digest: str) -> frozenset[Digest]:
    """The entries for a platform, or whose digest starts with `digest` (its hex digits, or all of it).

    Raises UsageError where a beginning fits several.
    """
    if platform is not None:
        return frozenset(entry.digest for entry in index.manifests if entry.platform == platform)
    begins = digest if ":" in digest else f"sha256:{digest}"
    found = frozenset(entry.digest for entry in index.manifests if entry.digest.startswith(begins))
    if len(found) > 1:
        raise UsageError(f"{digest} is the start of several digests in the index", "write more of it")
    return found


def as_index(root: Document, name: str) -> Index:
    """The root, which has to be an index. Raises UsageError."""
    if not isinstance(root, Index):
        raise UsageError(f"{name} is one image, not an index", f"see: polyarch resolve {name}")
    return root
