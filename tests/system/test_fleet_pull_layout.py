"""OCI image layouts on devices: what they are sent, and that polyarch and skopeo read them afterwards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.fleet.attempts import FleetRunner, PullSettings
from polyarch.fleet.facts import Engine
from polyarch.fleet.outcomes import DeviceOutcome, Transport
from polyarch.fleet.planned import ImagePlan
from polyarch.fleet.runner import Begun
from polyarch.serve.one_time import OneTimeServer
from support.command import Polyarch
from support.docker_registry import skopeo, skopeo_copy
from support.fleet_pulls import SETTINGS, Shelf, facts_of, plan_of
from support.processes import await_true
from support.shell_fleet import Shell, ShellFleet
from support.stacks import HERE, stack_layout

pytestmark = pytest.mark.system
APP, BULKY = "fleets/app", "fleets/bulk"
NAME, OTHER = "registry.example/app:stable", "registry.example/other:stable"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, foreign_busybox: Callable[[str], Path]) -> Shelf:
    directory = tmp_path_factory.mktemp("stack") / "layout"
    stack_layout(directory, "fleets", foreign_busybox(HERE), 1 << 20)
    return Shelf(directory)


class Bring:
    """Attempts with one device; `place` is its layout."""

    def __init__(self, shelf: Shelf, place: Path, shell: Sequence[str] = ("/bin/sh",)) -> None:
        self.shelf, self.place, self.shell = shelf, place, shell
        self.folder = place.parent
        self.path = os.environ["PATH"]

    def __call__(
        self,
        *lines: ImagePlan,
        shelf: Shelf | None = None,
        settings: PullSettings = SETTINGS,
        transport: Transport | None = None,
    ) -> DeviceOutcome:
        environ = {"PATH": self.path, "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        fleet = ShellFleet({"device": Shell(environ, tuple(self.shell))})
        engine = Engine("oci", place=str(self.place))
        with OneTimeServer() as server:
            runner = FleetRunner(
                fleet,
                server,
                self.shelf.images,
                shelf or self.shelf,
                {"device": facts_of(engine)},
                {each.name: each for each in fleet.devices((), "")},
                replace(settings, transport=transport),
            )
            with runner.attempt([plan_of(engine, *lines)]) as attempt:
                return next(event for event in attempt if isinstance(event, DeviceOutcome))

    @property
    def index(self) -> Path:
        return self.place / "index.json"

    def left(self) -> list[str]:
        own = [path.name for path in self.folder.glob("polyarch-fleet*")]
        return [*own, *(path.name for path in (self.place / ".polyarch").glob("*") if path.name.startswith("fleet"))]


@pytest.fixture(params=["busybox", pytest.param("dash", marks=pytest.mark.soak)])
def bring(
    request: pytest.FixtureRequest, tmp_path: Path, shelf: Shelf, foreign_busybox: Callable[[str], Path]
) -> Bring:
    shell = ("/bin/dash",) if request.param == "dash" else (str(foreign_busybox(HERE)), "sh")
    return Bring(shelf, tmp_path / "device" / "a folder's" / "oci", shell)


def test_a_layout_is_made_filled_and_changed(bring: Bring, shelf: Shelf, polyarch: Polyarch, tmp_path: Path) -> None:
    bring.folder.mkdir(parents=True)
    first = bring(shelf.line(f"{APP}:1.0", NAME), shelf.line(f"{BULKY}:1.0", OTHER))
    assert (first.status, first.error, first.transport) == ("pulled", None, "stream")
    manifests = [shelf.named[f"{APP}:1.0"].manifest.digest, shelf.named[f"{BULKY}:1.0"].manifest.digest]
    assert [image.at_hand for image in first.images] == manifests
    assert first.bytes > 1 << 20

    before = bring.index.stat()
    again = bring(shelf.line(f"{APP}:1.0", NAME), shelf.line(f"{BULKY}:1.0", OTHER))
    assert (again.status, again.bytes) == ("up-to-date", 0)
    assert [image.at_hand for image in again.images] == manifests
    assert bring.index.stat().st_mtime_ns == before.st_mtime_ns

    changed = bring(shelf.line(f"{APP}:1.1", NAME))
    assert (changed.status, changed.error) == ("pulled", None)
    assert changed.bytes < 20_000, "only the layer that changed"
    assert bring.left() == []

    for name, wanted in ((NAME, f"{APP}:1.1"), (OTHER, f"{BULKY}:1.0")):
        raw = skopeo("inspect", "--raw", f"oci:{bring.place}:{name}")
        assert json.loads(raw) == json.loads(shelf.named[wanted].manifest.raw)
        skopeo_copy(f"oci:{bring.place}:{name}", f"dir:{tmp_path / wanted.replace('/', '-')}")
    shutil.copytree(bring.place, polyarch.root / "oci")
    assert polyarch("verify", NAME).ok()
    listed = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert {(line["repository"], line["tag"]) for line in listed} == {
        ("registry.example/app", "stable"),
        ("registry.example/other", "stable"),
    }
    polyarch("pull", f"oci:{shelf.layout.directory}:{APP}:1.0", "--into", f"oci:{bring.place}").ok()


def test_names_of_others_stay_as_they_are(bring: Bring, shelf: Shelf, foreign_busybox: Callable[[str], Path]) -> None:
    bring.folder.mkdir(parents=True)
    stack_layout(bring.place, "others", foreign_busybox(HERE), 1000)
    document = json.loads(bring.index.read_bytes())
    document["annotations"] = {"of": "another tool"}
    document["manifests"][0]["annotations"]["kept"] = "yes"
    bring.index.write_text(json.dumps(document, indent=3))
    assert bring(shelf.line(f"{APP}:1.0", NAME)).status == "pulled"
    after = json.loads(bring.index.read_bytes())
    assert after["manifests"][: len(document["manifests"])] == document["manifests"]
    assert {**after, "manifests": []} == {**document, "manifests": []}
    skopeo("inspect", "--raw", f"oci:{bring.place}:{NAME}")


def test_an_index_that_another_changes_meanwhile(bring: Bring, shelf: Shelf) -> None:
    """What came stays as blobs, the other's names stay, and the next attempt sends no layer again."""
    bring.folder.mkdir(parents=True)
    bring(shelf.line(f"{APP}:1.0", NAME))
    other = bring.index.read_text().replace(NAME, OTHER)

    class Changing(Shelf):
        def blob_path(self, digest: str) -> Path:
            bring.index.write_text(other)
            return super().blob_path(digest)

    line = shelf.line(f"{BULKY}:1.0", NAME)
    outcome = bring(line, shelf=Changing(shelf.layout.directory))
    assert (outcome.status, outcome.reason_code) == ("failed", "held")
    assert bring.index.read_text() == other
    assert bring.left() == []
    again = bring(line)
    assert again.status == "pulled"
    assert again.bytes < 20_000


def test_a_blob_that_is_another(bring: Bring, shelf: Shelf, tmp_path: Path) -> None:
    bring.folder.mkdir(parents=True)
    layer = shelf.named[f"{BULKY}:1.0"].manifest.layers[0]
    wrong = tmp_path / "wrong"
    wrong.write_bytes(bytes(layer.size))

    class Wrong(Shelf):
        def blob_path(self, digest: str) -> Path:
            return wrong if digest == layer.digest else super().blob_path(digest)

    outcome = bring(shelf.line(f"{BULKY}:1.0", NAME), shelf=Wrong(shelf.layout.directory))
    assert (outcome.status, outcome.reason_code) == ("failed", "integrity"), outcome.error
    assert not bring.index.exists()
    assert not (bring.place / "blobs" / "sha256" / layer.digest.partition(":")[2]).exists()
    assert bring.left() == []


def test_a_stream_that_breaks_off(bring: Bring, shelf: Shelf) -> None:
    """What had come whole is not sent again."""
    bring.folder.mkdir(parents=True)
    manifest = shelf.named[f"{APP}:1.0"].manifest

    class Breaking(Shelf):
        def blob_path(self, digest: str) -> Path:
            path = super().blob_path(digest)
            if digest != manifest.layers[-1].digest:
                return path
            short = bring.folder / "short"
            short.write_bytes(path.read_bytes()[:-1])
            return short

    outcome = bring(shelf.line(f"{APP}:1.0", NAME), shelf=Breaking(shelf.layout.directory))
    assert (outcome.status, outcome.reason_code) == ("failed", "internal"), outcome.error
    assert "is of another size" in (outcome.error or "")
    assert not bring.index.exists()
    assert bring.left() == []
    again = bring(shelf.line(f"{APP}:1.0", NAME))
    assert again.status == "pulled"
    assert again.bytes < manifest.layers[0].size


def test_a_full_disk(
    shelf: Shelf, tmp_path: Path, small_tmpfs: Callable[[int], Path], foreign_busybox: Callable[[str], Path]
) -> None:
    bring = Bring(shelf, small_tmpfs(500_000) / "device" / "oci", (str(foreign_busybox(HERE)), "sh"))
    bring.folder.mkdir()
    outcome = bring(shelf.line(f"{BULKY}:1.0", NAME))
    assert (outcome.status, outcome.reason_code) == ("failed", "no-space"), outcome.error
    assert bring.left() == []


def test_a_folder_with_other_files_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    bring = Bring(shelf, tmp_path / "device" / "oci")
    bring.place.mkdir(parents=True)
    (bring.place / "thesis.txt").write_text("years of work")
    outcome = bring(shelf.line(f"{BULKY}:1.0", NAME))
    assert (outcome.status, outcome.reason_code) == ("failed", "internal")
    assert "holds files, but is no OCI image layout" in (outcome.error or "")
    assert [path.name for path in bring.place.iterdir()] == ["thesis.txt"]


def test_the_check_runs_where_all_is_at_hand(shelf: Shelf, tmp_path: Path) -> None:
    bring = Bring(shelf, tmp_path / "device" / "oci")
    bring.folder.mkdir()
    line = shelf.line(f"{APP}:1.0", NAME)
    assert bring(line).status == "pulled"
    assert bring(line, settings=replace(SETTINGS, check="true")).status == "up-to-date"
    failed = bring(line, settings=replace(SETTINGS, check="exit 4"))
    assert (failed.status, failed.reason_code, failed.error) == ("failed", "check", "the check ended with 4")
    assert failed.images[0].status == "up-to-date"


def test_nothing_but_a_stream_goes_to_a_layout(shelf: Shelf, tmp_path: Path) -> None:
    bring = Bring(shelf, tmp_path / "oci")
    outcome = bring(shelf.line(f"{APP}:1.0", NAME), transport="tunnel")
    assert (outcome.status, outcome.reason_code) == ("failed", "no-engine")


def test_layouts_that_were_asked_and_no_more_can_be_skipped(shelf: Shelf, tmp_path: Path) -> None:
    """What they have is asked of all before a first one is sent anything."""
    gate = tmp_path / "gate"
    fleet, engines = ShellFleet({}), {}
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        engines[name] = Engine("oci", place=str(tmp_path / name / "oci"))
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / name), "TMPDIR": str(tmp_path / name)}
        fleet.shells = {**fleet.shells, name: Shell(environ)}
    plans = [plan_of(engine, shelf.line(f"{APP}:1.0", NAME), device=name) for name, engine in engines.items()]
    settings = replace(SETTINGS, forks=1, check=f"until [ -e {gate} ]; do sleep 0.1; done")
    facts = {name: facts_of(engine, name) for name, engine in engines.items()}
    devices = {each.name: each for each in fleet.devices((), "")}
    with OneTimeServer() as server:
        with FleetRunner(fleet, server, shelf.images, shelf, facts, devices, settings).attempt(plans) as attempt:
            events = iter(attempt)
            first = next(events)
            await_true(lambda: len(fleet.runs) == len(engines) + 1, "all were asked, and the first is served")
            attempt.skip(engines)
            gate.touch()
            rest = list(events)
    assert isinstance(first, Begun)
    assert {event.device for event in rest if isinstance(event, Begun)} == set()
    statuses = {event.device: event.status for event in rest if isinstance(event, DeviceOutcome)}
    assert statuses == {"a": "pulled", "b": "skipped", "c": "skipped"}
    assert not (tmp_path / "b" / "oci").exists()
