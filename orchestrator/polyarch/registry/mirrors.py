"""Which places are asked for a reference, and in which order, by the files of podman and of containerd.

The order: podman's rewriting, its mirrors, containerd's hosts, then the registry itself or what takes its place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from polyarch.contract.registry import Endpoint
from polyarch.errors import UnauthorizedError, UsageError
from polyarch.reference import Reference
from polyarch.registry.hosts_toml import Host, Hosts, find_hosts
from polyarch.registry.place import Place
from polyarch.registry.registries_conf import (
    NOTHING,
    Pulls,
    RegistriesConf,
    Rule,
    merge,
    parse_aliases,
    parse_registries_conf,
    rewritten,
)
from polyarch.registry.toml_file import read_toml
from polyarch.registry.trust import USUAL, Trust
from polyarch.settings import Settings

NO_FILE = "none"
"""The value of a setting that keeps other tools' files out."""

SYSTEM = Path("/etc/containers")
CONTAINERD_HOSTS = Path("/etc/containerd/certs.d")
MAX_DROP_INS = 200
"""Files of one registries.conf.d that are read."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place that may be asked. `name` is what people call it, `reference` what it has the image under.

    `pulls` says for which references it is asked at all; `resolves`: it may say what a tag points at.
    """

    name: str
    place: Place
    reference: Reference
    mirror: bool = False
    pulls: Pulls = "all"
    resolves: bool = True

    def serves(self, reference: Reference, *, by_digest: bool) -> bool:
        """True if it is asked for the reference; `by_digest` says that the image itself was asked for by digest."""
        if self.pulls != "all" and (self.pulls == "digest-only") != by_digest:
            return False
        return self.resolves or bool(reference.digest)


def plan(
    reference: Reference,
    conf: RegistriesConf,
    hosts_of: Callable[[str], Hosts | None],
    locate: Callable[[Reference], Endpoint],
) -> tuple[Source, ...]:
    """The places of a reference, in their order; the last one is the registry, all others are mirrors.

    `locate` says where a registry keeps a reference. Raises UnauthorizedError where podman's files block it,
    UsageError where they make no reference of it.
    """
    rule = _unblocked(reference, reference, conf)
    mirrors: list[Source] = []
    for mirror in rule.mirrors if rule else ():
        there = rewritten(reference, rule, mirror.location) if rule else reference
        other = conf.rule_for(there)
        if other is None or not other.blocked:
            place = _place(locate(there), Trust(mirror.insecure), retries=0)
            mirrors.append(Source(there.registry, place, there, True, mirror.pulls))
    itself = rewritten(reference, rule, rule.location) if rule else reference
    if itself != reference:
        _unblocked(itself, reference, conf)
    hosts = hosts_of(itself.registry)
    mirrors += (_host_source(host, itself, mirror=True) for host in hosts.hosts if host.pulls) if hosts else ()
    server = hosts.server if hosts else None
    if server is not None and server.name != itself.registry:
        if not server.pulls:
            raise UsageError(f"{hosts.path if hosts else ''}: its server may not be asked for content (capabilities)")
        return (*mirrors, _host_source(server, itself, mirror=False))
    trust = hosts.trust if hosts else USUAL
    if rule is not None and rule.insecure:
        trust = replace(trust, insecure=True)
    return (*mirrors, Source(itself.registry, _place(locate(itself), trust), itself))


def _unblocked(reference: Reference, asked: Reference, conf: RegistriesConf) -> Rule | None:
    rule = conf.rule_for(reference)
    if rule is not None and rule.blocked:
        raise UnauthorizedError(
            f"{asked}: {rule.file} blocks {rule.prefix}",
            "that is a rule of this machine: take another registry, or ask who keeps the file",
            reference=str(asked),
            registry=reference.registry,
            file=str(rule.file),
            prefix=rule.prefix,
        )
    return rule


def _place(endpoint: Endpoint, trust: Trust, retries: int | None = None) -> Place:
    return Place(endpoint.host, endpoint.repository, endpoint.credentials_key, trust=trust, retries=retries)


def _host_source(host: Host, reference: Reference, *, mirror: bool) -> Source:
    place = Place(
        host.name,
        reference.repository,
        host.name,
        (host.scheme,),
        host.api,
        reference.registry if host.name != reference.registry else "",
        host.trust,
        0 if mirror else None,
    )
    return Source(host.name, place, replace(reference, registry=host.name), mirror, resolves=host.resolves)


class RegistryFiles:
    """What this machine's files say of registries; each is read when it is first needed. For any number of threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._conf: RegistriesConf | None = None
        self._hosts: dict[str, Hosts | None] = {}

    @property
    def conf(self) -> RegistriesConf:
        """What podman's files say. Raises UsageError."""
        with self._lock:
            if self._conf is None:
                self._conf = merge(read_registries_confs(self._settings))
            return self._conf

    def hosts_of(self, registry: str) -> Hosts | None:
        """What containerd's files say of a registry. Raises UsageError."""
        with self._lock:
            if registry not in self._hosts:
                directory = hosts_directory(self._settings)
                self._hosts[registry] = find_hosts(directory, registry) if directory else None
            return self._hosts[registry]


def hosts_directory(settings: Settings) -> Path | None:
    """Where containerd's hosts.toml files are looked for; None for nowhere."""
    if settings.containerd_hosts == NO_FILE:
        return None
    return Path(settings.containerd_hosts) if settings.containerd_hosts else CONTAINERD_HOSTS


def read_registries_confs(settings: Settings, system: Path = SYSTEM) -> Iterator[RegistriesConf]:
    """podman's files, in the order in which the later ones add to the earlier. Raises UsageError for a broken one.

    `registries_conf` of the settings names the one file that is read then. Otherwise it is as with podman: the file of
    CONTAINERS_REGISTRIES_CONF, else the user's, else the system's; then the drop-in files, the system's only where the
    user has no file of their own; then the short names that podman has recorded.
    """
    named = settings.registries_conf
    if named == NO_FILE:
        return
    if named:
        yield _read(Path(named), needed=True)
        return
    user = settings.home / ".config" / "containers"
    folders: tuple[Path, ...] = (system, user)
    if by_environment := settings.environ.get("CONTAINERS_REGISTRIES_CONF"):
        main = Path(by_environment)
    elif (user / "registries.conf").exists():
        main, folders = user / "registries.conf", (user,)
    else:
        main = system / "registries.conf"
    yield _read(main, needed=bool(by_environment))
    for folder in folders:
        for path in _drop_ins(folder / "registries.conf.d"):
            yield _read(path, drop_in=True)
    cache = settings.environ.get("XDG_CACHE_HOME") or settings.home / ".cache"
    recorded = Path("/var/cache" if os.geteuid() == 0 else cache) / "containers" / "short-name-aliases.conf"
    raw = read_toml(recorded, "short names")
    if raw is not None:
        yield parse_aliases(raw, recorded)


def _read(path: Path, *, needed: bool = False, drop_in: bool = False) -> RegistriesConf:
    raw = read_toml(path, "registries.conf")
    if raw is None:
        if needed:
            raise UsageError(
                f"registries.conf {path}: there is no such file", "the settings or the environment name it"
            )
        return NOTHING
    return parse_registries_conf(raw, path, drop_in=drop_in)


def _drop_ins(folder: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".conf" and not path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"registries.conf {folder}: {error.strerror}") from error
    if len(paths) > MAX_DROP_INS:
        raise UsageError(f"registries.conf {folder}: more than {MAX_DROP_INS} files")
    return paths
