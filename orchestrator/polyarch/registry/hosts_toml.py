"""containerd's hosts.toml: which hosts are asked in place of a registry, and how.

Source: containerd, docs/hosts.md and core/remotes/docker/config/hosts.go. The folder of a registry is `HOST_PORT_`,
`HOST:PORT` or `_default`; without a hosts.toml in it, it may hold certificates as docker's folders do.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from polyarch.errors import UsageError, printable
from polyarch.files import is_there
from polyarch.redaction import keep_secret
from polyarch.registry.certificates import Certificates, certificates_in
from polyarch.registry.origin import split_url
from polyarch.registry.place import API
from polyarch.registry.toml_file import Fault, flag, parse_toml, read_toml, table, text, texts
from polyarch.registry.trust import USUAL, Trust
from polyarch_platforms.lazy_dataclass import dataclass

DEFAULT = "_default"
"""The folder of all registries that have none of their own."""

_CAPABILITIES = frozenset({"pull", "resolve", "push", "referrers"})
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|µs|ns|[hms]))+", re.ASCII)
_UNIT = re.compile(r"([0-9.]+)(ms|us|µs|ns|[hms])")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_SECRET_FIELD = re.compile(r"auth|cookie|credential|key|passw|secret|token", re.IGNORECASE)
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Host:
    """One host: `name` is `host` or `host:port`, `api` the path of its API's root.

    `pulls`: it may give content by digest; `resolves`: it may say what a tag points at.
    """

    scheme: str
    name: str
    api: str = API
    pulls: bool = True
    resolves: bool = True
    trust: Trust = USUAL


@dataclass(frozen=True, slots=True)
class Hosts:
    """What `path` says of a registry: its `hosts` in their order, then its `server`.

    Without a server it is the registry itself, spoken with as `trust` says.
    """

    path: Path
    hosts: tuple[Host, ...] = ()
    server: Host | None = None
    trust: Trust = USUAL


def find_hosts(directory: Path, registry: str) -> Hosts | None:
    """What a directory such as /etc/containerd/certs.d says of a registry. Raises UsageError."""
    for name in _folder_names(registry):
        folder = directory / name
        if not is_there(folder):
            continue
        path = folder / "hosts.toml"
        raw = read_toml(path, "hosts.toml")
        if raw is not None:
            return parse_hosts(raw, path)
        found = certificates_in(folder)
        if found is not None:
            return Hosts(folder, trust=Trust(certificates=found)) if found != Certificates() else None
    return None


def _folder_names(registry: str) -> Iterator[str]:
    host, colon, port = registry.rpartition(":")
    if colon and not port.endswith("]"):
        yield f"{host}_{port}_"
    yield registry
    yield DEFAULT


def parse_hosts(raw: bytes, path: Path) -> Hosts:
    """What a hosts.toml says; keys that are not known say nothing. Raises UsageError with the path, and line or key."""
    try:
        document = parse_toml(raw)
        hosts = tuple(
            _host(name, table(entry, f"host '{printable(name, 100)}'"), f"host '{printable(name, 100)}'", path)
            for name, entry in table(document.get("host"), "host").items()
        )
        server = text(document.get("server"), "server")
        root = _host(server or "registry.invalid", document, "server", path)
    except Fault as fault:
        raise UsageError(f"hosts.toml {path}: {fault}", "see containerd's docs/hosts.md, or mend it") from fault
    return Hosts(path, hosts, root if server else None, root.trust)


def _host(url: str, entry: Mapping[str, object], where: str, path: Path) -> Host:
    try:
        origin, api = split_url(url if "://" in url else f"https://{url}")
    except ValueError as error:
        raise Fault(f"{where}: '{printable(url, 100)}' is not the address of a host: {error}") from error
    api = posixpath.normpath(api.partition("?")[0]).rstrip("/")
    if not flag(entry.get("override_path"), f"{where}: override_path") and not api.endswith(API):
        api += API
    can = texts(entry.get("capabilities"), f"{where}: capabilities") or ("pull", "resolve")
    for name in can:
        if name.lower() not in _CAPABILITIES:
            raise Fault(f"{where}: capabilities: '{printable(name, 80)}' is none of pull, resolve, push")
    pulls, resolves = (any(name.lower() == wanted for name in can) for wanted in ("pull", "resolve"))
    certificates = Certificates(
        tuple(_authorities(entry.get("ca"), f"{where}: ca", path.parent)),
        tuple(_pairs(entry.get("client"), f"{where}: client", path.parent)),
    )
    trust = Trust(
        flag(entry.get("skip_verify"), f"{where}: skip_verify") or origin.scheme == "http",
        certificates if certificates != Certificates() else None,
        tuple(_headers(table(entry.get("header"), f"{where}: header"), where)),
        _seconds(text(entry.get("dial_timeout"), f"{where}: dial_timeout"), where),
    )
    return Host(origin.scheme, origin.authority, api, pulls, resolves, trust)


def _authorities(value: object, where: str, folder: Path) -> Iterator[Path]:
    for name in (value,) if isinstance(value, str) else texts(value, where) or ():
        yield folder / name


def _pairs(value: object, where: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """A file with both, an array of such, or an array of pairs of certificate and key."""
    entries = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(entries, list):
        raise Fault(f"{where} has to be a path, an array of paths, or an array of pairs")
    for entry in entries:
        pair = (entry, "") if isinstance(entry, str) else texts(entry, where) or ()
        if len(pair) != 2 or not pair[0]:
            raise Fault(f"{where}: a pair is a certificate's path and its key's")
        yield folder / pair[0], folder / (pair[1] or pair[0])


def _headers(entries: Mapping[str, object], where: str) -> Iterator[tuple[str, str]]:
    for name, value in entries.items():
        values = (value,) if isinstance(value, str) else texts(value, f"{where}: header '{printable(name, 80)}'") or ()
        joined = ", ".join(values)
        if not _FIELD_NAME.fullmatch(name) or not joined.isprintable() or not joined.isascii():
            raise Fault(f"{where}: header '{printable(name, 80)}' cannot be sent")
        if _SECRET_FIELD.search(name):
            keep_secret(joined)
            keep_secret(joined.rpartition(" ")[2])  # behind the scheme: `Bearer …`
        yield name, joined


def _seconds(duration: str, where: str) -> float | None:
    """Go's durations: `30s`, `1m30s`, `500ms`."""
    if not duration:
        return None
    if not _DURATION.fullmatch(duration):
        raise Fault(f"{where}: dial_timeout: '{printable(duration, 40)}' is no duration such as 30s")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _UNIT.findall(duration))
    return min(max(seconds, 0.001), 3600.0)
