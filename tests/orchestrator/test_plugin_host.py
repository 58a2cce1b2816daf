"""Plugins good and broken: what is registered, who claims what, and that a broken one takes nobody down."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from polyarch.contract.hooks import (
    ENTRY_POINT_GROUP,
    RegistryPlugin,
    StoragePlugin,
    TagConventionPlugin,
)
from polyarch.errors import UsageError
from polyarch.plugin_host import PluginHost
from polyarch.reference import parse_reference
from polyarch.settings import Settings

HEAD = "from polyarch.contract.hooks import *\nfrom polyarch.contract.hooks import hookimpl\n"
GOOD = HEAD + "@hookimpl\ndef polyarch_storages():\n    yield StoragePlugin('good', 'fine', lambda services: None)\n"

Host = Callable[..., PluginHost]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A plugin host over modules given as text: `host(name=source, ...)`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(settings: Settings | None = None, /, **sources: str) -> PluginHost:
        for name, source in sources.items():
            (tmp_path / f"{name}_module.py").write_text(source)
            made.append(f"{name}_module")
        points = [EntryPoint(name, f"{name}_module", ENTRY_POINT_GROUP) for name in sources]
        return PluginHost(settings or Settings(root=tmp_path), points)

    yield make
    for name in made:
        sys.modules.pop(name, None)


def registry_source(name: str, claim: str) -> str:
    return HEAD + f"@hookimpl\ndef polyarch_registries():\n    yield RegistryPlugin({name!r}, '', print, {claim})\n"


BROKEN = [
    ("raises on import", "raise RuntimeError('no such library')", "RuntimeError: no such library"),
    ("has an unknown hook", HEAD + "@hookimpl\ndef polyarch_dances():\n    return []\n", "polyarch_dances"),
    ("wants an argument nobody gives", HEAD + "@hookimpl\ndef polyarch_storages(x):\n    return []\n", "x"),
    ("yields the wrong type", HEAD + "@hookimpl\ndef polyarch_storages():\n    yield 3\n", "StoragePlugin, not int"),
    ("returns no list", HEAD + "@hookimpl\ndef polyarch_storages():\n    return 3\n", "not int"),
    ("raises in its hook", HEAD + "@hookimpl\ndef polyarch_storages():\n    raise KeyError('x')\n", "KeyError"),
    ("mixes kinds", registry_source("r", "('*',)").replace("_registries", "_storages"), "not RegistryPlugin"),
]


@pytest.mark.parametrize(("source", "reason"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_plugin_is_told_and_passed_over(host: Host, source: str, reason: str) -> None:
    plugins = host(bad=source, good=GOOD)
    [problem] = plugins.problems
    assert problem.entry_point == "bad"
    assert reason in problem.reason
    assert "\n" not in problem.reason
    assert [plugin.name for plugin in plugins.all(StoragePlugin)] == ["good"]


def test_a_plugin_whose_module_is_gone_is_told(tmp_path: Path) -> None:
    plugins = PluginHost(Settings(root=tmp_path), [EntryPoint("gone", "polyarch_gone_module", ENTRY_POINT_GROUP)])
    assert "ModuleNotFoundError" in plugins.problems[0].reason


def test_what_a_broken_plugin_registered_before_it_broke_does_not_count(host: Host) -> None:
    source = GOOD.replace("'good'", "'half'") + "    yield 3\n"
    plugins = host(half=source)
    assert plugins.all(StoragePlugin) == []
    assert plugins.registrations == ()


def test_a_disabled_plugin_is_not_even_imported(host: Host, tmp_path: Path) -> None:
    plugins = host(Settings(root=tmp_path, disabled_plugins=("bad",)), bad="raise RuntimeError", good=GOOD)
    assert plugins.problems == []
    assert plugins.disabled == ["bad"]


# what two plugins claim, a reference, the one that gets it ("" for a clash)
CLAIMS = [
    ("('*',)", "('example.com',)", "example.com/a", "two"),
    ("('example.com',)", "('*',)", "example.com/a", "one"),
    ("('*.example.com',)", "('*',)", "eu.example.com/a", "one"),
    ("('*.com',)", "('*.example.com',)", "eu.example.com/a", "two"),
    ("('*',)", "('example.com',)", "example.org/a", "one"),
    ("('example.com',)", "('EXAMPLE.com',)", "example.com/a", ""),
    ("('*',)", "('*',)", "busybox", ""),
    ("('*',)", "(), ('attic',)", "attic:/a/b", "two"),
    ("(), ('attic',)", "(), ('attic',)", "attic:/a/b", ""),
]


@pytest.mark.parametrize(("one", "two", "name", "wanted"), CLAIMS)
def test_the_most_specific_claim_wins(host: Host, one: str, two: str, name: str, wanted: str) -> None:
    plugins = host(one=registry_source("one", one), two=registry_source("two", two))
    reference = parse_reference(name, plugins.schemes())
    if wanted:
        assert plugins.registry_for(reference).name == wanted
    else:
        with pytest.raises(UsageError, match=r"is claimed by one .* and two") as caught:
            plugins.registry_for(reference)
        assert "prefer" in (caught.value.hint or "")


@pytest.mark.parametrize("preferred", ["one", "two"])
def test_settings_decide_a_clash(host: Host, tmp_path: Path, preferred: str) -> None:
    settings = Settings(root=tmp_path, prefer={"docker.io": preferred})
    plugins = host(settings, one=registry_source("one", "('*',)"), two=registry_source("two", "('*',)"))
    assert plugins.registry_for(parse_reference("busybox")).name == preferred


def test_a_registry_nobody_knows(host: Host) -> None:
    with pytest.raises(UsageError, match=r"no plugin knows the registry docker\.io"):
        host(good=GOOD).registry_for(parse_reference("busybox"))


def test_two_storages_of_one_name_clash_and_are_named(host: Host) -> None:
    plugins = host(one=GOOD, two=GOOD)
    with pytest.raises(UsageError, match=r"good is claimed by one .* and two"):
        plugins.storage("good")


def test_an_unknown_storage_lists_those_that_there_are(host: Host) -> None:
    with pytest.raises(UsageError, match=r"no storage called 'bad' \(there are: good\)"):
        host(good=GOOD).storage("bad")


def test_the_order_of_installation_does_not_matter(host: Host) -> None:
    sources = {"one": registry_source("one", "('*',)"), "two": registry_source("two", "('a.*',)"), "good": GOOD}
    there = host(**sources)
    back = host(**dict(reversed(sources.items())))
    assert there.registrations == back.registrations or [r.plugin.name for r in there.registrations] == [
        r.plugin.name for r in back.registrations
    ]


def test_the_built_ins_come_in_as_anybodys_plugin(tmp_path: Path) -> None:
    plugins = PluginHost(Settings(root=tmp_path))
    assert plugins.problems == []
    assert {"suffix", "namespace", "repository-suffix"} <= {plugin.name for plugin in plugins.all(TagConventionPlugin)}
    assert "oci" in {plugin.name for plugin in plugins.all(StoragePlugin)}
    assert {"distribution", "docker-hub"} <= {plugin.name for plugin in plugins.all(RegistryPlugin)}
