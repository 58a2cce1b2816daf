"""Searches: the words of them, the order of what is found, and who is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import RegistryPlugin, SearchResult, UsageError
from polyarch.plugin_host.host import PluginHost
from polyarch.reference import Reference
from polyarch.settings import Settings
from polyarch.verbs.search import SearchFilters, parse_filters, search, split_term
from support.listing_registry import MemoryRegistry


@pytest.mark.parametrize(
    ("text", "registry", "term"),
    [
        # moby/moby, daemon/pkg/registry/search.go, splitReposSearchTerm
        ("busybox", "docker.io", "busybox"),
        ("owner/app", "docker.io", "owner/app"),
        ("library/busybox", "docker.io", "busybox"),
        ("docker.io/busybox", "docker.io", "busybox"),
        ("index.docker.io/library/busybox", "docker.io", "busybox"),
        ("quay.io/prom", "quay.io", "prom"),
        ("quay.io/library/x", "quay.io", "library/x"),
        ("localhost/x", "localhost", "x"),
        ("localhost:5000/a/b", "localhost:5000", "a/b"),
        ("quay.io/", "quay.io", ""),
        ("quay.io", "docker.io", "quay.io"),
        ("two words", "docker.io", "two words"),
    ],
)
def test_the_registry_in_a_term(text: str, registry: str, term: str) -> None:
    assert split_term(text) == (registry, term)


@pytest.mark.parametrize("text", ["https://quay.io/x", "a..b/x", "quay.io:0/x", "quay.io:x/y"])
def test_terms_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        split_term(text)


@pytest.mark.parametrize(
    ("texts", "filters"),
    [
        ([], SearchFilters()),
        (["is-official=true"], SearchFilters(True)),
        (["IS-OFFICIAL=0", "is-official=false"], SearchFilters(False)),
        (["stars=3"], SearchFilters(None, 3)),
        (["stars=3", "stars=10", "stars=4", "is-official=1"], SearchFilters(True, 10)),
    ],
)
def test_filters(texts: list[str], filters: SearchFilters) -> None:
    assert parse_filters(texts) == filters


@pytest.mark.parametrize(
    "texts",
    [
        ["stars"],
        ["stars="],
        ["stars=-1"],
        ["stars=x"],
        ["stars=9999999999"],
        ["is-official"],
        ["is-official=maybe"],
        ["is-official=true", "is-official=false"],
        ["is-automated=true"],
        [""],
        ["a\x1b[31m=5"],
    ],
)
def test_filters_that_are_none(texts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filters(texts)
    assert caught.value.message.isprintable()


class Finder:
    """A Search that finds what it was given, or raises it; it notes what it was asked."""

    def __init__(self, found: list[SearchResult] | Exception) -> None:
        self._found = found
        self.asked: list[tuple[str, str, int]] = []

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        self.asked.append((registry, term, limit))
        if isinstance(self._found, Exception):
            raise self._found
        yield from self._found


class Listing(MemoryRegistry):
    """One that lists repositories."""

    def __init__(self, names: list[str] | Exception) -> None:
        super().__init__()
        self._names = names

    def repositories(self, registry: str) -> Iterator[str]:
        self.requests.append(f"CATALOG {registry}")
        if isinstance(self._names, Exception):
            raise self._names
        yield from self._names


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> PluginHost:
    return PluginHost(Settings(root=tmp_path_factory.mktemp("root")))


def found(
    plugins: PluginHost,
    text: str,
    finders: dict[str, Finder],
    registry: MemoryRegistry | None = None,
    limit: int = 25,
    filters: SearchFilters | None = None,
) -> list[SearchResult]:
    """What is found where the plugins of these names have these searches and the others none."""

    def searcher(plugin: RegistryPlugin) -> Finder | None:
        return finders.get(plugin.name)

    def opened(reference: Reference) -> MemoryRegistry:
        assert registry is not None
        return registry

    return list(search(plugins, searcher, opened, text, limit, filters or SearchFilters()))


def results(*entries: tuple[str, int | None, bool | None]) -> list[SearchResult]:
    return [SearchResult(name, "", stars, official) for name, stars, official in entries]


MIXED = results(("a", 2, False), ("b", None, None), ("c", 9, False), ("d", 1, True), ("e", 2, False), ("f", 3, True))


def test_official_ones_come_first_then_stars_then_the_registrys_order(plugins: PluginHost) -> None:
    names = [result.name for result in found(plugins, "x", {"docker-hub": Finder(MIXED)})]
    assert names == ["f", "d", "c", "a", "e", "b"]


def test_the_limit_is_handed_on_and_kept(plugins: PluginHost) -> None:
    finder = Finder(MIXED)
    assert len(found(plugins, "x", {"docker-hub": finder}, limit=2)) == 2
    assert finder.asked == [("docker.io", "x", 2)]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (SearchFilters(True), ["f", "d"]),
        (SearchFilters(False), ["c", "a", "e", "b"]),
        (SearchFilters(None, 2), ["f", "c", "a", "e"]),
        (SearchFilters(True, 2), ["f"]),
        (SearchFilters(None, 10), []),
    ],
)
def test_filters_are_obeyed(plugins: PluginHost, filters: SearchFilters, names: list[str]) -> None:
    finder = Finder(MIXED)
    assert [result.name for result in found(plugins, "x", {"docker-hub": finder}, filters=filters)] == names
    assert finder.asked == [("docker.io", "x", 100)]  # more than is wanted: some do not fit


def test_a_filter_leaves_no_more_than_the_limit(plugins: PluginHost) -> None:
    finder = Finder(MIXED)
    assert len(found(plugins, "x", {"docker-hub": finder}, limit=1, filters=SearchFilters(False))) == 1


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_limits_that_are_none(plugins: PluginHost, limit: int) -> None:
    with pytest.raises(UsageError, match="outside of 1 to 100"):
        found(plugins, "x", {"docker-hub": Finder([])}, limit=limit)


def test_a_list_is_looked_through(plugins: PluginHost) -> None:
    registry = Listing(["tools/BusyBox", "redis", "busybox", "busybox-arm"])
    names = [result.name for result in found(plugins, "a.example/busybox", {}, registry)]
    assert names == ["a.example/tools/BusyBox", "a.example/busybox", "a.example/busybox-arm"]
    assert len(found(plugins, "a.example/", {}, registry, limit=3)) == 3


def test_a_list_is_read_no_further_than_needed(plugins: PluginHost) -> None:
    def names() -> Iterator[str]:
        yield "busybox"
        raise AssertionError("read on")

    registry = Listing([])
    registry._names = names()  # type: ignore[assignment]
    assert len(found(plugins, "a.example/busybox", {}, registry, limit=1)) == 1


def test_a_host_that_nobody_knows_may_be_a_harbor(plugins: PluginHost) -> None:
    harbor, quay = Finder(results(("a.example/p/x", None, None))), Finder([])
    assert [result.name for result in found(plugins, "a.example/x", {"harbor": harbor, "quay": quay})] == [
        "a.example/p/x"
    ]
    assert quay.asked == []


def test_what_is_no_harbor_is_looked_through(plugins: PluginHost) -> None:
    harbor = Finder(UsageError("a.example is no Harbor"))
    registry = Listing(["x"])
    assert [result.name for result in found(plugins, "a.example/x", {"harbor": harbor}, registry)] == ["a.example/x"]
    assert harbor.asked == [("a.example", "x", 25)]


def test_a_host_that_somebody_knows_is_no_harbor(plugins: PluginHost) -> None:
    harbor = Finder([])
    registry = Listing(["x"])
    assert found(plugins, "contoso.azurecr.io/x", {"harbor": harbor}, registry)
    assert harbor.asked == []


@pytest.mark.parametrize(
    ("registry", "says"),
    [
        (MemoryRegistry(), r"a\.example cannot search$"),
        (
            Listing(UsageError("a.example does not list its repositories: 404 page not found")),
            r"a\.example cannot search: does not list its repositories: 404 page not found$",
        ),
    ],
)
def test_who_cannot_search_says_so(plugins: PluginHost, registry: MemoryRegistry, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        found(plugins, "a.example/x", {}, registry)
    assert caught.value.hint == "name a repository: polyarch tags a.example/NAME"


def test_the_factory_of_a_search_is_called_for_real(tmp_path: Path) -> None:
    """Through the session: the options of the plugin reach its search."""
    from polyarch.session import Session

    settings = Settings(root=tmp_path, home=tmp_path, options={"docker-hub": {"search": "no URL"}})
    with Session(settings) as session, pytest.raises(UsageError, match="'no URL' is no URL"):
        session.search("x")
