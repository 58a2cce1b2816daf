"""`polyarch run` with real images, as root and as an ordinary user: native and foreign, and what is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
BINFMT = Path("/proc/sys/fs/binfmt_misc")


@dataclass
class Runner:
    """`run("uname", "-m")` runs a program of the sample image as root or as the ordinary user."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    root: Path
    image: str

    def __call__(self, *argv: str, options: tuple[str, ...] = (), stdin: str = "", rm: bool = True) -> Result:
        words = ["run", *(["--rm"] if rm else []), *options, self.image, *argv]
        return self.polyarch("--progress", "none", *words, root=self.root, user=self.user, stdin=stdin)

    def output(self, *argv: str, options: tuple[str, ...] = (), stdin: str = "") -> str:
        return self(*argv, options=options, stdin=stdin).ok().stdout


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def storage(
    request: pytest.FixtureRequest, registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OrdinaryUser | None, Path]:
    """Who runs, and a storage that all tests of this file share, so that nothing is pulled or unpacked twice."""
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None, tmp_path_factory.mktemp("run") / "root"
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return user, user.home / "run-root"


@pytest.fixture
def run(storage: tuple[OrdinaryUser | None, Path], polyarch: Polyarch, registry: DockerRegistry) -> Iterator[Runner]:
    """A runner; afterwards nothing of its containers may be left."""
    user, root = storage
    yield Runner(polyarch, user, root, f"{registry.address}/busybox:1.36")
    assert_nothing_left(root)


def assert_nothing_left(root: Path) -> None:
    """No container, mount, process or control group of the storage at `root`."""
    assert [path.name for path in (root / "containers").glob("*/")] == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert os.fsencode(root) not in path.read_bytes(), f"process {path.parent.name} is left"
        except OSError:
            continue


def groups(container: str) -> list[Path]:
    mounted = Path("/sys/fs/cgroup")
    return [*mounted.glob(f"polyarch-{container}"), *mounted.glob(f"*/polyarch-{container}")]


def table() -> list[str]:
    return sorted(path.name for path in BINFMT.iterdir())


PLATFORMS = {
    "linux/amd64": "x86_64",
    "linux/arm64": "aarch64",
    "linux/arm/v7": "armv7l",
    "linux/arm/v5": "armv5tel",  # QEMU's CPU is one of v5, too
    "linux/s390x": "s390x",
    "linux/ppc64le": "ppc64le",
}


@pytest.mark.host
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_architecture(platform: str, run: Runner) -> None:
    before = table()
    if any(name.startswith("qemu-") for name in before):
        pytest.skip("emulators are registered on this machine, so a private emulation is not needed")
    script = "uname -m; echo through a pipe | cat; sh -c 'exit 3'; echo $?; id -u"
    said = run.output("sh", "-c", script, options=("--platform", platform)).splitlines()
    assert said == [PLATFORMS[platform], "through a pipe", "3", "0"]
    assert table() == before


def test_exit_codes_are_the_programs(run: Runner) -> None:
    assert run("sh", "-c", "exit 41").code == 41
    assert run("sh", "-c", "sh -c 'kill -9 $$'; exit $?").code == 137


@pytest.mark.parametrize(
    ("options", "argv", "code", "kind", "message"),
    [
        ((), ("no-such-program",), 127, "not-found", "is not in the image's PATH"),
        ((), ("/no/such/program",), 127, "not-found", "is not in the image"),
        ((), ("/etc",), 126, "host", "is a directory"),
        ((), ("/etc/passwd",), 126, "host", "permission denied"),
        (("-v", "/:/host"), ("no-such-program",), 127, "not-found", "no-such-program"),
        (("-u", "nobody-here"), ("true",), 125, "usage", "is not in the image's /etc/passwd"),
        (("-v", "/no/such/folder:/x"), ("true",), 125, "usage", "does not exist"),
        (("-v", "named:/x"), ("true",), 125, "usage", "no named volumes"),
        (("-e", "=x"), ("true",), 125, "usage", "has no name"),
        (("--env-file", "/no/such/file"), ("true",), 125, "usage", "No such file"),
        (("--name", "a b"), ("true",), 125, "usage", "name of a container"),
        (("-w", "relative"), ("true",), 125, "usage", "no absolute path"),
        (("-t",), ("true",), 125, "usage", "no terminal"),
        (("--entrypoint", ""), (), 125, "usage", "starts nothing"),
    ],
)
def test_what_cannot_start(
    options: tuple[str, ...], argv: tuple[str, ...], code: int, kind: str, message: str, run: Runner
) -> None:
    words = ["--format", "json", "--progress", "none", "run", "--rm", *options, run.image, *argv]
    result = run.polyarch(*words, root=run.root, user=run.user)
    assert result.code == code
    (document,) = result.json_lines
    assert document["error"]["code"] == kind
    assert message in document["error"]["message"]
    assert f"error: {document['error']['message']}" in result.stderr


def test_what_cannot_start_leaves_no_container_without_rm_either(run: Runner) -> None:
    assert run("no-such-program", rm=False).code == 127


def test_environment_working_directory_and_words(run: Runner, tmp_path: Path) -> None:
    variables = Path(run.user.home if run.user else tmp_path) / "variables"
    variables.write_text("FROM_FILE=1\nB=file\n")
    variables.chmod(0o644)
    options = ("-e", "A=1 2", "-e", "B=3", "-e", "LANG", "-e", "NOT_THERE", "--env-file", str(variables))
    said = run.output("sh", "-c", "pwd; env | sort", options=(*options, "-w", "/new/folder")).splitlines()
    assert said[0] == "/new/folder"
    assert {"A=1 2", "B=3", "FROM_FILE=1", "HOME=/root", "LANG=C.UTF-8", f"HOSTNAME={os.uname().nodename}"} <= set(said)
    assert not any(line.startswith(("NOT_THERE", "TERM", "POLYARCH")) for line in said)
    assert run.output("one", "two words", options=("--entrypoint", "echo")) == "one two words\n"


def test_standard_input_only_where_asked_for(run: Runner) -> None:
    assert run.output("cat", options=("-i",), stdin="passed on\n") == "passed on\n"
    assert run.output("cat", stdin="not passed on\n") == ""


def test_output_and_errors_are_kept_apart(run: Runner) -> None:
    result = run("sh", "-c", "echo out; echo err >&2").ok()
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_users_and_groups(run: Runner) -> None:
    assert run.output("id", options=("-u", "12:34")) == "uid=12 gid=34\n"
    assert run.output("sh", "-c", "id -u; touch /tmp/x && ls -ln /tmp/x", options=("-u", "7")).startswith("7\n-rw")
    assert run("sh", "-c", "touch /etc/x", options=("-u", "7")).code == 1
    assert run.output("sh", "-c", "touch /x; chown 5:6 /x; stat -c %u:%g /x") == "5:6\n"


def test_volumes(run: Runner, tmp_path: Path) -> None:
    shared = Path(run.user.home if run.user else tmp_path) / "shared"
    shared.mkdir()
    if run.user:
        os.chown(shared, run.user.uid, run.user.gid)
    (shared / "given").write_text("from outside\n")
    volume = ("-v", f"{shared}:/data")
    assert run.output("sh", "-c", "cat /data/given; echo back > /data/made", options=volume) == "from outside\n"
    assert (shared / "made").read_text() == "back\n"
    read_only = run("sh", "-c", "cat /data/given; echo no > /data/given", options=("-v", f"{shared}:/data:ro"))
    assert read_only.code == 1
    assert "Read-only file system" in read_only.stderr
    one_file = ("-v", f"{shared}/given:/etc/one-file:ro")
    assert run.output("cat", "/etc/one-file", options=one_file) == "from outside\n"
    for name in ("given", "made"):
        (shared / name).unlink()
    shared.rmdir()


def test_what_is_written_is_not_in_the_next_container(run: Runner) -> None:
    assert run("sh", "-c", "echo x > /written; rm /bin/wget; echo y >> /etc/motd").code == 0
    assert run.output("sh", "-c", "ls /written /bin/wget 2>/dev/null; tail -n1 /etc/motd") != "y\n"
    assert run("test", "-e", "/written").code == 1
    assert run("test", "-e", "/bin/wget").code == 0


def test_whiteouts_of_the_layers_count(run: Runner) -> None:
    assert run("test", "-e", "/etc/removed-by-second-layer").code == 1
    assert run.output("sh", "-c", "ls /var/cache/replaced").split() == ["new"]


def test_a_read_only_root(run: Runner) -> None:
    result = run(
        "sh", "-c", "echo x > /tmp/x || echo refused; echo y > /dev/shm/y && cat /dev/shm/y", options=("--read-only",)
    )
    assert result.stdout == "refused\ny\n"


def test_host_name_and_network(run: Runner) -> None:
    assert run.output("hostname") == f"{os.uname().nodename}\n"
    said = run.output(
        "sh", "-c", "hostname; cat /etc/hostname; grep -c testbox /etc/hosts", options=("--hostname", "testbox")
    )
    assert said == "testbox\ntestbox\n1\n"
    interfaces = "ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev"
    assert run.output("sh", "-c", interfaces, options=("--network", "none")).splitlines()[-1] == "1"
    assert run.output("cat", "/etc/resolv.conf") == Path("/etc/resolv.conf").read_text()


def test_the_host_files_are_copies(run: Runner) -> None:
    before = Path("/etc/hosts").read_bytes()
    run("sh", "-c", "echo changed >> /etc/hosts; echo changed >> /etc/resolv.conf")
    assert Path("/etc/hosts").read_bytes() == before


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_as_tight_as_docker(platform: str, run: Runner) -> None:
    script = """
    grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status
    for path in /proc/keys /proc/timer_list /proc/interrupts; do echo "size: $(wc -c < $path)"; done
    echo "firmware: $(ls /sys/firmware | wc -l)"
    for file in /proc/sys/kernel/sysrq /proc/sysrq-trigger /sys/kernel/mm/ksm/run \
        $(find /sys/fs/cgroup -name release_agent -o -name devices.allow -o -name cgroup.procs | head -n 20)
    do (echo 1 > $file) 2>/dev/null && echo "written: $file"; done
    mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk && echo "opened: a disk"
    mount -t tmpfs none /mnt && echo "mounted: a tmpfs"
    ls /dev | sed 's/^/device: /'
    """
    said = [
        line.split(":", 1) for line in run("sh", "-c", script, options=("--platform", platform)).stdout.splitlines()
    ]
    facts = {name: [value.strip() for key, value in said if key == name] for name, _ in said}
    forbidden = 1 << 21 | 1 << 12 | 1 << 16 | 1 << 19  # SYS_ADMIN, NET_ADMIN, SYS_MODULE, SYS_PTRACE
    assert int(facts["CapBnd"][0], 16) & forbidden == 0
    assert facts["NoNewPrivs"] == ["1"]
    assert facts["size"] == ["0"] * 3
    assert facts["firmware"] == ["0"]
    assert not {"written", "opened", "mounted"} & set(facts)
    assert not {"vda", "sda", "mem", "kmsg", "fuse"} & set(facts["device"])
    assert {"null", "zero", "urandom", "pts", "shm"} <= set(facts["device"])


def test_kept_without_rm(run: Runner) -> None:
    result = run("sh", "-c", "echo kept > /kept; exit 5", options=("--name", "keeper"), rm=False)
    assert result.code == 5
    (directory,) = [path for path in (run.root / "containers").iterdir() if path.is_dir()]
    assert (directory / "upper" / "kept").read_text() == "kept\n"
    assert groups(directory.name) == []
    record = (directory / "container.json").read_text()
    assert '"keeper"' in record
    assert '"exited"' in record
    assert '"exit_code": 5' in record
    again = run("true", options=("--name", "keeper"))
    assert again.code == 125
    assert "in use" in again.stderr
    shutil.rmtree(directory)
