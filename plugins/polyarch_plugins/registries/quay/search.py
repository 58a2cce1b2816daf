"""Searching a Quay: public repositories, for its API takes tokens of its own and no registry's logins.

Source: docs.redhat.com, "Red Hat Quay API reference", conductRepoSearch, and quay/quay, endpoints/api/search.py:
`GET /api/v1/find/repositories?query=TERM&page=N` gives `{"results": […], "has_additional", "page", "page_size",
"start_index"}`, the likeliest first, usually 10 a page and 10 pages at most. A result has `kind` ("repository",
"application"), `namespace` (an object with `name`), `name`, `description` (may be null), `stars`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from polyarch.contract import IntegrityError, NotFoundError, RegistryServices, SearchResult, UsageError, get_json

MOST_PAGES = 100


class QuaySearch:
    """A Search."""

    def __init__(self, services: RegistryServices) -> None:
        self._http = services.http

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        """What the Quay finds, in its order. Raises UsageError for a registry that is no Quay."""
        found = 0
        for page in range(1, MOST_PAGES + 1):
            query = urlencode({"query": term, "page": page})
            try:
                document = get_json(self._http, f"//{registry}/api/v1/find/repositories?{query}", registry)
            except NotFoundError as error:
                raise UsageError(f"{registry} does not have the API of a Quay", "see the setting prefer") from error
            for result in _results(document, registry):
                yield result
                found += 1
                if found == limit:
                    return
            if document.get("has_additional") is not True or document.get("page", page) != page:
                return


def _results(document: Mapping[str, object], registry: str) -> Iterator[SearchResult]:
    results = document.get("results")
    if not isinstance(results, list):
        raise IntegrityError(f"{registry}: what its search answered is no list of results")
    for each in results:
        namespace = each.get("namespace") if isinstance(each, dict) else None
        if not isinstance(namespace, dict):
            raise IntegrityError(f"{registry}: its search answered with a result that has no namespace")
        if each.get("kind", "repository") != "repository":
            continue
        stars = each.get("stars")
        yield SearchResult(
            f"{registry}/{namespace.get('name')}/{each.get('name')}",
            str(each.get("description") or ""),
            stars if isinstance(stars, int) else None,
        )
