"""A registry that speaks the OCI distribution-spec 1.1; each ability is a module beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from polyarch.auth.credentials import Credentials
from polyarch.contract.registry import BlobStream, Endpoint
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch.registry.blobs import open_blob, open_range
from polyarch.registry.catalog import list_repositories
from polyarch.registry.documents import get_document, head_document
from polyarch.registry.http_client import HttpClient
from polyarch.registry.login import check_login
from polyarch.registry.ping import ping
from polyarch.registry.pushed_documents import has_document, put_document
from polyarch.registry.referrers import list_referrers
from polyarch.registry.tags import list_tags
from polyarch.registry.uploads import has_blob, mount_blob, put_blob


class DistributionRegistry:
    """The contract's `Registry` with its lists of tags, repositories and referrers, `ReadsRanges` and `TakesImages`;
    this package's `ChecksLogin` and `AnswersPing`.

    For any number of threads. `locate` says on which host and in which repository there a reference is kept.
    """

    def __init__(self, http: HttpClient, locate: Callable[[Reference], Endpoint]) -> None:
        self._http = http
        self._locate = locate

    def head(self, reference: Reference) -> Descriptor | None:
        """What the reference points at, by a HEAD request; None where the registry does not answer that usefully."""
        return head_document(self._http, self._locate(reference), reference)

    def get(self, reference: Reference) -> Document:
        """The manifest or index; if it was asked for by digest, it has that digest."""
        return get_document(self._http, self._locate(reference), reference)

    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> AbstractContextManager[BlobStream]:
        """The bytes of a blob. The iterator raises UnreachableError where the connection breaks."""
        return open_blob(self._http, self._locate(reference), reference, blob, offset)

    def open_range(
        self, reference: Reference, blob: Descriptor, offset: int, size: int
    ) -> AbstractContextManager[BlobStream | None]:
        """A part of a blob; None where the registry gives no parts."""
        return open_range(self._http, self._locate(reference), reference, blob, offset, size)

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags of the repository, page by page."""
        return list_tags(self._http, self._locate(replace(reference, tag="")), reference)

    def repositories(self, registry: str) -> Iterator[str]:
        """The names of the registry's repositories, page by page. Raises UsageError where it offers no list."""
        return list_repositories(self._http, self._locate(Reference(registry, "catalog", tag="")), registry)

    def referrers(self, reference: Reference, artifact_type: str = "") -> Iterator[Descriptor]:
        """What refers to the manifest with the reference's digest, page by page."""
        return list_referrers(self._http, self._locate(reference), reference, artifact_type)

    def has_blob(self, reference: Reference, blob: Descriptor) -> bool:
        """True if the repository has the blob."""
        return has_blob(self._http, self._itself(reference), reference, blob)

    def mount_blob(self, reference: Reference, blob: Descriptor, repository: str) -> bool:
        """Let the repository have a blob of another one at this registry; False if that is not granted."""
        source = self._itself(replace(reference, repository=repository))
        return mount_blob(self._http, self._itself(reference), reference, blob, source.repository)

    def put_blob(
        self, reference: Reference, blob: Descriptor, open_at: Callable[[int], AbstractContextManager[BlobStream]]
    ) -> None:
        """Upload a blob; resumed where it breaks off and the registry knows how far it was."""
        put_blob(self._http, self._itself(reference), reference, blob, open_at)

    def has(self, reference: Reference) -> bool:
        """True if there is a manifest or index at the reference's target."""
        return has_document(self._http, self._itself(reference), reference)

    def put(self, reference: Reference, document: Document) -> None:
        """Let the reference's target point at the document; its subject's list of referrers is kept, too."""
        put_document(self._http, self._itself(reference), reference, document)

    def check_login(self, reference: Reference, credentials: Credentials) -> None:
        """Try credentials; they are used from now on. Raises UnauthorizedError."""
        check_login(self._http, self._locate(reference), reference, credentials)

    def ping(self, reference: Reference) -> None:
        """Ask whether it is there, without credentials. Raises UnreachableError."""
        ping(self._http, self._locate(reference))

    def _itself(self, reference: Reference) -> Endpoint:
        """Where the registry itself keeps a reference, wherever it is read from."""
        return self._locate(reference)

    def close(self) -> None:
        """The connections are those of the services, which close them."""
