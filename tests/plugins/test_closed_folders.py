"""Places that lie in a folder which is closed to the user, and homes of users that there are not: told, never a defect.

Python's own `Path.exists` and `Path.is_dir` raise PermissionError there (until 3.14), and `expanduser` RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.contract import PolyarchError, StorageServices, locate_file
from polyarch.registry.local import LocalHttp
from polyarch.registry.machine_files import MachineFiles, podman_files
from polyarch.settings import load_settings
from polyarch_plugins.registries.oci_layout.place import LayoutPlace
from polyarch_plugins.storages.archives.oci import OciArchiveStorage
from polyarch_plugins.storages.docker.loader import open_docker
from polyarch_plugins.storages.oci.storage import open_storage
from polyarch_plugins.storages.podman.loader import open_podman
from support.isolation import without_privilege


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "closed"
    (folder / "in").mkdir(parents=True)
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def services(place: Path) -> StorageServices:
    return StorageServices(place, str(place), http_at=LocalHttp)


ASKED: list[tuple[Callable[[Path], object], str]] = [
    (lambda place: LayoutPlace(str(place)), "NotFoundError: there is no folder"),
    (lambda place: list(OciArchiveStorage(services(place / "x.tar")).images()), "StorageError: there is no folder"),
    (lambda place: list(open_storage(services(place)).images()), "DeniedError: cannot read"),
    (lambda place: list(open_docker(services(place)).summaries()), "HostError: docker does not run here"),  # type: ignore[attr-defined]
    (lambda place: list(open_podman(services(place)).summaries()), "HostError: podman's service does not run here"),
]


@pytest.mark.parametrize(("ask", "told"), ASKED)
def test_a_place_in_a_closed_folder(ask: Callable[[Path], object], told: str, closed: Path) -> None:
    def message() -> str:
        try:
            return repr(ask(closed / "in"))
        except PolyarchError as error:
            return f"{type(error).__name__}: {error}"

    assert without_privilege(message).startswith(told)


def test_files_of_the_machine_in_closed_folders_are_none(closed: Path) -> None:
    environ = {"HOME": str(closed), "POLYARCH_CONTAINERD_HOSTS": str(closed / "in")}

    def found() -> tuple[object, ...]:
        settings = load_settings(environ=environ)
        files = list(podman_files(settings, closed / "in"))
        return settings.config_file, files, MachineFiles(settings).hosts_of("example.com")

    assert without_privilege(found) == (None, [], None)


def test_homes_of_nobody() -> None:
    assert locate_file("~no-such-user/x").place == str(Path("~no-such-user/x").absolute())
    assert locate_file("~/x:1.0").place == str(Path.home() / "x")
    storage = OciArchiveStorage(StorageServices(Path("/nowhere"), "~no-such-user/x.tar"))
    with pytest.raises(PolyarchError, match=r"there is no folder .*/~no-such-user to write x.tar into"):
        list(storage.images())
