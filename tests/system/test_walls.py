"""What stands between a container and the machine: as tight as docker's, natively, emulated, for root and others."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyarch_platforms import architecture, qemu
from support import wall_probe
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.machine_state import registered_arm64
from support.podman_engine import PodmanEngine
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probe knows this machine as the emulating one only"),
    pytest.mark.skipif(not Path("/usr/share/containers/seccomp.json").exists(), reason="there is no seccomp profile"),
]
CGROUPS = Path("/sys/fs/cgroup")
DOCKERS = "00000000a80425fb"
DOCKERS_WITHOUT_MKNOD = "00000000a00425fb"


@dataclass
class Runner:
    """`run(...)` runs busybox's words in a container, as root or as the ordinary user, with the probe at /probe."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    root: Path
    image: str
    architecture: str
    probe: Path

    def __call__(self, *argv: str, options: tuple[str, ...] = ()) -> Result:
        return self.command("run", "--rm", *self.words, *options, self.image, *argv)

    @property
    def words(self) -> tuple[str, ...]:
        return ("--platform", f"linux/{self.architecture}", "-v", f"{self.probe}:/probe:ro")

    def command(self, *words: str) -> Result:
        return self.polyarch("--progress", "none", *words, root=self.root, user=self.user)


CASES = ("root-amd64", "root-arm64", "user-amd64", "user-arm64")


@pytest.fixture(scope="module")
def storages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where images lie that were pulled once for all tests here."""
    return {"root": tmp_path_factory.mktemp("walls") / "root"}


@pytest.fixture
def run(
    request: pytest.FixtureRequest, polyarch: Polyarch, registry: DockerRegistry, storages: dict[str, Path]
) -> Runner:
    return _runner(request.param, request, polyarch, registry, storages)


@pytest.fixture
def root_run(
    request: pytest.FixtureRequest, polyarch: Polyarch, registry: DockerRegistry, storages: dict[str, Path]
) -> Runner:
    return _runner("root-amd64", request, polyarch, registry, storages)


def _runner(
    case: str, request: pytest.FixtureRequest, polyarch: Polyarch, registry: DockerRegistry, storages: dict[str, Path]
) -> Runner:
    who, _, name = case.partition("-")
    if who == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    if name != "amd64" and qemu.find(architecture.load()[name]) is None:
        pytest.skip(f"no QEMU for {name} is installed")
    user: OrdinaryUser | None = None if who == "root" else request.getfixturevalue("unprivileged_user")
    root = user.home / "walls-root" if user else storages["root"]
    probe = (user.home if user else root.parent) / f"probe-{name}"
    wall_probe.write_probe(probe, name)
    return Runner(polyarch, user, root, registry.ref("busybox:1.36"), name, probe)


def expected_status(case: str) -> dict[str, str]:
    held = DOCKERS if case == "root-amd64" else DOCKERS_WITHOUT_MKNOD  # in a user namespace it would give nothing
    none = "0" * 16
    return {
        **dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), held),
        **dict.fromkeys(("CapInh", "CapAmb"), none),
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def assert_tight(case: str, run: Runner, looked: str, asked: str) -> None:
    seen = wall_probe.seen(looked)
    assert {name: seen[name] for name in wall_probe.STATUS} == expected_status(case)
    assert [name for name in seen["devices"].split() if name != "core"] == wall_probe.DEVICES
    assert {name: seen[name] for name in wall_probe.FILES} == dict.fromkeys(wall_probe.FILES, "0")
    told = wall_probe.answers(run.architecture, asked)
    passed = set(told) - wall_probe.refused(told)
    # As docker: the node of a disk can be made by root, and cannot be opened. QEMU 7 knows two of the calls that are
    # left to programs as little as all those that it refuses by itself.
    assert passed == (set(wall_probe.LEFT) if run.architecture == "amd64" else {"chroot"}) | (
        {"mknod of a disk"} if case == "root-amd64" else set()
    )


BOTH = f"{wall_probe.LOOK}\necho ====\n{wall_probe.SCRIPT}"


@pytest.mark.host  # an emulator that is registered meanwhile lets root's go without a user namespace
@pytest.mark.parametrize(
    ("case", "run"),
    [(case, case) for case in CASES],
    ids=CASES,
    indirect=["run"],
)
def test_as_tight_as_docker(case: str, run: Runner) -> None:
    assert_tight(case, run, *run("sh", "-c", BOTH).ok().stdout.split("====\n"))


@pytest.mark.host
@pytest.mark.parametrize(
    ("case", "run"),
    [(case, case) for case in ("root-amd64", "user-arm64")],
    ids=("root-amd64", "user-arm64"),
    indirect=["run"],
)
def test_one_more_program_is_held_as_tight(case: str, run: Runner) -> None:
    run.command("run", "-d", "--name", "walls", *run.words, run.image, "sleep", "300").ok()
    try:
        said = run.command("exec", "walls", "sh", "-c", BOTH).ok().stdout
        assert_tight(case, run, *said.split("====\n"))
        other = wall_probe.seen(run.command("exec", "-u", "7", "walls", "sh", "-c", wall_probe.LOOK).stdout)
        assert (other["CapEff"], other["NoNewPrivs"], other["Seccomp"]) == ("0" * 16, "1", "2")
    finally:
        run.command("rm", "-f", "walls")


def test_walls_are_taken_down_one_by_one(root_run: Runner) -> None:
    def passed(*options: str) -> set[str]:
        told = wall_probe.answers("amd64", root_run("sh", "-c", wall_probe.SCRIPT, options=options).ok().stdout)
        return set(told) - wall_probe.refused(told) - set(wall_probe.LEFT) - {"mknod of a disk"}

    def status(*options: str) -> dict[str, str]:
        return wall_probe.seen(root_run("sh", "-c", wall_probe.LOOK, options=options).stdout)

    podmans = passed("--security-opt", "seccomp=/usr/share/containers/seccomp.json")
    assert {"keyctl", "clone3", "unshare a user namespace"} <= podmans
    assert podmans < passed("--security-opt", "seccomp=unconfined")
    admin = passed("--cap-add", "sys_admin")
    assert {"mount", "umount2", "setns", "clone3", "unshare a user namespace"} <= admin
    assert not {"keyctl", "io_uring_setup", "reboot", "iopl"} & admin
    assert status("--cap-drop", "ALL", "--cap-add", "CAP_CHOWN")["CapEff"] == f"{1:016x}"
    assert status("--cap-drop", "mknod")["CapBnd"] == DOCKERS_WITHOUT_MKNOD
    loose = status("--security-opt", "no-new-privileges=false")
    assert (loose["NoNewPrivs"], loose["Seccomp"], loose["CapBnd"]) == ("0", "2", DOCKERS)


@pytest.mark.host
@pytest.mark.parametrize("run", ["root-amd64", "root-arm64"], indirect=True)
def test_limits(run: Runner) -> None:
    limits = ("-m", "32m", "--cpus", "0.5", "--pids-limit", "12")
    run.command("run", "-d", "--name", "limited", *limits, *run.words, run.image, "sleep", "300").ok()
    try:
        (record,) = run.command("--format", "json", "ps").json_lines
        assert _held(record["id"]) == {"memory": str(32 << 20), "swap": str(64 << 20), "quota": "50000", "pids": "12"}
        forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 9 > /dev/null 2>&1 & done"
        done = run.command("exec", "limited", "sh", "-c", forks)
        assert "can't fork" in done.stderr
    finally:
        run.command("rm", "-f", "limited")
    assert not list(CGROUPS.glob(f"*/polyarch-{record['id']}"))
    eaten = run(
        "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1", options=("-m", "32m", "--memory-swap", "32m")
    )
    assert eaten.code == 137
    assert (
        run(
            "dd",
            "if=/dev/zero",
            "of=/dev/null",
            "bs=100M",
            "count=1",
            options=(
                "-m",
                "256m",
            ),
        ).code
        == 0
    )


def _held(identifier: str) -> dict[str, str]:
    """What the kernel holds a container to, whichever version of control groups it has."""
    if (CGROUPS / "cgroup.controllers").exists():
        group = CGROUPS / f"polyarch-{identifier}"
        read = {name: (group / name).read_text().split()[0] for name in ("memory.max", "memory.swap.max", "pids.max")}
        swap = int(read["memory.max"]) + int(read["memory.swap.max"])
        quota = (group / "cpu.max").read_text().split()[0]
        return {"memory": read["memory.max"], "swap": str(swap), "quota": quota, "pids": read["pids.max"]}
    files = {
        "memory": "memory/{}/memory.limit_in_bytes",
        "swap": "memory/{}/memory.memsw.limit_in_bytes",
        "quota": "cpu/{}/cpu.cfs_quota_us",
        "pids": "pids/{}/pids.max",
    }
    return {name: (CGROUPS / path.format(f"polyarch-{identifier}")).read_text().strip() for name, path in files.items()}


@pytest.mark.parametrize("run", ["user-amd64"], indirect=True)
@pytest.mark.parametrize("option", [("-m", "64m"), ("--cpus", "1"), ("--pids-limit", "9")], ids=lambda words: words[0])
def test_limits_that_cannot_be_held_are_refused(option: tuple[str, str], run: Runner) -> None:
    done = run("true", options=option)
    assert (done.code, "an ordinary user's containers have no control group" in done.stderr) == (125, True)
    made = run.command("container", "create", *option, run.image, "true")
    assert (made.code, made.stdout) == (8, "")


@pytest.mark.parametrize("run", ["root-amd64"], indirect=True)
def test_a_container_that_is_made_first_keeps_its_walls(run: Runner, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    words = ("--cap-drop", "ALL", "-m", "64m", "--security-opt", f"seccomp={profile}", *run.words, run.image)
    script = "grep CapBnd /proc/self/status; mkdir /made; cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    run.command("container", "create", "--name", "first", *words, "sh", "-c", script).ok()
    profile.unlink()
    done = run.command("container", "start", "-a", "first")
    run.command("rm", "first").ok()
    assert done.stdout.split() == ["CapBnd:", "0" * 16, str(64 << 20)]
    assert "can't create directory" in done.stderr


@pytest.fixture
def emulator() -> Iterator[Path]:
    found = qemu.find(architecture.load()["arm64"])
    assert found is not None
    path = found.path.resolve()
    before = path.stat(), hashlib.sha256(path.read_bytes()).digest()
    yield path
    after = path.stat(), hashlib.sha256(path.read_bytes()).digest()
    if after[0].st_mode != before[0].st_mode:
        path.chmod(before[0].st_mode)
    assert (after[0].st_mode, after[0].st_mtime_ns, after[0].st_ctime_ns, after[1]) == (
        before[0].st_mode,
        before[0].st_mtime_ns,
        before[0].st_ctime_ns,
        before[1],
    )


# Process 1 is native, so that it may outlive every emulated one; it holds the emulator open and waits for its end.
ATTACK = """
b=/native/busybox
$b uname -m
/bin/sleep 50 & cd /proc/$!
until $b readlink exe | $b grep -q qemu; do :; done
exec 3<exe
$b chmod 777 exe 2>&1; $b touch exe 2>&1; (echo x >> exe) 2>&1
kill $!; wait
exe=/proc/self/fd/3
$b chmod 777 $exe 2>&1; $b touch $exe 2>&1; (echo x >> $exe) 2>&1
"""


@pytest.fixture(params=[False, True], ids=["nothing registered", "registered"])
def machine_wide(request: pytest.FixtureRequest, emulator: Path) -> Iterator[None]:
    """Nothing, or an entry for arm64 in the machine's own table."""
    with registered_arm64(emulator, "F") if request.param else nullcontext():
        yield


@pytest.mark.host
@pytest.mark.usefixtures("machine_wide")
@pytest.mark.parametrize("run", ["root-arm64"], indirect=True)
def test_the_emulator_cannot_be_written_from_inside(run: Runner, foreign_busybox: object) -> None:
    native = foreign_busybox("amd64")  # type: ignore[operator]
    options = ("-v", f"{native}:/native/busybox:ro", "--entrypoint", "/native/busybox")
    done = run("sh", "-c", ATTACK, options=options)
    lines = done.stdout.splitlines()
    assert lines[0] == "x86_64", done.stderr
    assert len(lines) == 7, (lines, done.stderr)
    for line in lines[1:]:
        assert "Read-only file system" in line or "Text file busy" in line


@pytest.mark.host
@pytest.mark.parametrize("run", ["root-arm64"], indirect=True)
def test_nor_where_it_is_started_by_name(run: Runner, emulator: Path) -> None:
    for word in ("chmod", "chown"):
        value = "777" if word == "chmod" else "7"
        words = ("run", "--rm", "--progress", "none", "--platform", "linux/arm64", run.image, word, value)
        old = ("setarch", "--uname-2.6")  # which had no private tables
        started = run.polyarch.start(*words, "/dev/.polyarch/qemu", root=run.root, prefix=old)
        done = run.polyarch.finish(started)
        assert (done.code, "Read-only file system" in done.stderr) == (1, True), done.stderr


DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
WHICH = "stat -L -c '%d %i' " + " ".join(f"/dev/{name}" for name in DEVICES)


@pytest.mark.host
@pytest.mark.parametrize("run", ["root-amd64", "root-arm64"], indirect=True)
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_no_device_is_the_machines_own(run: Runner, runtime: str) -> None:
    """Root in there could change its mode and owner for everybody."""
    if not shutil.which(runtime, path="/usr/sbin:/usr/bin"):
        pytest.skip(f"{runtime} is not installed")
    theirs = {f"{status.st_dev} {status.st_ino}" for status in (Path("/dev", name).stat() for name in DEVICES)}
    env = {"POLYARCH_RUNTIME": runtime}
    first = run.polyarch("run", "-d", "--name", "nodes", *run.words, run.image, "sleep", "300", root=run.root, env=env)
    first.ok()
    try:
        words = ("exec", "nodes", "sh", "-c", f"{WHICH}; stat -L -c '%d %i' /proc/1/fd/0 /proc/self/fd/0 2> /dev/null")
        seen = run.command(*words).ok().stdout.splitlines()
        assert len(seen) == len(DEVICES) + 2
        assert not theirs & set(seen)
        assert run.command("exec", "nodes", "sh", "-c", "echo x > /dev/null; head -c 3 /dev/zero").stdout == "\0\0\0"
    finally:
        run.command("rm", "-f", "nodes")


@pytest.mark.costly
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_no_symlink_where_something_is_mounted_leads_out(
    root_run: Runner, foreign_busybox: object, runtime: str, tmp_path: Path
) -> None:
    run, canary, tree = root_run, tmp_path / "canary", tmp_path / "tree"
    canary.mkdir()
    (canary / "file").write_text("kept")
    (tree / "bin").mkdir(parents=True)
    shutil.copy(foreign_busybox("amd64"), tree / "bin/sh")  # type: ignore[operator]
    (tree / "etc").mkdir()
    out = "/../" * 20 + f"{canary}"
    codes = {}
    for name, target in (
        ("etc/hosts", f"{out}/file"),
        ("etc/resolv.conf", f"{out}/new"),
        ("data", out),
        ("proc", out),
        ("dev", out),
        ("sys", out),
        ("work", out),
    ):
        (tree / name).symlink_to(target)
        run.command("container", "create", "--name", "odd", "scratch").ok()
        run.command("cp", f"{tree}/.", "odd:/").ok()
        run.command("commit", "odd", "odd:1").ok()
        run.command("rm", "odd").ok()
        (tree / name).unlink()
        words = ("--rm", "-v", f"{tree}:/data/sub", "-w", "/work/sub", "odd:1", "/bin/sh", "-c", "echo x > /etc/hosts")
        codes[name] = run.polyarch("run", *words, root=run.root, env={"POLYARCH_RUNTIME": runtime}).code
        assert [(path.name, path.read_text()) for path in canary.iterdir()] == [("file", "kept")], name
    assert set(codes.values()) <= {0, 125, 127}, codes
    assert 0 in codes.values()


@pytest.mark.costly
def test_docker_and_podman_side_by_side(
    root_run: Runner, dockerd: Dockerd, podman: PodmanEngine, registry: DockerRegistry
) -> None:
    """Every call that docker refuses, and everything it hides, polyarch does, too; podman lets more pass."""
    words = ("--rm", "--network", "none", "-v", f"{root_run.probe}:/probe:ro", root_run.image, "sh", "-c", BOTH)
    dockerd.docker("pull", root_run.image)
    podman.podman("pull", "--tls-verify=false", root_run.image)
    told = {
        "polyarch": root_run("sh", "-c", BOTH).ok().stdout,
        "docker": dockerd.docker("run", *words),
        "podman": podman.podman("--runtime", "runc", "run", *words),  # crun refuses this machine's control groups
    }
    looked = {name: wall_probe.seen(text.split("====\n")[0]) for name, text in told.items()}
    asked = {name: wall_probe.answers("amd64", text.split("====\n")[1]) for name, text in told.items()}
    refused = {name: wall_probe.refused(each) for name, each in asked.items()}
    print(refused, looked)  # for the table of docs/trust.md
    assert refused["docker"] <= refused["polyarch"]
    assert refused["podman"] <= refused["polyarch"]
    for name in ("CapEff", "CapBnd", "CapPrm", "Seccomp"):
        assert looked["polyarch"][name] == looked["docker"][name]
    own = set(looked["polyarch"]["devices"].split()) - {"core"}  # a link to /proc/kcore, which is hidden
    assert own <= set(looked["docker"]["devices"].split())
    for name in wall_probe.FILES:
        assert looked["polyarch"][name] <= looked["docker"][name], name
