"""What a registry has to be able to do, and what some can do beyond that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import Protocol, runtime_checkable

from polyarch.contract.http import Http, no_http
from polyarch.errors import StorageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass


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
class ReadsRanges(Protocol):
    """A registry that may give any part of a blob. From several threads at once."""

    def open_range(
        self, reference: Reference, blob: Descriptor, offset: int, size: int
    ) -> AbstractContextManager[BlobStream | None]:
        """The `size` bytes of a blob from `offset` on, a byte at least; None where only the whole is given.

        Raises as `open_blob`, the iterator UnreachableError where it breaks off.
        """


@runtime_checkable
class ListsTags(Protocol):
    """A registry that can tell the tags of a repository."""

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags of the reference's repository, in the registry's order, page by page."""


@runtime_checkable
class ListsRepositories(Protocol):
    """A registry that may be able to tell which repositories it has."""

    def repositories(self, registry: str) -> Iterator[str]:
        """The names of the repositories at a registry (its host, perhaps with a port), page by page.

        Raises UsageError where this one offers no such list, and what reading from a registry raises.
        """


@runtime_checkable
class ListsReferrers(Protocol):
    """A registry that can tell what refers to a manifest: signatures, SBOMs, attestations."""

    def referrers(self, reference: Reference, artifact_type: str = "") -> Iterator[Descriptor]:
        """The descriptors of the manifests whose subject has the reference's digest; of one type, if one is named.

        Raises UsageError for a reference without digest, and what reading from a registry raises.
        """


@runtime_checkable
class HasPlaces(Protocol):
    """A registry whose images may be read from other places than their names say: from mirrors."""

    def place_of(self, reference: Reference, digest: Digest) -> tuple[Reference, Registry]:
        """The name that a document of the reference's repository has where it was read, or would be, by podman's files;
        and that place alone as a registry, which its maker closes.
        """


@runtime_checkable
class TakesImages(Protocol):
    """A registry that images can be pushed to (distribution-spec 1.1, "Push"). From several threads at once.

    Everything happens at the registry itself, wherever its images are read from. What is pushed is visible under no
    name before `put` gives it one. Raises UnauthorizedError, UnreachableError, and NotFoundError for a repository that
    cannot be made.
    """

    def has_blob(self, reference: Reference, blob: Descriptor) -> bool:
        """True if the reference's repository has the blob."""

    def mount_blob(self, reference: Reference, blob: Descriptor, repository: str) -> bool:
        """Let the reference's repository have the blob of another `repository` there; False if that is not granted."""

    def put_blob(
        self, reference: Reference, blob: Descriptor, open_at: Callable[[int], AbstractContextManager[BlobStream]]
    ) -> None:
        """Upload a blob, and finish it when all `blob.size` bytes are there.

        `open_at` opens its bytes from an offset on, again where an upload breaks off; what it raises ends the upload
        unfinished. It checks the bytes, and gives the last ones out only if they are right.
        """

    def has(self, reference: Reference) -> bool:
        """True if there is a manifest or index at `reference.target`."""

    def put(self, reference: Reference, document: Document) -> None:
        """Let `reference.target`, a tag or the document's digest, point at the document; all that it needs is there.

        A document with a subject can be listed by its subject's referrers afterwards. Raises IntegrityError where the
        registry says that it has something else now.
        """


@runtime_checkable
class NamesImages(Protocol):
    """A source whose images carry names of their own, as those in an archive do."""

    def kept_name(self, reference: Reference) -> Reference:
        """The name under which the image is to be kept: a proper one, without the source's scheme."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A repository that a search found. `stars` and `official` are None where the registry counts no such thing."""

    name: str
    description: str = ""
    stars: int | None = None
    official: bool | None = None


class Search(Protocol):
    """Finds repositories by a word."""

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        """At most `limit` repositories of the registry (its host, perhaps with a port), the likeliest first.

        `name` of each is what a user would pull. Raises UsageError where this registry cannot search, and what reading
        from a registry raises.
        """


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a distribution-spec registry keeps a reference: host (with port), repository, and its key in auth files."""

    host: str
    repository: str
    credentials_key: str


def no_folder() -> Path:
    """For those who have no folder to hand out: raises StorageError."""
    raise StorageError("there is no folder here for temporary files")


@dataclass(frozen=True, slots=True)
class RegistryServices:
    """What polyarch hands to the factory of a registry, or of its search.

    `distribution` makes a client of the OCI distribution-spec; the plugin only says where a reference is kept.
    `http_at` speaks HTTP over a unix socket; what it answers is closed by polyarch. `temporary` is a folder for files
    that are of no use later; polyarch makes it when first asked for, and removes it. `environ` is the environment,
    which nobody else reads, `options` the table `[options.NAME]` of the settings file.
    """

    http: Http
    distribution: Callable[[Callable[[Reference], Endpoint]], Registry]
    http_at: Callable[[Path], Http] = no_http
    temporary: Callable[[], Path] = no_folder
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
