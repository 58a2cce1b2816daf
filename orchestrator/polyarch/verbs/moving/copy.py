"""From one registry to another, or within one: no byte of it stays here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polyarch.contract.others import ChosenVariant, Verifier
from polyarch.contract.registry import Registry, TakesImages
from polyarch.events import PushFinished, PushStarted, Warned
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Manifest
from polyarch.reference import Reference
from polyarch.registry.several import HasMirrors
from polyarch.resolution.documents import Documents
from polyarch.resolution.moved import tell_if_moved
from polyarch.transfer.outgoing import OpenBlob
from polyarch.transfer.send import Push, certain, send
from polyarch.verbs.moving.moved import PushResult
from polyarch.verbs.moving.push import Sending, new_index_words
from polyarch.verbs.moving.trees import moved_manifests, read_ahead, referring, some_of, tree_of
from polyarch.verbs.rules import check_name, check_variant
from polyarch_platforms.platform import Platform


def copy_image(
    registry: Registry,
    source: Reference,
    target: TakesImages,
    name: Reference,
    sending: Sending,
    *,
    platforms: Sequence[Platform] = (),
    tag_defaulted: bool = False,
    verifiers: Sequence[Verifier] = (),
) -> PushResult:
    """Copy what a name points at, for `platforms` only if there are any, and what refers to it.

    What the name pointed at when it was first asked is copied, whatever it points at later; that is told. Every
    manifest has to keep the rules of `verifiers` under the source's name. Raises what reading from the one and pushing
    to the other raises, NoVariantError for a platform that there is none of, and what verifiers raise.
    """
    documents = Documents(registry)
    emit, most = sending.emit, sending.max_connections
    read = documents.root(source)
    emit(PushStarted(str(name), tag_defaulted))
    root = some_of(documents, source, read, platforms) if platforms else read
    made = root.digest != read.digest
    if made:
        emit(Warned(new_index_words(source.familiar, read, root, name, "copied")))
    read_ahead(documents, source, root, most)
    documents_read = tree_of(documents, source, root)
    check_name(verifiers, source, read)
    for each in documents_read:
        if isinstance(each, Manifest):
            check_variant(verifiers, ChosenVariant(source, source, read, each, registry))
    others = referring(registry, documents, source, [each.digest for each in documents_read], most, emit)
    pushes = [Push(name.with_digest(each.digest), each) for each in documents_read[:-1]]
    pushes += [
        Push(name.with_tag(each.tag) if each.tag else name.with_digest(each.document.digest), each.document)
        for each in others
    ]
    blobs = send(
        target,
        [*pushes, Push(name, root)],
        blobs_at(registry, source),
        mounts=mounts_from(source, name),
        max_connections=most,
        retries=sending.retries,
        emit=emit,
        doubt=doubt_of(registry),
    )
    emit(PushFinished(str(name), root.digest, len(root.raw)))
    tell_if_moved(registry, source, read.digest, sending.emit)
    return PushResult(
        name,
        str(source),
        root,
        made,
        moved_manifests(documents, source, root),
        blobs,
        tuple(each.document.digest for each in others),
    )


def blobs_at(registry: Registry, reference: Reference) -> OpenBlob:
    """Opens the blobs of a repository."""
    return lambda blob, offset: registry.open_blob(reference, blob, offset)


def doubt_of(registry: Registry) -> Callable[[Descriptor], bool]:
    """What is told of wrong bytes of a registry: its mirrors, where it has some."""
    return registry.doubt if isinstance(registry, HasMirrors) else certain


def mounts_from(source: Reference, name: Reference) -> Callable[[Descriptor], Sequence[str]]:
    """The source's repository, where it is another one of the same registry."""
    near = not source.scheme and source.registry == name.registry and source.repository != name.repository
    return lambda blob: [source.repository] if near else []
