"""Lists that come in pages (distribution-spec, "Listing Tags"; Link fields, RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from polyarch.errors import IntegrityError
from polyarch.registry.origin import join_url, split_url
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import error_codes

PAGE = 1000
"""Entries that are asked for at once; registries give fewer if they like."""

MAX_PAGES = 10_000
MAX_PAGE_SIZE = 4 << 20
"""Bytes of one page."""

_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r';\s*rel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)', re.IGNORECASE)


def name_pages(
    ask: Callable[[str], Answer], read: Callable[[Answer], tuple[str, ...]], host: str, path: str, what: str
) -> Iterator[str]:
    """The names in a list; a page is asked for when its first name is wanted.

    `ask` gets path and query of a page, `read` takes the names out of an answer or raises what its refusal means.
    A registry that gives fewer at once than it is asked for may refuse the number (distribution's configuration,
    `catalog.maxentries`): then it gets to choose. One that gives a full page without saying what comes next is asked
    for what is behind the last name (`last`). Raises IntegrityError too, for pages without end.
    """
    following = f"{path}?n={PAGE}"
    seen: set[str] = set()
    before: tuple[str, ...] = ()
    for _ in range(MAX_PAGES):
        answer = ask(following)
        if answer.status == 400 and not seen and "PAGINATION_NUMBER_INVALID" in error_codes(answer.body):
            answer = ask(path)
        seen.add(following)
        names = read(answer)
        if names and names == before:  # it does not know `last`, or goes round in circles
            return
        yield from names
        before = names
        link = answer.headers.get("link", "")
        after = next_page(link, host, following)
        if after is None and not link and len(names) == PAGE:
            after = f"{path}?{urlencode({'n': PAGE, 'last': names[-1]})}"
        if after is None or after in seen:
            return
        following = after
    raise IntegrityError(f"{what}: {host} has more than {MAX_PAGES} pages")


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
