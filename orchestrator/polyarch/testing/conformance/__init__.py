"""The conformance kit: what the contract promises, as tests that a plugin's author takes over.

Subclass the class of your kind of plugin in a test file, give its one fixture, run pytest. Each test holds one promise;
its docstring says which, its failure where the contract has it. Tests of an optional ability (`ReadsBlobs`,
`RemovesImages`, …) are skipped where the object does not have it. Nothing but pytest is needed.

A storage: a function that opens it at the same place each time it is called, as one process after the other does. ::

    class TestShelf(StorageConformance):
        several_platforms = False  # as in the StoragePlugin; True if not said

        @pytest.fixture
        def open_storage(self, tmp_path, polyarch_storage_services):
            return lambda: Shelf(polyarch_storage_services(str(tmp_path / "shelf")))

A plugin that makes an ImageLoader in place of a Storage (`several_names = False`: one place keeps one name)::

    class TestCrate(LoaderConformance):
        @pytest.fixture
        def open_loader(self, tmp_path, polyarch_storage_services):
            return lambda: Crate(polyarch_storage_services(str(tmp_path / "crate.tar")))

Images and names are new in each test, so an engine may be started once for all of them.

A registry: `polyarch_content.layout` is the folder of an OCI image layout with the images `IMAGE`, `INDEX`, … Let the
registry offer what it can of them, and answer the references under which it does (at least that of `IMAGE`)::

    class TestAttic(RegistryConformance):
        @pytest.fixture
        def source(self, polyarch_content, polyarch_registry_services):
            attic = Attic(polyarch_registry_services)
            folder = str(polyarch_content.layout)
            return Source(attic, {name: Reference("", folder, name, scheme="attic") for name in polyarch_content.names})

`Source(…, exact=False)` is for one that makes its manifests itself (an engine that does not keep them).

One that takes images, too; the tests write, into repositories that are new in each test::

    class TestAtticTakes(PushConformance):
        @pytest.fixture
        def target(self, tmp_path, polyarch_registry_services):
            return Target(Attic(polyarch_registry_services), Reference("", str(tmp_path), "tag", scheme="attic"))

A tag convention::

    class TestPrefix(TagConventionConformance):
        @pytest.fixture
        def convention(self):
            return Prefix(PluginServices())

The fixtures whose names begin with `polyarch_` come with polyarch's pytest plugin, which is there wherever polyarch is
installed: services as polyarch itself hands them to factories (real HTTP, sockets), and the content of registries.
"""

from __future__ import annotations

from polyarch.testing.conformance.content import (
    BIG_LAYER,
    DOCKER,
    DOCKER_LIST,
    IMAGE,
    INDEX,
    LONG_TAG,
    ODD,
    Content,
    Source,
)
from polyarch.testing.conformance.loader import LoaderConformance
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch.testing.conformance.push import PushConformance, Target
from polyarch.testing.conformance.registry import RegistryConformance
from polyarch.testing.conformance.storage import StorageConformance
from polyarch.testing.conformance.storage_base import Opener
from polyarch.testing.conformance.tags import TagConventionConformance

__all__ = [
    "BIG_LAYER",
    "DOCKER",
    "DOCKER_LIST",
    "IMAGE",
    "INDEX",
    "LONG_TAG",
    "ODD",
    "Content",
    "LoaderConformance",
    "LoaderOpener",
    "Opener",
    "PushConformance",
    "RegistryConformance",
    "Source",
    "StorageConformance",
    "TagConventionConformance",
    "Target",
]
