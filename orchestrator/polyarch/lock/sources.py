"""The files that name images, told apart by content: Compose, Kubernetes manifests, Dockerfiles and lock files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from polyarch.errors import StorageError, UsageError
from polyarch.files import read_bounded
from polyarch.lock import yaml_nodes
from polyarch.lock.compose import compose_images, env_file, is_compose
from polyarch.lock.dockerfile import dockerfile_images, is_dockerfile
from polyarch.lock.kubernetes import is_kubernetes, kubernetes_images
from polyarch.lock.lock_file import parse_lock
from polyarch.lock.named import Fault, NamedImage
from polyarch_platforms.lazy_dataclass import dataclass

MAX_SIZE = 8 << 20
"""Bytes of a file that are read."""

Kind: TypeAlias = Literal["compose", "kubernetes", "dockerfile"]

_WANTED = "give the path of a Compose file, of Kubernetes manifests or of a Dockerfile"
_LOCK = re.compile(r"^(?:version[ \t]*=|\[\[image\]\])", re.MULTILINE)
_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Source:
    """A file that names images: its text as it is, and what it names, in its order.

    `mark` is the byte order mark before the text, where there is one; places in the text do not count it.
    """

    path: Path
    kind: Kind
    mark: str
    text: str
    images: tuple[NamedImage, ...]


def images_named_in(path: Path, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The image names in a Compose file, Kubernetes manifests, a Dockerfile or a lock file, each once, in its order.

    `environ` holds the variables that a Compose file may use, before those of the file `.env` beside it.
    Raises UsageError: no such file, none of these kinds, something wrong in it (with the line); HostError where PyYAML
    is missing.
    """
    return tuple(platforms_named_in(path, environ or {}))


def platforms_named_in(path: Path, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The same names, each with the platforms that it is wanted for there; () where nothing is said of them."""
    text = _text(path)
    if _LOCK.search(text) and not is_dockerfile(text):
        return {str(image.reference): image.platforms for image in parse_lock(text, str(path)).images}
    found: dict[str, list[str]] = {}
    for image in _read(path, text, environ).images:
        found.setdefault(image.name, []).extend([image.platform] if image.platform else [])
    return {name: tuple(dict.fromkeys(platforms)) for name, platforms in found.items()}


def read_source(path: Path, environ: Mapping[str, str]) -> Source:
    """What a Compose file, Kubernetes manifests or a Dockerfile names. Raises as `images_named_in`."""
    return _read(path, _text(path), environ)


def _read(path: Path, text: str, environ: Mapping[str, str]) -> Source:
    mark = _ORDER_MARK if text.startswith(_ORDER_MARK) else ""
    text = text.removeprefix(mark)
    try:
        if is_dockerfile(text):
            return Source(path, "dockerfile", mark, text, tuple(dockerfile_images(text)))
        documents = yaml_nodes.documents(text)
        if any(map(is_kubernetes, documents)):
            return Source(path, "kubernetes", mark, text, _each_once(_all_of_kubernetes(documents)))
        if any(map(is_compose, documents)):
            variables = {**_beside(path), **environ}
            images = (image for document in documents for image in compose_images(document, variables))
            return Source(path, "compose", mark, text, _each_once(images))
    except Fault as fault:
        raise UsageError(f"{path}, line {fault.line}: {fault.what}", fault.hint) from fault
    raise UsageError(
        f"{path} names no images: it is no Compose file, no Kubernetes manifest and no Dockerfile",
        "a Compose file has services, a manifest has apiVersion and kind, a Dockerfile begins with FROM or ARG",
    )


def _all_of_kubernetes(documents: list[yaml_nodes.Node]) -> Iterator[NamedImage]:
    for document in documents:
        yield from kubernetes_images(document)


def _each_once(images: Iterator[NamedImage]) -> tuple[NamedImage, ...]:
    """A place in the text that several aliases lead to counts once, for each platform that it is wanted for."""
    return tuple(dict.fromkeys(images))


def _text(path: Path) -> str:
    try:
        return read_bounded(path, MAX_SIZE).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: this is no UTF-8 text") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", _WANTED) from error
    except StorageError as error:
        raise UsageError(error.message, _WANTED) from error


def _beside(path: Path) -> dict[str, str]:
    """What the file `.env` in the folder of a Compose file sets."""
    try:
        return env_file(_text(path.with_name(".env")))
    except UsageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
