"""Searching Docker Hub as docker does.

Source: moby/moby, daemon/pkg/registry/search.go (the request) and api/types/registry/search.go (the answer):
`GET https://index.docker.io/v1/search?q=TERM&n=LIMIT` gives `{"num_results": 1, "query": TERM, "results": [{"name",
"description", "star_count", "is_official", "is_automated"}]}`. `is_automated` means nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from polyarch.contract import IntegrityError, RegistryServices, SearchResult, UsageError, get_json, printable

URL = "https://index.docker.io/v1/search"


class HubSearch:
    """A Search. The option `search` names another place that speaks the same API, such as a mirror."""

    def __init__(self, services: RegistryServices) -> None:
        self._http = services.http
        if unknown := sorted(set(services.options) - {"search"}):
            raise UsageError(
                f"[options.docker-hub] has no option '{printable(unknown[0], 100)}'", f'known: search = "{URL}"'
            )
        self._url = services.options.get("search", URL)
        if not isinstance(self._url, str) or not self._url.startswith(("https://", "http://")):
            raise UsageError(
                f"[options.docker-hub] search = {printable(repr(self._url), 100)} is no URL", f'such as "{URL}"'
            )

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        """What Docker Hub finds, in its order. Raises UsageError where there is no word to look for."""
        if not term:
            raise UsageError("Docker Hub wants a word to look for", "polyarch search TERM")
        document = get_json(self._http, f"{self._url}?{urlencode({'q': term, 'n': limit})}", registry)
        results = document.get("results") or []
        if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
            raise IntegrityError(f"{registry}: what its search answered is no list of results")
        for each in results[:limit]:
            stars = each.get("star_count")
            yield SearchResult(
                str(each.get("name") or "").removeprefix("library/"),
                str(each.get("description") or ""),
                stars if isinstance(stars, int) else 0,
                each.get("is_official") is True,
            )
