"""The images of a session on their way to registries: pushed, copied from one to another, joined under one name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from polyarch.contract.others import Verifier
from polyarch.contract.registry import Registry, TakesImages
from polyarch.contract.storage import Image, ReadsBlobs, Storage
from polyarch.errors import NotFoundError, UnauthorizedError, UsageError, platforms_errors
from polyarch.events import Emit
from polyarch.reference import DEFAULT_TAG, Reference, is_host, names_tag
from polyarch.settings import Settings
from polyarch.unpack.limits import limits_of
from polyarch.verbs.moving.moved import IndexResult, PushResult
from polyarch.verbs.moving.push import Sending
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.unpack.recompress import Compression
    from polyarch.verbs.moving.index import Joining
    from polyarch.verbs.moving.recompressed import Recompressor


@dataclass(frozen=True, slots=True)
class MovingParts:
    """What these verbs work with; everything is made when it is first asked for.

    `found` are the images at hand that a text means; `name` is the reference that a text is, `taken` the one that it
    turns out to be where several registries are searched; `registry` is where a reference is kept, `platform` the
    platform that a text names, `verifiers` are the rules that images have to keep.
    """

    storage: Callable[[], Storage]
    found: Callable[[str], tuple[Image, ...]]
    name: Callable[[str], Reference]
    taken: Callable[[str], Reference]
    registry: Callable[[Reference], Registry]
    platform: Callable[[str], Platform]
    verifiers: Callable[[], Sequence[Verifier]]


class MovingVerbs:
    """`session.moving`. `platform` names one or several, with commas between; None means all."""

    def __init__(self, settings: Settings, parts: MovingParts, emit: Emit) -> None:
        self._settings = settings
        self._parts = parts
        self._emit = emit

    def push(
        self,
        reference: str,
        to: str | None = None,
        *,
        platform: str | None = None,
        max_connections: int | None = None,
        compression: Compression | None = None,
    ) -> PushResult:
        """Upload an image at hand, all its variants under one index, under its own name or `to`.

        What is named by its ID, or by the digest of its manifest, is one variant, and goes alone, under `to`. With
        `compression` its layers are compressed so, under new manifests; what is at hand stays.
        Raises NotFoundError, UsageError, StorageError, and what pushing to a registry raises.
        """
        from polyarch.verbs.moving.push import push_images
        from polyarch.verbs.stored import means_one, not_at_hand

        images = self._parts.found(reference)
        if not images:
            raise not_at_hand(reference, of_a_place=bool(self._parts.name(reference).scheme))
        names = list(dict.fromkeys(image.reference for image in images))
        alone = means_one(reference, images[0])
        if alone:
            images = (replace(images[0], root=images[0].manifest),)
        if to is None and (alone or len(names) > 1 or not names[0].tag or names[0].scheme):
            raise UsageError(f"{reference} does not say under which name it is to be pushed", "name it: push REF TO")
        name = names[0] if to is None else self._target_name(to)
        target = self._target(name)
        with platforms_errors(), self._recompressor(compression) as recompressor:
            return push_images(
                self._parts.storage(),
                images,
                target,
                name,
                self._sending(max_connections),
                source=reference,
                platforms=self._platforms(platform),
                tag_defaulted=name.tag == DEFAULT_TAG and not names_tag(reference if to is None else to),
                recompressor=recompressor,
            )

    @contextlib.contextmanager
    def _recompressor(self, compression: Compression | None) -> Iterator[Recompressor | None]:
        """What compresses layers so, with a folder for them; None where they stay as they are."""
        if compression is None:
            yield None
            return
        from polyarch.files import temporary_folder
        from polyarch.verbs.moving.recompressed import Recompressor

        storage = self._parts.storage()
        if not isinstance(storage, ReadsBlobs):
            raise UsageError("the storage cannot be read, so nothing can be pushed from it")
        with temporary_folder((self._settings.root / "push" / "tmp").absolute()) as folder:
            yield Recompressor(storage, folder, compression, self._emit, limits_of(self._settings))

    def copy(
        self, source: str, target: str, *, platform: str | None = None, max_connections: int | None = None
    ) -> PushResult:
        """From one registry to another, all variants and what refers to them; nothing of it stays here.

        Raises what reading from the one and pushing to the other raises, NoVariantError for a platform not there.
        """
        from polyarch.verbs.moving.copy import copy_image

        name = self._target_name(target)
        with platforms_errors(), self._or_at_hand([source], "push it from here: polyarch push {here} " + target):
            taken = self._parts.taken(source)
            return copy_image(
                self._parts.registry(taken),
                taken,
                self._target(name),
                name,
                self._sending(max_connections),
                platforms=self._platforms(platform),
                tag_defaulted=not names_tag(target),
                verifiers=self._parts.verifiers(),
            )

    def create_index(
        self, name: str, references: Sequence[str], *, allow_mislabelled: bool = False, dry_run: bool = False
    ) -> IndexResult:
        """Join what these names hold under one; what is elsewhere is mounted or copied.

        Raises UsageError for two of one platform, IntegrityError (Mislabelled), and what reading and pushing raises.
        """
        from polyarch.verbs.moving.index import create_index

        with platforms_errors(), self._or_at_hand(references):
            joining = self._joining(name, dry_run, allow_mislabelled)
            return create_index(joining, self._target_name(name), [self._parts.taken(each) for each in references])

    def append_to_index(
        self, name: str, references: Sequence[str], *, allow_mislabelled: bool = False, dry_run: bool = False
    ) -> IndexResult:
        """Add what these names hold to what one holds. Raises as `create_index`, and NotFoundError."""
        from polyarch.verbs.moving.index import append_to_index

        with platforms_errors(), self._or_at_hand(references):
            joining = self._joining(name, dry_run, allow_mislabelled)
            return append_to_index(joining, self._target_name(name), [self._parts.taken(each) for each in references])

    def remove_from_index(self, name: str, words: Sequence[str], *, dry_run: bool = False) -> IndexResult:
        """Take entries out of an index: platforms, digests or what references are. Raises NotFoundError, UsageError."""
        from polyarch.verbs.moving.index import platform_or_reference, remove_from_index

        def read(text: str) -> Platform | Reference:
            return platform_or_reference(text, self._parts.platform, self._parts.taken)

        with platforms_errors():
            return remove_from_index(self._joining(name, dry_run), self._target_name(name), words, read)

    def inspect_index(self, name: str) -> IndexResult:
        """The entries of an index at a registry. Raises UsageError for a name that is one manifest."""
        from polyarch.verbs.moving.index import inspect_index

        taken = self._parts.taken(name)
        with platforms_errors():
            return inspect_index(self._parts.registry(taken), taken)

    def _target_name(self, text: str) -> Reference:
        name = self._parts.name(text)
        if is_host(text.partition(":")[0]) and "/" not in text:
            raise UsageError(f"{text} is a registry, and no name in it", f"name it whole: {text}/REPOSITORY:TAG")
        if name.digest or (not name.tag and not name.scheme):
            raise UsageError(f"{text} names a digest, which nothing can be given", "name a tag")
        return name

    @contextlib.contextmanager
    def _or_at_hand(
        self, references: Sequence[str], hint: str = "push it first, and take that name: polyarch push {here} TO"
    ) -> Iterator[None]:
        """What no registry has, and is here, is told with this hint."""
        try:
            yield
        except (NotFoundError, UnauthorizedError) as error:
            missing = [each for each in references if self._parts.name(each).familiar_name in error.message]
            here = next((each for each in missing or references[:1] if self._parts.found(each)), None)
            if here is not None:
                said = f"{here} is at hand on this machine: {hint.format(here=here)}"
                # Docker Hub answers 401 for what is not there: to log in may help as well.
                login = error.hint if isinstance(error, UnauthorizedError) else None
                error.hint = f"{login}; or {said}" if login else said
            raise

    def _target(self, name: Reference) -> TakesImages:
        registry = self._parts.registry(name)
        if not isinstance(registry, TakesImages):
            hint = "into an archive or a folder it goes with: polyarch image save" if name.scheme else None
            raise UsageError(f"{name.familiar}: nothing can be pushed there", hint)
        return registry

    def _sending(self, max_connections: int | None) -> Sending:
        settings = self._settings
        return Sending(max_connections or settings.max_connections, settings.retries, self._emit, limits_of(settings))

    def _joining(self, name: str, dry_run: bool, allow_mislabelled: bool = False) -> Joining:
        from polyarch.verbs.moving.index import Joining

        return Joining(
            self._parts.registry,
            self._target,
            self._sending(None),
            dry_run,
            allow_mislabelled,
            tag_defaulted=not names_tag(name),
        )

    def _platforms(self, text: str | None) -> list[Platform]:
        return list(dict.fromkeys(self._parts.platform(each) for each in text.split(","))) if text else []
