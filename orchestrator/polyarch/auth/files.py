"""Reading auth files: containers-auth.json(5), and docker's config.json (docker/cli, "docker login").

Both have `auths` (name -> `auth`, or `username` and `password`, or `identitytoken`) and `credHelpers` (name -> the
suffix of a helper program); docker's has `credsStore`, the helper of all other registries. A name is a registry, a
registry with a namespace or repository (the longest that fits is taken), or an older URL such as
`https://index.docker.io/v1/`.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from polyarch.auth import helpers
from polyarch.auth.credentials import Credentials
from polyarch.errors import IntegrityError, UsageError, printable
from polyarch.files import disk_error, is_disk_fault
from polyarch.oci.json import mapping_of, parse_json, string_map, text_of
from polyarch.reference import DEFAULT_REGISTRY
from polyarch.settings import Settings
from polyarch_platforms.lazy_dataclass import dataclass

MAX_SIZE = 1 << 20
"""Bytes of an auth file that are read."""

DOCKER_HUB_SERVER = "https://index.docker.io/v1/"
"""What docker's file and the helpers call Docker Hub."""

AUTH_FILES = "containers-auth.json"
"""What stands for the auth files among credential helpers (containers-registries.conf(5), `credential-helpers`)."""

_DOCKER_HUB = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class AuthFile:
    """What one auth file says. The keys are names in their normal form; see `normal_name`.

    A name whose helper is "" is kept in the file itself, whatever `store` is (docker/cli, configfile/file.go,
    getConfiguredCredentialStore).
    """

    path: Path
    entries: Mapping[str, Credentials]
    helpers: Mapping[str, str]
    store: str


def auth_paths(settings: Settings) -> tuple[Path, ...]:
    """Where auth files may be, in the order in which they are asked; one that the user names is asked alone."""
    if settings.auth_file is not None:
        return (settings.auth_file,)
    runtime = settings.runtime_directory or Path(f"/run/containers/{os.geteuid()}")
    config_home = settings.config_home or settings.home / ".config"
    return (
        runtime / ("containers/auth.json" if settings.runtime_directory else "auth.json"),
        config_home / "containers" / "auth.json",
        docker_path(settings),
    )


def docker_path(settings: Settings) -> Path:
    """docker's own file."""
    return (settings.docker_config or settings.home / ".docker") / "config.json"


def read_auth_files(settings: Settings) -> tuple[AuthFile, ...]:
    """The auth files that exist, in order. Raises UsageError, pointing at the fault, for a broken one."""
    documents = ((path, read_document(path)) for path in auth_paths(settings))
    return tuple(parse_auth_file(path, document) for path, document in documents if document is not None)


def read_document(path: Path) -> dict[str, object] | None:
    """The JSON object in an auth file ({} if the file is empty, None if there is none). UsageError, StorageError."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK):
            return None  # a folder that is closed to this user, as root's podman makes /run/containers, has none for it
        if is_disk_fault(error):
            raise disk_error(error, f"cannot read the auth file {path}") from error
        raise UsageError(f"auth file {path}: {error.strerror}") from error
    if len(raw) > MAX_SIZE:
        raise UsageError(f"auth file {path}: larger than {MAX_SIZE} bytes")
    if not raw.strip():
        return {}
    try:
        return parse_json(raw, str(path))
    except IntegrityError as error:
        raise _broken(error) from error


def parse_auth_file(path: Path, document: Mapping[str, object]) -> AuthFile:
    """What the JSON of an auth file means. Raises UsageError."""
    try:
        entries: dict[str, Credentials] = {}
        for name, value in mapping_of(document.get("auths") or {}, f"{path}: auths").items():
            where = f"{path}: auths: {printable(name, 100)}"
            credentials = _credentials(mapping_of(value or {}, where), where)
            if credentials is not None:
                entries.setdefault(normal_name(name), credentials)
        named = string_map(document.get("credHelpers"), f"{path}: credHelpers")
        store = text_of(document, "credsStore", f"{path}", default="")
        for name in (*named.values(), store):
            if name and not helpers.is_helper_name(name):
                raise IntegrityError(f"{path}: '{printable(name, 80)}' is not the name of a credential helper")
    except IntegrityError as error:
        raise _broken(error) from error
    return AuthFile(path, entries, {normal_name(name): helper for name, helper in named.items()}, store)


def _broken(error: IntegrityError) -> UsageError:
    return UsageError(f"auth file {error.message}", "mend the file, or move it away and log in again")


def _credentials(entry: Mapping[str, object], where: str) -> Credentials | None:
    """What one entry of `auths` holds; None if it is empty, as docker writes it beside a helper."""
    username = text_of(entry, "username", where, default="")
    secret = text_of(entry, "password", where, default="")
    token = text_of(entry, "identitytoken", where, default="")
    if encoded := text_of(entry, "auth", where, default=""):
        try:
            username, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise IntegrityError(f"{where}: auth is not USERNAME:PASSWORD in base64") from error
        if not colon or not username:
            raise IntegrityError(f"{where}: auth is not USERNAME:PASSWORD in base64")
        secret = secret.rstrip("\0")  # docker/cli, config/configfile, decodeAuth
    if token:
        return Credentials(username, token, is_identity_token=True)
    return Credentials(username, secret) if username else None


def normal_name(name: str) -> str:
    """`REGISTRY` or `REGISTRY/NAMESPACE…` for a name in an auth file.

    URLs, and the paths v1 and v2 of older files, stand for their registry (docker/cli, credentials, ConvertToHostname).
    """
    rest = name.removeprefix("https://").removeprefix("http://")
    host, _, path = rest.partition("/")
    path = path.strip("/")
    if rest != name or path in ("v1", "v2"):
        path = ""
    host = host.lower()
    host = DEFAULT_REGISTRY if host in _DOCKER_HUB else host
    return f"{host}/{path}" if path else host


def server_name(name: str) -> str:
    """What a helper, and docker's file, call the registry of a name."""
    host = normal_name(name).partition("/")[0]
    return DOCKER_HUB_SERVER if host == DEFAULT_REGISTRY else host


def find_credentials(
    files: Iterable[AuthFile], registry: str, repository: str = "", order: Sequence[str] = (AUTH_FILES,)
) -> Credentials | None:
    """The credentials for a repository of a registry (its name in auth files); None if nobody has any.

    `order` is who is asked, as the setting `credential-helpers` of containers-registries.conf(5) has it: helpers by the
    suffix of their name, and AUTH_FILES. Of the files the first that has some decides, in it the longest name that
    fits, of a name the helper before the entry. Raises HostError: a helper is missing or failed.
    """
    for who in order:
        if who == AUTH_FILES:
            credentials = _in_files(files, registry, repository)
        else:
            credentials = helpers.get(who, server_name(registry))
        if credentials is not None:
            return credentials
    return None


def _in_files(files: Iterable[AuthFile], registry: str, repository: str) -> Credentials | None:
    names = tuple(_names(normal_name(registry), repository))
    for file in files:
        helper = next((file.helpers[name] for name in names if name in file.helpers), file.store)
        if helper and (credentials := helpers.get(helper, server_name(registry))) is not None:
            return credentials
        for name in names:
            if name in file.entries:
                return file.entries[name]
    return None


def _names(registry: str, repository: str) -> Iterator[str]:
    """containers-auth.json(5): `host/a/b`, `host/a`, `host`."""
    parts = repository.split("/") if repository else []
    for count in range(len(parts), 0, -1):
        yield "/".join((registry, *parts[:count]))
    yield registry
