"""Words that are wrong, and devices that misbehave: the first touch nothing, the others spoil nothing for the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.fleet_lab import Device, Lab
from support.fleet_site import FleetSite, at_hand, by_device, inventory, rollouts
from support.processes import await_true

pytestmark = pytest.mark.system

FILES = {
    "broken.yml": "all:\n  hosts: [\n  : x",
    "empty.plan": "",
    "compose.yml": "services:\n  a:\n image: [",
    "nothing.yml": "services:\n  a:\n    command: x\n",
}
NAME = "127.0.0.1:1/fleet/never:1"

# Words behind `fleet pull -i INVENTORY`, a file's name standing for its path; and what the message has in it.
WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "host": (("-l", "nobody", NAME), "'nobody'"),
    "group": (("-l", "servers:nobodies", NAME), "'nobodies'"),
    "pattern": (("-l", "servers:!servers", NAME), "'servers:!servers'"),
    "inventory": (("-i", "broken.yml", NAME), "broken.yml"),
    "no-inventory": (("-i", "missing.yml", NAME), "missing.yml"),
    "batch": (("--batch", "10%,x", NAME), "'x'"),
    "max-fail": (("--max-fail", "200%", NAME), "200%"),
    "rate": (("--limit-rate", "fast", NAME), "'fast'"),
    "timeout": (("--timeout", "0", NAME), "'0'"),
    "forks": (("--forks", "0", NAME), "0"),
    "no-plan": (("--plan", "missing.plan"), "missing.plan"),
    "plan-cut": (("--plan", "empty.plan"), "empty.plan"),
    "reference": (("UPPER/Case:1",), "'UPPER/Case:1'"),
    "no-reference": ((), "no image"),
    "compose": (("--compose", "compose.yml"), "compose.yml, line 3"),
    "compose-empty": (("--compose", "nothing.yml"), "no image"),
    "no-lock": (("--locked", "missing.lock"), "missing.lock"),
    "no-report": (("--report", "no/folder.html", NAME), "no/folder.html"),
}
_SAY_ALL = ("no-plan", "compose")
_SAMPLE = ("host", "rate", "plan-cut", "inventory")


@pytest.mark.parametrize(
    "case", [case if case in _SAMPLE else pytest.param(case, marks=pytest.mark.costly) for case in WRONG]
)
def test_wrong_words_touch_nothing(case: str, fleet_site: FleetSite, polyarch: Polyarch, tmp_path: Path) -> None:
    """One line, and what to do; no device hears of it, and no rollout is written down."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    words, told = WRONG[case]
    paths = [str(tmp_path / word) if "." in word and word != NAME else word for word in words]
    asked = [] if "-i" in words else ["-i", str(fleet_site.lab.inventory)]
    before = heard(fleet_site.lab.devices)
    result = polyarch("fleet", "pull", *asked, *paths)
    assert (result.code, result.stdout) == (2, ""), result.stderr
    error, *hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert told in error
    assert [line[:6] for line in hint] in ([], ["hint: "])
    assert hint or case in _SAY_ALL
    assert rollouts(polyarch) == []
    assert heard(fleet_site.lab.devices) == before


def heard(devices: Sequence[Device]) -> dict[str, int]:
    """How many came to each device's sshd: who was let in, and who went before that. Who goes later, is told later."""
    logs = {device.name: device.root / "var/log/sshd.log" for device in devices if device.kind.listens}
    texts = {name: log.read_text("utf-8", "replace") for name, log in logs.items()}
    return {name: text.count("Accepted ") + text.count("[preauth]") for name, text in texts.items()}


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("fleet/no-such:1", 3, "not-found"),
        pytest.param("unreachable", 6, "unreachable", marks=pytest.mark.costly),
    ],
)
def test_an_image_that_cannot_be_had(
    name: str, code: int, reason: str, fleet_site: FleetSite, polyarch: Polyarch
) -> None:
    """All devices lack it for one reason: that is the exit code."""
    image = NAME if name == "unreachable" else fleet_site.registry.ref(name)
    result = polyarch(*fleet_site.fleet("pull", "--format", "json", "--limit", "docker", image))
    assert result.code == code, result.stderr
    line = by_device(result.json_lines)["docker"]
    assert (line["status"], line["reason_code"], line["bytes"]) == ("failed", reason, 0)


@pytest.fixture(scope="module")
def bad_site(
    registry: DockerRegistry,
    foreign_busybox: Callable[[str], Path],
    test_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FleetSite]:
    """Devices that may be spoilt: native ones without an engine, and one with docker."""
    folder = tmp_path_factory.mktemp("bad-site")
    with Lab([*["oci"] * 6, "docker"], folder / "lab", test_cache) as lab:
        yield FleetSite(lab, registry, folder, foreign_busybox)


# What a device does instead of what it is told, with the reason code and words that come of it.
FORCED = {
    "cut": ('sh -c "$SSH_ORIGINAL_COMMAND" | head -c 300', "unreachable", "cut short"),
    "noise": ("base64 -w 0 /dev/urandom | head -c 10000000", "integrity", "no answer"),
    "escapes": (r"printf '\033[31m\033]0;owned\007hello'", "integrity", r"\x1b[31m\x1b]0;owned\x07hello"),
    "hangs": ("exec sleep 1000", "timeout", "in time"),
    "stranger": (None, "unauthorized", "Permission denied"),
}


@pytest.mark.costly
def test_devices_that_misbehave(bad_site: FleetSite, polyarch: Polyarch, tmp_path: Path) -> None:
    """Each has its reason; those that behave have the image; nothing that they say gets to a terminal as it is."""
    site = bad_site
    image = site.push("fleet/misbehave:1", "behaved", architectures=("amd64",))
    free = [device for device in site.lab.devices if device.kind.engine == "oci"]
    listed: dict[str, tuple[Device, dict[str, object]]] = {"good": (site.lab.device("docker"), {})}
    listed["also-good"] = (free.pop(), {"polyarch_engine": "oci"})
    for name in FORCED:
        listed[name] = (free.pop(), {"polyarch_engine": "oci"})
    with forced({listed[name][0]: command for name, (command, _, _) in FORCED.items()}):
        place = inventory(site, tmp_path / "inventory.json", listed)
        words = ("fleet", "pull", "-i", place, "--timeout", "40")
        result = polyarch(*words, "--format", "json", image.name, seconds=300)
        assert result.code == 10, result.stdout + result.stderr
        lines = by_device(result.json_lines)
        for name, (_, reason, told) in FORCED.items():
            line = lines[name]
            assert (line["status"], line["reason_code"]) == ("failed", reason), line
            assert told in line["error"]
            assert len(line["error"]) < 1000
        for name in ("good", "also-good"):
            assert lines[name]["status"] == "pulled", lines[name]
            assert at_hand(listed[name][0], image.name) == image.digest_on(listed[name][0])
        assert lines["hangs"]["seconds"] < 60
        printed = polyarch("fleet", "report")
        for text in (result.stdout, result.stderr, printed.stdout, printed.stderr):
            assert "\x1b" not in text
            assert "\x07" not in text
        # Alone, each one's reason is the exit code.
        for name, code in {"stranger": 5, "escapes": 7, "cut": 6}.items():
            assert polyarch(*words, "--limit", name, image.name).code == code, name


@contextmanager
def forced(commands: dict[Device, str | None]) -> Iterator[None]:
    """Lets each device's sshd run this, whatever it is told; None: it knows nobody's key."""
    keys = {device: device.root / "root/.ssh/authorized_keys" for device in commands}
    before = {device: path.read_text() for device, path in keys.items()}
    for device, command in commands.items():
        quoted = (command or "").replace('"', '\\"')
        keys[device].write_text("" if command is None else f'command="{quoted}" {before[device]}')
    yield
    for device, path in keys.items():
        path.write_text(before[device])


@pytest.mark.costly
def test_a_device_that_reboots_in_the_middle(bad_site: FleetSite, polyarch: Polyarch) -> None:
    """It has its reason, the other one its image; later it is served as if nothing had been."""
    site = bad_site
    device, other = site.lab.device("docker"), site.lab.device("oci")
    image = site.push("fleet/reboot:1", "up again", parts=["big"], size=3_000_000, architectures=("amd64",))
    words = site.fleet("pull", "--format", "json", "--limit", "docker:oci", image.name)
    slow = ("--limit-rate", "1M", "--retries", "0")
    result = in_the_middle(polyarch, [*words, *slow], device, device.reboot)
    assert result.code == 10, result.stdout + result.stderr
    lines = by_device(result.json_lines)
    assert (lines["docker"]["status"], lines["docker"]["reason_code"]) == ("failed", "unreachable")
    assert lines["oci"]["status"] == "pulled"
    assert at_hand(other, image.name) == image.digest_on(other)
    assert at_hand(device, image.name) is None
    again = polyarch(*words, "--limit", "@failed").ok()
    assert {name: line["status"] for name, line in by_device(again.json_lines).items()} == {"docker": "pulled"}
    assert at_hand(device, image.name) == image.digest_on(device)


@pytest.mark.costly
def test_a_connection_that_breaks_is_made_again(bad_site: FleetSite, polyarch: Polyarch) -> None:
    """And what was there by then does not come again."""
    site = bad_site
    device = site.lab.device("docker")
    image = site.push("fleet/breaks:1", "whole", parts=["one", "two"], size=1_500_000, architectures=("amd64",))
    words = site.fleet("pull", "--format", "json", "--limit", "docker", "--limit-rate", "1M", image.name)
    result = in_the_middle(polyarch, words, device, device.kill_sessions).ok()
    line = by_device(result.json_lines)["docker"]
    assert (line["status"], line["attempts"]) == ("pulled", 2)
    assert at_hand(device, image.name) == image.digest_on(device)
    await_true(lambda: device.busy() == [], "nothing is left on the device")


def in_the_middle(
    polyarch: Polyarch, words: Sequence[str | Path], device: Device, happens: Callable[[], object]
) -> Result:
    """Runs a command; once the device's engine pulls by it, `happens`."""
    process = polyarch.start(*words)

    def pulls() -> bool:
        ended = process.poll() is not None
        return ended or any("pull" in one.words and "docker" in Path(one.words[0]).name for one in device.busy())

    def watch() -> None:
        await_true(pulls, "the device pulls", 100)
        assert process.poll() is None, "it came too late"
        happened.append(happens())

    happened: list[object] = []
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = polyarch.finish(process, seconds=300)
    finally:
        watcher.join()
    assert happened
    return result
