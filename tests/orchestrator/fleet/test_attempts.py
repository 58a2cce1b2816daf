"""The runner over a fleet engine: shells of this machine with an engine that is a shell script."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract.fleet import FleetDevice, FleetEngine, FleetResult, FleetRun, FleetStatus
from polyarch.errors import HostError
from polyarch.fleet.attempts import FleetRunner, PullSettings, shares
from polyarch.fleet.facts import DeviceFacts, Engine
from polyarch.fleet.outcomes import DeviceOutcome
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.runner import Attempt, Begun
from polyarch.serve.one_time import OneTimeServer
from support.device_answers import program
from support.fleet_pulls import SETTINGS, facts_of, plan_of
from support.shell_fleet import Shell, ShellFleet
from support.small_images import SmallStorage

NAME = "registry.example/app:stable"
# It has an image when it has pulled it. With GATE it waits until the file is there.
DOCKER = """
key=$HAND/$(printf %s "$*" | sed -e 's/.* //' -e 's|[^a-z0-9]|_|g')
case $1 in
image) [ "$2" = ls ] || cat "$key" ;;
pull) echo "$HAND" >>"$LOG"; until [ -z "$GATE" ] || [ -e "$GATE" ]; do sleep 0.1; done; echo "$WANTED" >"$key" ;;
tag) echo "$WANTED" >"$key" ;;
rmi) rm "$key" ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def server() -> Iterator[OneTimeServer]:
    with OneTimeServer() as server:
        yield server


class Fleet:
    """Devices d0, d1 …, each with a script for docker and nothing else."""

    def __init__(self, folder: Path, server: OneTimeServer, count: int = 1, gate: Path | None = None) -> None:
        self.storage = SmallStorage(folder)
        self.image = self.storage.manifest("linux/amd64")
        self.log = folder / "log"
        docker = program(folder / "bin", "docker", DOCKER)
        self.engine = Engine("docker", program=(str(docker),))
        self.names = [f"d{number}" for number in range(count)]
        shells = {}
        for name in self.names:
            hand = folder / name
            hand.mkdir()
            environ = {
                "PATH": os.environ["PATH"],
                "TMPDIR": str(hand),
                "HAND": str(hand),
                "WANTED": self.image.manifest.config.digest,
                "LOG": str(self.log),
                "GATE": str(gate or ""),
            }
            shells[name] = Shell(environ)
        self.shells = ShellFleet(shells)
        self.server = server
        self.facts = {name: facts_of(self.engine, name) for name in self.names}

    def plan(self, name: str, *lines: ImagePlan) -> DevicePlan:
        manifest = self.image.manifest.digest
        line = ImagePlan(NAME, manifest, manifest, "registry.example/app", "linux/amd64", "exact")
        return plan_of(self.engine, *(lines or (line,)), device=name)

    def attempt(
        self, settings: PullSettings = SETTINGS, engine: FleetEngine | None = None, **more: Any
    ) -> AbstractContextManager[Attempt]:
        runner = FleetRunner(
            engine or self.shells,
            self.server,
            {self.image.manifest.digest: self.image},
            self.storage,
            self.facts,
            {name: FleetDevice(name) for name in self.names},
            settings,
        )
        return runner.attempt([self.plan(name) for name in self.names], **more)

    def outcomes(self, settings: PullSettings = SETTINGS) -> dict[str, DeviceOutcome]:
        with self.attempt(settings) as attempt:
            events = list(attempt)
        outcomes = [event for event in events if isinstance(event, DeviceOutcome)]
        assert sorted(outcome.device for outcome in outcomes) == self.names, "one outcome a device"
        return {outcome.device: outcome for outcome in outcomes}


def test_what_is_told_of_a_device(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server)
    before = time.time()
    with fleet.attempt() as attempt:
        first, *_, outcome = attempt
    assert isinstance(first, Begun)
    assert isinstance(outcome, DeviceOutcome)
    assert (outcome.status, outcome.error, outcome.transport, outcome.engine) == ("pulled", None, "tunnel", "docker")
    assert (outcome.wave, outcome.attempts) == (0, 1)
    assert before <= first.at == outcome.began <= outcome.ended
    (image,) = outcome.images
    assert (image.at_hand, image.platform, image.match) == (fleet.image.manifest.config.digest, "linux/amd64", "exact")


def test_what_a_device_has_under_a_name_that_cannot_be_given_is_no_fault(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server)
    (line,) = fleet.plan("d0").images
    had = replace(line, reference=f"registry.example/app@{line.manifest}", present=True)
    fleet.plan = lambda name: plan_of(fleet.engine, line, had, device=name)  # type: ignore[method-assign]
    (outcome,) = fleet.outcomes().values()
    assert (outcome.status, [image.status for image in outcome.images]) == ("pulled", ["pulled", "up-to-date"])


def test_a_path_is_dead_when_its_device_is_done(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server, 2)
    admitted, dismissed = list[str](), list[str]()
    admit, dismiss = server.admit, server.dismiss
    server.admit = lambda *words, **more: admitted.append(admit(*words, **more)) or admitted[-1]  # type: ignore
    server.dismiss = lambda path: dismissed.append(path) or dismiss(path)  # type: ignore[method-assign,func-returns-value]
    fleet.outcomes()
    assert len(set(admitted)) == 2
    assert sorted(dismissed) == sorted(admitted)


@pytest.mark.parametrize(
    ("instead", "status", "code"),
    [
        ("offline", "offline", "offline"),
        ("unreachable", "failed", "unreachable"),
        ("unauthorized", "failed", "unauthorized"),
        ("host-key", "failed", "host-key"),
        ("timeout", "failed", "timeout"),
        ("interrupted", "failed", "interrupted"),
        ("skipped", "skipped", "stopped"),
        ("failed", "failed", "internal"),
        ("done", "failed", "integrity"),
    ],
)
def test_a_device_whose_script_was_not_run(
    instead: FleetStatus, status: str, code: str, tmp_path: Path, server: OneTimeServer
) -> None:
    fleet = Fleet(tmp_path, server)
    fleet.shells.shells["d0"].instead = instead
    outcome = fleet.outcomes()["d0"]
    assert (outcome.status, outcome.reason_code) == (status, code)
    assert outcome.error
    (image,) = outcome.images
    assert (image.status, image.reason_code) == ("skipped" if status == "skipped" else "failed", code)


def test_no_more_at_once_than_forks(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server, 5)
    assert {outcome.status for outcome in fleet.outcomes(replace(SETTINGS, forks=2)).values()} == {"pulled"}
    assert fleet.shells.most == 2


def test_what_is_skipped_is_not_begun_and_the_rest_goes_on(tmp_path: Path, server: OneTimeServer) -> None:
    gate = tmp_path / "gate"
    fleet = Fleet(tmp_path, server, 4, gate)
    with fleet.attempt(replace(SETTINGS, forks=1)) as attempt:
        events = iter(attempt)
        first = next(events)
        assert isinstance(first, Begun)
        assert first.device == "d0"
        attempt.skip(["d0", "d2", "d3"])
        gate.touch()
        rest = list(events)
    outcomes = {event.device: event for event in rest if isinstance(event, DeviceOutcome)}
    assert [outcomes[name].status for name in fleet.names] == ["pulled", "pulled", "skipped", "skipped"]
    assert outcomes["d3"].reason_code == "stopped"
    assert len(fleet.log.read_text().splitlines()) == 2


def test_what_was_skipped_before_it_began(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server, 2)
    with fleet.attempt() as attempt:
        attempt.skip(["d0"])
        outcomes = {event.device: event.status for event in attempt if isinstance(event, DeviceOutcome)}
    assert outcomes == {"d0": "skipped", "d1": "pulled"}


def test_the_end(tmp_path: Path, server: OneTimeServer) -> None:
    """What has not ended is interrupted, whether it has begun or not."""
    fleet = Fleet(tmp_path, server, 3, tmp_path / "never")
    with fleet.attempt(replace(SETTINGS, forks=1)) as attempt:
        events = iter(attempt)
        next(events)
        attempt.end()
        outcomes = [event for event in events if isinstance(event, DeviceOutcome)]
    assert [outcome.reason_code for outcome in outcomes] == ["interrupted"] * 3


def test_leaving_it_ends_what_is_under_way(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server, 1, tmp_path / "never")
    with fleet.attempt() as attempt:
        next(iter(attempt))


def test_a_forbidden_tunnel_that_was_asked_for(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server)
    fleet.shells.shells["d0"].forwards = False
    outcome = fleet.outcomes(replace(SETTINGS, transport="tunnel"))["d0"]
    assert (outcome.status, outcome.reason_code) == ("failed", "no-forwarding")
    assert fleet.shells.runs == []


def test_facts_that_forbid_the_tunnel_that_was_asked_for(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server)
    fleet.facts["d0"] = replace(fleet.facts["d0"], forwarding=False)
    outcome = fleet.outcomes(replace(SETTINGS, transport="tunnel"))["d0"]
    assert (outcome.status, outcome.reason_code, outcome.images[0].status) == ("failed", "no-forwarding", "failed")
    assert fleet.shells.runs == []


def test_an_engine_that_the_facts_do_not_tell_of(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server)
    fleet.facts = {"d0": DeviceFacts("d0", fleet.facts["d0"].device)}
    assert fleet.outcomes()["d0"].reason_code == "no-engine"


@pytest.mark.parametrize(
    "reference", [f"registry.example/app@sha256:{1:064}", "oci:/some where:x", "registry.example/*:1", ""]
)
def test_a_name_that_docker_cannot_give(reference: str, tmp_path: Path, server: OneTimeServer) -> None:
    """The others come all the same."""
    fleet = Fleet(tmp_path, server)
    good = fleet.plan("d0").images[0]
    plan = fleet.plan("d0", replace(good, reference=reference), good)
    fleet.plan = lambda *_: plan  # type: ignore[method-assign]
    outcome = fleet.outcomes()["d0"]
    assert (outcome.status, outcome.reason_code) == ("failed", "no-engine")
    assert [image.status for image in outcome.images] == ["failed", "pulled"]


def test_an_image_that_the_plan_says_cannot_be_keeps_no_other_away(tmp_path: Path, server: OneTimeServer) -> None:
    """The check is for all of them: it is not made."""
    fleet = Fleet(tmp_path, server)
    bad = ImagePlan("registry.example/none:1", reason="no variant can run", reason_code="no-variant")
    plan = replace(fleet.plan("d0", bad, *fleet.plan("d0").images), reason_code="no-variant")
    fleet.plan = lambda *_: plan  # type: ignore[method-assign]
    checked = tmp_path / "checked"
    outcome = fleet.outcomes(replace(SETTINGS, check=f"touch {checked}"))["d0"]
    assert (outcome.status, outcome.reason_code) == ("failed", "no-variant")
    assert outcome.error == "registry.example/none:1: no variant can run"
    assert [(image.status, image.reason_code) for image in outcome.images] == [
        ("failed", "no-variant"),
        ("pulled", None),
    ]
    assert not checked.exists()


def test_an_engine_that_has_another_image(tmp_path: Path, server: OneTimeServer) -> None:
    """The name is not given."""
    fleet, other = Fleet(tmp_path, server), f"sha256:{7:064}"
    shell = fleet.shells.shells["d0"]
    shell.environ = {**shell.environ, "WANTED": other}
    outcome = fleet.outcomes()["d0"]
    assert (outcome.status, outcome.reason_code) == ("failed", "integrity")
    assert outcome.images[0].at_hand == other
    assert list((tmp_path / "d0").iterdir()) == [], "neither under its name nor under a temporary one"


def test_a_device_that_lies(tmp_path: Path, server: OneTimeServer) -> None:
    fleet = Fleet(tmp_path, server)
    shell = fleet.shells.shells["d0"]
    lines = ("polyarch-pull 1 $pull_nonce", f"image 0 pulled sha256:{1:064}", "polyarch-pull-end $pull_nonce")
    said = "\n".join(f'echo "{line}"' for line in lines)
    liar = program(tmp_path / "bin", "liar", f'eval "$(printf %s "$2" | sed -n -e /^pull_nonce=/p)"\n{said}')
    shell.words = (str(liar),)
    outcome = fleet.outcomes()["d0"]
    assert (outcome.status, outcome.reason_code) == ("failed", "integrity")


def test_a_fleet_engine_that_cannot_run(tmp_path: Path, server: OneTimeServer) -> None:
    class Missing(ShellFleet):
        @contextmanager
        def run(self, *words: Any, **more: Any) -> Iterator[FleetRun]:  # type: ignore[override]
            raise HostError("the program is not there")
            yield

    fleet = Fleet(tmp_path, server)
    engine = Missing(fleet.shells.shells)
    with pytest.raises(HostError, match="not there"), fleet.attempt(engine=engine) as attempt:
        list(attempt)


def test_an_engine_that_forgets_a_device(tmp_path: Path, server: OneTimeServer) -> None:
    class Forgetful(ShellFleet):
        @contextmanager
        def run(self, script: str, tasks: Any, **more: Any) -> Iterator[FleetRun]:  # type: ignore[override]
            with super().run(script, tasks[1:], **more) as run:
                yield run

    fleet = Fleet(tmp_path, server, 2)
    with fleet.attempt(engine=Forgetful(fleet.shells.shells)) as attempt:
        outcomes = {event.device: event.status for event in attempt if isinstance(event, DeviceOutcome)}
    assert outcomes == {"d0": "failed", "d1": "pulled"}


def test_no_device_at_all(tmp_path: Path, server: OneTimeServer) -> None:
    with Fleet(tmp_path, server, 0).attempt() as attempt:
        assert list(attempt) == []


@pytest.mark.parametrize(
    ("lanes", "forks", "expected"),
    [
        ([7], 20, [20]),
        ([50, 50], 20, [10, 10]),
        ([99, 1], 20, [19, 1]),
        ([1, 100, 1], 3, [1, 1, 1]),
        ([1, 100, 1], 5, [1, 3, 1]),
        ([9, 9, 9], 2, [1, 1, 1]),  # two of them at a time
        ([1, 1, 1], 1, [1, 1, 1]),
    ],
)
def test_lanes_together_have_no_more_at_once_than_forks(lanes: list[int], forks: int, expected: list[int]) -> None:
    assert shares(lanes, forks) == expected
    assert sum(shares(lanes, forks)) <= max(forks, len(lanes))


def test_a_stream_has_what_a_forbidden_tunnel_left_of_the_time(tmp_path: Path, server: OneTimeServer) -> None:
    """Of each device's own: what the engine has is the longest of these."""
    seconds = {"d0": 20.0, "d1": 5.0}
    given: list[tuple[float, dict[str, str]]] = []

    class Slow(ShellFleet):
        @contextmanager
        def run(self, script: str, tasks: Any, **more: Any) -> Iterator[FleetRun]:  # type: ignore[override]
            now = time.time()
            found = [
                FleetResult(name, "no-forwarding", began=now, ended=now + spent) for name, spent in seconds.items()
            ]
            yield Told(found)

        @contextmanager
        def run_with_input(self, script: str, tasks: Any, inputs: Any, **more: Any) -> Iterator[FleetRun]:  # type: ignore[override]
            given.append((more["timeout"], {task.device.name: task.values["pull_limit"] for task in tasks}))
            yield Told([FleetResult(task.device.name, "timeout") for task in tasks])

    fleet = Fleet(tmp_path, server, 2)
    with fleet.attempt(engine=Slow(fleet.shells.shells)) as attempt:
        list(attempt)
    ((timeout, limits),) = given
    assert timeout == pytest.approx(55)
    assert limits == {"d0": "32", "d1": "45"}


class Told:
    """A run that tells these."""

    def __init__(self, results: list[FleetResult]) -> None:
        self.results = results

    def __iter__(self) -> Iterator[FleetResult]:
        return iter(self.results)

    def skip(self, devices: object) -> None:
        """Nothing begins."""

    def end(self) -> None:
        """Nothing is under way."""
