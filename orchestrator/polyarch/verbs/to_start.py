"""The image that something is started from on this machine: at hand, or pulled first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from polyarch.container.failures import JustRemoved
from polyarch.contract.storage import HasBlobFiles, Image, ReadsBlobs, Storage
from polyarch.errors import NoVariantError, platforms_errors
from polyarch.selection.types import EmulationPolicy, Target, target_of
from polyarch.unpack.limits import Limits
from polyarch.verbs.stored import best_of, one_of, still_best
from polyarch_platforms.device import Device
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.verbs.results import PullResult


T = TypeVar("T")

_TRIES = 5
"""Of bringing an image in that others remove each time before it is started."""


class Pull(Protocol):
    """Brings an image in: see `Session.pull`."""

    def __call__(
        self,
        reference: str,
        *,
        platform: str | None,
        emulation: EmulationPolicy | None,
        allow_mislabelled: bool,
    ) -> tuple[PullResult, ...]: ...


@dataclass(frozen=True, slots=True)
class StartParts:
    """What is needed of a session; everything is made when it is first asked for.

    `found` are the images at hand that a text means; `target` is what is chosen for, a platform by name or this
    machine; `policy` is about emulation, where nothing else was said; `files` is the storage, which has to keep blobs
    as files; `settle` waits for observers.
    """

    found: Callable[[str], tuple[Image, ...]]
    machine: Callable[[], Device]
    target: Callable[[str | None], Target]
    policy: Callable[[EmulationPolicy | None], EmulationPolicy]
    pull: Pull
    storage: Callable[[], Storage]
    files: Callable[[], HasBlobFiles]
    settle: Callable[[], None]
    limits: Limits


class ImagesToStart:
    """`pull` is `missing`, `always` or `never`; None for `platform` is this machine's."""

    def __init__(self, parts: StartParts) -> None:
        self._parts = parts

    def with_files(
        self, reference: str, platform: str | None, emulation: EmulationPolicy | None, pull: str, as_it_is: bool
    ) -> tuple[Image, HasBlobFiles]:
        """An image for a container of this machine, and where its blobs are. `as_it_is`: also a mislabelled one.

        Raises what pulling raises, and NoVariantError for one that needs emulation where none is allowed.
        """
        image = self.image(reference, platform, emulation, pull, as_it_is)
        self._check_emulation(image, emulation)
        storage = self._parts.files()
        with platforms_errors():
            if as_it_is and isinstance(storage, ReadsBlobs):
                from polyarch.verbs import proof

                image = proof.as_it_is(storage, image, self._parts.limits)
            self._parts.settle()
        return image, storage

    def started(
        self,
        start: Callable[[Image, HasBlobFiles], T],
        reference: str,
        platform: str | None,
        emulation: EmulationPolicy | None,
        pull: str,
        as_it_is: bool,
    ) -> T:
        """What `start` makes of an image of `with_files`; one that another process removes meanwhile is brought again.

        Raises what `start` and `with_files` raise.
        """
        for _ in range(0 if pull == "never" else _TRIES - 1):
            with contextlib.suppress(JustRemoved):
                return start(*self.with_files(reference, platform, emulation, pull, as_it_is))
        return start(*self.with_files(reference, platform, emulation, pull, as_it_is))

    def _check_emulation(self, image: Image, emulation: EmulationPolicy | None) -> None:
        """A platform asked for by name is taken for any machine; whether this one may emulate it is asked here."""
        native = {platform.architecture for platform in self._parts.machine().native}
        if self._parts.policy(emulation) == "never" and image.platform.architecture not in native:
            raise NoVariantError(
                f"{image.reference.familiar} ({image.platform}) runs here only by emulation, which is not allowed",
                "allow emulation with --emulation auto",
            )

    def image(
        self, reference: str, platform: str | None, emulation: EmulationPolicy | None, pull: str, as_it_is: bool = False
    ) -> Image:
        """The variant that is started, or built upon. Raises what pulling raises."""
        policy = self._parts.policy(emulation)
        at_hand = () if pull == "always" else self._parts.found(reference)

        def fitting(target: Target, policy: EmulationPolicy) -> Image | None:
            image = best_of(at_hand, target, policy)
            return image if image is not None and (pull == "never" or still_best(image, target, policy)) else None

        if at_hand and platform is None:
            # What is native comes before all that is emulated: then no emulator is looked for, and none tried.
            image = fitting(target_of(self._parts.machine(), here=True), "never")
            if image is not None:
                return image
        target = self._parts.target(platform)
        image = fitting(target, policy)
        if image is not None:
            return image
        if pull == "never":
            return one_of(at_hand, reference, target, asked=platform is not None)
        (result, *_) = self._parts.pull(reference, platform=platform, emulation=emulation, allow_mislabelled=as_it_is)
        digest = result.candidate.manifest.digest
        for image in self._parts.storage().find(result.name):
            if image.manifest.digest == digest:
                return image
        raise JustRemoved(f"{result.name.familiar} was removed just now", f"polyarch pull {result.name.familiar}")
