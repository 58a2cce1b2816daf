"""The source: an image that the engine has, read from the archive that the engine makes of it."""

from __future__ import annotations

from pathlib import Path

from polyarch.contract import Located, NotFoundError, RegistryServices, disk_error, is_digest, parse_reference
from polyarch_plugins.storages.docker.engine import Engine
from polyarch_plugins.storages.docker.place import find_socket
from polyarch_plugins.storages.engine_answers import texts
from polyarch_plugins.storages.engine_images import EngineImages


def open_docker_daemon(services: RegistryServices) -> EngineImages:
    """The images of the engine that docker's own command would speak with. Asks it nothing yet."""
    socket = find_socket("", services.options, services.environ)
    engine = Engine(services.http_at(socket), socket)
    return EngineImages(
        "docker",
        _locate,
        lambda: (text for image in engine.images() for text in texts(image.get("RepoTags"))),
        lambda name, path: _save(engine, name, path),
        services.temporary,
    )


def _locate(text: str) -> Located:
    """`NAME`, `NAME:TAG`, or an image's whole ID. Without a tag docker would hand out all of the repository."""
    name = text
    if not is_digest(text):
        reference = parse_reference(text)
        name = f"{reference.familiar_name}:{reference.tag}"
    return Located(name, text, "")


def _save(engine: Engine, name: str, path: Path) -> None:
    """Write the image's archive into a new file. Raises NotFoundError, HostError and StorageError."""
    if engine.image(name) is None:
        raise NotFoundError(f"docker has no image {name}", "see: docker image ls")
    with engine.saved(name) as chunks:
        try:
            with path.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
        except OSError as error:
            raise disk_error(error, f"cannot keep docker's {name} in {path.parent}") from error
