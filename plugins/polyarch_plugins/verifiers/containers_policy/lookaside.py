"""Signatures that are kept beside a registry, and what registries.d says of where that is.

Sources: containers-registries.d(5); containers/image, docs/signature-protocols.md, docker/registries_d.go,
internal/signature (how a file that is no plain GPG message is told apart).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from polyarch.contract import (
    HostError,
    Http,
    IntegrityError,
    Reference,
    StorageError,
    UnreachableError,
    UsageError,
    is_there,
    printable,
    read_bounded,
)
from polyarch_plugins.verifiers.containers_policy import strict
from polyarch_plugins.verifiers.containers_policy.payload import MAX_SIGNATURE, MAX_SIGNATURES
from polyarch_plugins.verifiers.containers_policy.scopes import scopes_of
from polyarch_plugins.verifiers.containers_policy.sigstore import Attachment

SYSTEM = Path("/etc/containers/registries.d")
_MAX_FILE = 64 << 10
_MAX_FILES = 200

# How an OpenPGP message begins: a compressed, a one-pass signature or a signature packet, in both formats of headers.
_OPENPGP = frozenset(b"\xa0\xa1\xa2\xa3\xc8\x90\x91\x92\x3d\xc4\x88\x89\x8a\x8b\xc2")


@dataclass(frozen=True, slots=True)
class Namespace:
    """What registries.d says of some names: a URL, "" for nothing; whether signatures are attached, None: nothing."""

    lookaside: str = ""
    attachments: bool | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """All that registries.d says."""

    default: Namespace = Namespace()
    docker: Mapping[str, Namespace] = field(default_factory=dict)

    def lookaside(self, reference: Reference) -> str:
        """The URL that signatures of this name are below; "" if no file says one."""
        return next((each.lookaside for each in self._of(reference) if each.lookaside), "")

    def attachments(self, reference: Reference) -> bool:
        """True if signatures of this name are attached to the image in its registry."""
        said = (each.attachments for each in self._of(reference))
        return next((each for each in said if each is not None), False)

    def _of(self, reference: Reference) -> Iterator[Namespace]:
        yield from (self.docker[scope] for scope in scopes_of(reference) if scope in self.docker)
        yield self.default


def read_places(home: Path, system: Path = SYSTEM) -> Places:
    """What the files say: the user's folder in `home`, where there is one, else the system's.

    Raises UsageError for a broken file, HostError where files have to be read and no library for YAML is here.
    """
    user = home / ".config" / "containers" / "registries.d"
    folder = user if is_there(user) else system
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(".yaml"))
    except FileNotFoundError:
        return Places()
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    if len(paths) > _MAX_FILES:
        raise UsageError(f"{folder}: more than {_MAX_FILES} files")
    default: tuple[Path, Namespace] | None = None
    docker: dict[str, Namespace] = {}
    for path in paths:
        found = _read(path)
        try:
            if found.get("default-docker") is not None:
                if default is not None:
                    raise ValueError(f"default-docker stands in {default[0]}, too")
                default = path, _namespace(found["default-docker"])
            for name, value in strict.any_object(found.get("docker") or {}).items():
                if name in docker:
                    raise ValueError(f"docker: {name} stands in another file, too")
                docker[name] = _namespace(value)
        except ValueError as error:
            raise UsageError(f"{path}: {printable(str(error))}") from error
    return Places(default[1] if default else Namespace(), docker)


def _read(path: Path) -> Mapping[str, object]:
    try:
        import yaml
    except ImportError as error:
        raise HostError(
            f"{path} says where signatures are, and the Python library PyYAML is not here",
            "pip install 'polyarch[verify]'",
        ) from error
    try:
        # The one written in C is much faster, and knows how deep is too deep.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return strict.any_object(yaml.load(read_bounded(path, _MAX_FILE), Loader=loader) or {})
    except (OSError, StorageError) as error:
        raise UsageError(f"{path}: {printable(str(error))}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path} is no registries.d file: {printable(' '.join(str(error).split()))}") from error


def _namespace(value: object) -> Namespace:
    found = strict.any_object(value or {})
    url = found.get("lookaside") or found.get("sigstore") or ""
    attachments = found.get("use-sigstore-attachments")
    if not isinstance(url, str):
        raise ValueError("lookaside is no text")
    if attachments is not None and not isinstance(attachments, bool):
        raise ValueError("use-sigstore-attachments is neither true nor false")
    return Namespace(url, attachments)


def default_place(home: Path) -> str:
    """Where podman signs to, and looks, if no file says where."""
    path = Path("/var/lib/containers/sigstore") if os.geteuid() == 0 else home / ".local/share/containers/sigstore"
    return f"file://{quote(str(path))}"


def signatures_at(base: str, reference: Reference, digest: str, http: Http) -> Iterator[bytes | Attachment]:
    """The signatures of the manifest below the URL `base`: plain GPG messages, and cosign's in files.

    Raises UsageError (a URL of another kind), UnreachableError, IntegrityError (more than MAX_SIGNATURES, a file that
    is no signature), HostError for files that cannot be read.
    """
    parts = urlsplit(base)
    algorithm, _, encoded = digest.partition(":")
    path = f"{parts.path}/{reference.repository}@{algorithm}={encoded}/signature-"
    for number in range(1, MAX_SIGNATURES + 1):
        if parts.scheme == "file":
            where = unquote(f"{path}{number}")
            raw = _from_file(Path(where))
        elif parts.scheme in ("http", "https"):
            where = parts._replace(path=f"{path}{number}").geturl()
            raw = _from_server(http, where)
        else:
            raise UsageError(f"signatures are read from file:, http: and https: URLs, not from {printable(base, 200)}")
        if raw is None:
            return
        yield _signature(raw, where)
    raise IntegrityError(f"{base}: more than {MAX_SIGNATURES} signatures of one image")


def _from_file(path: Path) -> bytes | None:
    try:
        return read_bounded(path, MAX_SIGNATURE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"the signature {path} cannot be read: {error.strerror}") from error


def _from_server(http: Http, url: str) -> bytes | None:
    with http.request("GET", url) as response:
        if response.status == 404:
            return None
        if response.status != 200:
            raise UnreachableError(f"{url}: a signature was asked for, the answer was {response.status}")
        return response.read(MAX_SIGNATURE)


def _signature(raw: bytes, where: str) -> bytes | Attachment:
    if raw[:1] and raw[0] in _OPENPGP:
        return raw
    kind, newline, rest = raw[1:].partition(b"\n")
    if raw[:1] == b"\0" and newline:
        if kind == b"simple-signing":
            return rest
        if kind == b"sigstore-json":
            return _attachment(rest, where)
    raise IntegrityError(f"{where} is no signature")


def _attachment(raw: bytes, where: str) -> Attachment:
    try:
        found = strict.object_of(strict.parse(raw), ["mimeType", "payload", "annotations"])
        annotations = strict.any_object(found["annotations"])
        return Attachment(
            strict.text(found, "mimeType"),
            strict.bytes_of(strict.text(found, "payload"), "payload"),
            {name: strict.text(annotations, name) for name in annotations},
        )
    except ValueError as error:
        raise IntegrityError(f"{where} is no signature: {error}") from error
