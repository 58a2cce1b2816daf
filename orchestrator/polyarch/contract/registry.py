"""What a registry has to be able to do, and what some can do beyond that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from polyarch.contract.http import Http
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document
from polyarch.reference import Reference


@dataclass(frozen=True, slots=True)
class BlobStream:
    """The bytes of a blob from `offset` on.

    `offset` is 0 although more was asked for where the source knows no ranges. A chunk is valid until the next one is
    asked for, so that a source may use one buffer again and again.
    """

    offset: int
    chunks: Iterator[bytes | memoryview]


class Registry(Protocol):
    """A source of images. May be used from several threads at once.

    What it returns is not trusted: digests and sizes are checked by the caller.
    Raises NotFoundError, UnauthorizedError, UnreachableError, IntegrityError.
    """

    def head(self, reference: Reference) -> Descriptor | None:
        """What `reference.target` points at now, without its bytes; None where that cannot be told so cheaply."""

    def get(self, reference: Reference) -> Document:
        """The manifest or index that `reference.target` points at."""

    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> AbstractContextManager[BlobStream]:
        """The bytes of a config or layer of the reference's repository, from `offset` on if possible."""

    def close(self) -> None:
        """Give back connections and files."""


@runtime_checkable
class ListsTags(Protocol):
    """A registry that can tell the tags of a repository."""

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags of the reference's repository, in the registry's order, page by page."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a distribution-spec registry keeps a reference: host (with port), repository, and its key in auth files."""

    host: str
    repository: str
    credentials_key: str


@dataclass(frozen=True, slots=True)
class RegistryServices:
    """What polyarch hands to the factory of a registry.

    `distribution` makes a client of the OCI distribution-spec; the plugin only says where a reference is kept.
    """

    http: Http
    distribution: Callable[[Callable[[Reference], Endpoint]], Registry]
