"""What is installed is remembered: a plugin is imported when it is used, and every change is noticed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.contract.hooks import RegistryPlugin, StoragePlugin
from polyarch.contract.storage import StorageServices
from polyarch.plugin_host import cache as plugin_cache
from polyarch.plugin_host.cache import Deferred, PluginCache
from polyarch.plugin_host.host import PluginHost
from polyarch.settings import Settings
from support.plugin_packages import age, install

SOURCE = """
from polyarch.contract import RegistryPlugin, StoragePlugin, hookimpl

@hookimpl
def polyarch_storages():
    yield StoragePlugin("crate", "SUMMARY", lambda services: ("made", services.location), several_platforms=False)

@hookimpl
def polyarch_registries():
    yield RegistryPlugin("crate", "", lambda services: "registry", hosts=("crate.example",), schemes=("crate",),
                         search=lambda services: "search", login="ask the keeper")
"""

Start = Callable[[], PluginHost]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for packages on the search path, and nothing else there but polyarch."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python itself does not see every change
    yield folder
    forget()


def forget() -> None:
    """As if the process began anew."""
    for name in [name for name in sys.modules if name.startswith("kept_")]:
        del sys.modules[name]


@pytest.fixture
def start(site: Path, tmp_path: Path) -> Start:
    """The host of a new process."""

    (tmp_path / "root").mkdir()

    def host() -> PluginHost:
        forget()
        return PluginHost(Settings(root=tmp_path / "root"))

    return host


@pytest.fixture
def package(site: Path, start: Start) -> Path:
    """A plugin's module, which is remembered."""
    module = install(site, "kept-crate", SOURCE)
    start()
    return module


def imported() -> bool:
    return "kept_crate" in sys.modules


def crates(host: PluginHost) -> list[StoragePlugin]:
    return [plugin for plugin in host.all(StoragePlugin) if plugin.name == "crate"]


@pytest.mark.usefixtures("package")
def test_a_plugin_that_is_not_used_is_not_imported(start: Start) -> None:
    host = start()
    [storage] = crates(host)
    [registry] = [plugin for plugin in host.all(RegistryPlugin) if plugin.name == "crate"]
    assert (storage.summary, storage.several_platforms) == ("SUMMARY", False)
    assert (registry.hosts, registry.schemes, registry.login) == (("crate.example",), ("crate",), "ask the keeper")
    assert host.origin(storage).distribution == "kept-crate 1.0"
    assert not imported()


def test_its_factory_imports_it(start: Start, package: Path, tmp_path: Path) -> None:
    host = start()
    assert crates(host)[0].factory(StorageServices(tmp_path, "here")) == ("made", "here")  # type: ignore[comparison-overlap]
    assert imported()


def test_its_search_too(start: Start, package: Path) -> None:
    [registry] = [plugin for plugin in start().all(RegistryPlugin) if plugin.name == "crate"]
    assert registry.search is not None
    assert registry.search(None) == "search"  # type: ignore[arg-type]


def test_built_ins_are_remembered_as_well(start: Start, package: Path) -> None:
    for storage in start().all(StoragePlugin):
        assert isinstance(storage.factory, Deferred), storage.name


def test_what_is_remembered_is_all_that_was_registered(start: Start, package: Path, tmp_path: Path) -> None:
    remembered = start().registrations
    fresh = PluginHost(Settings(root=tmp_path / "root"), cached=False).registrations
    assert [(each.kind, each.plugin.name, each.point) for each in remembered] == [
        (each.kind, each.plugin.name, each.point) for each in fresh
    ]


def rewritten(package: Path) -> None:
    """The same size, the same folder: only the file's time tells."""
    package.write_text(SOURCE.replace("SUMMARY", "CHANGED"))
    age(package, 1_700_000_000)


def replaced(package: Path) -> None:
    """The same size and time: only the inode tells."""
    was = package.stat()
    new = package.with_suffix(".new")
    new.write_text(SOURCE.replace("SUMMARY", "CHANGED"))
    os.utime(new, ns=(was.st_atime_ns, was.st_mtime_ns))
    folder = package.parent.stat()
    new.replace(package)
    os.utime(package.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))


@pytest.mark.parametrize("change", [rewritten, replaced])
def test_a_changed_module_is_read_again(start: Start, package: Path, change: Callable[[Path], None]) -> None:
    change(package)
    assert [plugin.summary for plugin in crates(start())] == ["CHANGED"]
    forget()
    assert [plugin.summary for plugin in crates(start())] == ["CHANGED"]
    assert not imported(), "the change is remembered"


def test_a_module_that_the_hooks_come_from_counts_too(start: Start, site: Path) -> None:
    source = SOURCE.replace('"SUMMARY"', "TEXT").replace("import Reg", "import Reg", 1)
    install(site, "kept-crate", f"from kept_words import TEXT\n{source}", files={"kept_words.py": "TEXT = 'one'\n"})
    assert [plugin.summary for plugin in crates(start())] == ["one"]
    (site / "kept_words.py").write_text("TEXT = 'two'\n")
    assert [plugin.summary for plugin in crates(start())] == ["two"]


def test_what_was_just_written_is_not_remembered(start: Start, site: Path) -> None:
    """It may be written once more within the same tick of the clock."""
    module = install(site, "kept-crate", SOURCE)
    os.utime(module)
    start()
    start()
    assert imported()


def test_a_new_distribution_is_seen(start: Start, site: Path, package: Path) -> None:
    install(site, "kept-other", SOURCE.replace('"crate"', '"other"').replace("crate.example", "other.example"))
    os.utime(site)  # within one process importlib.metadata goes by it
    assert "other" in {plugin.name for plugin in start().all(StoragePlugin)}


def test_a_removed_one_is_gone(start: Start, site: Path, package: Path) -> None:
    for path in (site / "kept_crate-1.0.dist-info").iterdir():
        path.unlink()
    (site / "kept_crate-1.0.dist-info").rmdir()
    assert crates(start()) == []


def test_entry_points_written_anew_in_their_place(start: Start, site: Path, package: Path) -> None:
    (site / "kept_crate-1.0.dist-info" / "entry_points.txt").write_text("[polyarch.v1]\nrenamed = kept_crate\n")
    host = start()
    assert host.origin(crates(host)[0]).name == "renamed"


def test_a_broken_plugin_is_tried_again(start: Start, site: Path) -> None:
    """What mends it may be anywhere: a library, a variable, a device."""
    install(site, "kept-crate", "import kept_library\n" + SOURCE)
    assert [problem.entry_point for problem in start().problems] == ["kept-crate"]
    (site / "kept_library.py").write_text("")
    assert start().problems == []


def test_one_that_was_switched_off_is_imported_when_it_is_on(start: Start, site: Path, tmp_path: Path) -> None:
    install(site, "kept-crate", SOURCE)
    PluginHost(Settings(root=tmp_path / "root", disabled_plugins=("kept-crate",)))
    assert not imported()
    assert len(crates(start())) == 1
    assert len(crates(start())) == 1
    assert not imported()


def test_a_plugin_that_does_not_register_it_any_more(tmp_path: Path, site: Path, start: Start, package: Path) -> None:
    """Changed between the question and the use."""
    [storage] = crates(start())
    package.write_text(SOURCE.replace('StoragePlugin("crate"', 'StoragePlugin("box"'))
    with pytest.raises(LookupError, match="does not register crate any more"):
        storage.factory(StorageServices(tmp_path))


def cache_file(tmp_path: Path) -> Path:
    [path] = (tmp_path / "root" / "cache").glob("plugins-*.json")
    return path


SPOILT = [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"form": 1}', b'{"form": 0, "folders": {}}', b"[" * 100_000]
POINT = ["crate", "kept_crate", "polyarch.v1", "kept-crate", "1.0"]
SPOILT_PLUGINS: list[object] = [
    1,
    {},
    {"point": [1], "files": {}, "items": []},
    {"point": [*POINT, "more"], "files": {}, "items": []},
    {"point": POINT, "files": {}},
    {"point": POINT, "files": {}, "items": [{}]},
    {"point": POINT, "files": {}, "items": [1]},
    {"point": POINT, "files": {}, "items": [{"kind": "dances", "name": "crate"}]},
    {"point": POINT, "files": {}, "items": [{"kind": "storages", "name": "crate"}]},
    {"point": POINT, "files": {}, "items": [{"kind": "storages", "name": "crate", "summary": "", "more": 1}]},
]


@pytest.mark.parametrize("plugin", SPOILT_PLUGINS, ids=repr)
def test_spoilt_plugins_are_not_used(start: Start, package: Path, tmp_path: Path, plugin: object) -> None:
    path = cache_file(tmp_path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "plugins": [*document["plugins"], plugin]}))
    assert PluginCache(tmp_path / "root").read() is None
    assert len(crates(start())) == 1


@pytest.mark.parametrize("content", SPOILT)
def test_a_spoilt_file_is_not_used(start: Start, package: Path, tmp_path: Path, content: bytes) -> None:
    path = cache_file(tmp_path)
    path.write_bytes(content)
    host = start()
    assert host.problems == []
    assert len(crates(host)) == 1
    start()
    assert not imported(), "it is written anew"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_not_used(start: Start, package: Path, tmp_path: Path) -> None:
    os.chown(cache_file(tmp_path), 12345, -1)
    assert PluginCache(tmp_path / "root").read() is None
    assert len(crates(start())) == 1


def test_a_pipe_in_its_place_holds_nobody_up(start: Start, package: Path, tmp_path: Path) -> None:
    path = cache_file(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert len(crates(start())) == 1


def test_where_nothing_can_be_written_nothing_is_remembered(site: Path, tmp_path: Path) -> None:
    install(site, "kept-crate", SOURCE)
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert len(crates(PluginHost(Settings(root=tmp_path / "file")))) == 1


def test_a_root_that_is_not_there_is_not_made(site: Path, tmp_path: Path) -> None:
    install(site, "kept-crate", SOURCE)
    assert len(crates(PluginHost(Settings(root=tmp_path / "nowhere")))) == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["__version__", "CONTRACT_VERSION"])
def test_another_polyarch_has_a_file_of_its_own(
    start: Start, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(plugin_cache, name, "99.0")
    start()
    assert imported()
    assert len(list((tmp_path / "root" / "cache").glob("plugins-*.json"))) == 2


def test_another_search_path_has_a_file_of_its_own(
    start: Start, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    start()
    assert imported()


def test_files_of_old_environments_go(
    start: Start, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        monkeypatch.setattr(plugin_cache, "__version__", f"0.{number}")
        start()
    assert len(list((tmp_path / "root" / "cache").iterdir())) == 8


def test_the_file_is_json_with_nothing_but_what_was_registered(start: Start, package: Path, tmp_path: Path) -> None:
    document = json.loads(cache_file(tmp_path).read_text())
    [entry] = [each for each in document["plugins"] if each["point"][0] == "kept-crate"]
    assert [item["kind"] for item in entry["items"]] == ["registries", "storages"]
    assert entry["items"][0]["search"] is True
    assert str(package) in entry["files"]


MARKED = {
    "hookimpl": ("from polyarch.contract import hookimpl\n", "@hookimpl\ndef polyarch_storages():"),
    "hookimpl with options": (
        "from polyarch.contract import hookimpl\n",
        "@hookimpl(specname='polyarch_storages', trylast=True)\ndef stores():",
    ),
    "pluggy's own marker": (
        "import pluggy\nhookimpl = pluggy.HookimplMarker('polyarch')\n",
        "@hookimpl\ndef polyarch_storages():",
    ),
    "a method": (
        "from polyarch.contract import hookimpl\n",
        "class Plugin:\n  @hookimpl\n  def polyarch_storages(self):",
    ),
}


@pytest.mark.parametrize("how", MARKED)
def test_however_a_hook_is_marked(start: Start, site: Path, tmp_path: Path, how: str) -> None:
    head, hook = MARKED[how]
    yields = "    yield StoragePlugin('crate', '', lambda services: 'made')\n"
    end = "polyarch_storages = Plugin().polyarch_storages\n" if "class" in hook else ""
    source = f"from polyarch.contract import StoragePlugin\n{head}\n{hook}\n{yields}{end}"
    install(site, "kept-crate", source)
    for _ in range(2):
        [storage] = crates(start())
        assert storage.factory(StorageServices(tmp_path, "")) == "made"  # type: ignore[comparison-overlap]
    assert isinstance(storage.factory, Deferred)


@pytest.mark.usefixtures("package")
def test_a_file_that_others_may_write_to_is_not_used(start: Start, tmp_path: Path) -> None:
    cache_file(tmp_path).chmod(0o664)
    start()
    assert imported()
