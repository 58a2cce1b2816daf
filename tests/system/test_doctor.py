"""`polyarch doctor` in broken copies of this machine: what it says, and that its advice, followed literally, mends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.docker_registry import DockerRegistry
from support.throwaway import ThrowawayMachine

pytestmark = pytest.mark.system

BINFMT = "/proc/sys/fs/binfmt_misc"


class Patient:
    """A copy of the machine whose user is looked after; `root` is where polyarch keeps its things."""

    def __init__(self, machine: ThrowawayMachine, *, user: bool = False, root: Path | None = None) -> None:
        self.machine, self.user = machine, user
        self.root = root or machine.disk / "polyarch"
        if root is None:
            machine.run(["install", "-d", "-o", "alice" if user else "root", str(self.root)])

    def polyarch(self, *words: str) -> Any:
        return self.machine.try_to(["polyarch", *words], user=self.user, env={"POLYARCH_ROOT": str(self.root)})

    def doctor(self) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        """Its exit code, and the checks by name."""
        done = self.polyarch("doctor", "--format", "json")
        assert "Traceback" not in done.stderr
        found: dict[str, list[dict[str, Any]]] = {}
        for line in map(json.loads, done.stdout.splitlines()):
            if "error" not in line:
                found.setdefault(line["name"], []).append(line)
        return done.returncode, found

    def check(self, name: str, verdict: str) -> dict[str, Any]:
        """The first check of that name and verdict."""
        _, found = self.doctor()
        return next(each for each in found[name] if each["verdict"] == verdict)

    def follow(self, check: dict[str, Any]) -> str:
        """Types a check's command, says yes where it asks; its output."""
        done = self.machine.try_to(
            check["mend"],
            user=self.user and not check["as_root"],
            env={"POLYARCH_ROOT": str(self.root)},
            stdin="y\n",
        )
        assert done.returncode == 0, f"{check}\n{done.stdout}{done.stderr}"
        return done.stdout

    def bad(self, *but: str) -> list[str]:
        """The names of the checks that are not ok, beside the registries, which a machine may not reach."""
        _, found = self.doctor()
        return [
            name
            for name, each in found.items()
            if name not in ("registry", *but) and any(check["verdict"] != "ok" for check in each)
        ]

    def runs(self, registry: DockerRegistry, platform: str = "linux/amd64") -> None:
        """The main job works: an image comes and runs."""
        name = registry.ref("busybox:1.36")
        done = self.polyarch("run", "--rm", "--platform", platform, name, "echo", "it runs")
        assert (done.returncode, done.stdout) == (0, "it runs\n"), done.stderr


def another_disk(machine: ThrowawayMachine) -> None:
    """Gives the copy a file system that can hold containers where root and users have theirs by default."""
    for folder, owner in (("/var/lib/polyarch", "root"), (machine.home, "alice")):
        machine.run(f"mkdir -p {folder} && mount -t tmpfs -o mode=0700 none {folder} && chown {owner} {folder}")


USERS = pytest.mark.parametrize("user", [False, True], ids=["root", "ordinary user"])


@USERS
def test_a_sound_machine(throwaway_machine: ThrowawayMachine, registry: DockerRegistry, user: bool) -> None:
    patient = Patient(throwaway_machine, user=user)
    assert patient.doctor()[0] == 0
    assert patient.bad() == []
    assert list(patient.root.iterdir() if patient.root.exists() else []) == []
    assert throwaway_machine.run(["find", "/", "-xdev", "-name", ".polyarch-doctor-*"]) == ""
    patient.runs(registry, "linux/arm64")


@pytest.mark.costly
def test_packages_that_are_missing(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    packages = "qemu-user-static crun runc uidmap docker.io containerd"  # docker.io wants runc, and apt would say so
    throwaway_machine.run(f"dpkg --remove --force-depends {packages}")
    patient = Patient(throwaway_machine, user=True)
    code, found = patient.doctor()
    assert code == 8
    assert found["OCI runtime"][0]["essential"]
    broken = {"OCI runtime": "failed", "QEMU": "warning", "subordinate ids": "warning"}
    for name, verdict in broken.items():
        check = patient.check(name, verdict)
        assert check["as_root"]
        patient.follow(check)
    assert patient.doctor()[0] == 0
    assert patient.bad() == []
    patient.runs(registry, "linux/arm64")


@pytest.mark.costly
def test_no_lists_of_packages(throwaway_machine: ThrowawayMachine) -> None:
    throwaway_machine.run("dpkg --remove --force-depends crun runc docker.io containerd && rm -r /var/lib/apt/lists")
    patient = Patient(throwaway_machine)
    patient.follow(patient.check("OCI runtime", "failed"))
    assert patient.bad() == []


@pytest.mark.parametrize(
    "limit",
    [
        "max_user_namespaces",
        *(pytest.param(f"max_{kind}_namespaces", marks=pytest.mark.costly) for kind in ("mnt", "pid")),
    ],
)
@USERS
def test_namespaces_forbidden(
    throwaway_machine: ThrowawayMachine, registry: DockerRegistry, user: bool, limit: str
) -> None:
    throwaway_machine.run(f"sysctl -w user.{limit}=0")
    patient = Patient(throwaway_machine, user=user)
    code, found = patient.doctor()
    assert code == 8
    [check] = [each for name in found for each in found[name] if each["essential"] and each["verdict"] == "failed"]
    assert f"user.{limit} is 0" in check["fact"]
    assert check["as_root"]
    patient.follow(check)
    assert patient.bad() == []
    patient.runs(registry, "linux/arm64")


def test_inside_a_container_without_rights(throwaway_machine: ThrowawayMachine) -> None:
    throwaway_machine.run("mount -t tmpfs -o ro none /proc/fs")  # docker covers parts of /proc like this
    code, found = Patient(throwaway_machine, user=True).doctor()
    [check] = found["namespaces"]
    assert (code, check["verdict"], check["mend"]) == (8, "failed", None)
    assert "--security-opt systempaths=unconfined" in check["fact"]
    assert found["overlay"][0]["verdict"] == "skipped"


@USERS
def test_a_full_disk(throwaway_machine: ThrowawayMachine, registry: DockerRegistry, user: bool) -> None:
    place = throwaway_machine.disk / "small"
    throwaway_machine.run(f"mkdir {place} && mount -t tmpfs -o size=8m,mode=1777 none {place}")
    throwaway_machine.try_to(f"head -c 9M /dev/zero > {place}/film")
    another_disk(throwaway_machine)
    patient = Patient(throwaway_machine, user=user, root=place / "polyarch")
    check = patient.check("storage", "failed")
    assert check["essential"]
    said = patient.follow(check)
    assert "FAILED" not in said
    patient.root = Path(check["mend"].split()[2])
    assert patient.bad() == []
    patient.runs(registry, "linux/arm64")


def test_a_disk_full_of_broken_transfers(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    place = throwaway_machine.disk / "small"
    throwaway_machine.run(f"mkdir {place} && mount -t tmpfs -o size=120m,mode=0755 none {place}")
    patient = Patient(throwaway_machine, root=place / "polyarch")
    patient.runs(registry)
    unnamed = place / "polyarch/oci/blobs/sha256" / ("0" * 64)
    throwaway_machine.try_to(f"head -c 130M /dev/zero > {unnamed}")
    check = patient.check("storage", "failed")
    assert check["mend"] == "polyarch image prune"
    patient.follow(check)
    assert patient.check("storage", "warning")["fact"].endswith("MB free")
    patient.runs(registry, "linux/arm64")


@pytest.mark.parametrize("there", [False, pytest.param(True, marks=pytest.mark.costly)])
def test_a_root_folder_that_is_read_only(
    throwaway_machine: ThrowawayMachine, registry: DockerRegistry, there: bool
) -> None:
    place = throwaway_machine.disk / "read only"
    throwaway_machine.run(f"mkdir -p '{place}' && mount -t tmpfs -o size=2g none '{place}'")
    throwaway_machine.run(f"{f'mkdir {str(place)!r}/polyarch; ' if there else ''}mount -o remount,ro '{place}'")
    patient = Patient(throwaway_machine, root=place / "polyarch")
    check = patient.check("storage", "failed")
    assert "read-only" in check["fact"]
    patient.follow(check)
    assert patient.bad() == []
    patient.runs(registry)


def test_a_root_folder_of_somebody_else(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    another_disk(throwaway_machine)
    patient = Patient(throwaway_machine, user=True, root=Path("/srv/polyarch"))
    check = patient.check("storage", "failed")
    assert "Permission denied" in check["fact"]
    patient.follow(check)
    patient.root = Path(check["mend"].split()[2])
    patient.runs(registry)


@pytest.mark.costly
def test_a_file_system_that_holds_no_overlay(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    another_disk(throwaway_machine)
    patient = Patient(throwaway_machine, root=Path("/srv/polyarch"))  # an overlay itself
    throwaway_machine.run("dpkg --remove --force-depends fuse-overlayfs")
    code, found = patient.doctor()
    assert code == 8
    [check] = found["overlay"]
    patient.follow(check)
    patient.root = Path(check["mend"].split()[2])
    patient.runs(registry)


def test_doctor_says_of_a_file_system_what_run_finds(
    throwaway_machine: ThrowawayMachine, registry: DockerRegistry
) -> None:
    patient = Patient(throwaway_machine, root=Path("/srv/polyarch"))  # an overlay, but fuse-overlayfs is there
    code, found = patient.doctor()
    done = patient.polyarch("run", "--rm", registry.ref("busybox:1.36"), "true")
    assert (code == 0) == (done.returncode == 0), (found["overlay"], done.stderr)


def test_helpers_that_lost_their_rights(throwaway_machine: ThrowawayMachine) -> None:
    throwaway_machine.run("chmod u-s /usr/bin/newuidmap")
    patient = Patient(throwaway_machine, user=True)
    patient.follow(patient.check("subordinate ids", "warning"))
    assert patient.bad() == []


@pytest.mark.parametrize(
    "broken",
    [
        "sed -i /alice/d /etc/subuid /etc/subgid",
        pytest.param("sed -i /alice/d /etc/subgid", marks=pytest.mark.costly),
        pytest.param("sed -i s/:65536/:1000/ /etc/subuid", marks=pytest.mark.costly),
    ],
)
def test_no_subordinate_ids(throwaway_machine: ThrowawayMachine, registry: DockerRegistry, broken: str) -> None:
    throwaway_machine.run(broken)
    patient = Patient(throwaway_machine, user=True)
    patient.follow(patient.check("subordinate ids", "warning"))
    assert patient.bad() == []
    patient.runs(registry)


def registered(machine: ThrowawayMachine, interpreter: str, flags: str, arch: str = "arm64") -> None:
    """An entry in the copy's own binfmt_misc."""
    script = (
        "from polyarch_platforms import architecture, binfmt\n"
        f"binfmt.register(binfmt.register_line(architecture.load()[{arch!r}], {interpreter!r}, {flags!r}))"
    )
    machine.run(f"[ -e {BINFMT}/register ] || mount -t binfmt_misc none {BINFMT}")
    machine.run(["python", "-c", script])


def test_broken_registrations(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    machine = throwaway_machine
    patient = Patient(machine)
    machine.run("cp /usr/bin/qemu-arm-static /usr/bin/gone && cp /usr/bin/qemu-s390x-static /opt/s390x-binfmt-P")
    registered(machine, "/usr/bin/gone", "", "arm")
    machine.run("rm /usr/bin/gone")
    registered(machine, "/usr/bin/python3", "F", "arm64")
    registered(machine, "/opt/s390x-binfmt-P", "F", "s390x")
    registered(machine, "/usr/bin/qemu-i386-static", "F", "386")
    registered(machine, "/usr/bin/qemu-ppc64le-static", "F", "ppc64le")
    machine.run(f"echo 0 > {BINFMT}/qemu-ppc64le")
    _, found = patient.doctor()
    facts = {check["fact"].split()[0]: check for check in found["binfmt_misc"]}
    assert "gone" in facts["qemu-arm"]["fact"]
    assert "not static" in facts["qemu-aarch64"]["fact"]
    assert "lacks flag P" in facts["qemu-s390x"]["fact"]
    assert "runs itself" in facts["qemu-i386"]["fact"]
    assert "switched off" in facts["qemu-ppc64le"]["fact"]
    assert len(facts) == len(found["binfmt_misc"]) == 5
    for check in facts.values():
        patient.follow(check)
    assert patient.bad() == []
    patient.runs(registry, "linux/arm64")


def test_a_table_that_is_switched_off(throwaway_machine: ThrowawayMachine) -> None:
    patient = Patient(throwaway_machine)
    registered(throwaway_machine, "/usr/bin/qemu-aarch64-static", "F")
    throwaway_machine.run(f"echo 0 > {BINFMT}/status")
    patient.follow(patient.check("binfmt_misc", "warning"))
    assert patient.bad() == []


LOGIN = '{"auths": {"registry.example": {"auth": "YWxpOnNlY3JldA=="}}}'


def auth_file(machine: ThrowawayMachine, content: str) -> Path:
    """Writes docker's file of alice's, which others may read."""
    file = machine.home / ".docker/config.json"
    machine.run(f"mkdir -p {file.parent} && echo '{content}' > {file} && chmod 644 {file}", user=True)
    return file


def test_rights_of_auth_files(throwaway_machine: ThrowawayMachine) -> None:
    patient = Patient(throwaway_machine, user=True)
    file = auth_file(throwaway_machine, LOGIN)
    patient.follow(patient.check("credentials", "warning"))
    assert throwaway_machine.run(["stat", "-c", "%a", file]).strip() == "600"
    throwaway_machine.run(f"chown root {file}")
    patient.follow(patient.check("credentials", "failed"))
    assert patient.bad() == []


@pytest.mark.costly
@pytest.mark.parametrize("content", ["{", '{"credsStore": "nowhere"}'])
def test_auth_files_that_forbid_pulls(
    throwaway_machine: ThrowawayMachine, token_registry: DockerRegistry, content: str
) -> None:
    patient = Patient(throwaway_machine, user=True)
    auth_file(throwaway_machine, content)
    assert patient.polyarch("pull", token_registry.ref("busybox:1.36")).returncode in (2, 8)
    assert patient.doctor()[0] == 8
    patient.follow(patient.check("credentials", "failed"))
    assert patient.doctor()[0] == 0
    patient.runs(token_registry)


@pytest.mark.costly
def test_a_helper_that_debian_has(throwaway_machine: ThrowawayMachine) -> None:
    patient = Patient(throwaway_machine, user=True)
    auth_file(throwaway_machine, '{"credsStore": "pass"}')
    patient.follow(patient.check("credentials", "failed"))
    assert patient.bad() == []


def test_a_storage_of_a_newer_version(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    patient = Patient(throwaway_machine)
    patient.runs(registry)
    throwaway_machine.run(f"echo 99 > {patient.root}/oci/.polyarch/version")
    code, found = patient.doctor()
    assert code == 8
    assert "version 99" in found["images"][0]["fact"]
    assert found["images"][0]["essential"]


def test_a_damaged_image(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    patient = Patient(throwaway_machine)
    patient.runs(registry)
    throwaway_machine.run(
        f"find {patient.root}/oci/blobs -type f -size -8 | while read f; do printf xx | dd conv=notrunc of=$f; done"
    )
    patient.follow(patient.check("images", "failed"))
    assert patient.bad() == []
    patient.runs(registry)


@pytest.mark.costly
def test_a_runtime_that_does_not_start(throwaway_machine: ThrowawayMachine, registry: DockerRegistry) -> None:
    throwaway_machine.run("printf '#!/bin/sh\\necho no libyajl >&2; exit 127\\n' > /usr/bin/crun")
    patient = Patient(throwaway_machine)
    check = patient.check("OCI runtime", "failed")
    assert "no libyajl" in check["fact"]
    patient.follow(check)
    patient.runs(registry)
