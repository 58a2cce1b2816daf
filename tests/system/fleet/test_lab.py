"""The lab itself: its devices are what they seem, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from polyarch.fleet.device_script import device_script
from polyarch_platforms.platform import parse
from support.device_answers import NONCE, engine_of, facts_of
from support.fleet_lab import KINDS, SAMPLE, WHOLE, Device, Lab, NoLab
from support.fleet_site import FleetSite
from support.machine_state import running, unchanged_machine
from support.processes import await_true

pytestmark = pytest.mark.system

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")

TESTS = Path(__file__).resolve().parents[2]
REFUSED, NO_ROUTE = "Connection refused", "No route to host"


@contextmanager
def small_lab(kinds: Sequence[str], folder: Path, cache: Path) -> Iterator[Lab]:
    """A lab of the test's own."""
    try:
        lab = Lab(kinds, folder / "lab", cache).__enter__()
    except NoLab as error:
        pytest.skip(f"no lab of devices can be made: {error}")
    with closing(lab):
        yield lab


def ssh(lab: Lab, name: str, *words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """ssh's own program, with nothing but the lab's configuration."""
    argv = ["ssh", "-F", str(lab.ssh_config), *options, name, *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def ansible(lab: Lab, home: Path, command: str) -> dict[str, str]:
    """Device -> what Ansible's `raw` tells of the command there: the line behind its name."""
    program = Path(sys.executable).with_name("ansible")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",  # else connections stay
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    argv = [str(program), "all", "-i", str(lab.inventory), "--one-line", "-m", "raw", "-a", command]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
    lines = (line.partition(" | ") for line in done.stdout.splitlines())
    return {name: said for name, found, said in lines if found}


def able(lab: Lab) -> list[Device]:
    """The devices that somebody can log in to."""
    return [device for device in lab.devices if device.kind.listens and device.kind.known_key]


@pytest.mark.costly  # in `make test` the rollouts over these devices show it
def test_ansible_reaches_the_devices(fleet_site: FleetSite, tmp_path: Path) -> None:
    lab = fleet_site.lab
    said = ansible(lab, tmp_path, "uname -m; hostname")
    for device in able(lab):
        assert rf"(stdout) {device.machine}\r\n{device.name}\r\n" in said[device.name]


@pytest.mark.costly
def test_the_probe_knows_each_device(fleet_site: FleetSite) -> None:
    def facts(device: Device) -> None:
        found = facts_of(device.ok(["sh", "-c", device_script(NONCE)], seconds=120))
        assert found.device.platform == parse(device.platform)
        assert [engine.kind for engine in found.engines if not engine.refused] == [
            *([device.kind.engine] if device.kind.engine != "oci" else []),
            "oci",
        ]
        free = engine_of(found, device.kind.engine).free
        assert free is not None
        assert (free < 1 << 20) == (device.kind.store is not None)
        board = found.device.board
        assert (board.model if board else "").startswith("Raspberry Pi") == bool(device.kind.board)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(facts, fleet_site.lab.devices))


def test_what_cannot_be_reached(test_cache: Path, tmp_path: Path) -> None:
    with small_lab(["down", "changed-key", "no-forwarding", "oci"], tmp_path, test_cache) as lab:
        said = ansible(lab, tmp_path, "true")
        assert said["down"].startswith("UNREACHABLE")
        assert REFUSED in said["down"]
        assert said["changed-key"].startswith("UNREACHABLE")
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in ssh(lab, "changed-key", "true").stderr
        with socket.create_server((lab.gateway, 0)) as server:
            port = server.getsockname()[1]
            back = ["-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:5000:{lab.gateway}:{port}"]
            assert ssh(lab, "oci", "true", options=back).returncode == 0
            refused = ssh(lab, "no-forwarding", "true", options=back)
            assert refused.returncode == 255
            assert "remote port forwarding failed" in refused.stderr


def test_a_device_whose_plug_is_pulled(test_cache: Path, tmp_path: Path) -> None:
    with small_lab(["oci"], tmp_path, test_cache) as lab:
        device = lab.device("oci")
        device.ok("echo kept >/root/kept; echo lost >/tmp/lost; mkdir /var/lib/polyarch/oci")
        device.stop()
        assert not device.processes()
        assert NO_ROUTE in ssh(lab, "oci", "true").stderr
        device.start()
        assert (
            ssh(lab, "oci", "cat /root/kept; ls /tmp /var/lib/polyarch").stdout
            == "kept\n/tmp:\n\n/var/lib/polyarch:\noci\n"
        )


def test_sessions_are_told_from_daemons(fleet_site: FleetSite) -> None:
    lab = fleet_site.lab
    for device in lab.devices:
        if device not in able(lab):
            continue
        assert not device.busy(), device.name
        argv = ["ssh", "-F", str(lab.ssh_config), device.name, "echo begun; exec sleep 1000"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as session:
            assert session.stdout is not None
            assert session.stdout.readline() == "begun\n"
            assert device.kill_sessions() == 1
            assert session.wait(60) == 255
        # Who was killed are the sessions, not what they had started.
        (sleeping,) = [one for one in device.busy() if "sleep" in " ".join(one.words)]
        os.kill(sleeping.pid, signal.SIGKILL)
        await_true(lambda device=device: not device.busy(), "what the session left is gone")  # type: ignore[misc]


def test_of_two_labs_nothing_is_left(test_cache: Path, tmp_path: Path) -> None:
    with unchanged_machine(tmp_path):
        with small_lab(["docker", "oci"], tmp_path / "a", test_cache) as first:
            with small_lab(["oci", "oci"], tmp_path / "b", test_cache) as second:
                assert first.gateway != second.gateway
                assert ssh(second, "oci-2", "hostname").stdout == "oci-2\n"
            links = [first.link, second.link]
            first.device("docker").ok("docker ps")
        assert not any(Path("/sys/class/net", link).exists() for link in links)
        assert not list(tmp_path.glob("*/lab"))
        assert not list(Path("/sys/fs/cgroup").glob(f"*/polyarch-lab-{links[0].removeprefix('polylab')}"))


HOLD = """
import sys, signal
from pathlib import Path
from support.fleet_lab import Lab
with Lab(["containerd", "oci"], Path(sys.argv[1]), Path(sys.argv[2])) as lab:
    print(lab.link, flush=True)
    signal.pause()
"""


@needs_root
def test_of_a_lab_whose_maker_was_killed_nothing_is_left(test_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "held"
    with unchanged_machine(tmp_path):
        argv = [sys.executable, "-c", HOLD, str(folder), str(test_cache)]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(TESTS)}
        ) as maker:
            assert maker.stdout is not None
            link = maker.stdout.readline().strip()
            assert Path("/sys/class/net", link).exists()
            assert running(folder)
            maker.kill()
        await_true(lambda: not running(folder), "its processes end")
        await_true(lambda: not folder.exists(), "its folder is gone")
        assert not Path("/sys/class/net", link).exists()


@needs_root
def test_the_command(test_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "held"

    def command(*words: str | Path) -> str:
        argv = [sys.executable, "-m", "support.fleet_lab", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "POLYARCH_TEST_CACHE": str(test_cache)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
        return done.stdout if done.returncode == 0 else f"{done.returncode} {done.stderr}"

    with unchanged_machine(tmp_path):
        assert command("down", folder) == f"1 error: there is no lab in {folder}\n"
        assert command("up", folder, "oci") == f"{folder}/inventory.yml\n"
        assert command("up", folder, "oci") == f"1 error: {folder} is there already\n"
        done = subprocess.run(["ssh", "-F", folder / "ssh_config", "oci", "hostname"], capture_output=True, text=True)
        assert done.stdout == "oci\n"
        assert command("down", folder) == ""
        assert not folder.exists()


def test_the_sample_has_what_it_is_to_show() -> None:
    kinds = [KINDS[name] for name in SAMPLE]
    assert {kind.architecture for kind in kinds} == {"amd64", "arm64", "armel"}
    assert set(SAMPLE) <= set(WHOLE)
