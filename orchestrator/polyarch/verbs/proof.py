"""Holding what a variant promises against the program that its image starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.oci.config import ImageConfig
from polyarch.oci.document import Manifest
from polyarch.selection.types import Target, Verdict
from polyarch.unpack.entrypoint import EntrypointElf, Mislabelled, entrypoint_elf, mislabelled
from polyarch.unpack.limits import Limits
from polyarch_platforms.compatibility import rank
from polyarch_platforms.elf import contradiction, known_platform, platform_of
from polyarch_platforms.errors import ElfError
from polyarch_platforms.platform import Platform


def entrypoint_of(storage: ReadsBlobs, manifest: Manifest, config: ImageConfig, limits: Limits) -> EntrypointElf | None:
    """The program that a stored image starts, None where it starts none or the layers do not hold it."""
    layers = [partial(storage.open_blob, layer.digest) for layer in manifest.layers]
    return entrypoint_elf(layers, config, limits=limits)


def as_it_is(storage: ReadsBlobs, image: Image, limits: Limits) -> Image:
    """The image with the platform that its program is for, whatever it is labelled; unchanged if it starts none."""
    found = entrypoint_of(storage, image.manifest, image.config, limits)
    if found is None or contradiction(found.elf, image.platform) is None:
        return image
    return replace(image, platform=known_platform(found.elf) or image.platform)


def prove(
    name: str,
    verdict: Verdict,
    config: ImageConfig,
    found: EntrypointElf | None,
    target: Target | None,
    page_size: int | None = None,
    accept: Callable[[str], None] | None = None,
) -> Platform:
    """The platform of a variant: what was promised, with an arm variant that was left out filled in by the program.

    `name` is for messages, `page_size` (bytes) that of the target. Without `accept` a contradiction raises Mislabelled;
    with it, it is told the contradiction, and the platform is the one that the program is for.
    """
    promised = verdict.candidate.platform or config.platform
    fault, actual = _fault(promised, config, found, page_size)
    if fault is not None:
        if accept is not None:
            accept(f"{name} is mislabelled: {fault}; taken as {actual}")
            return actual
        raise mislabelled(name, fault, promised, actual)
    if verdict.unproven and target is not None and (doubt := _doubt(actual, found, target)):
        raise Mislabelled(
            f"{name} states no variant, and {doubt}", "ask for a platform that is certain", promised=str(promised)
        )
    if promised.architecture == "arm" and not promised.variant:
        return replace(promised, variant=actual.variant)
    return promised


def _fault(
    promised: Platform, config: ImageConfig, found: EntrypointElf | None, page_size: int | None
) -> tuple[str | None, Platform]:
    """Why the image is not what it promises (None if it may be), and what it is as far as that is known."""
    if found is None:
        if config.platform.architecture == promised.architecture:
            return None, promised
        return f"the index says {promised}, the image's config {config.platform}", config.platform
    try:
        actual = platform_of(found.elf)
    except ElfError as error:
        return f"{found.path}: {error}", promised
    fault = contradiction(found.elf, promised, page_size)
    return f"{found.path}: {fault}" if fault else None, actual


def _doubt(actual: Platform, found: EntrypointElf | None, target: Target) -> str | None:
    """Why an entry without a variant is not proven to run on the target; None if it is."""
    if found is None:
        return "it holds no program that could prove one"
    if not actual.variant:
        return f"{found.path} does not say which {actual.architecture} it needs"
    place = rank(target.native, actual)
    if place is not None and place.proven:
        return None
    return f"{found.path} is for {actual}, which {target.name} does not run"
