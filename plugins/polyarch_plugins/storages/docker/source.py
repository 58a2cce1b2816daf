"""The source: an image that the engine has, read from the archive that the engine makes of it."""

from __future__ import annotations

import uuid
from pathlib import Path

from polyarch.contract import (
    DockerArchive,
    HeldImages,
    Located,
    NotFoundError,
    RegistryServices,
    disk_error,
    is_digest,
    parse_reference,
)
from polyarch_plugins.storages.docker.engine import Engine
from polyarch_plugins.storages.docker.place import find_socket


def open_docker_daemon(services: RegistryServices) -> HeldImages:
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

    return HeldImages(_locate, open_image)


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
