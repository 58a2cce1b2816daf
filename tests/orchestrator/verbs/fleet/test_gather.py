"""Asking a fleet: devices that answer, that do not, and that lie; facts that are kept."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from pathlib import Path

import pytest

from polyarch.contract.fleet import MAX_OUTPUT, FleetDevice, FleetResult, FleetStatus
from polyarch.events import Event, Warned, ignore
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.reasons import FactsFault, ReasonCode
from polyarch.verbs.fleet.facts_cache import FactsCache
from polyarch.verbs.fleet.gather import Answer, gather, gather_with_cache
from support.answering_fleet import AnsweringFleet, Device, answers, ends, nonce_in, says
from support.device_answers import PI_4, device_answer, program

DOCKER = ("engine docker", "program /usr/bin/docker", "version 27.0")


def asked(fleet: AnsweringFleet) -> dict[str, Answer]:
    """What all devices answer."""
    return dict(gather(fleet, fleet.devices((), ""), forks=7, timeout=30))


def fault(device: Device) -> FactsFault:
    """What becomes of a device between two honest ones, which are not harmed."""
    fleet = AnsweringFleet({"a": answers(*DOCKER), "odd": device, "z": answers(*DOCKER)})
    found = asked(fleet)
    assert list(found) == ["a", "odd", "z"]
    assert isinstance(found["a"], DeviceFacts)
    assert isinstance(found["z"], DeviceFacts)
    assert not fleet.under_way
    odd = found["odd"]
    assert isinstance(odd, FactsFault)
    assert odd.reason.isprintable()
    assert len(odd.reason) < 800
    return odd


def test_each_is_asked_with_what_is_asked_for() -> None:
    fleet = AnsweringFleet({"a": answers(*DOCKER, "forwarding no"), "b": answers(probe=PI_4)})
    found = asked(fleet)
    assert (fleet.forks, fleet.timeout, fleet.must_reach) == (7, 30, False)
    a, b = found["a"], found["b"]
    assert isinstance(a, DeviceFacts)
    assert isinstance(b, DeviceFacts)
    assert (a.name, a.engines[0].version, a.forwarding) == ("a", "27.0", False)
    assert (str(b.device.platform), b.engines, b.forwarding) == ("linux/arm64", (), None)


@pytest.mark.parametrize(
    ("status", "error", "code", "reason"),
    [
        (
            "offline",
            "ssh: connect to host 10.0.0.9 port 22: No route to host",
            "offline",
            "nothing answers there: ssh: connect to host 10.0.0.9 port 22: No route to host",
        ),
        ("offline", "", "offline", "nothing answers there"),
        ("unreachable", "Connection reset\n\n", "unreachable", "the connection broke: Connection reset"),
        ("unauthorized", "pi@pi: Permission denied", "unauthorized", "it let nobody in: pi@pi: Permission denied"),
        (
            "host-key",
            "@@@@\nHost key verification failed.",
            "host-key",
            "it shows another key than the one that is known, or none is known: Host key verification failed.",
        ),
        ("no-forwarding", "", "no-forwarding", "it lets no port be forwarded"),
        ("timeout", "\x1b[2J", "timeout", "it did not answer in time: \\x1b[2J"),
        ("skipped", "", "interrupted", "it was not asked any more"),
        ("interrupted", "", "interrupted", "asking it was ended from here"),
    ],
)
def test_why_there_is_no_answer(status: FleetStatus, error: str, code: ReasonCode, reason: str) -> None:
    found = fault(ends(status, error))
    assert (found.reason_code, found.reason) == (code, reason)


def cut(script: str, port: int | None) -> FleetResult:
    """Answers with half of what it should."""
    text = device_answer(*DOCKER, nonce=nonce_in(script))
    return FleetResult("", "done", text[: len(text) // 2], code=0)


@pytest.mark.parametrize(
    ("device", "code", "reason"),
    [
        (cut, "unreachable", "its answer was cut short"),
        (says(""), "integrity", "what it answered is no answer to what it was asked: nothing"),
        (says("\x1b]0;owned\x07\x1b[2J"), "integrity", "\\x1b]0;owned\\x07\\x1b[2J"),
        (says(("noise " * 10 + "\n") * 200_000), "integrity", "an answer has at most"),
        (says(("noise " * 10 + "\n") * 200_000)("", None).output[:MAX_OUTPUT], "integrity", "no answer"),
        (says(device_answer(*DOCKER)), "integrity", "no answer to what it was asked"),
        (says("", error="sh: not found", code=127), "integrity", "its shell ended with 127: sh: not found"),
        (says("no account", code=1), "integrity", "its shell ended with 1; what it answered is no answer"),
    ],
    ids=["cut", "silent", "escapes", "noise", "noise-cut", "another-asking", "no-shell", "no-account"],
)
def test_who_lies_is_told_and_harms_nobody(device: Device | str, code: ReasonCode, reason: str) -> None:
    found = fault(says(device) if isinstance(device, str) else device)
    assert found.reason_code == code
    assert reason in found.reason


def test_a_device_that_the_engine_forgets_is_told() -> None:
    found = asked(AnsweringFleet({"a": answers(), "b": answers()}, silent=frozenset({"a"})))
    assert list(found) == ["b", "a"]
    assert isinstance(found["a"], FactsFault)
    assert found["a"].reason_code == "internal"


@pytest.mark.parametrize(("said", "skew"), [(1000, 0), (1005, 0), (1025, 15), (900, -99)])
def test_the_skew_of_its_clock_is_what_asking_does_not_explain(said: int, skew: int) -> None:
    found = asked(AnsweringFleet({"a": answers(f"clock {said}", began=1000, ended=1010)}))["a"]
    assert isinstance(found, DeviceFacts)
    assert (found.clock_skew, found.taken) == (skew, 1010)


def test_an_interrupt_ends_what_is_under_way() -> None:
    def interrupted(script: str, port: int | None) -> FleetResult:
        raise KeyboardInterrupt

    fleet = AnsweringFleet({"a": answers(), "b": interrupted, "c": answers()})
    with pytest.raises(KeyboardInterrupt):
        asked(fleet)
    assert not fleet.under_way
    assert fleet.asked == ["a", "b"]


def test_who_has_heard_enough_ends_what_is_under_way() -> None:
    fleet = AnsweringFleet({"a": answers(), "b": answers()})
    with contextlib.closing(gather(fleet, fleet.devices((), ""), forks=1, timeout=1)) as found:
        next(iter(found))
        assert fleet.under_way
    assert not fleet.under_way
    assert fleet.asked == ["a"]


@pytest.mark.parametrize("leads_back", [True, False])
def test_the_trial_of_a_port(leads_back: bool, tmp_path: Path) -> None:
    """The script itself, on a device whose port is that of this machine, or one where nobody listens."""
    for name in ("docker", "podman", "ctr", "k3s"):
        program(tmp_path, name, "exit 1")

    def device(script: str, port: int | None) -> FleetResult:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            number = port if leads_back else nobody.getsockname()[1]
            environment = {"PATH": str(tmp_path), "HOME": "/nowhere", "port": str(number)}
            done = subprocess.run(
                ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60
            )
            return FleetResult("", "done", done.stdout, code=0)

    found = asked(AnsweringFleet({"a": device}))["a"]
    assert isinstance(found, DeviceFacts)
    assert found.forwarding is leads_back


def test_fresh_facts_are_not_asked_again(tmp_path: Path) -> None:
    now = 1000.0
    cache = FactsCache(tmp_path / "facts", ["hosts"], lambda: now)
    fleet = AnsweringFleet({"a": answers(*DOCKER, ended=900), "b": answers(ended=990), "c": ends("offline")})

    def again(max_age: float) -> tuple[dict[str, Answer], list[str]]:
        fleet.asked.clear()
        devices = fleet.devices((), "")
        found = dict(gather_with_cache(fleet, devices, cache, ignore, forks=1, timeout=1, max_age=max_age))
        return found, list(fleet.asked)

    first, all_of_them = again(3600)
    assert all_of_them == ["a", "b", "c"]
    found, asked_now = again(3600)
    assert asked_now == ["c"]
    assert (found["a"], found["b"]) == (first["a"], first["b"])
    found, asked_now = again(60)
    assert asked_now == ["a", "c"]
    assert found["a"] == first["a"]
    assert again(0)[1] == ["a", "b", "c"]
    cache.outdate("b")
    assert again(3600)[1] == ["b", "c"]


def test_facts_that_cannot_be_kept_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = FactsCache(tmp_path / "file" / "facts", [])
    fleet = AnsweringFleet({"a": answers(), "b": answers()})
    events: list[Event] = []
    found = dict(gather_with_cache(fleet, fleet.devices((), ""), cache, events.append, forks=1, timeout=1, max_age=60))
    assert all(isinstance(answer, DeviceFacts) for answer in found.values())
    (event,) = events
    assert isinstance(event, Warned)
    assert "facts of devices are not kept" in event.message


def test_nobody_is_asked_where_there_is_nobody() -> None:
    fleet = AnsweringFleet({})
    assert dict(gather(fleet, (), forks=1, timeout=1)) == {}
    assert fleet.timeout == 0


def test_a_name_that_stands_twice_is_answered_once() -> None:
    fleet = AnsweringFleet({"a": answers()})
    found = list(gather(fleet, [FleetDevice("a"), FleetDevice("a")], forks=1, timeout=1))
    assert [name for name, _ in found] == ["a"]
