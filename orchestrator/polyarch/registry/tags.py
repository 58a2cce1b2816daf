"""Listing tags (distribution-spec, "Listing Tags"; pages by Link fields, RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from polyarch.contract.registry import Endpoint
from polyarch.errors import IntegrityError
from polyarch.oci.json import parse_json, strings
from polyarch.reference import Reference
from polyarch.registry.documents import account_of
from polyarch.registry.http_client import Call, HttpClient
from polyarch.registry.origin import join_url, split_url
from polyarch.registry.statuses import about, refusal

PAGE = 1000
"""Tags that are asked for at once; registries give fewer if they like."""

MAX_PAGES = 10_000
MAX_PAGE_SIZE = 4 << 20
"""Bytes of one page."""

_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)', re.IGNORECASE)


def list_tags(http: HttpClient, endpoint: Endpoint, reference: Reference) -> Iterator[str]:
    """The tags of the repository; a page is asked for when its first tag is wanted.

    Raises NotFoundError, UnauthorizedError, UnreachableError, IntegrityError (no list of tags, pages without end).
    """
    path = f"/v2/{endpoint.repository}/tags/list?n={PAGE}"
    seen = {path}
    for _ in range(MAX_PAGES):
        call = Call("GET", endpoint.host, path, account=account_of(endpoint, reference))
        with about(reference, endpoint.host):
            answer = http.fetch(call, MAX_PAGE_SIZE)
        if answer.status != 200:
            raise refusal(reference, endpoint.host, answer, "tags")
        where = f"{reference.name}: tags"
        yield from strings(parse_json(answer.body, where).get("tags"), where)
        following = next_page(answer.headers.get("link", ""), endpoint.host, path)
        if following is None or following in seen:
            return
        path = following
        seen.add(path)
    raise IntegrityError(f"{reference.name}: {endpoint.host} has more than {MAX_PAGES} pages of tags")


def next_page(field: str, host: str, path: str) -> str | None:
    """Path and query of the next page in a Link field; None if there is none, or if it is on another host."""
    for target, parameters in _LINK.findall(field):
        if not _NEXT.search(parameters):
            continue
        try:
            # The scheme is left open: behind a proxy registries name their own wrongly.
            there, following = split_url(join_url(f"https://{host}{path}", target))
            here, _ = split_url(f"{there.scheme}://{host}/")
        except ValueError:
            return None
        return following if there == here else None
    return None
