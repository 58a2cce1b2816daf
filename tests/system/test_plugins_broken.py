"""Broken plugins, really installed, through the command: told by name and distribution, passed over, the rest works."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from polyarch.contract.version import CONTRACT_VERSION
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.plugin_packages import install
from support.processes import await_true

HEAD = "from polyarch.contract import *\n"
GOOD = HEAD + "@hookimpl\ndef polyarch_tag_conventions():\n    yield TagConventionPlugin('fine', 'works', Works)\n"
WORKS = "class Works:\n    def __init__(self, services): ...\n    def propose(self, reference, platform): return []\n"


class Shop:
    """A folder with installed plugins, and the command that finds them."""

    def __init__(self, polyarch: Polyarch, folder: Path, reference: str) -> None:
        self._polyarch, self.folder, self.reference = polyarch, folder, reference
        self.env = {"PYTHONPATH": str(folder)}
        install(folder, "good-plugin", GOOD + WORKS)

    def __call__(self, *words: str | Path) -> Result:
        return self._polyarch(*words, env=self.env)

    def resolve(self) -> Result:
        return self("resolve", "--format", "json", "--platform", "linux/arm64", self.reference)

    def pull(self, *words: str | Path) -> Result:
        return self("pull", "--format", "json", "--platform", "linux/arm64", *words, self.reference)

    def settings(self, text: str) -> tuple[str, Path]:
        path = self.folder / "settings.toml"
        path.write_text(text)
        return "--config", path


@pytest.fixture
def shop(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> Shop:
    return Shop(polyarch, tmp_path / "site", registry.ref("busybox:1.36"))


def warnings(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("warning: ")]


def hook(kind: str, what: str, argument: str = "") -> str:
    return f"{HEAD}@hookimpl\ndef polyarch_{kind}({argument}):\n    {what}\n"


CONVENTION = "yield TagConventionPlugin('bad', '', lambda services: Bad())"
# what is wrong, the plugin's source, what is told
BROKEN = [
    ("raises on import", "raise RuntimeError('no such library')", "RuntimeError: no such library"),
    ("leaves on import", "import sys\nsys.exit(3)", "SystemExit: 3"),
    ("is no Python", "def", "SyntaxError"),
    ("wants what is not installed", "import surely_not_installed", "No module named 'surely_not_installed'"),
    ("a hook with an argument nobody gives", hook("storages", "return []", "colour"), "; Argument(s) {'colour'} are"),
    (
        "a hook nobody calls",
        hook("dances", "return []"),
        f"which contract {CONTRACT_VERSION} does not know",
    ),
    ("a hook that raises", hook("storages", "raise KeyError('x')"), "KeyError: 'x'"),
    ("a hook that yields the wrong type", hook("storages", "yield 3"), "has to yield StoragePlugin, not int"),
    ("a hook that returns the wrong type", hook("storages", "return 3"), "has to yield StoragePlugin, not int"),
    (
        "a factory that raises",
        hook("tag_conventions", CONVENTION) + "def Bad(): raise OSError('gone')",
        "OSError: gone",
    ),
    (
        "a factory that makes nothing",
        hook("tag_conventions", CONVENTION) + "def Bad(): return None",
        "None has no propose(), which TagConvention asks for",
    ),
    (
        "a method that lacks an argument",
        hook("tag_conventions", CONVENTION) + "class Bad:\n    def propose(self, reference): return []",
        "propose() of Bad takes 1 argument and not 2, as TagConvention asks",
    ),
    (
        "needs a newer contract",
        "POLYARCH_CONTRACT = '1.99'\n" + hook("storages", "return []"),
        f"it needs contract 1.99, which is newer than the contract {CONTRACT_VERSION} of this polyarch",
    ),
    (
        "imports what a newer contract has",
        "from polyarch.contract import WhatIsToCome\n",
        f"it needs a newer contract than the {CONTRACT_VERSION} of this polyarch: cannot import name 'WhatIsToCome'",
    ),
]


@pytest.mark.parametrize(("source", "told"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_it_is_told_and_passed_over(shop: Shop, source: str, told: str) -> None:
    install(shop.folder, "bad-plugin", source, version="2.5")
    result = shop.resolve().ok()
    [warning] = warnings(result)
    assert warning.startswith("warning: plugin bad-plugin (bad-plugin 2.5) ")
    assert "is passed over: " in warning
    assert told in warning
    assert result.json_lines[0]["chosen"]["platform"] == "linux/arm64"


def test_one_for_a_later_contract_is_told_and_not_imported(shop: Shop) -> None:
    install(shop.folder, "bad-plugin", "raise RuntimeError('imported')", group="polyarch.v2")
    assert warnings(shop.resolve().ok()) == [
        "warning: plugin bad-plugin (bad-plugin 1.0) is passed over: "
        f"it needs contract 2.0, which is newer than the contract {CONTRACT_VERSION} of this polyarch"
    ]


def test_all_of_them_at_once(shop: Shop) -> None:
    for number, (_, source, _) in enumerate(BROKEN):
        install(shop.folder, f"bad-plugin-{number}", source.replace("'bad'", f"'bad{number}'"))
    result = shop("plugin", "check", "--format", "json")
    *reports, error = result.json_lines
    assert result.code == 10
    assert error["error"]["details"]["plugins"] == sorted(f"bad-plugin-{number}" for number in range(len(BROKEN)))
    for number, (_, _, told) in enumerate(BROKEN):
        [report] = [each for each in reports if each["plugin"] == f"bad-plugin-{number}"]
        assert report["verdict"] == "failed"
        assert any(told in fault for fault in report["faults"]), report
    assert {each["plugin"] for each in reports if each["verdict"] == "ok"} >= {"good-plugin", "oci", "docker_hub"}
    assert len(warnings(shop.pull().ok())) == len(BROKEN)


def test_a_plugin_that_is_needed_and_broken_is_an_error_that_names_it(shop: Shop) -> None:
    install(shop.folder, "bad-plugin", hook("storages", "yield StoragePlugin('bad', '', lambda services: 3)"))
    result = shop.pull("--into", "bad")
    assert result.code == 8
    assert (
        "error: plugin bad-plugin (bad-plugin 1.0) cannot be used: int has no has_blob(), write_blob()" in result.stderr
    )


def test_what_a_plugins_method_raises_is_its_own_defect(shop: Shop) -> None:
    source = "class Bad(Works):\n    def propose(self, reference, platform): return {}['nothing']\n"
    source += "    def find(self, architecture): return {}['nothing']\n"
    install(shop.folder, "bad-plugin", hook("emulators", "yield EmulatorPlugin('bad', '', Bad)") + WORKS + source)
    result = shop("device")
    assert result.code == 8
    assert "error: plugin bad-plugin (bad-plugin 1.0) cannot be used: KeyError: 'nothing'" in result.stderr


STRANGER = hook("storages", "yield StoragePlugin('oci', 'a stranger', Strange)") + (
    "class Strange:\n    def __init__(self, services): raise StorageError('the stranger was asked')\n"
)


def test_a_strangers_oci_does_not_take_the_default_away(shop: Shop) -> None:
    install(shop.folder, "aaa-stranger", STRANGER)
    result = shop.pull().ok()
    assert warnings(result) == [
        "warning: plugin aaa-stranger (aaa-stranger 1.0): its storage oci is passed over: "
        'polyarch\'s own oci stays; to take this one, set prefer = {"oci" = "aaa-stranger"}'
    ]
    [image] = shop("image", "ls", "--format", "json").ok().json_lines
    assert image["digest"] == result.json_lines[0]["digest"]


def test_unless_the_user_prefers_it(shop: Shop) -> None:
    install(shop.folder, "aaa-stranger", STRANGER)
    result = shop.pull(*shop.settings('prefer = {"oci" = "aaa-stranger"}\n'))
    assert (result.code, warnings(result)) == (9, [])
    assert "the stranger was asked" in result.stderr


def test_a_strangers_registry_does_not_take_all_hosts_away(shop: Shop) -> None:
    source = hook("registries", "yield RegistryPlugin('any', '', print, hosts=('*', 'docker.io'), schemes=('any',))")
    install(shop.folder, "aaa-stranger", source)
    result = shop.resolve().ok()
    told = {warning.partition(" is passed over")[0].rpartition("its ")[2] for warning in warnings(result)}
    assert told == {"claim on *", "claim on docker.io"}


@pytest.mark.parametrize("order", [("aaa", "zzz"), ("zzz", "aaa")])
def test_two_strangers_with_one_name(shop: Shop, tmp_path: Path, order: tuple[str, str]) -> None:
    for name in order:
        text = f"yield StoragePlugin('shelf', '{name}', lambda services: {{}}['{name} was asked'])"
        install(shop.folder, f"{name}-shelf", hook("storages", text))
    assert len(warnings(shop.pull().ok())) == 2
    result = shop.pull("--into", "shelf")
    assert result.code == 2
    assert "the storage shelf is claimed by aaa-shelf (aaa-shelf 1.0) and zzz-shelf (zzz-shelf 1.0)" in result.stderr
    assert 'hint: say in the settings which one to take: prefer = {"shelf" = "aaa-shelf"}' in result.stderr
    result = shop.pull("--into", "shelf", *shop.settings('prefer = {"shelf" = "zzz-shelf"}\n'))
    assert (result.code, warnings(result)) == (8, [])
    assert "zzz was asked" in result.stderr


def observer(notify: str, make: str = "") -> str:
    return hook("observers", "yield ObserverPlugin('watch', '', Watch)") + (
        f"import time\nclass Watch:\n    def __init__(self, services): {make or 'pass'}\n"
        f"    def notify(self, event): {notify}\n"
    )


OBSERVERS = [
    ("raises", observer("raise OSError('gone')"), "OSError: gone"),
    ("cannot be made", observer("pass", "raise OSError('gone')"), "OSError: gone"),
    ("lacks an argument", observer("pass").replace(", event", ""), "notify() of Watch takes 0 arguments and not 1"),
    ("hangs", observer("time.sleep(3600)"), "it is not done 3 s after everything else"),
    ("hangs while it is made", observer("pass", "time.sleep(3600)"), "it is not done 3 s after everything else"),
]


@pytest.mark.parametrize(("source", "told"), [row[1:] for row in OBSERVERS], ids=[row[0] for row in OBSERVERS])
def test_an_observer_neither_breaks_nor_holds_a_pull(shop: Shop, source: str, told: str) -> None:
    install(shop.folder, "bad-plugin", source)
    result = shop.pull().ok()
    [warning] = warnings(result)
    assert warning.startswith("warning: observer watch (bad-plugin 1.0) is passed over: ")
    assert told in warning
    assert len(shop("image", "ls", "-q").ok().stdout.split()) == 1


HANGING = "from pathlib import Path\nimport time\nPath({mark!r}).touch()\ntime.sleep(3600)\n"


@pytest.mark.parametrize("where", ["import", "hook", "factory"])
def test_ctrl_c_names_the_plugin_that_hangs(shop: Shop, polyarch: Polyarch, tmp_path: Path, where: str) -> None:
    mark = tmp_path / "hanging"
    hang = HANGING.format(mark=str(mark))
    source = {
        "import": hang,
        "hook": hook("storages", "hang()\n    yield"),
        "factory": hook("emulators", "yield EmulatorPlugin('bad', '', lambda services: hang())"),
    }[where]
    if where != "import":
        source += "def hang():\n" + "".join(f"    {line}\n" for line in hang.splitlines())
    install(shop.folder, "bad-plugin", source)
    process = polyarch.start("device", env=shop.env)
    await_true(mark.exists, "the plugin hangs")
    process.send_signal(signal.SIGINT)
    result = polyarch.finish(process)
    assert result.code == 130
    assert "error: interrupted in plugin bad-plugin (bad-plugin 1.0)" in result.stderr
    assert 'disabled_plugins = ["bad-plugin"]' in result.stderr
    shop("device", *shop.settings('disabled_plugins = ["bad-plugin"]\n')).ok()


def test_a_plugin_that_is_not_used_is_not_imported_again(shop: Shop, tmp_path: Path) -> None:
    log = tmp_path / "imports"
    source = f"with open({str(log)!r}, 'a') as log:\n    log.write('imported\\n')\n"
    module = install(
        shop.folder, "quiet-plugin", source + hook("storages", "yield StoragePlugin('quiet', 'one', print)")
    )
    shop.pull().ok()
    log.unlink()
    for _ in range(3):
        shop.resolve().ok()
    assert log.read_text() == "imported\n"
    assert "quiet" in shop("plugin", "ls", "-q").ok().stdout.split()
    assert log.read_text() == "imported\n"
    module.write_text(module.read_text().replace("'one'", "'two'"))
    listed = shop("plugin", "ls", "--format", "json").ok().json_lines
    assert [line["summary"] for line in listed if line.get("name") == "quiet"] == ["two"]
    assert log.read_text() == "imported\n" * 2


def test_what_a_plugin_prints_does_not_spoil_json(shop: Shop) -> None:
    install(shop.folder, "loud-plugin", "print('hello')\n" + hook("storages", "return []"))
    result = shop.resolve().ok()
    assert "hello" in result.stderr
    assert len(result.json_lines) == 1


def test_deprecated_names_are_told_by_check(shop: Shop) -> None:
    """There is none yet, so one is made."""
    install(
        shop.folder,
        "old-plugin",
        "import polyarch.contract as contract\nfrom polyarch.contract.deprecation import Deprecated\n"
        f"contract._DEPRECATED['Old'] = Deprecated(1, '{CONTRACT_VERSION}', 'New')\ncontract.Old\n"
        + hook("storages", "return []"),
    )
    [report] = shop("plugin", "check", "old-plugin", "--format", "json").ok().json_lines
    [note] = report["notes"]
    assert note.startswith(f"polyarch.contract.Old is deprecated since contract {CONTRACT_VERSION} and goes with 1.")
    assert note.endswith(": use New")


def test_show_tells_what_there_is(shop: Shop) -> None:
    [report] = shop("plugin", "show", "oci", "--format", "json").ok().json_lines
    [storage] = report["registers"]
    assert (storage["kind"], storage["name"]) == ("storages", "oci")
    assert set(storage["abilities"]) >= {"several platforms", "lists", "removes", "reads blobs", "has blobs as files"}
    install(shop.folder, "bad-plugin", "raise RuntimeError('no such library')")
    text = shop("plugin", "show", "bad-plugin").ok().stdout
    assert "bad-plugin 1.0   polyarch.v1: bad_plugin" in text
    assert "PROBLEM   RuntimeError: no such library" in text
    assert shop("plugin", "show", "nobody").code == 2


def test_check_of_one_that_is_broken(shop: Shop) -> None:
    install(shop.folder, "bad-plugin", "raise RuntimeError('no such library')")
    result = shop("plugin", "check", "bad-plugin")
    assert result.code == 8
    assert "FAILED" in result.stdout
    shop("plugin", "check", "good-plugin").ok()


def test_one_that_is_switched_off_is_no_failure(shop: Shop) -> None:
    install(shop.folder, "bad-plugin", "raise RuntimeError('imported')")
    off = shop.settings('disabled_plugins = ["bad-plugin"]\n')
    [report] = shop("plugin", "check", "bad-plugin", "--format", "json", *off).ok().json_lines
    assert (report["verdict"], report["faults"]) == ("off", [])
