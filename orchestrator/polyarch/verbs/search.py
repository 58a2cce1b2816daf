"""Finding repositories by a word, as `docker search` does, at any registry that can tell which it has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from polyarch.contract.hooks import RegistryPlugin
from polyarch.contract.registry import ListsRepositories, Registry, Search, SearchResult
from polyarch.errors import UsageError, printable
from polyarch.plugin_host.host import PluginHost
from polyarch.reference import DEFAULT_REGISTRY, Reference, parse_registry
from polyarch_platforms.lazy_dataclass import dataclass

MOST = 100
"""Results at most; docker's own limit, and Docker Hub's (moby/moby, daemon/pkg/registry/search.go)."""


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What a result has to be: official or not (None: either), with at least so many stars."""

    official: bool | None = None
    stars: int = 0

    def fits(self, result: SearchResult) -> bool:
        """A registry that counts no stars has none, and one that calls nothing official has nothing official."""
        if self.official is not None and bool(result.official) != self.official:
            return False
        return (result.stars or 0) >= self.stars


def parse_filters(texts: Iterable[str]) -> SearchFilters:
    """The filters `is-official=BOOL` and `stars=N`; of several numbers the largest counts. Raises UsageError."""
    official: bool | None = None
    stars = 0
    for text in texts:
        name, _, value = text.partition("=")
        name, value = name.strip().lower(), value.strip().lower()
        if name == "is-official" and value in ("true", "1", "false", "0"):
            wanted = value in ("true", "1")
            if official is not None and official != wanted:
                raise UsageError("nothing is official and not official at once", "name is-official once")
            official = wanted
        elif name == "stars" and value.isascii() and value.isdigit() and len(value) < 10:
            stars = max(stars, int(value))
        else:
            raise UsageError(
                f"'{printable(text, 100)}' is no filter of a search", "filters are is-official=true|false and stars=N"
            )
    return SearchFilters(official, stars)


def split_term(text: str) -> tuple[str, str]:
    """The registry and the term in `[REGISTRY/]TERM`, told apart as docker does. Raises UsageError."""
    if "://" in text:
        raise UsageError(f"'{printable(text, 100)}' is no search: it starts with a URL scheme", "write REGISTRY/TERM")
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        registry, term = DEFAULT_REGISTRY, text
    else:
        registry, term = parse_registry(first), rest
    return registry, term.removeprefix("library/") if registry == DEFAULT_REGISTRY else term


def search(
    plugins: PluginHost,
    searcher: Callable[[RegistryPlugin], Search | None],
    registry_of: Callable[[Reference], Registry],
    text: str,
    limit: int,
    filters: SearchFilters,
) -> tuple[SearchResult, ...]:
    """At most `limit` repositories for `[REGISTRY/]TERM`: official ones first, then by stars, then as they came.

    With filters more is asked for than is wanted. `searcher` makes a plugin's search, `registry_of` opens the registry
    of a reference. Raises UsageError (bad words, a registry that cannot search), UnauthorizedError, UnreachableError,
    IntegrityError.
    """
    if not 1 <= limit <= MOST:
        raise UsageError(f"a limit of {limit} is outside of 1 to {MOST}")
    registry, term = split_term(text)
    asked = limit if filters == SearchFilters() else MOST
    results = itertools.islice(_results(plugins, searcher, registry_of, registry, term, asked), asked)
    fitting = itertools.islice((result for result in results if filters.fits(result)), limit)
    return tuple(sorted(fitting, key=lambda result: (not result.official, -(result.stars or 0))))


def _results(
    plugins: PluginHost,
    searcher: Callable[[RegistryPlugin], Search | None],
    registry_of: Callable[[Reference], Registry],
    registry: str,
    term: str,
    limit: int,
) -> Iterator[SearchResult]:
    """What the host's own plugin finds. Where that cannot search, the registry's list is looked through; a host that
    no plugin knows more closely may be one that a plugin without hosts recognises."""
    reference = Reference(registry, "search", tag="")
    plugin = plugins.registry_for(reference)
    own = searcher(plugin)
    if own is not None:
        yield from own.search(registry, term, limit)
        return
    if "*" in plugin.hosts:
        for other in plugins.all(RegistryPlugin):
            made = None if other.hosts or other.schemes else searcher(other)
            try:
                if made is not None:
                    yield from made.search(registry, term, limit)
                    return
            except UsageError:  # it is not one of its kind
                continue
    made_registry = registry_of(reference)
    hint = f"name a repository: polyarch tags {registry}/NAME"
    if not isinstance(made_registry, ListsRepositories):
        raise UsageError(f"{registry} cannot search", hint)
    try:
        for name in made_registry.repositories(registry):
            if term.lower() in name.lower():
                yield SearchResult(f"{registry}/{name}")
    except UsageError as error:
        raise UsageError(f"{registry} cannot search: {error.message.removeprefix(f'{registry} ')}", hint) from error
