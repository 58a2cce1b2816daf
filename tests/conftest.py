"""Fixtures that every test may use; what they do stands in tests/support."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from support.certificates import tls_settings
from support.command import NO_FILES_OF_THE_MACHINE, Polyarch
from support.containerd_engine import ContainerdEngine
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.faulty_registry import FaultyRegistry
from support.figures import Figures, figure_lines
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.registry_auth import TokenServer, basic_settings
from support.throwaway import CannotCopy, ThrowawayMachine
from support.users import OrdinaryUser

# A run in the background may have been told to ignore these; the programs of the tests are not.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# Sessions in the process of the tests do without this machine's files, too.
os.environ.update(NO_FILES_OF_THE_MACHINE)

CHECKOUT = Path(__file__).resolve().parent.parent
SOAK = os.environ.get("POLYARCH_SOAK") == "1"

# A busy machine must not fail a test: no deadline for a single example.
settings.register_profile("polyarch", deadline=None, max_examples=20_000 if SOAK else 100)
settings.load_profile("polyarch")


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """A folder kept between runs: $POLYARCH_TEST_CACHE, else .cache/tests in the checkout."""
    folder = Path(os.environ.get("POLYARCH_TEST_CACHE") or CHECKOUT / ".cache" / "tests").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def foreign_busybox(test_cache: Path) -> Callable[[str], Path]:
    """Debian's name of an architecture -> the path of Debian's static busybox for it (fetched once)."""
    from polyarch.testing.debian_busybox import ARCHITECTURES, debian_busybox

    def path(architecture: str) -> Path:
        return debian_busybox(ARCHITECTURES, test_cache)[architecture]

    return path


@pytest.fixture(scope="session")
def sample_layout(foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout with all sample images of `polyarch.testing`. Read it only; copy it to change it."""
    from polyarch.testing.sample_images import PLATFORMS, write_layout

    directory = tmp_path_factory.mktemp("sample") / "layout"
    write_layout(directory, {architecture: foreign_busybox(architecture) for architecture in PLATFORMS})
    return directory


@pytest.fixture(scope="session")
def registry(sample_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A real registry on loopback that holds every sample image. Push under names of your own only."""
    server = DockerRegistry(tmp_path_factory.mktemp("registry"))
    server.fill(Layout(sample_layout))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def authed_registry(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """The same images in a registry with Basic authentication: `USERNAME`, `PASSWORD` of support.registry_auth."""
    folder = tmp_path_factory.mktemp("authed-registry")
    shutil.copytree(registry.storage, folder / "storage")
    server = DockerRegistry(folder, basic_settings(folder))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    """The token server of `token_registry`. Everybody may pull `busybox`; the other repositories need `USERNAME`."""
    server = TokenServer(tmp_path_factory.mktemp("token-server"), frozenset({"busybox"}))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def token_registry(
    registry: DockerRegistry, token_server: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerRegistry]:
    """The same images in a registry that asks for a bearer token of `token_server`."""
    folder = tmp_path_factory.mktemp("token-registry")
    shutil.copytree(registry.storage, folder / "storage")
    server = DockerRegistry(folder, token_server.settings())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tls_registry(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """The same images over HTTPS, for bearers of a client certificate only: see `tls_settings` for the files."""
    folder = tmp_path_factory.mktemp("tls-registry")
    shutil.copytree(registry.storage, folder / "storage")
    settings, context = tls_settings(folder)
    server = DockerRegistry(folder, settings, context=context)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A docker engine of the tests' own: `polyarch("pull", "--into", f"docker:{dockerd.socket}", ref)`.

    Load under names of your own only, and layers that others do not have where it matters which of them travel.
    """
    engine = Dockerd(tmp_path_factory.mktemp("dockerd"))
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def podman() -> Iterator[PodmanEngine]:
    """podman with folders of the tests' own: `options.podman` of polyarch is in `.settings`; `.serve()` starts it.

    Load under names of your own only, and layers that others do not have where it matters which of them travel.
    """
    engine = PodmanEngine()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def containerd() -> Iterator[ContainerdEngine]:
    """containerd with folders and a socket of the tests' own: `.environ` tells polyarch and `ctr` where it is.

    Load under names of your own only, and layers that others do not have where it matters which of them travel.
    """
    engine = ContainerdEngine()
    yield engine
    engine.stop()


@pytest.fixture
def faulty_registry(sample_layout: Path) -> Iterator[FaultyRegistry]:
    """A registry that holds the sample images and fails as the test says: `.script("GET", "/blobs/", cut_after(9))`."""
    server = FaultyRegistry(Layout(sample_layout))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def unprivileged_user() -> Iterator[OrdinaryUser]:
    """A user without any privilege, with subordinate IDs: `.run(argv)`, `.home`, and `polyarch(…, user=…)`."""
    user = OrdinaryUser()
    yield user
    user.remove()


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A size in bytes -> an empty folder on a file system of that size."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"tmpfs-{len(mounted)}"
        folder.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "polyarch-test", str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def throwaway_machine(tmp_path: Path) -> Iterator[ThrowawayMachine]:
    """A copy of this machine to break and to mend; see `support.throwaway`."""
    if os.geteuid() != 0:
        pytest.skip("only root can copy the machine")
    try:
        machine = ThrowawayMachine(tmp_path / "machine")
    except CannotCopy as error:
        pytest.skip(f"no copy of this machine can be made: {error}")
    yield machine
    machine.stop()


@pytest.fixture
def polyarch(tmp_path: Path) -> Polyarch:
    """The real command: `polyarch("pull", ref).ok().json_lines`; its storage is `.root`, new for each test."""
    folder = tmp_path / "polyarch"
    folder.mkdir()
    return Polyarch(folder)


@pytest.fixture(scope="session")
def soak() -> bool:
    """True when POLYARCH_SOAK=1 asks for whole counts."""
    return SOAK


@pytest.fixture(scope="session")
def count() -> Callable[[int, int], int]:
    """`count(sample, whole)`: how often a random test shall try, in `make test` and in `make soak`."""
    return lambda sample, whole: whole if SOAK else sample


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """`figures(name, seen, aim)`: a line that `make soak` shows at its end."""
    return Figures(request.node.user_properties)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of a whole run; those of a sample say nothing."""
    if SOAK and (lines := list(figure_lines(terminalreporter.stats))):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _host_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets one test at a time change or watch the machine, also among several runs of pytest (mark `host`)."""
    if request.node.get_closest_marker("host") is None:
        yield
        return
    with Path(tempfile.gettempdir(), f"polyarch-tests-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that have the machine to themselves come first, so that one worker does them and none waits for another.

    Those that `costly.txt` names, or the mark `costly`, are left to `make soak`.
    """
    items.sort(key=lambda item: item.get_closest_marker("host") is None)
    lines = Path(__file__).with_name("costly.txt").read_text().splitlines()
    costly = {f"tests/{line}" for line in lines if line and not line.startswith("#")}
    for item in items:
        if item.nodeid in costly or item.get_closest_marker("costly"):
            costly.discard(item.nodeid)
            item.add_marker(pytest.mark.soak)
            item.add_marker(pytest.mark.skipif(not SOAK, reason="costly: make soak runs it"))
    if costly and config.args == config.getini("testpaths"):
        raise pytest.UsageError(f"costly.txt names tests that are not there: {', '.join(sorted(costly))}")
