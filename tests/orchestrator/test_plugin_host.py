"""Plugins good and broken: what is registered, who claims what, and that a broken one takes nobody down."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from polyarch.contract.hooks import (
    ENTRY_POINT_GROUP,
    RegistryPlugin,
    StoragePlugin,
    TagConventionPlugin,
    VerifierPlugin,
)
from polyarch.errors import InterruptedPull, UsageError
from polyarch.plugin_host.discovery import named_when_interrupted
from polyarch.plugin_host.host import PluginHost
from polyarch.plugin_host.kinds import Point
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
    ("raises no Exception but SystemExit", "raise SystemExit(3)", "SystemExit: 3"),
    ("has no hook", "x = 1\n", "no function of it is marked by hookimpl"),
    ("names nothing", GOOD.replace("'good'", "''"), "the name '' is not made of letters"),
    ("has a name that no option can have", GOOD.replace("'good'", "'a:b'"), "the name 'a:b'"),
    ("has no text for its summary", GOOD.replace("'fine'", "3"), "summary of good is not a text"),
    ("has nothing to call", GOOD.replace("lambda services: None", "3"), "factory of good cannot be called"),
    ("says maybe", GOOD.replace("None)", "None, 'maybe')"), "several_platforms of good is not True or False"),
    ("registers a name twice", GOOD + "    yield StoragePlugin('good', '', print)\n", "the name good is there twice"),
    ("has hosts in a text", registry_source("r", "hosts='quay.io'"), "hosts of r are not a tuple but str"),
    (
        "has a host with a path",
        registry_source("r", "hosts=('quay.io/x',)"),
        "'quay.io/x' does not belong to the hosts",
    ),
    ("has a host that is none", registry_source("r", "hosts=(3,)"), "3 does not belong to the hosts"),
    ("has a scheme with a colon", registry_source("r", "schemes=('r:',)"), "'r:' does not belong to the schemes"),
    ("has a scheme like a host", registry_source("r", "schemes=('quay.io',)"), "'quay.io' does not belong"),
    ("claims localhost", registry_source("r", "schemes=('localhost',)"), "localhost is no scheme that a plugin may"),
    ("cannot search", registry_source("r", "search=3"), "search of r cannot be called"),
    ("cannot say how to log in", registry_source("r", "login=None"), "login of r is not a text"),
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
    assert [(problem.entry_point, problem.part) for problem in plugins.problems] == [
        ("one", "storage good"),
        ("two", "storage good"),
    ]


def test_a_clash_leaves_the_others_alone(host: Host) -> None:
    plugins = host(one=GOOD, two=GOOD, three=GOOD.replace("'good'", "'other'"))
    assert plugins.storage("other").name == "other"


def point(name: str, project: str, group: str = ENTRY_POINT_GROUP, value: str = "") -> Point:
    return Point(name, value or f"{name}_module", group, project, "1.0")


Plugins = Callable[..., PluginHost]


@pytest.fixture
def plugins(host: Host, tmp_path: Path) -> Plugins:
    """A plugin host over points whose modules the test has written by `host`."""

    def make(points: list[Point], **settings: object) -> PluginHost:
        return PluginHost(Settings(root=tmp_path, **settings), points)  # type: ignore[arg-type]

    return make


def storage_source(name: str, summary: str) -> str:
    return GOOD.replace("'good', 'fine'", f"{name!r}, {summary!r}")


OURS, THEIRS, OTHERS = point("ours", "polyarch"), point("aaa", "aaa-storages"), point("zzz", "zzz-storages")
# entry points, prefer, whose storage it is ("" for a clash), how many problems are told
NAME_CLASHES: list[tuple[list[Point], dict[str, str], str, int]] = [
    ([OURS, THEIRS], {}, "ours", 1),
    ([THEIRS, OURS], {}, "ours", 1),
    ([OURS, THEIRS, OTHERS], {}, "ours", 2),
    ([OURS, THEIRS], {"good": "aaa"}, "aaa", 0),
    ([OURS, THEIRS], {"good": "aaa-storages"}, "aaa", 0),
    ([OURS, THEIRS], {"good": "AAA_Storages"}, "aaa", 0),
    ([OURS, THEIRS], {"good": "ours"}, "ours", 0),
    ([OURS, THEIRS], {"good": "nobody"}, "ours", 1),
    ([OURS, THEIRS, OTHERS], {"good": "zzz"}, "zzz", 0),
    ([THEIRS, OTHERS], {}, "", 2),
    ([THEIRS, OTHERS], {"good": "zzz"}, "zzz", 0),
    ([THEIRS, OTHERS], {"good": "good"}, "", 2),
]


@pytest.mark.parametrize(("points", "prefer", "whose", "told"), NAME_CLASHES)
def test_a_built_in_stays_unless_the_user_prefers_another(
    host: Host, plugins: Plugins, points: list[Point], prefer: dict[str, str], whose: str, told: int
) -> None:
    host(**{name: storage_source("good", name) for name in ("ours", "aaa", "zzz")})
    found = plugins(points, prefer=prefer)
    assert len(found.problems) == told, [str(problem) for problem in found.problems]
    if whose:
        assert found.storage("good").summary == whose
    else:
        with pytest.raises(UsageError, match="good is claimed by aaa"):
            found.storage("good")


def test_a_clash_says_what_to_write(host: Host, plugins: Plugins) -> None:
    host(ours=storage_source("good", ""), aaa=storage_source("good", ""))
    [problem] = plugins([OURS, THEIRS]).problems
    assert str(problem) == (
        "plugin aaa (aaa-storages 1.0): its storage good is passed over: polyarch's own ours stays; "
        'to take this one, set prefer = {"good" = "aaa"}'
    )


def test_what_it_says_to_write_helps(host: Host, plugins: Plugins) -> None:
    """Also where the two are called the same and only their distributions differ."""
    host(same=storage_source("good", ""))
    points = [point("same", "aaa-storages"), point("same", "zzz-storages")]
    found = plugins(points)
    assert [problem.entry_point for problem in found.problems] == ["same", "same"]
    for problem in found.problems:
        said = re.search(r'prefer = \{"good" = "(.*)"\}', problem.reason)
        assert said is not None
        settled = plugins(points, prefer={"good": said[1]})
        assert settled.origin(settled.storage("good")) == problem.point


HOST_CLASHES = [
    ("('docker.io',)", "('docker.io',)", "busybox"),
    ("('*',)", "('*',)", "ghcr.io/a/b"),
    ("(), ('oci',)", "(), ('oci',)", "oci:/a"),
]


@pytest.mark.parametrize(("own", "stranger", "name"), HOST_CLASHES)
def test_a_stranger_does_not_take_hosts_and_schemes_away(
    host: Host, plugins: Plugins, own: str, stranger: str, name: str
) -> None:
    host(ours=registry_source("ours", own), aaa=registry_source("aaa", stranger))
    points = [OURS, THEIRS]
    found = plugins(points)
    reference = parse_reference(name, found.schemes())
    assert found.registry_for(reference).name == "ours"
    [problem] = found.problems
    said = re.search(r"prefer = (\{.*\})", problem.reason)
    assert said is not None
    prefer = tomllib.loads(f"prefer = {said[1]}")["prefer"]
    settled = plugins(points, prefer=prefer)
    assert settled.registry_for(reference).name == "aaa"
    assert settled.problems == []


@pytest.mark.parametrize("pattern", ["docker.[i]o", "docker.i?", "docker*io", "[d]ocker.io", "*docker.io", "?ocker.io"])
def test_no_pattern_is_closer_than_the_host_itself(host: Host, pattern: str) -> None:
    found = host(one=registry_source("one", "('docker.io',)"), two=registry_source("two", f"({pattern!r},)"))
    assert found.registry_for(parse_reference("busybox")).name == "one"


def test_prefer_gives_a_host_to_a_registry_that_does_not_know_it(host: Host, tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, prefer={"quay.corp.example": "quay"})
    found = host(settings, any=registry_source("any", "('*',)"), quay=registry_source("quay", "('quay.io',)"))
    assert found.registry_for(parse_reference("quay.corp.example/a/b")).name == "quay"
    assert found.registry_for(parse_reference("QUAY.corp.example/a/b")).name == "quay"
    assert found.registry_for(parse_reference("other.example/a/b")).name == "any"


def test_prefer_names_a_registry_that_is_not_there(host: Host, tmp_path: Path) -> None:
    found = host(Settings(root=tmp_path, prefer={"a.example": "kway"}), any=registry_source("any", "('*',)"))
    with pytest.raises(UsageError, match=r"prefer gives a\.example to 'kway', but no registry is called so .*: any"):
        found.registry_for(parse_reference("a.example/b"))


def test_a_verifier_does_not_just_fall_away(host: Host, plugins: Plugins) -> None:
    source = HEAD + "@hookimpl\ndef polyarch_verifiers():\n    yield VerifierPlugin('strict', '', print)\n"
    host(aaa=source, zzz=source)
    with pytest.raises(UsageError, match="the verifier strict is claimed by aaa"):
        plugins([THEIRS, OTHERS]).all(VerifierPlugin)
    assert len(plugins([THEIRS, OTHERS], prefer={"strict": "zzz"}).all(VerifierPlugin)) == 1


def test_the_settings_order_plugins(host: Host, tmp_path: Path) -> None:
    def names(*order: str) -> list[str]:
        settings = Settings(root=tmp_path, plugin_order=order)
        found = host(settings, **{f"p_{name}": storage_source(name, "") for name in "dabc"})
        return [plugin.name for plugin in found.all(StoragePlugin)]

    assert names() == ["a", "b", "c", "d"]
    assert names("c") == ["c", "a", "b", "d"]
    assert names("d", "nobody", "b") == ["d", "b", "a", "c"]
    assert names("p_c") == ["c", "a", "b", "d"]


def test_a_distribution_is_switched_off_by_its_name(host: Host, plugins: Plugins) -> None:
    host(ours=storage_source("mine", ""), aaa=storage_source("good", ""), zzz=storage_source("other", ""))
    found = plugins([OURS, THEIRS, OTHERS], disabled_plugins=("AAA.storages", "polyarch"))
    assert found.disabled == ["aaa"]
    assert {plugin.name for plugin in found.all(StoragePlugin)} == {"mine", "other"}


# the source's first lines, the group; what is told ("" if it is fine)
CONTRACTS = [
    ("", "polyarch.v1", ""),
    ("POLYARCH_CONTRACT = '1.0'", "polyarch.v1", ""),
    ("POLYARCH_CONTRACT = '1.99'", "polyarch.v1", "it needs contract 1.99, which is newer than the contract 1."),
    ("POLYARCH_CONTRACT = '2.0'", "polyarch.v1", "it needs contract 2.0, which is newer"),
    ("POLYARCH_CONTRACT = '0.9'", "polyarch.v1", "it needs contract 0.9, which is older"),
    ("POLYARCH_CONTRACT = 1.1", "polyarch.v1", 'written "MAJOR.MINOR", not 1.1'),
    ("POLYARCH_CONTRACT = 'new'", "polyarch.v1", "not 'new'"),
    ("from polyarch.contract import WhatIsToCome", "polyarch.v1", "it needs a newer contract than the 1."),
    ("raise RuntimeError('never imported')", "polyarch.v2", "it needs contract 2.0, which is newer"),
    ("raise RuntimeError('never imported')", "polyarch.v0", "it needs contract 0.0, which is older"),
]


@pytest.mark.parametrize(("head", "group", "reason"), CONTRACTS)
def test_the_contract_that_a_plugin_needs(host: Host, plugins: Plugins, head: str, group: str, reason: str) -> None:
    host(new=f"{GOOD}{head}\n" if "POLYARCH" in head else f"{head}\n{GOOD}")
    found = plugins([point("new", "new-things", group)])
    assert [reason in problem.reason for problem in found.problems] == [True] * bool(reason)
    assert len(found.all(StoragePlugin)) == (not reason)


def test_of_a_plugin_for_two_contracts_the_fitting_one_is_taken(host: Host, plugins: Plugins) -> None:
    host(new=GOOD)
    others = [point("new", "new-things", group, "nowhere") for group in ("polyarch.v0", "polyarch.v2")]
    for points in ([point("new", "new-things"), *others], [*others, point("new", "new-things")]):
        found = plugins(points)
        assert found.problems == []
        assert found.storage("good")


def test_ctrl_c_names_the_plugin_that_hangs(host: Host) -> None:
    with pytest.raises(InterruptedPull, match=r"interrupted in plugin bad") as caught:
        host(bad="raise KeyboardInterrupt\n")
    assert 'disabled_plugins = ["bad"]' in (caught.value.hint or "")


def test_ctrl_c_blames_no_plugin_of_polyarchs_own() -> None:
    with pytest.raises(KeyboardInterrupt), named_when_interrupted(point("oci", "polyarch")):
        raise KeyboardInterrupt


def test_what_a_plugin_prints_is_no_answer(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host(good="print('hello')\n" + GOOD)
    assert capsys.readouterr() == ("", "hello\n")


def test_the_culprit_of_an_error_is_found(host: Host, plugins: Plugins) -> None:
    host(
        ours=GOOD + "def fail(): return {}['ours']\n",
        aaa=GOOD.replace("good", "bad") + "def fail(): return {}['aaa']\n",
    )
    found = plugins([OURS, THEIRS])
    for module, culprit in (("ours_module", None), ("aaa_module", THEIRS)):
        with pytest.raises(KeyError) as caught:
            sys.modules[module].fail()
        assert found.culprit(caught.value) == culprit


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
