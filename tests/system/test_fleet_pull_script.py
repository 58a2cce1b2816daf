"""The script that brings images to a device, with real engines: what they have afterwards, and what is left of it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.fleet.archive import image_archive
from polyarch.fleet.device_pull import PullOrder, pull_script, pull_values
from polyarch.fleet.facts import Engine
from polyarch.fleet.outcomes import DeviceOutcome, Transport
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.rate import RateLimit
from polyarch.serve.one_time import OneTimeServer
from support.containerd_engine import ContainerdEngine
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.fleet_pulls import SETTINGS, Device, Shelf, device_of, names, plan_of, pull, runner_of
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.processes import await_true
from support.shell_fleet import Shell, ShellFleet
from support.stacks import HERE, stack_layout

pytestmark = pytest.mark.system
BULK = 8 << 20
APP, BULKY = "fleets/app", "fleets/bulk"
NAME, OTHER = "registry.example/app:stable", "registry.example/other:stable"
HEX = "0123456789abcdef" * 2
ENGINES = ("docker", "podman", "containerd")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, foreign_busybox: Callable[[str], Path]) -> Shelf:
    directory = tmp_path_factory.mktemp("stack") / "layout"
    stack_layout(directory, "fleets", foreign_busybox(HERE), BULK)
    return Shelf(directory)


@pytest.fixture
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Device:
    """The engine that the test's parameter names, with no image in it."""
    real: Dockerd | PodmanEngine | ContainerdEngine = request.getfixturevalue(
        "dockerd" if request.param == "docker" else request.param
    )
    real.clear()
    return device_of(real, tmp_path)


@pytest.fixture
def server() -> Iterator[OneTimeServer]:
    with OneTimeServer() as server:
        yield server


def of_image(shelf: Shelf, name: str, kind: str) -> str:
    """What an engine of that kind tells of an image."""
    manifest = shelf.named[name].manifest
    return manifest.digest if kind == "containerd" else manifest.config.digest


def left_in(device: Device) -> list[str]:
    """What a rollout may leave: temporary names, its lock and folders."""
    real = device.real
    if isinstance(real, Dockerd):
        listed = real.docker("image", "ls", "--digests", "--format", "{{.Repository}}@{{.Digest}}").split()
    elif isinstance(real, PodmanEngine):
        listed = real.podman("image", "ls", "--format", "{{.Names}}").replace("[", " ").replace("]", " ").split()
    else:
        listed = list(real.images())
    return [*names(listed), *(path.name for path in Path(device.environ["TMPDIR"]).glob("polyarch-fleet*"))]


@pytest.mark.parametrize(
    ("device", "transport"), [(kind, way) for kind in ENGINES for way in ("tunnel", "stream")], indirect=["device"]
)
def test_images_come_stay_and_are_replaced(
    device: Device,
    transport: Transport,
    shelf: Shelf,
    server: OneTimeServer,
    foreign_busybox: Callable[[str], Path],
) -> None:
    kind = device.engine.kind
    shell = (str(foreign_busybox(HERE)), "sh") if transport == "stream" else ("/bin/dash",)

    def bring(*lines: ImagePlan, to: Device = device) -> DeviceOutcome:
        return pull(to, shelf, server, *lines, shell=shell, transport=transport)

    lines = [shelf.line(f"{APP}:1.0", NAME), shelf.line(f"{APP}:1.0", OTHER)]
    first = bring(*lines)
    assert (first.status, first.error, first.transport) == ("pulled", None, transport)
    wanted = of_image(shelf, f"{APP}:1.0", kind)
    assert [image.at_hand for image in first.images] == [wanted, wanted]
    assert device.at_hand() == {NAME: wanted, OTHER: wanted}
    size = shelf.named[f"{APP}:1.0"].manifest.size
    assert size < first.bytes < size * 1.05 + 20_000

    again = bring(*lines)
    assert (again.status, [image.status for image in again.images]) == ("up-to-date", ["up-to-date"] * 2)
    assert transport == "stream" or again.bytes == 0

    known = device.knowing(shelf.named[f"{APP}:1.0"])
    changed = bring(shelf.line(f"{APP}:1.1", NAME), to=known)
    assert (changed.status, changed.error) == ("pulled", None)
    assert changed.bytes < 20_000, "only the layer that changed"
    assert device.at_hand()[NAME] == of_image(shelf, f"{APP}:1.1", kind)
    assert device.at_hand()[OTHER] == wanted
    assert left_in(device) == []


@pytest.mark.parametrize("device", ["docker"], indirect=True)
@pytest.mark.parametrize("forwards", [True, False], ids=["tunnel", "stream instead"])
def test_bytes_are_told_as_they_go(device: Device, forwards: bool, shelf: Shelf) -> None:
    """Also where the tunnel proves to be forbidden: then a stream goes there, in the same attempt."""
    sent: list[int] = []
    rate, line = RateLimit(6_000_000), shelf.line(f"{BULKY}:1.0", NAME)
    with OneTimeServer(rate) as server:
        settings = replace(SETTINGS, limit=rate)
        outcome = pull(device, shelf, server, line, settings=settings, forwards=forwards, sent=sent)
    assert (outcome.status, outcome.error) == ("pulled", None)
    assert outcome.transport == ("tunnel" if forwards else "stream")
    assert sent
    assert sorted(sent) == sent
    assert 0 < sent[0] < outcome.bytes


@pytest.mark.parametrize("device", ENGINES, indirect=True)
def test_directly_from_the_registry(
    device: Device, shelf: Shelf, server: OneTimeServer, registry: DockerRegistry, authed_registry: DockerRegistry
) -> None:
    if device.engine.kind == "podman":
        settings = Path(device.environ["HOME"], "registries.conf")
        hosts = [registry.address, authed_registry.address]
        settings.write_text("".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts))
        device.engine = replace(
            device.engine, program=("env", f"CONTAINERS_REGISTRIES_CONF={settings}", *device.engine.program)
        )
    line = shelf.line(f"{APP}:1.0", NAME, repository=registry.ref(APP))
    registry.fill(Layout(shelf.layout.directory), [f"{APP}:1.0"])
    outcome = pull(device, shelf, server, line, transport="direct")
    if device.engine.kind == "containerd":
        # ctr speaks plain HTTP to no registry that its settings do not name.
        assert (outcome.status, outcome.reason_code) in (("failed", "unreachable"), ("pulled", None)), outcome.error
    else:
        assert (outcome.status, outcome.error, outcome.bytes) == ("pulled", None, 0)
        assert device.at_hand()[NAME] == of_image(shelf, f"{APP}:1.0", device.engine.kind)
    closed = shelf.line(f"{APP}:1.1", OTHER, repository=authed_registry.ref(APP))
    refused = pull(device, shelf, server, closed, transport="direct")
    assert (refused.status, refused.reason_code) == ("failed", "unauthorized"), refused.error
    assert left_in(device) == []


@pytest.mark.parametrize("device", ENGINES, indirect=True)
def test_what_killed_rollouts_left_goes(device: Device, shelf: Shelf, server: OneTimeServer) -> None:
    """Names, tags and digests alike, an image that has no other name, and the lock of a process that is gone."""
    path = server.admit([shelf.named[f"{APP}:1.0"], shelf.named[f"{APP}:1.1"]], shelf)
    manifests = [shelf.named[f"{APP}:{tag}"].manifest.digest for tag in ("1.0", "1.1")]
    sources = [f"127.0.0.1:{server.port}/{path}@{manifest}" for manifest in manifests]
    tag = f"127.0.0.1:1/polyarch/{HEX}/0:pull"
    real = device.real
    for source in sources:
        if isinstance(real, Dockerd):
            real.docker("pull", "-q", source)
        elif isinstance(real, PodmanEngine):
            real.podman("pull", "-q", "--tls-verify=false", source)
        else:
            real.ctr("images", "pull", "--plain-http", source)
    if isinstance(real, Dockerd):
        real.docker("tag", sources[0], tag)
        real.docker("tag", sources[0], "localhost/kept:1")
    elif isinstance(real, PodmanEngine):
        real.podman("tag", sources[0], tag)
        real.podman("tag", sources[0], "localhost/kept:1")
    else:
        real.ctr("images", "tag", sources[0], tag)
        real.ctr("images", "tag", sources[0], "localhost/kept:1")
    assert len(left_in(device)) >= 2
    gone = subprocess.Popen(["true"])
    gone.wait()
    Path(device.environ["TMPDIR"], "polyarch-fleet.lock").symlink_to(f"{gone.pid} 1 rollout r-0 since ever")

    assert pull(device, shelf, server, shelf.line(f"{APP}:1.0", NAME)).status == "pulled"
    assert left_in(device) == []
    kept = "kept:1" if isinstance(real, Dockerd) else "localhost/kept:1"
    wanted = of_image(shelf, f"{APP}:1.0", device.engine.kind)
    assert {NAME: wanted}.items() <= device.at_hand().items()
    assert any(name.endswith(kept) for name in device.at_hand())


def test_a_name_that_stands_for_less_than_a_whole_image(
    containerd: ContainerdEngine, tmp_path: Path, foreign_busybox: Callable[[str], Path], server: OneTimeServer
) -> None:
    """As an import that broke off leaves it in containerd: the digest alone says nothing there."""
    stack_layout(tmp_path / "layout", "fleets", foreign_busybox(HERE), 1000)
    shelf, device = Shelf(tmp_path / "layout"), device_of(containerd, tmp_path)
    image = shelf.named[f"{BULKY}:1.0"]
    layers = [layer.digest for layer in image.manifest.layers]
    (tmp_path / "archive").write_bytes(b"".join(image_archive([(image, NAME)], shelf, layers, device.engine)))
    containerd.ctr("images", "import", "--no-unpack", str(tmp_path / "archive"))
    assert device.at_hand()[NAME] == image.manifest.digest
    assert pull(device, shelf, server, shelf.line(f"{BULKY}:1.0", NAME)).status == "pulled"
    assert set(layers) <= containerd.blobs()


def test_another_rollout_is_there(dockerd: Dockerd, tmp_path: Path, shelf: Shelf, server: OneTimeServer) -> None:
    device = device_of(dockerd, tmp_path)
    began = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    lock = tmp_path / "polyarch-fleet.lock"
    lock.symlink_to(f"{os.getpid()} {began} rollout r-0 of else@where since 2026-01-01T00:00:00Z")
    outcome = pull(device, shelf, server, shelf.line(f"{APP}:1.0", NAME))
    assert (outcome.status, outcome.reason_code) == ("failed", "held")
    assert outcome.error == ("another rollout is at the device: rollout r-0 of else@where since 2026-01-01T00:00:00Z")
    assert lock.is_symlink(), "it is the other's"


def test_an_earlier_attempt_of_the_same_rollout_is_waited_for(
    dockerd: Dockerd, tmp_path: Path, shelf: Shelf, server: OneTimeServer
) -> None:
    """One whose connection broke, or whose controller was killed, is still putting things in order."""
    device, line = device_of(dockerd, tmp_path), shelf.line(f"{APP}:1.0", NAME)
    began = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    lock = tmp_path / "polyarch-fleet.lock"
    lock.symlink_to(f"{os.getpid()} {began} rollout {SETTINGS.rollout} of {SETTINGS.holder} since 2026-01-01T00:00:00Z")
    outcome = pull(device, shelf, server, line, settings=replace(SETTINGS, timeout=2))
    assert (outcome.status, outcome.reason_code) == ("failed", "timeout")
    lock.unlink()
    lock.symlink_to(f"{2**30} {began} rollout {SETTINGS.rollout} of {SETTINGS.holder} since 2026-01-01T00:00:00Z")
    assert pull(device, shelf, server, line).status in ("pulled", "up-to-date")


def test_who_is_at_the_device_is_told_to_the_next(dockerd: Dockerd, tmp_path: Path, shelf: Shelf) -> None:
    """Two at once: the second one says who the first is, and the first ends well."""
    device = device_of(dockerd, tmp_path)
    dockerd.clear()
    line = shelf.line(f"{APP}:1.0", NAME)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with OneTimeServer() as server:
        settings = replace(SETTINGS, check=f"read line <{fifo}", rollout="r-first")
        fleet = ShellFleet({"device": Shell(device.environ)})
        runner = runner_of(device, shelf, server, fleet, settings)
        with runner.attempt([plan_of(device.engine, line)]) as attempt:
            events = iter(attempt)
            next(events)
            await_true(lambda: (tmp_path / "polyarch-fleet.lock").is_symlink(), "the first one has the device")
            second = pull(device, shelf, server, line)
            assert second.reason_code == "held"
            assert "rollout r-first of somebody@controller since 20" in (second.error or "")
            fifo.write_text("on\n")
            (outcome,) = [event for event in events if isinstance(event, DeviceOutcome)]
    assert (outcome.status, outcome.error) == ("pulled", None)
    assert left_in(device) == []


def started(
    device: Device, plan: DevicePlan, shelf: Shelf, server: OneTimeServer, path: str, shell: str
) -> subprocess.Popen[bytes]:
    """A session that runs the script below a shell which outlives it, as behind sshd. Its parent is to be killed."""
    order = PullOrder(path, HEX, "rollout r-1 of somebody@controller", 60)
    values = {**pull_values(plan, device.engine, shelf.images, order, "tunnel"), "port": str(server.port)}
    text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items()) + pull_script()
    if shell != "dash":
        text = f"(\n{text}\n) &\nwait $!\nexit $?"  # a part of a shell, as some fleet engines run it
    session = "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1] + '; true'])"
    argv = [sys.executable, "-c", session, f"{shell} -c {shlex.quote(text)}"]
    return subprocess.Popen(argv, env=device.environ, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)


def processes_of(device: Device) -> list[bytes]:
    """Those that have this device's environment; the engines' own servers have not."""
    found, mark = [], f"TMPDIR={device.environ['TMPDIR']}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if any(line.startswith(mark) for line in (path / "environ").read_bytes().split(b"\0")):
                found.append((path / "cmdline").read_bytes()[:80])
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("device", "shell"), [("docker", "dash"), ("podman", "busybox"), ("containerd", "bash")], indirect=["device"]
)
def test_nothing_stays_when_nobody_listens_any_more(
    device: Device, shell: str, shelf: Shelf, foreign_busybox: Callable[[str], Path]
) -> None:
    """The controller's connection dies in the middle of a layer: the session's process is gone, its shell is not."""
    plan = plan_of(device.engine, shelf.line(f"{BULKY}:1.0", NAME))
    with OneTimeServer(RateLimit(500_000)) as server:
        path = server.admit([shelf.named[f"{BULKY}:1.0"]], shelf)
        words = f"{foreign_busybox(HERE)} sh" if shell == "busybox" else shell
        session = started(device, plan, shelf, server, path, words)
        await_true(lambda: server.sent(path) > 100_000, "the pull is in the middle of the layer")
        assert "polyarch-fleet.lock" in left_in(device)
        session.send_signal(signal.SIGKILL)
        session.communicate()
        await_true(lambda: not processes_of(device), "the script and what it started have ended")
        assert left_in(device) == []
        server.dismiss(path)
    assert device.at_hand() == {}
    with OneTimeServer() as server:
        assert pull(device, shelf, server, *plan.images).status == "pulled", "the engine is well"


def test_the_script_ends_itself_in_time(dockerd: Dockerd, tmp_path: Path, shelf: Shelf) -> None:
    """Before the engine would: what is there is told, and nothing stays."""
    device = device_of(dockerd, tmp_path)
    dockerd.clear()
    lines = [shelf.line(f"{APP}:1.0", NAME), shelf.line(f"{BULKY}:1.0", OTHER)]
    over = threading.Event()

    class Slow(Shelf):
        def blob_path(self, digest: str) -> Path:
            over.wait()
            return super().blob_path(digest)

    with OneTimeServer() as server:
        assert pull(device, shelf, server, lines[0]).status == "pulled"
        settings = replace(SETTINGS, timeout=5)
        outcome = pull(device, Slow(shelf.layout.directory), server, *lines, settings=settings)
        over.set()
    assert (outcome.status, outcome.reason_code) == ("failed", "timeout")
    assert [(image.status, image.reason_code) for image in outcome.images] == [
        ("up-to-date", None),
        ("failed", "timeout"),
    ]
    assert left_in(device) == [], "a script that was killed leaves its lock"


def test_a_full_disk(small_tmpfs: Callable[[int], Path], tmp_path: Path, shelf: Shelf, server: OneTimeServer) -> None:
    engine = PodmanEngine(data=small_tmpfs(6 << 20))
    try:
        outcome = pull(device_of(engine, tmp_path), shelf, server, shelf.line(f"{BULKY}:1.0", NAME))
        assert (outcome.status, outcome.reason_code) == ("failed", "no-space"), outcome.error
    finally:
        engine.stop()


@pytest.mark.parametrize(
    ("device", "transport"),
    [
        *((kind, "tunnel") for kind in ENGINES),
        ("containerd", "stream"),
        *(pytest.param(kind, "stream", marks=pytest.mark.costly) for kind in ("docker", "podman")),
    ],
    indirect=["device"],
)
def test_another_layer_than_was_promised(
    device: Device,
    transport: Transport,
    server: OneTimeServer,
    tmp_path: Path,
    foreign_busybox: Callable[[str], Path],
) -> None:
    """Nothing of it is to be seen, and what had the name keeps it."""
    # containerd keeps layers for a while after their images went.
    stack_layout(tmp_path / "layout", "fleets", foreign_busybox(HERE), 1 << 20)
    shelf = Shelf(tmp_path / "layout")
    assert pull(device, shelf, server, shelf.line(f"{APP}:1.0", NAME)).status == "pulled"
    before = device.at_hand()
    layer = shelf.named[f"{BULKY}:1.0"].manifest.layers[0]
    wrong = tmp_path / "wrong"
    data = bytearray(shelf.blob_path(layer.digest).read_bytes())
    data[len(data) // 2] ^= 1
    wrong.write_bytes(data)

    class Wrong(Shelf):
        def blob_path(self, digest: str) -> Path:
            return wrong if digest == layer.digest else super().blob_path(digest)

    other = Wrong(shelf.layout.directory)
    outcome = pull(device, other, server, shelf.line(f"{BULKY}:1.0", NAME), transport=transport)
    assert (outcome.status, outcome.reason_code) == ("failed", "integrity"), outcome.error
    assert device.at_hand() == before
    assert left_in(device) == []


@pytest.mark.parametrize(
    ("check", "code", "error"),
    [
        ("true", None, None),
        ('echo "it\'s $HOME" >&2; exit 3', "check", "the check ended with 3: it's {home}"),
        ("exit 9", "check", "the check ended with 9"),
        ("seq 100000; echo '{{ last }}'; false", "check", "the check ended with 1: {{ last }}"),
        ("docker image inspect registry.example/app:stable >/dev/null", None, None),
    ],
)
def test_the_check(
    check: str, code: str | None, error: str | None, dockerd: Dockerd, tmp_path: Path, shelf: Shelf
) -> None:
    device = device_of(dockerd, tmp_path)
    with OneTimeServer() as server:
        outcome = pull(device, shelf, server, shelf.line(f"{APP}:1.0", NAME), settings=replace(SETTINGS, check=check))
    expected = error and error.replace("{home}", device.environ["HOME"])
    assert (outcome.reason_code, outcome.error) == (code, expected)
    assert all(image.status in ("pulled", "up-to-date") for image in outcome.images)


def test_names_and_words_as_odd_as_they_may_be(dockerd: Dockerd, tmp_path: Path, shelf: Shelf) -> None:
    folder = tmp_path / "a folder's $(name) *"
    folder.mkdir()
    odd = folder / "dock er"
    odd.write_text('#!/bin/sh\nexec docker "$@"\n')
    odd.chmod(0o755)
    device = device_of(dockerd, folder)
    device.engine = replace(device.engine, program=(str(odd),))
    name = f"registry.example:5000/{'a' * 60}/b__c.d-e/f:{'T' * 128}"
    settings = replace(SETTINGS, holder="some'body\n$(id)@\u00fcnicode", check="true")
    with OneTimeServer() as server:
        outcome = pull(device, shelf, server, shelf.line(f"{APP}:1.0", name), settings=settings)
    assert (outcome.status, outcome.error) == ("pulled", None)
    assert device.at_hand()[name] == of_image(shelf, f"{APP}:1.0", "docker")
    assert left_in(device) == []


NO_DAEMON = "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (("/no/such/docker",), "no-engine"),
        (("sh", "-c", NO_DAEMON), "no-engine"),
        (("sh", "-c", "printf '\\033[31mall is \\377lost\\n' >&2; exit 5", "sh"), "internal"),
    ],
    ids=["gone", "refuses", "says something"],
)
def test_an_engine_that_does_nothing(program: tuple[str, ...], code: str, tmp_path: Path, shelf: Shelf) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    device = Device(Engine("docker", program=program), environ, None)  # type: ignore[arg-type]
    with OneTimeServer() as server:
        outcome = pull(device, shelf, server, shelf.line(f"{APP}:1.0", NAME))
    assert (outcome.status, outcome.reason_code) == ("failed", code), outcome.error
    assert outcome.error
    assert outcome.error.isprintable()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a folder over /var/tmp")
@pytest.mark.parametrize("beside", ["nobody", "skopeo"])
def test_what_a_killed_podman_unpacked_goes(beside: str, tmp_path: Path, shelf: Shelf) -> None:
    """But not what was there before, and nothing while another program may be at it."""
    var, podman = tmp_path / "var", tmp_path / "podman"
    (var / "oci7").mkdir(parents=True)
    other = tmp_path / beside
    other.symlink_to(shutil.which("sleep") or "sleep")
    podman.write_text(
        "#!/bin/sh\n"
        f"mountpoint -q /var/tmp || mount --bind {var} /var/tmp\n"
        'case "$*" in\n'
        f"load*) [ {beside} = nobody ] || {other} 1000 </dev/null >/dev/null 2>&1 & mkdir /var/tmp/oci8; exit 1 ;;\n"
        "*) exit 1 ;;\n"
        "esac\n"
    )
    podman.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    device = Device(Engine("podman", "4.3", (str(podman),)), environ, None)  # type: ignore[arg-type]
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh")
    with OneTimeServer() as server:
        outcome = pull(device, shelf, server, shelf.line(f"{APP}:1.0", NAME), shell=alone, forwards=False)
    assert outcome.status == "failed", outcome
    assert {path.name for path in var.iterdir()} == ({"oci7"} if beside == "nobody" else {"oci7", "oci8"})


def test_a_dead_tunnel(dockerd: Dockerd, tmp_path: Path, shelf: Shelf) -> None:
    with OneTimeServer() as server:
        pass
    outcome = pull(device_of(dockerd, tmp_path), shelf, server, shelf.line(f"{BULKY}:1.0", OTHER))
    assert (outcome.status, outcome.reason_code) == ("failed", "unreachable"), outcome.error
