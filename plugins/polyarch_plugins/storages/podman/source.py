"""The source: an image that podman has, read from the archive that podman makes of it.

The archive is docker's kind. It has the config as it is and the layers as podman keeps them, unpacked; an OCI archive
would have layers compressed anew, and of a docker image another config.
"""

from __future__ import annotations

import contextlib
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
    UsageError,
    parse_reference,
)
from polyarch_plugins.storages.podman.engine import Engine
from polyarch_plugins.storages.podman.place import find_place


class ContainersStorage(HeldImages):
    """podman's images, each in an archive of its own when it is asked for."""

    def __init__(self, engine: Engine, open_image: Callable[[str], DockerArchive]) -> None:
        super().__init__(lambda text: Located(text, text, ""), open_image)
        self._engine = engine

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags that podman has of the repository. Raises NotFoundError where it has none."""
        wanted = parse_reference(reference.repository)
        tags: dict[str, None] = {}
        for names, _ in self._engine.images():
            for text in names:
                with contextlib.suppress(UsageError):  # a name as only podman has them
                    if (name := parse_reference(text)).name == wanted.name and name.tag:
                        tags[name.tag] = None
        if not tags:
            raise NotFoundError(f"podman has no image of {wanted.familiar_name}", "see: podman image ls")
        return iter(tags)


def open_containers_storage(services: RegistryServices) -> ContainersStorage:
    """The images of the podman that the user named, else of the one found on PATH. Asks it nothing yet."""
    place = find_place("", services.options, services.environ)
    engine: Engine
    if place.socket is not None:
        from polyarch_plugins.storages.podman.service import Service

        engine = Service(services.http_at(place.socket), place.socket)
    else:
        from polyarch_plugins.storages.podman.program import Program

        engine = Program(place.command, services.environ, services.temporary)

    def open_image(name: str) -> DockerArchive:
        path = _exported(engine, name, services.temporary())
        try:
            archive = DockerArchive(path, services.temporary)
        finally:
            path.unlink()  # it stays open as long as it is read
        archive.where = f"podman's {name}"
        return archive

    return ContainersStorage(engine, open_image)


def _exported(engine: Engine, name: str, folder: Path) -> Path:
    """A file in `folder` with the image's archive."""
    path = folder / f"{uuid.uuid4().hex}.tar"
    try:
        engine.save(name, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
