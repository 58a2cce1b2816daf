"""What refers to a manifest: signatures, SBOMs, attestations (distribution-spec 1.1, "Listing Referrers")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

from polyarch.contract.registry import Endpoint
from polyarch.errors import IntegrityError, NotFoundError, UsageError
from polyarch.limits import MAX_DOCUMENT_SIZE, MAX_EMPTY_PAGES, MAX_LISTED_REFERRERS
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Index, parse_document
from polyarch.oci.media_types import OCI_INDEX
from polyarch.reference import Reference
from polyarch.registry.documents import account_of, get_document
from polyarch.registry.http_client import HttpClient
from polyarch.registry.pages import next_page
from polyarch.registry.place import call_to
from polyarch.registry.statuses import about, error_codes, refusal

# What a registry without this API answers; the specification says 404.
_NO_API = frozenset({404, 405, 501})


def list_referrers(
    http: HttpClient, endpoint: Endpoint, reference: Reference, artifact_type: str = ""
) -> Iterator[Descriptor]:
    """The descriptors of the manifests whose subject is the one with the reference's digest, page by page.

    With `artifact_type` those of that type only, whoever filters: the registry or this. A registry without the API is
    asked for the tag that clients keep the list under in its place ("Referrers Tag Schema"). None refers: nothing.
    Raises UsageError (no digest), NotFoundError (no such repository), UnauthorizedError, UnreachableError,
    IntegrityError.
    """
    if not reference.digest:
        raise UsageError(f"{reference}: only what refers to a digest can be listed", "write NAME@sha256:…")
    query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
    following = f"/v2/{endpoint.repository}/referrers/{reference.digest}{query}"
    seen: set[str] = set()
    where = f"{reference}: referrers"
    listed = empty = 0
    while listed <= MAX_LISTED_REFERRERS and empty <= MAX_EMPTY_PAGES:
        call = call_to(endpoint, "GET", following, {"Accept": OCI_INDEX}, account=account_of(endpoint, reference))
        with about(reference, endpoint.host):
            answer = http.fetch(call, MAX_DOCUMENT_SIZE)
        if not seen and answer.status in _NO_API and "NAME_UNKNOWN" not in error_codes(answer.body):
            yield from _of_type(_tagged(http, endpoint, reference), artifact_type)
            return
        if answer.status != 200:
            raise refusal(reference, endpoint.host, answer, "referrers", http.login_words(reference.registry))
        page = parse_document(answer.body, answer.headers.get("content-type", ""), where)
        if not isinstance(page, Index):
            raise IntegrityError(f"{where}: {endpoint.host} answered with a manifest, not with an index")
        listed, empty = listed + len(page.manifests), 0 if page.manifests else empty + 1
        yield from _of_type(page.manifests, artifact_type)
        seen.add(following)
        after = next_page(answer.headers.get("link", ""), endpoint.host, following)
        if after is None or after in seen:
            return
        following = after
    raise IntegrityError(f"{where}: {endpoint.host} lists more than {MAX_LISTED_REFERRERS}, or pages without any")


def referrers_tag(digest: Digest) -> str:
    """The tag that a list of referrers has where there is no API: `sha256-` and the digest's hex digits."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def _tagged(http: HttpClient, endpoint: Endpoint, reference: Reference) -> tuple[Descriptor, ...]:
    tagged = replace(reference, tag=referrers_tag(reference.digest), digest="")
    try:
        document = get_document(http, endpoint, tagged)
    except NotFoundError:
        return ()
    if not isinstance(document, Index):
        raise IntegrityError(f"{tagged}: an index of referrers is wanted, not a manifest")
    return document.manifests


def _of_type(descriptors: tuple[Descriptor, ...], artifact_type: str) -> Iterator[Descriptor]:
    return (each for each in descriptors if not artifact_type or each.artifact_type == artifact_type)
