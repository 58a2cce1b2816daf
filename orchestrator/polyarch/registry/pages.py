"""Lists that come in pages (distribution-spec, "Listing Tags"; Link fields, RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from polyarch.errors import IntegrityError
from polyarch.limits import LIST_PAGE, MAX_EMPTY_PAGES, MAX_LIST_PAGES, MAX_LIST_SIZE, MAX_LISTED_NAMES
from polyarch.registry.origin import join_url, split_url
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import error_codes

# No text makes them look at a character more than a few times: a field may have 64 KiB.
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_RELATION = re.compile(r';\s*+rel\s*+=\s*+(?:"([^"]*+)(?:"|$)|([^\s;,]++))', re.IGNORECASE)


def name_pages(
    ask: Callable[[str], Answer], read: Callable[[Answer], tuple[str, ...]], host: str, path: str, what: str
) -> Iterator[str]:
    """The names in a list; a page is asked for when its first name is wanted.

    `ask` gets path and query of a page, `read` takes the names out of an answer or raises what its refusal means.
    A registry that gives fewer at once than it is asked for may refuse the number (distribution's configuration,
    `catalog.maxentries`): then it gets to choose. One that gives a full page without saying what comes next is asked
    for what is behind the last name (`last`). Raises IntegrityError too, for pages without end.
    """
    following = f"{path}?n={LIST_PAGE}"
    seen: set[str] = set()
    before: tuple[str, ...] = ()
    listed = empty = size = 0
    for _ in range(MAX_LIST_PAGES):
        answer = ask(following)
        if answer.status == 400 and not seen and "PAGINATION_NUMBER_INVALID" in error_codes(answer.body):
            answer = ask(path)
        seen.add(following)
        names = read(answer)
        if names and names == before:  # it does not know `last`, or goes round in circles
            return
        listed, empty = listed + len(names), 0 if names else empty + 1
        size += len(answer.body)
        if listed > MAX_LISTED_NAMES or empty > MAX_EMPTY_PAGES or size > MAX_LIST_SIZE:
            what_of = f"{MAX_LISTED_NAMES} names" if empty == 0 else f"{MAX_EMPTY_PAGES} empty pages"
            what_of = f"{MAX_LIST_SIZE} bytes" if size > MAX_LIST_SIZE else what_of
            raise IntegrityError(f"{what}: {host} lists more than {what_of}")
        yield from names
        before = names
        link = answer.headers.get("link", "")
        after = next_page(link, host, following)
        if after is None and not link and len(names) == LIST_PAGE:
            after = f"{path}?{urlencode({'n': LIST_PAGE, 'last': names[-1]})}"
        if after is None or after in seen:
            return
        following = after
    raise IntegrityError(f"{what}: {host} has more than {MAX_LIST_PAGES} pages")


def next_page(field: str, host: str, path: str) -> str | None:
    """Path and query of the next page in a Link field; None if there is none, or if it is on another host."""
    for target, parameters in _LINK.findall(field):
        relations = ("".join(found).lower().split() for found in _RELATION.findall(parameters))
        if not any("next" in found for found in relations):
            continue
        try:
            # The scheme is left open: behind a proxy registries name their own wrongly.
            there, following = split_url(join_url(f"https://{host}{path}", target))
            here, _ = split_url(f"{there.scheme}://{host}/")
        except ValueError:
            return None
        return following if there == here else None
    return None
