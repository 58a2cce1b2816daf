"""The images that a Dockerfile builds upon: named there, brought by polyarch, offered to the builder by digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from polyarch.contract.storage import Image
from polyarch.errors import StorageError, UsageError
from polyarch.files import read_bounded
from polyarch.lock.dockerfile import dockerfile_images
from polyarch.lock.named import Fault
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

_MAX_SIZE = 8 << 20
_FROM = re.compile(r"^[ \t]*FROM[ \t].*", re.IGNORECASE | re.MULTILINE)
_ARGUMENT = re.compile(r"\$\{?((?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT))\b")


@dataclass(frozen=True, slots=True)
class Bases:
    """What a build for one platform stands on: the images, and the Dockerfile's text with each one's digest in it."""

    images: tuple[Image, ...]
    text: str


def repository_of(image: Image) -> str:
    """The whole name of a base image, without its tag."""
    return f"{image.reference.registry}/{image.reference.repository}"


def platform_arguments(target: Platform, native: Platform) -> dict[str, str]:
    """What a Dockerfile may use without being given it (Dockerfile reference, "Automatic platform ARGs")."""
    found = {}
    for word, platform in (("TARGET", target), ("BUILD", native)):
        found[f"{word}PLATFORM"] = str(platform)
        found[f"{word}OS"] = platform.os
        found[f"{word}ARCH"] = platform.architecture
        found[f"{word}VARIANT"] = platform.variant
    return found


def read_dockerfile(path: Path) -> str:
    """Its text. Raises UsageError."""
    try:
        text = read_bounded(path, _MAX_SIZE).decode().removeprefix("\ufeff")
    except FileNotFoundError as error:
        raise UsageError(f"there is no {path}", "name the Dockerfile: --file FILE") from error
    except (OSError, StorageError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not text.strip():  # of which a builder would say that its copy is empty
        raise UsageError(f"{path} is empty", "a Dockerfile begins with FROM")
    return text


def bases_of(
    text: str, where: str, arguments: Mapping[str, str], platform: Platform, image: Callable[[str, str], Image]
) -> Bases:
    """The bases of a build for `platform`; `image` brings a name's variant for a platform.

    Raises UsageError, with the line, for a Dockerfile whose names cannot be told; what `image` raises.
    """
    try:
        named = list(dockerfile_images(text, arguments))
    except Fault as fault:
        raise UsageError(f"{where}, line {fault.line}: {fault.what}", fault.hint) from fault
    images, parts, end = dict[Digest, Image](), list[str](), 0
    for each in named:
        base = image(each.name, each.platform or str(platform))
        images[base.manifest.digest] = base
        parts += [text[end : each.start], f"{repository_of(base)}@{base.manifest.digest}"]
        end = each.end
    return Bases(tuple(images.values()), _declared("".join([*parts, text[end:]])))


def _declared(text: str) -> str:
    """The text, with an ARG before the first FROM for each argument of the platforms that some FROM uses.

    BuildKit has them there by itself; buildah 1.28 knows no more of them than it is told.
    """
    used = {name for line in _FROM.findall(text) for name in _ARGUMENT.findall(line)}
    first = _FROM.search(text)
    if first is None or not used:
        return text
    at = first.start()
    return text[:at] + "".join(f"ARG {name}\n" for name in sorted(used)) + text[at:]
