"""The files of podman and containerd on this machine: where they are, and what they say when somebody wants to know.

Most machines have none, and most calls do not need to know: the parsers are loaded where there is something to parse.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polyarch.errors import UsageError
from polyarch.files import is_there
from polyarch.settings import Settings
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.registry.hosts_toml import Hosts
    from polyarch.registry.registries_conf import RegistriesConf

NO_FILE = "none"
"""The value of a setting that keeps other tools' files out."""

SYSTEM = Path("/etc/containers")
CONTAINERD_HOSTS = Path("/etc/containerd/certs.d")
MAX_DROP_INS = 200
"""Files of one registries.conf.d that are read."""


@dataclass(frozen=True, slots=True)
class PodmanFile:
    """A file of podman's that exists; a `drop-in` adds to the `main` one, in `names` it has recorded short names."""

    path: Path
    kind: Literal["main", "drop-in", "names"]


class MachineFiles:
    """What this machine's files say of registries; each is read once, when first needed. For any number of threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._read: tuple[RegistriesConf | None] | None = None
        self._hosts: dict[str, Hosts | None] = {}

    def conf(self) -> RegistriesConf | None:
        """What podman's files say; None where there is none. Raises UsageError for a broken one."""
        with self._lock:
            if self._read is None:
                files = list(podman_files(self._settings))
                self._read = (read_conf(files) if files else None,)
            return self._read[0]

    def hosts_of(self, registry: str) -> Hosts | None:
        """What containerd's files say of a registry; None for nothing. Raises UsageError for a broken one."""
        with self._lock:
            if registry not in self._hosts:
                directory = hosts_directory(self._settings)
                if directory is None:
                    return None
                from polyarch.registry.hosts_toml import find_hosts

                self._hosts[registry] = find_hosts(directory, registry)
            return self._hosts[registry]


def hosts_directory(settings: Settings) -> Path | None:
    """The folder of containerd's hosts.toml files; None if there is none."""
    directory = Path(settings.containerd_hosts or CONTAINERD_HOSTS)
    return directory if settings.containerd_hosts != NO_FILE and is_there(directory) else None


def read_conf(files: list[PodmanFile]) -> RegistriesConf:
    """What files of podman's say together. Raises UsageError for a broken one."""
    from polyarch.registry.registries_conf import merge, parse_aliases, parse_registries_conf
    from polyarch.registry.toml_file import read_toml

    def said(file: PodmanFile) -> RegistriesConf:
        raw = read_toml(file.path, "short names" if file.kind == "names" else "registries.conf") or b""
        if file.kind == "names":
            return parse_aliases(raw, file.path)
        return parse_registries_conf(raw, file.path, drop_in=file.kind == "drop-in")

    return merge(map(said, files))


def podman_files(settings: Settings, system: Path = SYSTEM) -> Iterator[PodmanFile]:
    """The files that exist, in the order in which the later ones add to the earlier.

    `registries_conf` of the settings names the one file that is read then. Otherwise it is as with podman: the file of
    CONTAINERS_REGISTRIES_CONF, else the user's, else the system's; then the drop-in files, the system's only where the
    user has no file of their own; then the short names that podman has recorded.
    Source: containers-registries.conf(5), containers-registries.conf.d(5); containers/image, pkg/sysregistriesv2.
    Raises UsageError: a file that is named is not there, a folder cannot be read.
    """
    named = settings.registries_conf
    if named == NO_FILE:
        return
    if named:
        yield _there(Path(named), "the setting registries_conf")
        return
    user = settings.home / ".config" / "containers"
    folders: tuple[Path, ...] = (system, user)
    if by_environment := settings.environ.get("CONTAINERS_REGISTRIES_CONF"):
        yield _there(Path(by_environment), "CONTAINERS_REGISTRIES_CONF")
    elif is_there(user / "registries.conf"):
        folders = (user,)
        yield PodmanFile(user / "registries.conf", "main")
    elif is_there(system / "registries.conf"):
        yield PodmanFile(system / "registries.conf", "main")
    for folder in folders:
        yield from _drop_ins(folder / "registries.conf.d")
    cache = settings.environ.get("XDG_CACHE_HOME") or settings.home / ".cache"
    recorded = Path("/var/cache" if os.geteuid() == 0 else cache) / "containers" / "short-name-aliases.conf"
    if is_there(recorded):
        yield PodmanFile(recorded, "names")


def _there(path: Path, who: str) -> PodmanFile:
    if not is_there(path):
        raise UsageError(f"registries.conf {path}: there is no such file", f"{who} names it")
    return PodmanFile(path, "main")


def _drop_ins(folder: Path) -> Iterator[PodmanFile]:
    if not is_there(folder):
        return
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".conf" and not path.is_dir())
    except OSError as error:
        raise UsageError(f"registries.conf {folder}: {error.strerror}") from error
    if len(paths) > MAX_DROP_INS:
        raise UsageError(f"registries.conf {folder}: more than {MAX_DROP_INS} files")
    for path in paths:
        yield PodmanFile(path, "drop-in")
