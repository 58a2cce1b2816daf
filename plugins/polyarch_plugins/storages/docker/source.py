"""The source: an image that the engine has, read from the archive that the engine makes of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.contract import (
    DockerArchive,
    HeldImages,
    Located,
    NotFoundError,
    Reference,
    RegistryServices,
    disk_error,
    is_digest,
    parse_reference,
)
from polyarch_plugins.storages.docker.engine import Engine
from polyarch_plugins.storages.docker.place import find_socket


class DockerDaemon(HeldImages):
    """The engine's images, each in an archive of its own when it is asked for."""

    def __init__(self, engine: Engine, open_image: Callable[[str], DockerArchive]) -> None:
        super().__init__(_locate, open_image)
        self._engine = engine

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags that docker has of the repository. Raises NotFoundError where it has none."""
        wanted = parse_reference(reference.repository)
        texts = [str(text) for image in self._engine.images() for text in image.get("RepoTags") or ()]
        tags = dict.fromkeys(name.tag for name in map(parse_reference, texts) if name.name == wanted.name)
        if not tags:
            raise NotFoundError(f"docker has no image of {wanted.familiar_name}", "see: docker image ls")
        return iter(tags)


def open_docker_daemon(services: RegistryServices) -> DockerDaemon:
    """The images of the engine that docker's own command would speak with. Asks it nothing yet."""
    socket = find_socket("", services.options, services.environ)
    engine = Engine(services.http_at(socket), socket)

    def open_image(name: str) -> DockerArchive:
        path = _exported(engine, name, services.temporary())
        try:
            archive = DockerArchive(path, services.temporary)
        finally:
            path.unlink()  # it stays open as long as it is read
        archive.where = f"docker's {name}"
        return archive

    return DockerDaemon(engine, open_image)


def _locate(text: str) -> Located:
    """`NAME`, `NAME:TAG`, or an image's whole ID. Without a tag docker would hand out all of the repository."""
    name = text
    if not is_digest(text):
        reference = parse_reference(text)
        name = f"{reference.familiar_name}:{reference.tag}"
    return Located(name, text, "")


def _exported(engine: Engine, name: str, folder: Path) -> Path:
    """A file in `folder` with the image's archive. Raises NotFoundError, HostError and StorageError."""
    if engine.image(name) is None:
        raise NotFoundError(f"docker has no image {name}", "see: docker image ls")
    path = folder / f"{uuid.uuid4().hex}.tar"
    try:
        with engine.saved(name) as chunks, path.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise disk_error(error, f"cannot keep docker's {name} in {folder}") from error
        raise
    return path
