"""Which files of podman's and containerd's are read on a machine, and in which order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.errors import UsageError
from polyarch.registry.machine_files import MAX_DROP_INS, MachineFiles, hosts_directory, podman_files
from polyarch.registry.toml_file import MAX_SIZE
from polyarch.settings import Settings, load_settings


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A path below the test's folder, and what to write there."""

    def make(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


def found(folder: Path, **environ: str) -> list[str]:
    """The files below the folder that are read, where `etc` is the system's and `home` the user's."""
    settings = load_settings(folder / "root", environ={"HOME": str(folder / "home"), **environ})
    paths = [file.path for file in podman_files(settings, folder / "etc")]
    return [str(path.relative_to(folder)) for path in paths if path.is_relative_to(folder)]


def test_the_order_is_podmans(tmp_path: Path, write: Callable[..., Path]) -> None:
    assert found(tmp_path) == []
    write("etc/registries.conf")
    for name in ("etc/registries.conf.d/b.conf", "etc/registries.conf.d/a.conf", "etc/registries.conf.d/c.txt"):
        write(name)
    write("etc/registries.conf.d/sub.conf/a.conf")
    system = ["etc/registries.conf", "etc/registries.conf.d/a.conf", "etc/registries.conf.d/b.conf"]
    assert found(tmp_path) == system
    users = "home/.config/containers/registries.conf"
    write(f"{users}.d/z.conf")
    assert found(tmp_path) == [*system, f"{users}.d/z.conf"]
    write(users)  # a user's own file takes the place of all of the system's
    assert found(tmp_path) == [users, f"{users}.d/z.conf"]
    named = write("named.conf")
    assert found(tmp_path, CONTAINERS_REGISTRIES_CONF=str(named)) == ["named.conf", *system[1:], f"{users}.d/z.conf"]


def test_the_record_of_short_names_is_the_users(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # root's lies in /var/cache
    write("cache/containers/short-name-aliases.conf")
    assert found(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) == ["cache/containers/short-name-aliases.conf"]


def test_a_setting_names_the_only_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("etc/registries.conf")
    write("etc/registries.conf.d/a.conf")
    named = write("named.conf")
    assert found(tmp_path, POLYARCH_REGISTRIES_CONF=str(named)) == ["named.conf"]
    assert found(tmp_path, POLYARCH_REGISTRIES_CONF="none") == []
    config = write("config.toml", f'registries_conf = "{named}"')
    assert found(tmp_path, POLYARCH_CONFIG=str(config)) == ["named.conf"]
    assert found(tmp_path, POLYARCH_CONFIG=str(config), POLYARCH_REGISTRIES_CONF="none") == []
    assert list(podman_files(Settings(tmp_path), tmp_path / "etc")) == []  # who makes settings by hand names files, too


@pytest.mark.parametrize("name", ["POLYARCH_REGISTRIES_CONF", "CONTAINERS_REGISTRIES_CONF"])
def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        found(tmp_path, **{name: str(tmp_path / "nowhere.conf")})


def test_what_cannot_be_read_is_told(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UsageError, match=f"{path}: no regular file"):
        MachineFiles(Settings(tmp_path, registries_conf=str(path))).conf()
    path = write("large.conf", "#" * (MAX_SIZE + 1))
    with pytest.raises(UsageError, match=f"{path}: larger than"):
        MachineFiles(Settings(tmp_path, registries_conf=str(path))).conf()
    for number in range(MAX_DROP_INS + 1):
        write(f"etc/registries.conf.d/{number}.conf")
    with pytest.raises(UsageError, match=f"more than {MAX_DROP_INS} files"):
        found(tmp_path)


def test_files_are_read_once(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write("named.conf", "unqualified-search-registries = ['a.b']")
    write("hosts/a.b/hosts.toml", "[host.'https://m.local']")
    files = MachineFiles(Settings(tmp_path, registries_conf=str(path), containerd_hosts=str(tmp_path / "hosts")))
    conf, hosts = files.conf(), files.hosts_of("a.b")
    assert conf is not None
    assert hosts is not None
    path.write_text("broken")
    (tmp_path / "hosts/a.b/hosts.toml").write_text("broken")
    assert files.conf() is conf
    assert files.hosts_of("a.b") is hosts


def test_the_folder_of_containerd(tmp_path: Path) -> None:
    assert hosts_directory(Settings(tmp_path, containerd_hosts="none")) is None
    assert hosts_directory(Settings(tmp_path, containerd_hosts=str(tmp_path / "nowhere"))) is None
    assert hosts_directory(Settings(tmp_path, containerd_hosts=str(tmp_path))) == tmp_path
    settings = load_settings(tmp_path, environ={"HOME": str(tmp_path), "POLYARCH_CONTAINERD_HOSTS": str(tmp_path)})
    assert hosts_directory(settings) == tmp_path
