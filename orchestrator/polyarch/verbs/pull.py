"""Bringing one variant in: fetched, verified, held against what it promises, then named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from polyarch.contract.others import ChosenVariant, Verifier
from polyarch.contract.registry import NamesImages
from polyarch.contract.storage import Image, ReadsBlobs, Storage
from polyarch.errors import NotFoundError
from polyarch.events import Emit, ImageLoading, PullFinished, VariantChosen, Warned
from polyarch.lock.locked import LockedImage
from polyarch.oci.config import ImageConfig, check_layer_count
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference
from polyarch.resolution.candidates import candidates_of
from polyarch.resolution.documents import Documents
from polyarch.resolution.resolve import Resolution
from polyarch.selection.types import Target, Verdict
from polyarch.transfer.fetch import fetch
from polyarch.transfer.growing import GrowingBlobs
from polyarch.transfer.staged import StagedStorage
from polyarch.unpack.entrypoint import Mislabelled
from polyarch.unpack.limits import USUAL, Limits
from polyarch.verbs.locked_pull import locked_candidates
from polyarch.verbs.program import ProgramSearch
from polyarch.verbs.proof import prove
from polyarch.verbs.results import LayerResult, PullResult
from polyarch.verbs.rules import check_name, check_variant
from polyarch.verbs.stored import find_whole
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.verbs.preparation import Preparer


@dataclass(frozen=True, slots=True)
class PullContext:
    """What a pull works with.

    `storage_name` is what the user called the storage; `target` is None where every platform is wanted; `page_size`
    (bytes) is that of the device, None if unknown. `preparer` makes layers ready to be run.
    """

    documents: Documents
    storage: Storage
    storage_name: str
    verifiers: Sequence[Verifier]
    max_connections: int
    retries: int
    emit: Emit
    target: Target | None = None
    page_size: int | None = None
    dry_run: bool = False
    allow_mislabelled: bool = False
    preparer: Preparer | None = None
    limits: Limits = USUAL


@dataclass(frozen=True, slots=True)
class _Variant:
    """What is pulled: the reference as it was asked for, the name it gets, the verdict on it, and its documents."""

    reference: Reference
    name: Reference
    verdict: Verdict
    root: Document
    manifest: Manifest


def pull_best(context: PullContext, resolution: Resolution) -> PullResult:
    """The chosen variant; where it is unproven and its ELF refutes it, the next usable one.

    Raises IntegrityError (Mislabelled) if a variant is not what it promises and none is left to try.
    """
    for verdict in resolution.selection.ranked:
        try:
            return pull_variant(
                context, resolution.reference, verdict, resolution.root_of, len(resolution.selection.verdicts)
            )
        except Mislabelled as error:
            if not verdict.unproven or verdict == resolution.selection.ranked[-1]:
                raise
            context.emit(Warned(f"{error.message}; trying the next variant"))
    raise AssertionError("a resolution has at least one usable candidate")


def pull_variant(
    context: PullContext, reference: Reference, verdict: Verdict, roots: dict[str, Document], candidates: int
) -> PullResult:
    """One variant, whatever else there is."""
    candidate = verdict.candidate
    documents, storage, emit = context.documents, context.storage, context.emit
    source, root = candidate.reference, roots[candidate.manifest.digest]
    check_name(context.verifiers, reference, root)
    manifest = documents.manifest(source, candidate.manifest)
    check_variant(context.verifiers, ChosenVariant(reference, source, root, manifest, documents.registry))
    promised = candidate.platform
    emit(
        VariantChosen(
            reference=str(reference),
            platform=str(promised),
            match=verdict.match or "exact",
            source=candidate.source,
            candidates=candidates,
            manifest=manifest.digest,
            config=manifest.config.digest,
        )
    )
    name = documents.registry.kept_name(reference) if isinstance(documents.registry, NamesImages) else reference
    variant = _Variant(reference, name, verdict, root, manifest)
    known = [image for image in find_whole(storage, name, emit) if image.manifest.digest == manifest.digest]

    @cache
    def config() -> ImageConfig:
        return known[0].config if known else documents.config(source, manifest)

    same, wanted = bool(known) and known[0].root.digest == root.digest, None
    loading: AbstractContextManager[Callable[[Descriptor], None] | None] = nullcontext()
    if isinstance(storage, StagedStorage):
        image = Image(name, root, manifest, config(), promised or config().platform)
        same = storage.loader.has(image)
        loading = nullcontext() if same else storage.loading(image)
        wanted = frozenset[Digest]() if same else frozenset(storage.loader.lacks(image))
    if context.dry_run:
        return _planned(context, variant, wanted)

    growing = GrowingBlobs(storage, manifest.layers) if isinstance(storage, ReadsBlobs) else None
    preparer = context.preparer if context.preparer and context.preparer.wants(candidate) else None
    preparing = preparer.begin(growing, manifest, config) if preparer and growing and not same else None
    indexes = preparing.indexes if preparing else None
    search = ProgramSearch(growing, manifest, config, indexes, limits=context.limits) if growing else None
    with (
        preparer.keeping() if preparer else nullcontext(),
        preparing or nullcontext(),
        search or nullcontext(),
        growing or nullcontext(),
        loading as loaded_from,
    ):

        def arrived(blob: Descriptor) -> None:
            if growing:
                growing.arrived(blob)
            if loaded_from:
                loaded_from(blob)

        if preparing:
            preparing.start()
        if search and not same:
            search.start()
        blobs = fetch(
            documents.registry,
            source,
            manifest,
            storage,
            max_connections=context.max_connections,
            retries=context.retries,
            emit=emit,
            arrived=arrived,
            wanted=wanted,
            watch=growing.watch if growing else None,
            read=documents.read_blob,
        )
        unchanged = same and not any(blob.fetched for blob in blobs)
        if unchanged:
            platform = known[0].platform if known else promised or config().platform
        else:
            platform = _proven_platform(context, source, verdict, manifest, config(), search)
            if isinstance(storage, StagedStorage):
                emit(ImageLoading(str(name), context.storage_name))
            if preparing:
                preparing.finish()
        prepared = None
        if preparer and isinstance(storage, ReadsBlobs):
            prepared = preparer.complete(storage, manifest, config())
        if not unchanged:
            storage.commit(Image(name, root, manifest, config(), platform))
    status: Literal["downloaded", "up-to-date"] = "up-to-date" if unchanged else "downloaded"
    reused = sum(blob.reused for blob in blobs)
    emit(PullFinished(str(name), root.digest, status, reused, prepared))
    how = {blob.descriptor.digest: blob for blob in blobs}
    return _result(
        context,
        variant,
        platform=platform,
        status=status,
        layers=tuple(
            LayerResult(
                layer.digest,
                layer.size,
                how[layer.digest].status,
                None if how[layer.digest].status == "exists" else documents.blob_served_by(layer.digest),
                how[layer.digest].reused,
            )
            for layer in manifest.layers
        ),
        downloaded=sum(blob.fetched for blob in blobs),
        reused=reused,
        prepared=prepared,
    )


def _planned(context: PullContext, variant: _Variant, wanted: Collection[Digest] | None) -> PullResult:
    blobs, layers = variant.manifest.blobs, variant.manifest.layers
    missing = {
        blob.digest
        for blob in blobs
        if (wanted is None or blob.digest in wanted) and not context.storage.has_blob(blob)
    }
    reused = {blob.digest: 0 if blob.digest in missing else blob.size for blob in blobs}
    for layer in layers:
        if layer.digest in missing and layer.annotations:  # it may have a table of contents
            from polyarch.transfer.reuse import expected

            source = variant.verdict.candidate.reference
            registry = context.documents.registry
            reused[layer.digest] = expected(registry, source, layer, context.storage, context.retries)
    return _result(
        context,
        variant,
        platform=variant.verdict.candidate.platform,
        status="planned",
        layers=tuple(
            LayerResult(
                layer.digest,
                layer.size,
                "missing" if layer.digest in missing else "exists",
                reused_bytes=reused[layer.digest],
            )
            for layer in layers
        ),
        downloaded=0,
        reused=sum(reused.values()),
    )


def _result(
    context: PullContext,
    variant: _Variant,
    *,
    platform: Platform | None,
    status: Literal["downloaded", "up-to-date", "planned"],
    layers: tuple[LayerResult, ...],
    downloaded: int,
    reused: int,
    prepared: Literal["erofs", "unpacked"] | None = None,
) -> PullResult:
    return PullResult(
        reference=variant.reference,
        name=variant.name,
        root=variant.root,
        candidate=replace(variant.verdict.candidate, size=variant.manifest.size),
        platform=str(platform),
        match=variant.verdict.match or "exact",
        emulator=variant.verdict.emulator,
        status=status,
        layers=layers,
        downloaded_bytes=downloaded,
        reused_bytes=reused,
        storage=context.storage_name,
        prepared=prepared,
        served_by=context.documents.served_by(variant.manifest, variant.root),
    )


def _proven_platform(
    context: PullContext,
    source: Reference,
    verdict: Verdict,
    manifest: Manifest,
    config: ImageConfig,
    search: ProgramSearch | None,
) -> Platform:
    """The platform of a fetched variant. Raises Mislabelled, unless that is allowed."""
    promised = verdict.candidate.platform or config.platform
    name = f"{source.familiar} ({promised}, {manifest.digest[:19]}…)"
    check_layer_count(config, len(manifest.layers), name)
    if search is None:
        context.emit(Warned(f"{name}: {context.storage_name} cannot be read, so its programs were not looked at"))
        return promised

    def accept(fault: str) -> None:
        context.emit(Warned(fault))

    try:
        program = search.result()
    except NotFoundError:
        context.emit(
            Warned(f"{name}: its program lies in a layer that {context.storage_name} has, and was not looked at")
        )
        return promised
    return prove(
        name,
        verdict,
        config,
        program,
        context.target,
        context.page_size,
        accept if context.allow_mislabelled else None,
    )


def pull_all(
    context: PullContext, reference: Reference, *, known: bool, locked: LockedImage | None = None
) -> tuple[PullResult, ...]:
    """Every variant that the name holds, or that is `locked`, each as the exact one. Raises NotFoundError if there is
    none, IntegrityError if the name moved since it was locked.
    """
    documents = context.documents
    root = documents.root(reference, known=known)
    if locked is None:
        roots = [(candidate, root) for candidate in candidates_of(documents, reference, root)]
    else:
        roots = list(locked_candidates(documents, locked, root))
    if not roots:
        raise NotFoundError(f"{reference.familiar} holds no image of any platform")
    root_of = {candidate.manifest.digest: root for candidate, root in roots}
    return tuple(
        pull_variant(context, reference, Verdict(candidate, "exact"), root_of, len(roots)) for candidate, _ in roots
    )
