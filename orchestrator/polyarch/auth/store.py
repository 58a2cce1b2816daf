"""Writing credentials: into the file that docker or podman use here, or into the helper that it names."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from polyarch.auth import helpers
from polyarch.auth.credentials import Credentials, encode
from polyarch.auth.files import (
    AuthFile,
    auth_paths,
    docker_path,
    normal_name,
    read_auth_files,
    read_document,
    server_name,
)
from polyarch.errors import HostError, PolyarchError, UsageError
from polyarch.files import disk_error, is_disk_fault, sync_directory
from polyarch.settings import Settings


def login(settings: Settings, registry: str, credentials: Credentials) -> str:
    """Keep the credentials of a registry (or `registry/namespace`); returns where: a file or a helper's name.

    Taken is the file that has the registry already, else the first that exists, else docker's.
    Raises UsageError (a broken file, a namespace where a helper keeps logins), HostError (a helper, no permission),
    StorageError (the disk is full, faulty or read-only).
    """
    name = normal_name(registry)
    files = read_auth_files(settings)
    file = next((each for each in files if _names(each, name)), files[0] if files else None)
    path = file.path if file else auth_paths(settings)[-1]
    helper = file.helpers.get(name, file.store) if file else ""
    if helper and "/" in name:
        raise UsageError(
            f"docker-credential-{helper} keeps the logins of whole registries, not one for {name}",
            f"log in to {name.partition('/')[0]}, or name a file without helpers in REGISTRY_AUTH_FILE",
        )
    if helper:
        where = helpers.store(helper, server_name(registry), credentials)
        entry: dict[str, str] = {}  # as docker notes it: known, kept elsewhere
    else:
        where = str(path)
        entry = {"auth": encode(credentials.username, "" if credentials.is_identity_token else credentials.secret)}
        if credentials.is_identity_token:
            entry["identitytoken"] = credentials.secret
    with _alone(path):
        document = read_document(path) or {}
        auths = _auths(document)
        known = next((key for key in auths if normal_name(key) == name), None)
        # docker looks its own Hub up under the old URL only; podman under the host.
        new = server_name(registry) if path == docker_path(settings) and "/" not in name else name
        auths[known or new] = entry
        document["auths"] = auths
        _write(path, document)
    return where


def logout(settings: Settings, registry: str) -> bool:
    """Forget the credentials of a registry (or `registry/namespace`) in every file; False if there were none.

    Raises UsageError (a broken file), HostError (a helper, no permission), StorageError.
    """
    name = normal_name(registry)
    forgotten = False
    for file in read_auth_files(settings):
        helper = file.helpers.get(name, file.store) if "/" not in name else ""
        if helper and helpers.get(helper, server_name(registry)) is not None:
            helpers.erase(helper, server_name(registry))
            forgotten = True
        with _alone(file.path):
            document = read_document(file.path) or {}
            auths = _auths(document)
            kept = {key: value for key, value in auths.items() if normal_name(key) != name}
            if len(kept) < len(auths):
                document["auths"] = kept
                _write(file.path, document)
                forgotten = True
    return forgotten


def _names(file: AuthFile, name: str) -> bool:
    return name in file.entries or name in file.helpers


def _auths(document: dict[str, object]) -> dict[str, object]:
    auths = document.get("auths")
    return dict(auths) if isinstance(auths, dict) else {}


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within, no other polyarch changes an auth file of that folder, which is made: no login is lost to another one."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks has the file nevertheless
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, document: dict[str, object]) -> None:
    """Write the whole file in one step, for its owner only; a symbolic link stays one."""
    path = path.resolve()
    data = json.dumps(document, indent="\t", ensure_ascii=False).encode() + b"\n"
    try:
        # One name for all that write it, one after the other: what a killed one left is written over.
        temporary = path.with_name(f".{path.name}.polyarch")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(descriptor, 0o600)  # the umask has taken its share
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            temporary.replace(path)
            sync_directory(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> PolyarchError:
    message = f"auth file {path} cannot be written: {error.strerror}"
    if is_disk_fault(error):
        return disk_error(error, f"auth file {path} cannot be written")
    return HostError(message, "name another file in REGISTRY_AUTH_FILE, or mend the permissions")
