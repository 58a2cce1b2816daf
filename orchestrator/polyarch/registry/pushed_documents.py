"""Pushing manifests and indexes (distribution-spec 1.1, "Pushing Manifests", also "with Subject")."""

from __future__ import annotations

from dataclasses import replace

from polyarch.contract.registry import Endpoint
from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, UnreachableError
from polyarch.oci.digest import is_digest
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Index, Manifest
from polyarch.oci.joined import joined, listed
from polyarch.oci.media_types import ACCEPT
from polyarch.oci.written import write_index
from polyarch.reference import Reference
from polyarch.registry.documents import get_document
from polyarch.registry.http_client import HttpClient
from polyarch.registry.place import call_to
from polyarch.registry.referrers import referrers_tag
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import about, error_codes, refusal, words
from polyarch.registry.uploads import pusher


def has_document(http: HttpClient, endpoint: Endpoint, reference: Reference) -> bool:
    """True if there is a document at the reference's target. Raises UnauthorizedError, UnreachableError."""
    path = f"/v2/{endpoint.repository}/manifests/{reference.target}"
    call = call_to(endpoint, "HEAD", path, {"Accept": ACCEPT}, account=pusher(endpoint, reference))
    with about(reference, endpoint.host):
        answer = http.fetch(call, 0)
    if answer.status in (404, 405):
        return False
    if answer.status != 200:
        raise refusal(reference, endpoint.host, answer, "manifest", http.login_words(reference.registry))
    return not reference.digest or answer.headers.get("docker-content-digest", reference.digest) == reference.digest


def put_document(http: HttpClient, endpoint: Endpoint, reference: Reference, document: Document) -> None:
    """Let the reference's target point at the document.

    Where the registry does not say that it keeps the referrers of a subject (OCI-Subject), their list under a tag is
    kept here. Raises UnauthorizedError, UnreachableError, NotFoundError, and IntegrityError where the registry says
    that it has something else now.
    """
    answer = _put(http, endpoint, reference, document)
    if document.subject is not None and not answer.headers.get("oci-subject"):
        _list_referrer(http, endpoint, reference, document)


def _put(http: HttpClient, endpoint: Endpoint, reference: Reference, document: Document) -> Answer:
    call = call_to(
        endpoint,
        "PUT",
        f"/v2/{endpoint.repository}/manifests/{reference.target}",
        {"Content-Type": document.media_type},
        account=pusher(endpoint, reference),
    )
    with about(reference, endpoint.host):
        answer = http.fetch(replace(call, content=document.raw), MAX_DOCUMENT_SIZE)
    if answer.status not in (200, 201, 202):
        raise _refused(http, endpoint, reference, document, answer)
    said = answer.headers.get("docker-content-digest", "")
    if is_digest(said) and said.partition(":")[0] == document.digest.partition(":")[0] and said != document.digest:
        raise IntegrityError(
            f"{reference}: {endpoint.host} was given {document.digest} and says that it has {said}",
            "what it changes on the way in cannot be trusted: tell the registry's operator",
        )
    return answer


def _refused(
    http: HttpClient, endpoint: Endpoint, reference: Reference, document: Document, answer: Answer
) -> PolyarchError:
    what = "index" if isinstance(document, Index) else "manifest"
    login = http.login_words(reference.registry)
    error = refusal(reference, endpoint.host, answer, f"push of the {what}", login)
    if isinstance(error, NotFoundError) and "NAME_UNKNOWN" not in error_codes(answer.body):
        # Nothing was asked for: something that the document names is missing.
        said = words(answer.body, answer.headers.get("content-type", ""))
        return UnreachableError(f"{reference}: {endpoint.host} answered {answer.status} for the {what}: {said}")
    return error


def _list_referrer(http: HttpClient, endpoint: Endpoint, reference: Reference, document: Document) -> None:
    """Add the document to its subject's list of referrers under a tag ("Referrers Tag Schema"), unless it is there."""
    assert document.subject is not None
    tagged = replace(reference, tag=referrers_tag(document.subject.digest), digest="")
    try:
        known = get_document(http, endpoint, tagged)
    except NotFoundError:
        known = write_index(())
    if not isinstance(known, Index):
        raise IntegrityError(f"{tagged}: an index of referrers is wanted, not a manifest")
    if any(entry.digest == document.digest for entry in known.manifests):
        return
    kind = document.artifact_type
    if not kind and isinstance(document, Manifest):
        kind = document.config.media_type
    entry = replace(document.descriptor, artifact_type=kind, annotations=document.annotations)
    _put(http, endpoint, tagged, joined(known, [*listed(known), entry.to_json()]))
