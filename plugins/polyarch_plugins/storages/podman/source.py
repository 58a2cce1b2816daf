"""The source: an image that podman has, read from the archive that podman makes of it.

The archive is docker's kind. It has the config as it is and the layers as podman keeps them, unpacked; an OCI archive
would have layers compressed anew, and of a docker image another config.
"""

from __future__ import annotations

from polyarch.contract import Located, RegistryServices
from polyarch_plugins.storages.engine_images import EngineImages
from polyarch_plugins.storages.podman.place import open_engine


def open_containers_storage(services: RegistryServices) -> EngineImages:
    """The images of the podman that the user named, else of the one found on PATH. Asks it nothing yet."""
    engine = open_engine(services)
    return EngineImages(
        "podman",
        lambda text: Located(text, text, ""),
        lambda: (name for names, _ in engine.images() for name in names),
        engine.save,
        services.temporary,
    )
