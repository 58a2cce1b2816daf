"""A registry that speaks the OCI distribution-spec 1.1; each ability is a module beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from polyarch.auth.credentials import Credentials
from polyarch.contract.registry import BlobStream, Endpoint
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch.registry.blobs import open_blob
from polyarch.registry.catalog import list_repositories
from polyarch.registry.documents import get_document, head_document
from polyarch.registry.http_client import HttpClient
from polyarch.registry.login import check_login
from polyarch.registry.ping import ping
from polyarch.registry.referrers import list_referrers
from polyarch.registry.tags import list_tags


class DistributionRegistry:
    """The contract's `Registry` with its lists of tags, repositories and referrers; `ChecksLogin`, `AnswersPing`.

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

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags of the repository, page by page."""
        return list_tags(self._http, self._locate(reference), reference)

    def repositories(self, registry: str) -> Iterator[str]:
        """The names of the registry's repositories, page by page. Raises UsageError where it offers no list."""
        return list_repositories(self._http, self._locate(Reference(registry, "catalog")), registry)

    def referrers(self, reference: Reference, artifact_type: str = "") -> Iterator[Descriptor]:
        """What refers to the manifest with the reference's digest, page by page."""
        return list_referrers(self._http, self._locate(reference), reference, artifact_type)

    def check_login(self, reference: Reference, credentials: Credentials) -> None:
        """Try credentials; they are used from now on. Raises UnauthorizedError."""
        check_login(self._http, self._locate(reference), reference, credentials)

    def ping(self, reference: Reference) -> None:
        """Ask whether it is there, without credentials. Raises UnreachableError."""
        ping(self._http, self._locate(reference))

    def close(self) -> None:
        """The connections are those of the services, which close them."""
