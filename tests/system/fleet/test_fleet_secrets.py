"""Nothing secret leaves the controller, nor stays anywhere: credentials, and the path of a rollout that opens once."""

from __future__ import annotations

import base64
import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.fleet_lab import Device
from support.fleet_site import ABLE, FleetSite, at_hand, by_device, files_of
from support.processes import await_true
from support.registry_auth import PASSWORD, USERNAME, basic_settings, write_auth_file

pytestmark = pytest.mark.system

_ONE_TIME = re.compile(rb"polyarch/[0-9a-f]{32}")
_REACH = re.compile(rb"-R\x00127\.0\.0\.1:[0-9]+:127\.0\.0\.1:([0-9]+)")
# Where engines themselves note down what they pulled from, and what things were called: docker and containerd the
# source of each blob and their logs, podman earlier names and events. Nobody can use it any more.
_OF_ENGINES = (
    *("/image/overlay2/distribution/", "/io.containerd.metadata.v1.bolt/", "/var/log/"),
    *("/overlay-images/images.json", "/vfs-images/images.json", "/blob-info-cache-v1.boltdb", "/libpod/events/"),
)


def forms(secret: str) -> list[bytes]:
    """The text, and what it is in Base64 wherever it stands in it."""
    found = [secret.encode()]
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret.encode()).rstrip(b"=")
        found.append(whole[(before * 8 + 5) // 6 : len(whole) - 1])
    return found


SECRETS = [*forms(PASSWORD), *forms(f"{USERNAME}:{PASSWORD}")]


class Watch:
    """Looks at a command's processes and at those of devices, again and again until it is left.

    What their command lines held of one-time paths, what ports of the controller tunnels led to, and which processes
    had something secret in their command line or environment. A command's are known by `marks`: in their environment or
    their words, as all that it starts has them. Other commands of this machine are not looked at.
    """

    def __init__(self, devices: Iterable[Device], *marks: Path) -> None:
        self.paths: set[bytes] = set()
        self.ports: set[int] = set()
        self.secret: set[str] = set()
        self.looks = 0
        first = [device.processes()[0].pid for device in devices if device.on]
        self._spaces = {Path(f"/proc/{pid}/ns/pid").readlink() for pid in first}
        self._marks = [os.fsencode(mark) for mark in marks]
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._left.wait(0.05):
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    self._take(process, (process / "cmdline").read_bytes(), (process / "environ").read_bytes())

    def _take(self, process: Path, words: bytes, environ: bytes) -> None:
        both = words + environ
        if not any(mark in both for mark in self._marks) and (process / "ns/pid").readlink() not in self._spaces:
            return
        self.paths.update(_ONE_TIME.findall(both))
        self.ports.update(map(int, _REACH.findall(words)))
        if any(form in both for form in SECRETS):
            self.secret.add(f"{process.name} {both[:300]!r}")


@pytest.fixture
def closed_registry(fleet_site: FleetSite, tmp_path: Path) -> Iterator[DockerRegistry]:
    """The images of the site, for who has the password."""
    folder = tmp_path / "closed"
    folder.mkdir()
    server = DockerRegistry(folder, basic_settings(folder), storage=fleet_site.registry.storage)
    yield server
    server.stop()


def test_nothing_secret_is_seen_or_stays(
    fleet_site: FleetSite, closed_registry: DockerRegistry, polyarch: Polyarch, soak: bool, tmp_path: Path
) -> None:
    """In no process while it runs; and afterwards in no output, no file of the controller, no file of any device."""
    site, page = fleet_site, tmp_path / "report.html"
    site.push("fleet/secret:1", "secret", parts=["secret"], size=200_000, architectures=() if soak else ("amd64",))
    name = closed_registry.ref("fleet/secret:1")
    known = write_auth_file(tmp_path / "docker" / "config.json", closed_registry.address)
    limit = ABLE if soak else "servers"
    env = {"DOCKER_CONFIG": str(known.parent)}
    common = ("--format", "json", "--progress", "json", "--debug")
    words = site.fleet("pull", *common, "--limit", limit, name)
    # As slow as it takes for the look at all processes to see each device at work.
    rate = "800k" if soak else "400k"
    with Watch(site.lab.devices, polyarch.root, site.lab.folder) as watch:
        result = polyarch(*words, "--limit-rate", rate, "--report", page, env=env)
        told = [result]
        if soak:
            told.append(polyarch(*site.fleet("status", *common, "--limit", "docker", name), env=env).ok())
        looks = watch.looks
        await_true(lambda: watch.looks > looks + 1, "the processes are looked at after the end")
    pulled = {line["device"]: line for line in by_device(result.json_lines).values() if line["status"] == "pulled"}
    assert {"docker", "no-forwarding"} <= set(pulled), result.stdout + result.stderr
    assert watch.paths, "the devices were seen at work"
    assert watch.ports
    assert watch.secret == set()

    secrets = [*SECRETS, *_lines_of(site.lab.folder / "keys" / "login")]
    for text in (text for one in told for text in (one.stdout, one.stderr)):
        assert not any(form in text.encode() for form in secrets)
        assert not _ONE_TIME.search(text.encode())
    controller = [path for path in (*polyarch.root.parent.rglob("*"), page) if path.is_file()]
    assert any(path.name == "journal.jsonl" for path in controller)
    assert any("facts" in path.parts for path in controller)
    assert holding(controller, secrets) == []
    assert holding(controller, watch.paths) == []
    for device in site.lab.devices:
        if device.name in pulled:
            assert at_hand(device, name) is not None
            files = list(files_of(site, device))
            assert len(files) > 10
            assert holding(files, secrets) == []
            kept = [path for path in holding(files, watch.paths) if not any(part in path for part in _OF_ENGINES)]
            assert kept == [], device.name
    for port in watch.ports:
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0, "the server of the rollout is still there"


def _lines_of(key: Path) -> list[bytes]:
    """What is secret in the file of the key that devices are logged in to with."""
    lines = [line for line in key.read_bytes().splitlines() if not line.startswith(b"-----")]
    assert len(lines) > 3
    return [line for line in lines[1:] if len(line) > 40]  # the first is the same in all keys of a kind


def holding(files: Iterable[Path], forms: Iterable[bytes]) -> list[str]:
    """The files that hold one of these."""
    wanted, found = list(forms), []
    for path in files:
        with suppress(OSError):
            data = path.read_bytes()
            if any(form in data for form in wanted):
                found.append(str(path))
    return found
