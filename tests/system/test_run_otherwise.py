"""`polyarch run` with what not every machine has: runc, one user ID, a registered emulator, no runtime at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch_platforms import architecture, qemu
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.machine_state import registered_arm64
from support.users import OrdinaryUser

pytestmark = pytest.mark.system
RUN = ("--progress", "none", "run", "--rm")


class Setting:
    """Who runs, in which storage, with which settings file."""

    def __init__(self, user: OrdinaryUser | None, folder: Path, image: str) -> None:
        self.user = user
        self.folder = folder
        self.root = folder / "otherwise-root"
        self.image = image
        self.file = folder / "settings.toml"
        self.write("")

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o644)

    def run(self, polyarch: Polyarch, *words: str, env: dict[str, str] | None = None) -> Result:
        shared = ("--config", str(self.file), "--format", "json", *RUN)
        return polyarch(*shared, *words, root=self.root, user=self.user, env=env)


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def setting(
    request: pytest.FixtureRequest, registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Setting:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    user: OrdinaryUser | None = None if request.param == "root" else request.getfixturevalue("unprivileged_user")
    return Setting(
        user, user.home if user else tmp_path_factory.mktemp("otherwise"), f"{registry.address}/busybox:1.36"
    )


@pytest.mark.skipif(not shutil.which("runc", path="/usr/sbin:/usr/bin"), reason="runc is not installed")
def test_runc(setting: Setting, polyarch: Polyarch) -> None:
    setting.write('runtime = "runc"\n')
    for platform, machine in (("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")):
        result = setting.run(polyarch, "--platform", platform, setting.image, "sh", "-c", "uname -m; exit 3")
        assert (result.code, result.stdout) == (3, f"{machine}\n")
    assert setting.run(polyarch, setting.image, "no-such-program").code == 127
    assert setting.run(polyarch, "-v", "/:/host", setting.image, "no-such-program").code == 127
    assert setting.run(polyarch, "-v", "/:/host", setting.image, "/etc").code == 126
    setting.write("")


def test_no_runtime(setting: Setting, polyarch: Polyarch, tmp_path: Path) -> None:
    setting.write('runtime = "crun"\n')
    result = setting.run(polyarch, setting.image, "true", env={"PATH": path_with(setting, "env")})
    setting.write("")
    assert result.code == 125
    (document,) = result.json_lines
    assert document["error"]["code"] == "host"
    assert document["error"]["hint"] == "apt install crun"


def path_with(setting: Setting, *programs: str) -> str:
    """A PATH with these programs alone."""
    folder = setting.folder / f"bin-{'-'.join(programs)}"
    folder.mkdir(exist_ok=True)
    for name in programs:
        found = shutil.which(name)
        assert found
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(found)
    return str(folder)


def test_a_user_without_subordinate_ids_is_root_inside_and_nobody_else(setting: Setting, polyarch: Polyarch) -> None:
    if setting.user is None:
        pytest.skip("root needs no subordinate IDs")
    env = {"PATH": path_with(setting, "env", "crun")}  # and no newuidmap
    root = setting.root
    setting.root = setting.folder / "one-id-root"
    for platform, machine in (("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")):
        script = "uname -m; id -u; touch /x; stat -c %u:%g /x /tmp; wc -l < /proc/self/uid_map"
        result = setting.run(polyarch, "--platform", platform, setting.image, "sh", "-c", script, env=env).ok()
        assert result.stdout.split() == [machine, "0", "0:0", "0:0", "1"]
    refused = setting.run(polyarch, "-u", "7", setting.image, "true", env=env)
    assert refused.code == 125
    (document,) = refused.json_lines
    assert document["error"]["code"] == "host"
    assert "--add-subuids" in document["error"]["hint"]
    setting.root = root


@pytest.fixture
def registered() -> Iterator[None]:
    """arm64 in the host's own table."""
    emulator = qemu.find(architecture.load()["arm64"])
    if os.geteuid() != 0 or emulator is None or not emulator.static:
        pytest.skip("root and a static QEMU are needed to register arm64")
    with registered_arm64(emulator.path, emulator.flags):
        yield


OLD = ("setarch", "--uname-2.6")  # which had no private tables


@pytest.mark.host
@pytest.mark.usefixtures("registered")
def test_what_the_host_has_registered_is_used_where_there_is_no_private_table(
    setting: Setting, polyarch: Polyarch
) -> None:
    def ran(platform: str, *, prefix: tuple[str, ...] = ()) -> list[str]:
        script = "uname -m; cat /proc/self/uid_map | tr -s ' '"
        shared = ("--config", str(setting.file), *RUN, "--platform", platform, setting.image, "sh", "-c", script)
        words = polyarch.start(*shared, root=setting.root, user=setting.user, prefix=prefix)
        return polyarch.finish(words).ok().stdout.splitlines()

    machine, *ranges = ran("linux/arm64", prefix=OLD)
    assert machine == "aarch64"
    if setting.user is None:
        assert ranges == [" 0 0 4294967295"]  # no user namespace was needed
    # Else a private one comes first, with the same emulator: by what the host has registered, if nothing else finds it.
    setting.write('disabled_plugins = ["qemu_user"]\n')
    machine, *ranges = ran("linux/arm64")
    setting.write("")
    assert machine == "aarch64"
    assert len(ranges) == 2
    # Another architecture is not registered; the host's table does not reach into the private one.
    assert ran("linux/s390x")[0] == "s390x"


def test_no_way_to_run_names_the_package(setting: Setting, polyarch: Polyarch) -> None:
    setting.run(polyarch, "--platform", "linux/s390x", setting.image, "true").ok()
    setting.write('disabled_plugins = ["qemu_user"]\n')
    result = setting.run(polyarch, "--platform", "linux/s390x", setting.image, "true")
    setting.write("")
    assert result.code == 125
    (document,) = result.json_lines
    assert document["error"]["code"] == "host"
    assert "qemu-user-static" in document["error"]["hint"]
