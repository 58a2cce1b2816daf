"""Searching a Harbor.

Source: goharbor/harbor, api/v2.0/swagger.yaml. `GET /api/v2.0/ping` answers `Pong` to anybody, which is how a Harbor is
known. `GET /api/v2.0/search?q=TERM` gives `{"project": […], "repository": [{"project_name", "repository_name",
"pull_count", "artifact_count", …}]}`: those that are public, in their order, all at once; `repository_name` begins with
the project.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from polyarch.contract import IntegrityError, RegistryServices, SearchResult, UsageError, get_json

_API = "/api/v2.0"
_LONGEST_PONG = 4096


class HarborSearch:
    """A Search."""

    def __init__(self, services: RegistryServices) -> None:
        self._http = services.http

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        """What the Harbor finds, in its order. Raises UsageError for a registry that is no Harbor."""
        if not self._is_harbor(registry):
            raise UsageError(f"{registry} is no Harbor", "see the setting prefer")
        document = get_json(self._http, f"//{registry}{_API}/search?{urlencode({'q': term})}", registry)
        repositories = document.get("repository") or []
        if not isinstance(repositories, list) or not all(isinstance(each, dict) for each in repositories):
            raise IntegrityError(f"{registry}: what its search answered is no list of repositories")
        for each in repositories[:limit]:
            yield SearchResult(f"{registry}/{each.get('repository_name')}")

    def _is_harbor(self, registry: str) -> bool:
        with self._http.request("GET", f"//{registry}{_API}/ping") as response:
            if response.status != 200:
                return False
            try:
                return response.read(_LONGEST_PONG).strip(b' "\n') == b"Pong"
            except IntegrityError:  # some page or other
                return False
