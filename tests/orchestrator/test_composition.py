"""Plugins at work: what a stranger's code raises stays with it, or names it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from polyarch.contract.hooks import ENTRY_POINT_GROUP
from polyarch.errors import HostError, IntegrityError, NotFoundError
from polyarch.events import Event, PullStarted, Warned
from polyarch.plugin_host.host import PluginHost
from polyarch.session import Session
from polyarch.settings import Settings

# A registry without any image, a storage without any room, and what each test adds.
BASE = """
from polyarch.contract import *

class Nothing:
    def __init__(self, *services): ...
    def close(self): ...
    def head(self, reference): return None
    def get(self, reference): raise NotFoundError(f"{reference} is not here")
    def open_blob(self, reference, blob, offset=0): raise NotFoundError(f"{blob} is not here")

class NoRoom:
    def __init__(self, *services): ...
    def close(self): ...
    def find(self, reference): return ()
    def has_blob(self, blob): return False
    def write_blob(self, blob): raise StorageError("no room")
    def commit(self, image): raise StorageError("no room")

@hookimpl
def polyarch_registries():
    yield RegistryPlugin("nothing", "", Nothing, hosts=("*",))

@hookimpl
def polyarch_storages():
    yield StoragePlugin("oci", "", NoRoom)

def broken(*services):
    raise RuntimeError("no such library")
"""

Open = Callable[..., tuple[Session, list[Event]]]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """`opened(source)`: a session whose only plugin is BASE and the source, and the events that it emits."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(source: str) -> tuple[Session, list[Event]]:
        (tmp_path / "composed_plugin.py").write_text(BASE + source)
        settings, events = Settings(root=tmp_path), list[Event]()
        session = Session(settings, emit=events.append)
        session.__dict__["plugins"] = PluginHost(
            settings, [EntryPoint("composed", "composed_plugin", ENTRY_POINT_GROUP)]
        )
        assert session.plugins.problems == []
        return session, events

    yield make
    sys.modules.pop("composed_plugin", None)


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


OBSERVERS = [
    ("broken", "RuntimeError: no such library"),
    ("made(lambda self, event: 1 / 0)", "ZeroDivisionError: division by zero"),
    ("made(lambda self, event: exit())", "SystemExit: None"),
    ("made(lambda self: None)", "notify() of O takes 0 arguments and not 1, as Observer asks"),
    ("made(None)", "O has no notify(), which Observer asks for"),
]


@pytest.mark.parametrize(("factory", "said"), OBSERVERS, ids=["factory", "notify", "exit", "no argument", "no method"])
def test_an_observer_cannot_break_a_pull(opened: Open, factory: str, said: str) -> None:
    session, events = opened(
        "def made(notify):\n    return lambda services: type('O', (), {'notify': notify})()\n"
        f"@hookimpl\ndef polyarch_observers():\n    yield ObserverPlugin('o', '', {factory})\n"
    )
    with session, pytest.raises(NotFoundError, match="is not here"):
        session.pull("app:1", platform="linux/arm64")
    assert warnings(events) == [f"observer o (unknown distribution) is passed over: {said}"]


def test_an_observer_is_told_what_happens(opened: Open) -> None:
    seen: list[Event] = []
    session, events = opened(
        "seen = []\n"
        "class Listens:\n    def notify(self, event): seen.append(event)\n"
        "@hookimpl\ndef polyarch_observers():\n    yield ObserverPlugin('o', '', lambda services: Listens())\n"
    )
    with session, pytest.raises(NotFoundError):
        session.pull("app:1", platform="linux/arm64")
    seen = sys.modules["composed_plugin"].seen
    assert seen == events
    assert any(isinstance(event, PullStarted) for event in seen)


def test_a_broken_tag_convention_is_passed_over(opened: Open) -> None:
    session, events = opened(
        "@hookimpl\ndef polyarch_tag_conventions():\n    yield TagConventionPlugin('t', '', broken)\n"
    )
    with pytest.raises(NotFoundError, match="is not here"):
        session.resolve("app:1", platform="linux/arm64")
    assert warnings(events) == [
        "plugin composed (unknown distribution) cannot be used and is passed over: RuntimeError: no such library"
    ]


CONVENTIONS = [
    ("propose", "raise KeyError('x')", "KeyError: 'x'"),
    ("propose", "return [3]", "TypeError: propose has to yield TagProposal, not int"),
    ("read", "raise KeyError('x')", "KeyError: 'x'"),
    ("read", "return 3", "TypeError: read has to answer TagReading or None, not int"),
]


@pytest.mark.parametrize(("method", "does", "said"), CONVENTIONS)
def test_a_tag_convention_cannot_break_resolving(opened: Open, method: str, does: str, said: str) -> None:
    session, events = opened(
        "from support.listing_registry import ListingRegistry\n"
        "registry = ListingRegistry()\n"
        "arm64 = registry.add_manifest({'os': 'linux', 'architecture': 'arm64'})\n"
        "registry.name('docker.io/library/app:other', arm64)\n"
        "class Convention:\n"
        "    def propose(self, reference, platform): return []\n"
        "    def read(self, tag): return None\n"
        f"    def {method}(self, *words): {does}\n"
        "@hookimpl\n"
        "def polyarch_registries():\n"
        "    yield RegistryPlugin('one', '', lambda services: registry, hosts=('docker.io',))\n"
        "@hookimpl\n"
        "def polyarch_tag_conventions():\n    yield TagConventionPlugin('t', '', lambda services: Convention())\n"
    )
    with pytest.raises(NotFoundError):
        session.resolve("app:1", platform="linux/arm64")
    assert warnings(events) == [f"tag convention t failed and is passed over: {said}"]


NEEDED = [
    "polyarch_verifiers():\n    yield VerifierPlugin('v', '', broken)\n",
    "polyarch_registries():\n    yield RegistryPlugin('v', '', broken, hosts=('docker.io',))\n",
]


@pytest.mark.parametrize("hook", NEEDED, ids=["verifier", "registry"])
def test_what_a_pull_cannot_do_without_is_named(opened: Open, hook: str) -> None:
    session, _ = opened(f"@hookimpl\ndef {hook}")
    with pytest.raises(HostError, match=r"plugin composed \(unknown distribution\) cannot be used: RuntimeError"):
        session.pull("app:1", platform="linux/arm64")


def test_a_verifier_that_refuses_is_heard_before_anything_is_stored(opened: Open) -> None:
    session, _ = opened(
        "from support.listing_registry import ListingRegistry\n"
        "registry = ListingRegistry()\n"
        "registry.name('docker.io/library/app:1', registry.add_manifest({'os': 'linux', 'architecture': 'arm64'}))\n"
        "class Listed(Nothing):\n"
        "    get, open_blob = registry.get, registry.open_blob\n"
        "class Refuses:\n"
        "    def verify(self, reference, document):\n"
        "        raise IntegrityError(f'{reference}: {document.digest} is not ours')\n"
        "@hookimpl\n"
        "def polyarch_registries():\n"
        "    yield RegistryPlugin('one', '', Listed, hosts=('docker.io',))\n"
        "@hookimpl\n"
        "def polyarch_verifiers():\n    yield VerifierPlugin('v', '', lambda services: Refuses())\n"
    )
    with pytest.raises(IntegrityError, match=r"docker\.io/library/app:1: sha256:.* is not ours"):
        session.pull("app:1", platform="linux/arm64")


def test_what_a_foreign_plugin_raises_while_it_works_names_it(opened: Open) -> None:
    session, _ = opened(
        "class Fails(Nothing):\n"
        "    def get(self, reference): return {}['nothing']\n"
        "@hookimpl\n"
        "def polyarch_registries():\n"
        "    yield RegistryPlugin('fails', '', Fails, hosts=('docker.io',))\n"
    )
    with pytest.raises(HostError, match=r"plugin composed \(unknown distribution\) cannot be used: KeyError") as caught:
        with session:
            session.pull("app:1", platform="linux/arm64")
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_defect_of_polyarch_stays_one(opened: Open) -> None:
    session, _ = opened("")
    assert session.plugins
    with pytest.raises(ZeroDivisionError), session:
        raise ZeroDivisionError


def test_what_a_plugin_raises_when_it_is_closed_names_it(opened: Open) -> None:
    session, _ = opened(
        "class Fails(Nothing):\n"
        "    def close(self): return {}['nothing']\n"
        "@hookimpl\n"
        "def polyarch_registries():\n"
        "    yield RegistryPlugin('fails', '', Fails, hosts=('docker.io',))\n"
    )
    with pytest.raises(HostError, match="KeyError"), session:
        with pytest.raises(NotFoundError):
            session.pull("app:1", platform="linux/arm64")
