"""Locking names: what each stands for now, and what moved since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from polyarch.contract.others import TagConvention
from polyarch.errors import IntegrityError, NotFoundError, NoVariantError, UsageError, platforms_errors
from polyarch.events import Emit, Warned
from polyarch.files import is_there
from polyarch.lock.lock_file import change_lock, read_lock
from polyarch.lock.locked import Lock, LockedImage, LockedVariant, Move, moves
from polyarch.lock.pinned import Pin, pinned_copy
from polyarch.lock.sources import platforms_named_in, read_source
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch.resolution.candidates import candidates_of
from polyarch.resolution.documents import Documents
from polyarch.resolution.resolve import resolve
from polyarch.selection.targets import target_for_platform
from polyarch.selection.types import Candidate
from polyarch.verbs.locked_pull import changed_by_hand
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, parse


@dataclass(frozen=True, slots=True)
class LockChange:
    """What locking a name did: `image` stands in the lock now, `old` stood there before.

    `lacks` are the platforms that were wanted, and that the name has no variant for.
    """

    image: LockedImage
    old: LockedImage | None
    lacks: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["new", "updated", "unchanged"]:
        """`unchanged` is the entry as it was, with its time."""
        return "new" if self.old is None else "unchanged" if self.old == self.image else "updated"

    @property
    def moved(self) -> tuple[Move, ...]:
        """The platforms whose manifest is another one than before."""
        return moves(self.old, self.image) if self.old else ()

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        image = self.image
        return {
            "reference": str(image.reference),
            "status": self.status,
            "digest": image.digest,
            "previous": self.old.digest if self.old else None,
            "manifests": [
                {"platform": each.platform, "manifest": each.manifest, "size": each.size} for each in image.variants
            ],
            "moved": [_move_json(move) for move in self.moved],
            "lacks": list(self.lacks),
            "served_by": image.served_by or None,
            "locked": f"{image.locked:%Y-%m-%dT%H:%M:%SZ}",
        }


@dataclass(frozen=True, slots=True)
class LockCheck:
    """What became of a locked name. `now` is what it points at, None if it is gone."""

    image: LockedImage
    status: Literal["same", "moved", "gone"]
    now: Digest | None
    moved: tuple[Move, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "reference": str(self.image.reference),
            "status": self.status,
            "digest": self.image.digest,
            "now": self.now,
            "moved": [_move_json(move) for move in self.moved],
        }


def _move_json(move: Move) -> dict[str, object]:
    return {"platform": move.platform, "old": move.old, "new": move.new}


class LockVerbs:
    """`session.locks`. A `file` is the lock file; every method raises UsageError for one that cannot be read.

    What reads from registries raises NotFoundError, UnauthorizedError, UnreachableError, IntegrityError besides.
    """

    def __init__(
        self,
        *,
        names: Callable[[str], Sequence[Reference]],
        taken: Callable[[str], Reference],
        documents: Callable[[Reference], Documents],
        conventions: Callable[[], Sequence[TagConvention]],
        environ: Mapping[str, str],
        emit: Emit,
    ) -> None:
        """`names` are the references that a text may mean, `taken` the one that it does, as its registries say."""
        self._names, self._taken, self._documents = names, taken, documents
        self._make_conventions, self._environ, self._emit = conventions, environ, emit

    @cached_property
    def _conventions(self) -> Sequence[TagConvention]:
        return self._make_conventions()

    def lock(self, file: Path, name: str, platforms: Sequence[str] = (), wanted: Sequence[str] = ()) -> LockChange:
        """Lock what a name stands for now: its variants for `platforms`, all of its index if none is given.

        `wanted` are platforms that the name has to have, too; the result tells which it lacks. Raises NoVariantError
        if there is none for any of `platforms`.
        """
        reference = self._lockable(self._taken(name))
        asked = _sorted_platforms([*platforms, *wanted] if platforms else ())
        old = read_lock(file).entry(reference) if is_there(file) else None
        if old and old.reference != reference:  # a tag with its digest behind it, which is locked as the tag
            return LockChange(old, old, self._lacking(old, wanted))
        image = self._state(reference, asked)
        if old and old.same_content(image):
            image = old
        change_lock(file, lambda lock: lock.with_images([image]))
        return LockChange(image, old, self._lacking(image, [*platforms, *wanted]))

    def update(self, file: Path, name: str, platforms: Sequence[str] = (), wanted: Sequence[str] = ()) -> LockChange:
        """Lock a name that is locked anew, for the same platforms unless others are given; otherwise as `lock`."""
        old = self.entry(read_lock(file), name, file)
        asked = _sorted_platforms([*platforms, *wanted]) if platforms else old.platforms
        if asked == old.platforms and self._unmoved(old) and self._by_hand(old) is None:
            return LockChange(old, old, self._lacking(old, [*asked, *wanted]))
        image = self._state(old.reference, asked)
        if old.same_content(image):
            image = old
        change_lock(file, lambda lock: lock.with_images([image]))
        return LockChange(image, old, self._lacking(image, [*asked, *wanted]))

    def check(self, image: LockedImage, wanted: Sequence[str] = ()) -> LockCheck:
        """Whether a locked name still stands for the same. A name that is gone is an answer, no error.

        A warning tells which of the platforms `wanted` the lock lacks. Raises IntegrityError if the name points at what
        it did, and the variants in the lock are others: it was changed by hand, and a pull would refuse it.
        """
        self._lacking(image, wanted)
        try:
            if self._unmoved(image):
                if wrong := self._by_hand(image):
                    raise wrong
                return LockCheck(image, "same", image.digest)
            current = self._state(image.reference, image.platforms)
        except NotFoundError:
            return LockCheck(image, "gone", None)
        except NoVariantError:
            gone = tuple(Move(each.platform, each.manifest, None) for each in image.variants)
            return LockCheck(image, "moved", self._head(image.reference), gone)
        if current.digest == image.digest and current.variants == image.variants:
            return LockCheck(image, "same", current.digest)
        return LockCheck(image, "moved", current.digest, moves(image, current))

    def entry(self, lock: Lock, name: str, file: Path) -> LockedImage:
        """What a name, as a user writes it, is locked to. Raises UsageError if it is not."""
        return self.entries(lock, [name], file)[name]

    def entries(self, lock: Lock, names: Iterable[str], file: Path) -> dict[str, LockedImage]:
        """What several names are locked to. Raises UsageError, which tells all that are not."""
        found: dict[str, LockedImage] = {}
        missing: list[str] = []
        for name in names:
            meant = self._names(name)
            entry = next((entry for each in meant if (entry := lock.entry(each))), None)
            if entry:
                found[name] = entry
            else:
                missing.append(meant[0].familiar)
        if missing:
            are = "is" if len(missing) == 1 else "are"
            hint = f"lock what is missing: polyarch lock {' '.join(missing)}"
            raise UsageError(f"{', '.join(missing)} {are} not in {file}", hint, missing=missing)
        return found

    def named_in(self, path: Path) -> dict[str, tuple[str, ...]]:
        """The names in a Compose file, Kubernetes manifests, a Dockerfile or another lock file; each with the platforms
        that it is wanted for there.
        """
        return platforms_named_in(path, self._environ)

    def pinned(self, file: Path, path: Path) -> tuple[str, tuple[Pin, ...]]:
        """A copy of a Compose file, Kubernetes manifests or a Dockerfile with the locked digests in it."""
        return pinned_copy(read_source(path, self._environ), read_lock(file), str(file))

    def _lacking(self, image: LockedImage, platforms: Iterable[str]) -> tuple[str, ...]:
        wanted = _sorted_platforms(platforms)
        lacks = tuple(each for each in wanted if image.best_for(_platform(each)) is None)
        if lacks:
            have = ", ".join(image.manifests)
            self._emit(Warned(f"{image.reference.familiar}: the lock lacks {', '.join(lacks)} (it has {have})"))
        return lacks

    def _lockable(self, reference: Reference) -> Reference:
        if reference.scheme:
            raise UsageError(f"{reference} is no name in a registry", "a lock holds names that other machines can pull")
        return reference

    def _head(self, reference: Reference) -> Digest | None:
        """What a name points at; None where the registry does not tell it without the document."""
        found = self._documents(reference).registry.head(reference)
        return found.digest if found else None

    def _unmoved(self, image: LockedImage) -> bool:
        """True if a name points at what it did, and that tells all: no variant was found by a tag convention."""
        return not any(each.reference for each in image.variants) and self._head(image.reference) == image.digest

    def _by_hand(self, image: LockedImage) -> IntegrityError | None:
        documents = self._documents(image.reference)
        pointed_at = image.reference.with_digest(image.digest)
        return changed_by_hand(image, documents, documents.root(pointed_at))

    def _state(self, reference: Reference, platforms: Sequence[str]) -> LockedImage:
        documents = self._documents(reference)
        root = documents.root(reference, known=True)
        if platforms:
            variants = self._asked(documents, reference, platforms)
        else:
            candidates = candidates_of(documents, reference, root)
            variants = tuple(_variant(each, reference) for each in candidates if each.platform)
        if not variants:
            raise NoVariantError(f"{reference.familiar} holds no image of any platform")
        return LockedImage(
            reference,
            root.digest,
            tuple(sorted(dict.fromkeys(variants), key=lambda each: each.platform)),
            datetime.now(UTC).replace(microsecond=0),
            documents.blob_served_by(root.digest) or "",
            tuple(platforms),
        )

    def _asked(self, documents: Documents, reference: Reference, platforms: Sequence[str]) -> tuple[LockedVariant, ...]:
        """The variants that the platforms would take: the same on every machine, so none by emulation."""
        found: list[LockedVariant] = []
        refused: NoVariantError | None = None
        for platform in platforms:
            target = target_for_platform(_platform(platform), None)
            try:
                chosen = resolve(documents, reference, target, "never", self._conventions, known=True).chosen
            except NoVariantError as error:
                refused = error
                continue
            found.append(_variant(chosen.candidate, reference))
        if refused and not found:
            raise refused
        return tuple(found)


def _variant(candidate: Candidate, reference: Reference) -> LockedVariant:
    elsewhere = "" if candidate.reference == reference else str(candidate.reference)
    return LockedVariant(str(candidate.platform), candidate.manifest.digest, candidate.manifest.size, elsewhere)


def _platform(text: str) -> Platform:
    with platforms_errors():
        return parse(text)


def _sorted_platforms(platforms: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({str(_platform(platform)) for platform in platforms}))
