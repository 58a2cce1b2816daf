"""An object store as obstore reaches it; its faults become those of polyarch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polyarch.contract import (
    HostError,
    IntegrityError,
    NotFoundError,
    PolyarchError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
    keep_secret,
    printable,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK = 8 << 20
"""Bytes of a part of an upload; S3 takes 10,000 parts (Amazon S3 user guide, "Multipart upload limits"), so 80 GB."""

_PARTS_AT_ONCE = 2
_READ = 1 << 18
_RETRIES = 4
_RETRY_TIME = timedelta(seconds=30)

# Which variables say where the store is and who one is; for obstore's names see `_key`.
_ENVIRONMENT = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_STORAGE_USE_EMULATOR",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
}
_LOG_IN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


# obstore's keys whose values nobody is to see (its S3Config, GCSConfig, AzureConfig); an access key's ID is a name.
_SECRET = re.compile(r"secret|token$|password|account_key|(?:master|sas|service_account)_key|^access_key$|^key$")


class Changed(Exception):
    """An object is not the one that was read; somebody else has written it."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes an object had: obstore's mark, handed back when it is written again."""

    e_tag: str | None
    version: str | None


def open_store(kind: str, place: str, options: Mapping[str, object], environ: Mapping[str, str]) -> Store:
    """The store at `place`, `BUCKET/PREFIX` with or without slashes around. Asks for nothing yet.

    `options` are obstore's own configuration keys (its S3Config, GCSConfig, AzureConfig). Raises UsageError for a place
    or an option that is none, HostError where obstore is not installed.
    """
    try:
        from obstore import exceptions, store
    except ImportError as error:
        raise HostError(
            f"{kind}: object stores need obstore, which is not installed", "pip install 'polyarch[objects]'"
        ) from error
    path = place.strip("/")
    if not path:
        raise UsageError(f"{kind} wants a bucket", f"write {kind}://BUCKET/PREFIX")
    config: dict[str, Any] = {}
    # Of two for one key the later one counts, as AWS's own tools have it (AWS SDKs and Tools reference guide).
    for name in _ENVIRONMENT[kind]:
        if environ.get(name):
            config[_key(name)] = environ[name]
    config |= {_key(name): value for name, value in options.items()}
    for name, value in config.items():
        if isinstance(value, str) and _SECRET.search(name):
            keep_secret(value)
    bucket, _, prefix = path.partition("/")
    _check(kind, bucket, config)
    plain = str(config.get("endpoint", "")).startswith("http://")
    makers: dict[str, Any] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    try:
        made = makers[kind](
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={"allow_http": plain, "user_agent": "polyarch"},
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIME},
        )
    except (exceptions.BaseError, TypeError, ValueError) as error:
        raise UsageError(
            f"{kind}://{path} cannot be opened: {_first_line(error)}", f"see the environment and [options.{kind}]"
        ) from error
    return Store(kind, f"{kind}://{path}", made)


def _check(kind: str, bucket: str, config: Mapping[str, object]) -> None:
    """Refuses what obstore would panic over, or repeat with a password in it, once it asks. Raises UsageError."""
    hint = f"see the environment and [options.{kind}]"
    if not re.fullmatch(r"[\w.$-]+", bucket):  # by the rules of the three that are written down, and more
        raise UsageError(f"'{printable(bucket, 100)}' is no name of a bucket", f"write {kind}://BUCKET/PREFIX")
    for name, value in config.items():
        if isinstance(value, str) and not value.isprintable():
            raise UsageError(f"{kind}: {printable(name, 100)} has a line end or another control character in it", hint)
    if (endpoint := config.get("endpoint")) is None:
        return
    if (
        not isinstance(endpoint, str)
        or not re.fullmatch(r"https?://[^\s/@]+(/[^\s@]*)?", endpoint)
        or not _has_port(endpoint)
    ):
        raise UsageError(f"{kind}: its endpoint is no URL of a host", 'such as "https://minio.example.com:9000"')


def _has_port(url: str) -> bool:
    """True unless the port of a URL is none."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _key(name: str) -> str:
    """obstore's name for a variable or an option; it has several for some, and wants each once."""
    key = re.sub(r"^(aws|google|azure_storage|azure)_", "", name.lower())
    return {"endpoint_url": "endpoint", "endpoint_url_s3": "endpoint", "default_region": "region"}.get(key, key)


class Store:
    """Objects by their names below the prefix. May be used from several threads at once.

    Raises NotFoundError, UnauthorizedError, UnreachableError.
    """

    def __init__(self, kind: str, where: str, store: ObjectStore) -> None:
        self.where = where
        self._kind = kind
        self._store = store

    def size(self, name: str) -> int | None:
        """Bytes of an object; None if there is none."""
        import obstore

        try:
            with self._faults(f"look for {name}"):
                return int(obstore.head(self._store, name)["size"])
        except NotFoundError:
            return None

    def read(self, name: str, limit: int) -> tuple[bytes, Version]:
        """A whole object of at most `limit` bytes. Raises IntegrityError if it is larger."""
        import obstore

        with self._faults(f"read {name}"):
            answer = obstore.get(self._store, name)
            if answer.meta["size"] > limit:
                raise IntegrityError(f"{self.where}/{name} is larger than the {limit} bytes that it may have")
            return bytes(answer.bytes()), Version(answer.meta.get("e_tag"), answer.meta.get("version"))

    def chunks(self, name: str, offset: int) -> Iterator[memoryview]:
        """The bytes of an object from `offset` on."""
        import obstore

        if offset and (size := self.size(name)) is not None and offset >= size:
            return  # a range of nothing is an error to some stores
        with self._faults(f"read {name}"):
            answer = obstore.get(self._store, name, options={"range": {"offset": offset}} if offset else None)
            for chunk in answer.stream(min_chunk_size=_READ):
                yield memoryview(chunk)

    def upload(self, name: str, path: Path) -> None:
        """Let an object have the bytes of a file; it is seen when it is whole. A few parts of it are in memory."""
        import obstore

        with self._faults(f"write {name}"):
            obstore.put(self._store, name, path, chunk_size=_CHUNK, max_concurrency=_PARTS_AT_ONCE)

    def write(self, name: str, data: bytes) -> None:
        """Let an object have these bytes, whatever it had."""
        import obstore

        with self._faults(f"write {name}"):
            obstore.put(self._store, name, data)

    def replace(self, name: str, data: bytes, old: Version | None) -> None:
        """Let an object have these bytes if it is still `old` (None: if there is none yet). Raises Changed."""
        import obstore

        marks = {"e_tag": old.e_tag, "version": old.version} if old else {}
        mode: Any = {key: value for key, value in marks.items() if value} or "create"
        with self._faults(f"write {name}"):
            try:
                obstore.put(self._store, name, data, mode=mode)
            except (obstore.exceptions.PreconditionError, obstore.exceptions.AlreadyExistsError) as error:
                raise Changed from error

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        from obstore import exceptions

        try:
            yield
        except (PolyarchError, Changed):
            raise
        except FileNotFoundError as error:
            # A new object misses nothing but its bucket.
            bucket = "NoSuchBucket" in str(error) or what.startswith("write ")
            raise NotFoundError(
                f"cannot {what} in {self.where}: there is no such {'bucket' if bucket else 'object'}",
                "make the bucket first" if bucket else None,
            ) from error
        except (exceptions.BaseError, OSError) as error:
            text = _first_line(error)
            refused = isinstance(error, PermissionError) or any(mark in text for mark in ("401 ", "403 ", "metadata"))
            kind = UnauthorizedError if refused or "169.254.169.254" in text else UnreachableError
            raise kind(
                f"cannot {what} in {self.where}: {text}", _LOG_IN[self._kind] if kind is UnauthorizedError else None
            ) from error


def _first_line(error: Exception) -> str:
    """What obstore says, without the structure of its own that it prints behind."""
    return printable(str(error).partition("\n\nDebug source")[0].partition("\n")[0], 400)
