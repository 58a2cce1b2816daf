"""Listing tags (distribution-spec, "Listing Tags")."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract.registry import Endpoint
from polyarch.limits import MAX_LIST_PAGE_SIZE
from polyarch.oci.json import parse_json, strings
from polyarch.reference import Reference
from polyarch.registry.documents import account_of
from polyarch.registry.http_client import HttpClient
from polyarch.registry.pages import name_pages
from polyarch.registry.place import call_to
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import about, refusal


def list_tags(http: HttpClient, endpoint: Endpoint, reference: Reference) -> Iterator[str]:
    """The tags of the repository, page by page.

    Raises NotFoundError, UnauthorizedError, UnreachableError, IntegrityError (no list of tags, pages without end).
    """
    where = f"{reference.name}: tags"

    def ask(path: str) -> Answer:
        with about(reference, endpoint.host):
            call = call_to(endpoint, "GET", path, account=account_of(endpoint, reference))
            return http.fetch(call, MAX_LIST_PAGE_SIZE)

    def read(answer: Answer) -> tuple[str, ...]:
        if answer.status != 200:
            raise refusal(reference, endpoint.host, answer, "tags", http.login_words(reference.registry))
        return strings(parse_json(answer.body, where).get("tags"), where)

    return name_pages(ask, read, endpoint.host, f"/v2/{endpoint.repository}/tags/list", where)
