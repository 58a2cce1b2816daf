"""`polyarch search` prints what docker search prints, from Docker Hub, Quay, Harbor and registries that list all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import search_apis
from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.search_apis import SearchApis, said
from support.terminal import on_a_terminal

pytestmark = pytest.mark.system

NAMES = ["busybox", "progrium/busybox", "radial/busyboxplus", "odise/busybox-python", "azukiapp/busybox"]


@pytest.fixture(scope="module")
def apis() -> Iterator[SearchApis]:
    """All three APIs at one address."""
    server = SearchApis()
    server.pages = {
        search_apis.HUB_PATH: search_apis.docker_hub,
        search_apis.QUAY_PATH: search_apis.quay,
        search_apis.HARBOR_PING: search_apis.pong,
        search_apis.HARBOR_PATH: search_apis.harbor,
    }
    yield server
    server.stop()


@pytest.fixture
def config(apis: SearchApis, tmp_path: Path) -> Path:
    """Settings with Docker Hub's search at `apis`."""
    file = tmp_path / "config.toml"
    file.write_text(f'retries = 0\n[options.docker-hub]\nsearch = "http://{apis.address}{search_apis.HUB_PATH}"\n')
    return file


def test_docker_hub(polyarch: Polyarch, config: Path) -> None:
    lines = polyarch("--config", config, "search", "busybox").ok().stdout.splitlines()
    assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split()[0] for line in lines[1:6]] == NAMES
    assert lines[1].split() == ["busybox", "Busybox", "base", "image.", "316", "[OK]"]
    assert lines[2].split() == ["progrium/busybox", "50"]
    assert "busybox made f…   8" in lines[3]
    assert "used as the base i…   2" in lines[5]
    # The columns stand below their headers.
    assert {line.index(stars) for line, stars in zip(lines, ("STARS", "316", "50"), strict=False)} == {
        lines[0].index("STARS")
    }


def test_json_and_names_alone(polyarch: Polyarch, config: Path) -> None:
    run = polyarch("--config", config, "search", "--format", "json", "--limit", "3", "docker.io/library/busybox").ok()
    assert [list(line) for line in run.json_lines] == [["name", "description", "stars", "official"]] * 3
    assert run.json_lines[0] == {
        "name": "busybox",
        "description": "Busybox base image.",
        "stars": 316,
        "official": True,
    }
    assert run.json_lines[2]["description"].endswith("git and cURL flavors.")
    assert polyarch("--config", config, "search", "-q", "busybox").ok().stdout.splitlines()[:5] == NAMES


def test_filters(polyarch: Polyarch, config: Path) -> None:
    def names(*words: str) -> list[str]:
        return polyarch("--config", config, "search", "-q", *words, "busybox").ok().stdout.splitlines()

    assert names("--filter", "is-official=true") == ["busybox"]
    assert names("-f", "is-official=false", "-f", "stars=8") == ["progrium/busybox", "radial/busyboxplus"]
    assert names("--filter", "stars=2", "--limit", "2") == ["busybox", "progrium/busybox"]


def test_descriptions_are_cut_to_the_terminals_width(polyarch: Polyarch, config: Path) -> None:
    for width in (72, 100):
        code, shown = on_a_terminal(polyarch, "--config", str(config), "search", "busybox", width=width)
        lines = shown.splitlines()
        assert code == 0
        assert len(lines) == 7
        assert max(map(len, lines)) in (width - 1, width)
        assert any("…" in line for line in lines)
    code, shown = on_a_terminal(polyarch, "--config", str(config), "search", "--no-trunc", "busybox", width=72)
    assert "Comes in git and cURL flavors." in shown
    assert len(shown.splitlines()) == 7


def test_nothing_found_is_a_header_alone(polyarch: Polyarch, config: Path) -> None:
    run = polyarch("--config", config, "search", "no-such-thing").ok()
    assert run.stdout.split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert polyarch("--config", config, "search", "--format", "json", "no-such-thing").ok().stdout == ""


def test_text_from_outside_is_made_harmless(polyarch: Polyarch, tmp_path: Path) -> None:
    server = SearchApis()
    evil = {"name": "evil\x1b[2J", "description": "a\nb\x1b]0;title\x07\u202e", "star_count": 1, "is_official": False}
    server.pages[search_apis.HUB_PATH] = said({"results": [evil]})
    file = tmp_path / "config.toml"
    file.write_text(f'[options.docker-hub]\nsearch = "http://{server.address}{search_apis.HUB_PATH}"\n')
    try:
        run = polyarch("--config", file, "search", "x").ok()
    finally:
        server.stop()
    assert len(run.stdout.splitlines()) == 2
    assert "\x1b" not in run.stdout
    assert "\u202e" not in run.stdout


def test_a_harbor_is_recognised(polyarch: Polyarch, apis: SearchApis) -> None:
    run = polyarch("search", "--format", "json", f"{apis.address}/busybox").ok()
    assert run.json_lines == [
        {"name": f"{apis.address}/library/{name}", "description": "", "stars": None, "official": None}
        for name in ("busybox", "tools/busybox-arm")
    ]


def test_a_quay_is_named_in_the_settings(polyarch: Polyarch, apis: SearchApis, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'prefer = {{"{apis.address}" = "quay"}}\n')
    lines = polyarch("--config", file, "search", "--limit", "12", f"{apis.address}/busybox").ok().stdout.splitlines()
    assert len(lines) == 13
    assert lines[1].split()[0] == f"{apis.address}/quayadmin/busybox-12"  # the most stars of those that were found


def test_any_registry_that_lists_what_it_has(polyarch: Polyarch, registry: DockerRegistry) -> None:
    found = polyarch("search", "-q", registry.ref("tagged")).ok().stdout.splitlines()
    assert registry.ref("tagged") in found
    everything = polyarch("search", "-q", "--limit", "100", registry.ref("")).ok().stdout.splitlines()
    assert {registry.ref("busybox"), registry.ref("tagged")} <= set(everything)
    for name in found:
        polyarch("tags", name).ok()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--filter", "is-automated=true", "x"), 2, "is no filter of a search"),
        (("--filter", "stars=many", "x"), 2, "is no filter of a search"),
        (("--limit", "0", "x"), 2, "--limit"),
        (("--limit", "101", "x"), 2, "--limit"),
        (("https://quay.io/x",), 2, "starts with a URL scheme"),
        (("ghcr.io/x",), 2, "ghcr.io cannot search"),
        (("127.0.0.1:1/x",), 6, "connection refused"),
        (("",), 2, "wants a word"),
    ],
)
def test_exit_codes(polyarch: Polyarch, config: Path, words: tuple[str, ...], code: int, says: str) -> None:
    run = polyarch("--config", config, "search", *words)
    assert run.code == code, run.stderr
    assert says in run.stderr
    assert run.stdout == ""


def test_a_registry_without_a_list(polyarch: Polyarch, tmp_path: Path) -> None:
    server = SearchApis()
    try:
        run = polyarch("search", f"{server.address}/x")
    finally:
        server.stop()
    assert run.code == 2
    assert f"error: {server.address} cannot search: does not list its repositories" in run.stderr
    assert f"hint: name a repository: polyarch tags {server.address}/NAME" in run.stderr
    assert server.requests == ["/api/v2.0/ping", "/v2/_catalog?n=1000"]


def test_a_list_for_those_who_log_in(polyarch: Polyarch, token_registry: DockerRegistry) -> None:
    run = polyarch("search", token_registry.ref("busybox"))
    assert run.code == 5
    assert f"polyarch login {token_registry.address}" in run.stderr
