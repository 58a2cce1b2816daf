"""What Docker Hub, Quay and Harbor find, from answers as their documentation shows them."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from polyarch.contract import (
    IntegrityError,
    RegistryServices,
    SearchResult,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)
from polyarch_plugins.registries.docker_hub.search import HubSearch
from polyarch_plugins.registries.harbor.search import HarborSearch
from polyarch_plugins.registries.quay.search import QuaySearch
from support import search_apis
from support.search_apis import SearchApis, said

Services = Callable[..., RegistryServices]


def hub(apis: SearchApis, services: Services) -> HubSearch:
    return HubSearch(services(search=f"http://{apis.address}{search_apis.HUB_PATH}"))


def test_docker_hub(apis: SearchApis, services_with: Services) -> None:
    apis.pages[search_apis.HUB_PATH] = search_apis.docker_hub
    found = list(hub(apis, services_with).search("docker.io", "busybox", 3))
    assert found[:2] == [
        SearchResult("progrium/busybox", "", 50, False),
        SearchResult("busybox", "Busybox base image.", 316, True),
    ]
    assert len(found) == 3
    assert apis.requests == ["/v1/search?q=busybox&n=3"]
    assert list(hub(apis, services_with).search("docker.io", "a b&c", 25)) == []
    assert parse_qs(urlsplit(apis.requests[-1]).query) == {"q": ["a b&c"], "n": ["25"]}


def test_docker_hub_gives_no_more_than_was_asked_for(apis: SearchApis, services_with: Services) -> None:
    results = [{"name": f"library/a{number}", "description": None} for number in range(9)]
    apis.pages[search_apis.HUB_PATH] = said({"results": results})
    found = list(hub(apis, services_with).search("docker.io", "a", 2))
    assert found == [SearchResult("a0", "", 0, False), SearchResult("a1", "", 0, False)]


@pytest.mark.parametrize("url", ["index.docker.io/v1/search", "file:///etc/passwd", 5, ""])
def test_an_option_that_is_no_url(services_with: Services, url: object) -> None:
    with pytest.raises(UsageError, match="is no URL"):
        HubSearch(services_with(search=url))


def test_an_option_that_docker_hub_does_not_know(services_with: Services) -> None:
    with pytest.raises(UsageError, match=r"docker-hub\] has no option 'serach'") as caught:
        HubSearch(services_with(serach="https://hub-mirror.example.com/v1/search"))
    assert "search = " in str(caught.value.hint)


def test_docker_hub_wants_a_word(apis: SearchApis, services_with: Services) -> None:
    with pytest.raises(UsageError, match="wants a word"):
        list(hub(apis, services_with).search("docker.io", "", 25))


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (said({"results": 5}), IntegrityError),
        (said({"results": [5]}), IntegrityError),
        (said([]), IntegrityError),
        (said({}, 429), UnreachableError),
        (said({}, 500), UnreachableError),
        (said({}, 403), UnauthorizedError),
    ],
)
def test_what_is_no_answer_of_docker_hub(
    apis: SearchApis, services_with: Services, page: Callable[..., search_apis.Answer], error: type[Exception]
) -> None:
    apis.pages[search_apis.HUB_PATH] = page
    with pytest.raises(error):
        list(hub(apis, services_with).search("docker.io", "x", 25))


def test_quay(apis: SearchApis, services_with: Services) -> None:
    apis.pages[search_apis.QUAY_PATH] = search_apis.quay
    search = QuaySearch(services_with())
    found = list(search.search(apis.address, "busybox", 100))
    assert [result.name for result in found] == [
        f"{apis.address}/quayadmin/busybox-{number}" for number in range(23) if number != 2
    ]
    assert found[0] == SearchResult(f"{apis.address}/quayadmin/busybox-0", "# Busybox 0\n\nsmall", 0)
    assert found[1].description == ""
    assert len(apis.requests) == 3
    assert len(list(search.search(apis.address, "busybox", 5))) == 5
    assert len(apis.requests) == 4  # no page more than needed


def test_quay_pages_that_do_not_end(apis: SearchApis, services_with: Services) -> None:
    results = [{"namespace": {"name": "a"}, "name": "b"}]
    apis.pages[search_apis.QUAY_PATH] = said({"results": results, "has_additional": True, "page": 1})
    assert len(list(QuaySearch(services_with()).search(apis.address, "b", 100))) == 2  # the second is the first again
    apis.pages[search_apis.QUAY_PATH] = said({"results": [], "has_additional": True})
    assert list(QuaySearch(services_with()).search(apis.address, "b", 100)) == []


@pytest.mark.parametrize("document", [{}, {"results": [5]}, {"results": [{"name": "x"}]}])
def test_what_is_no_answer_of_quay(apis: SearchApis, services_with: Services, document: object) -> None:
    apis.pages[search_apis.QUAY_PATH] = said(document)
    with pytest.raises(IntegrityError):
        list(QuaySearch(services_with()).search(apis.address, "x", 25))


def test_what_is_no_quay(apis: SearchApis, services_with: Services) -> None:
    with pytest.raises(UsageError, match="does not have the API of a Quay"):
        list(QuaySearch(services_with()).search(apis.address, "x", 25))


def test_harbor(apis: SearchApis, services_with: Services) -> None:
    apis.pages |= {search_apis.HARBOR_PING: search_apis.pong, search_apis.HARBOR_PATH: search_apis.harbor}
    found = list(HarborSearch(services_with()).search(apis.address, "busybox", 25))
    assert found == [
        SearchResult(f"{apis.address}/library/busybox"),
        SearchResult(f"{apis.address}/library/tools/busybox-arm"),
    ]
    assert len(list(HarborSearch(services_with()).search(apis.address, "busybox", 1))) == 1


@pytest.mark.parametrize("page", [None, lambda query: (200, b"<html>Pong"), lambda query: (403, b"Pong")])
def test_what_is_no_harbor(
    apis: SearchApis, services_with: Services, page: Callable[..., search_apis.Answer] | None
) -> None:
    apis.pages[search_apis.HARBOR_PATH] = search_apis.harbor
    if page is not None:
        apis.pages[search_apis.HARBOR_PING] = page
    search = HarborSearch(services_with())
    with pytest.raises(UsageError, match="is no Harbor"):
        list(search.search(apis.address, "redis", 25))


def test_a_page_without_end_is_no_harbor(apis: SearchApis, services_with: Services) -> None:
    apis.pages[search_apis.HARBOR_PING] = lambda query: (200, b"Pong" * 5000)
    with pytest.raises(UsageError, match="is no Harbor"):
        list(HarborSearch(services_with()).search(apis.address, "redis", 25))
