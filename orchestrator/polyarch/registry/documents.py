"""Manifests and indexes (distribution-spec, "Pulling manifests")."""

from __future__ import annotations

from polyarch.contract.registry import Endpoint
from polyarch.errors import IntegrityError, UnreachableError
from polyarch.limits import MAX_DOCUMENT_SIZE
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of, is_digest
from polyarch.oci.document import Document, parse_document
from polyarch.oci.media_types import ACCEPT, DOCKER_SCHEMA1, DOCUMENTS
from polyarch.reference import Reference
from polyarch.registry.authenticator import Account
from polyarch.registry.http_client import Call, HttpClient
from polyarch.registry.place import call_to
from polyarch.registry.statuses import about, refusal, words


def head_document(http: HttpClient, endpoint: Endpoint, reference: Reference) -> Descriptor | None:
    """The descriptor in the answer to a HEAD request; None where it is not allowed, or says too little."""
    with about(reference, endpoint.host):
        answer = http.fetch(_call("HEAD", endpoint, reference), 0)
    http.limits.look(reference.registry or endpoint.host, answer.headers)
    if answer.status in (400, 405, 406, 501):
        return None
    if answer.status != 200:
        raise refusal(reference, endpoint.host, answer, "manifest", http.login_words(reference.registry))
    digest = answer.headers.get("docker-content-digest", "")
    length = answer.headers.get("content-length", "")
    media_type = _media_type(answer.headers.get("content-type", ""))
    if not is_digest(digest) or not (length.isascii() and length.isdigit()) or media_type not in DOCUMENTS:
        return None
    if len(length) > 12 or int(length) > MAX_DOCUMENT_SIZE or (reference.digest and digest != reference.digest):
        return None  # the document itself will show what is wrong
    return Descriptor(media_type, digest, int(length))


def get_document(http: HttpClient, endpoint: Endpoint, reference: Reference) -> Document:
    """The document, with the digest that was asked for or that the registry itself names.

    Raises NotFoundError, UnauthorizedError, UnreachableError, IntegrityError.
    """
    with about(reference, endpoint.host):
        answer = http.fetch(_call("GET", endpoint, reference), MAX_DOCUMENT_SIZE)
    http.limits.look(reference.registry or endpoint.host, answer.headers)
    if answer.status >= 400:
        raise refusal(reference, endpoint.host, answer, "manifest", http.login_words(reference.registry))
    if answer.status != 200:
        raise UnreachableError(f"{reference}: {endpoint.host} answered {answer.status}, which is no manifest")
    content_type = _media_type(answer.headers.get("content-type", ""))
    if content_type.endswith("html"):
        raise IntegrityError(
            f"{reference}: {endpoint.host} answered with {words(answer.body, content_type)}, not with a manifest",
            f"is {endpoint.host} a registry? A login page or a proxy may stand before it",
        )
    announced = answer.headers.get("docker-content-digest", "")
    if content_type in DOCKER_SCHEMA1 or not is_digest(announced):  # that of schema 1 is not the digest of its bytes
        announced = ""
    for wanted, who in ((reference.digest, "asked for"), (announced, "announced")):
        if wanted and (actual := digest_of(answer.body, wanted.partition(":")[0])) != wanted:
            raise IntegrityError(
                f"{reference}: {endpoint.host} sent a manifest with digest {actual}, {who} was {wanted}",
                reference=str(reference),
                registry=endpoint.host,
            )
    return parse_document(answer.body, content_type, str(reference))


def _call(method: str, endpoint: Endpoint, reference: Reference) -> Call:
    path = f"/v2/{endpoint.repository}/manifests/{reference.target}"
    return call_to(endpoint, method, path, {"Accept": ACCEPT}, account=account_of(endpoint, reference))


def account_of(endpoint: Endpoint, reference: Reference) -> Account:
    """On whose behalf a reference is asked for."""
    return Account(reference.registry or endpoint.host, endpoint.credentials_key, endpoint.repository)


def _media_type(field: str) -> str:
    return field.partition(";")[0].strip().lower()
