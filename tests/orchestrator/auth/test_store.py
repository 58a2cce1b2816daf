"""Login and logout: into the file or helper that docker or podman use here, and nothing else is touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polyarch.auth import helpers
from polyarch.auth.credentials import Credentials
from polyarch.auth.files import auth_paths, docker_path, find_credentials, read_auth_files
from polyarch.auth.store import login, logout
from polyarch.errors import HostError, StorageError, UsageError
from polyarch.settings import Settings

ME = Credentials("me", "pass:word")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A user without any file yet."""
    return Settings(root=tmp_path, home=tmp_path / "home", runtime_directory=tmp_path / "run")


def found(settings: Settings, registry: str) -> Credentials | None:
    return find_credentials(read_auth_files(settings), registry)


def test_a_first_login_makes_dockers_file(settings: Settings) -> None:
    assert login(settings, "registry.example:5000", ME) == str(docker_path(settings))
    file = docker_path(settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text()) == {"auths": {"registry.example:5000": {"auth": "bWU6cGFzczp3b3Jk"}}}
    assert found(settings, "registry.example:5000") == ME
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_mode_does_not_depend_on_the_umask(settings: Settings, umask: int, tmp_path: Path) -> None:
    (tmp_path / "home" / ".docker").mkdir(parents=True)
    before = os.umask(umask)
    try:
        login(settings, "a.example", ME)
    finally:
        os.umask(before)
    assert stat.S_IMODE(docker_path(settings).stat().st_mode) == 0o600


def test_foreign_keys_and_their_order_stay(settings: Settings) -> None:
    file = docker_path(settings)
    file.parent.mkdir(parents=True)
    document = {
        "HttpHeaders": {"User-Agent": "x"},
        "auths": {"b.example": {"auth": "YTpi", "email": "a@b"}},
        "psFormat": "ä",
        "plugins": {"z": [1, {"y": None}]},
    }
    file.write_text(json.dumps(document))
    login(settings, "a.example", ME)
    changed = json.loads(file.read_text())
    assert list(changed) == list(document)
    assert changed["auths"].pop("a.example")
    assert changed == document
    assert "ä" in file.read_text()
    assert logout(settings, "a.example")
    assert json.loads(file.read_text()) == document


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_file_that_exists_is_taken(settings: Settings, at: int) -> None:
    path = auth_paths(settings)[at]
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert login(settings, "a.example", ME) == str(path)
    assert found(settings, "a.example") == ME


def test_the_file_that_has_the_registry_is_taken(settings: Settings) -> None:
    for path, auths in zip(auth_paths(settings), ({}, {"a.example": {"auth": "bzpv"}}, {}), strict=True):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": auths}))
    assert login(settings, "a.example", ME) == str(auth_paths(settings)[1])
    assert found(settings, "a.example") == ME


def test_the_file_that_the_user_names_is_taken(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, auth_file=tmp_path / "new" / "auth.json")
    assert login(settings, "docker.io", ME) == str(tmp_path / "new" / "auth.json")
    assert list(json.loads((tmp_path / "new" / "auth.json").read_text())["auths"]) == ["docker.io"]


def test_docker_hub_has_its_old_name_in_dockers_file(settings: Settings) -> None:
    login(settings, "docker.io", ME)
    login(settings, "index.docker.io", Credentials("again", "pw"))
    assert list(json.loads(docker_path(settings).read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert found(settings, "docker.io") == Credentials("again", "pw")
    assert logout(settings, "docker.io")
    assert found(settings, "docker.io") is None


def test_the_name_that_is_there_already_stays(settings: Settings) -> None:
    file = docker_path(settings)
    file.parent.mkdir(parents=True)
    file.write_text('{"auths": {"https://a.example/v1/": {"auth": "bzpv"}}}')
    login(settings, "a.example", ME)
    assert list(json.loads(file.read_text())["auths"]) == ["https://a.example/v1/"]


def test_an_identity_token_is_kept_as_docker_keeps_it(settings: Settings) -> None:
    token = Credentials("me", "refresh", is_identity_token=True)
    login(settings, "a.example", token)
    entry = json.loads(docker_path(settings).read_text())["auths"]["a.example"]
    assert entry == {"auth": "bWU6", "identitytoken": "refresh"}
    assert found(settings, "a.example") == token


def test_a_namespace_has_its_own(settings: Settings) -> None:
    login(settings, "a.example", ME)
    login(settings, "a.example/team", Credentials("team", "t"))
    assert find_credentials(read_auth_files(settings), "a.example", "team/app") == Credentials("team", "t")
    assert logout(settings, "a.example/team")
    assert find_credentials(read_auth_files(settings), "a.example", "team/app") == ME


def test_logout_forgets_in_every_file(settings: Settings) -> None:
    for path in auth_paths(settings):
        path.parent.mkdir(parents=True)
        path.write_text('{"auths": {"https://a.example/v2/": {"auth": "bTpw"}, "b.example": {"auth": "bTpw"}}}')
    assert logout(settings, "a.example")
    assert not logout(settings, "a.example")
    assert found(settings, "a.example") is None
    assert found(settings, "b.example") == Credentials("m", "p")


def test_logout_without_any_file(settings: Settings) -> None:
    assert not logout(settings, "a.example")
    assert not docker_path(settings).exists()


@pytest.mark.parametrize("document", [{"credsStore": "keeper"}, {"credHelpers": {"a.example": "keeper"}}])
def test_the_helper_of_the_file_is_taken(settings: Settings, keeper: Path, document: dict[str, object]) -> None:
    file = docker_path(settings)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(document))
    assert login(settings, "a.example", ME) == "docker-credential-keeper"
    assert helpers.get("keeper", "a.example") == ME
    assert json.loads(file.read_text()) == {**document, "auths": {"a.example": {}}}
    assert "bWU6" not in file.read_text()
    assert found(settings, "a.example") == ME
    assert logout(settings, "a.example")
    assert helpers.get("keeper", "a.example") is None
    assert json.loads(file.read_text()) == {**document, "auths": {}}


def test_a_helper_keeps_no_namespaces(settings: Settings, keeper: Path) -> None:
    file = docker_path(settings)
    file.parent.mkdir(parents=True)
    file.write_text('{"credsStore": "keeper"}')
    login(settings, "a.example", ME)
    with pytest.raises(UsageError, match=r"keeps the logins of whole registries, not one for a\.example/team"):
        login(settings, "a.example/team", Credentials("team", "t"))
    assert not logout(settings, "a.example/team")
    assert helpers.get("keeper", "a.example") == ME


def test_a_registry_may_be_taken_out_of_the_helpers_hands(settings: Settings, keeper: Path) -> None:
    file = docker_path(settings)
    file.parent.mkdir(parents=True)
    file.write_text('{"credsStore": "keeper", "credHelpers": {"a.example": ""}}')
    assert login(settings, "a.example", ME) == str(file)
    assert found(settings, "a.example") == ME
    assert not (keeper.parent / "calls").exists()


def test_a_symbolic_link_stays_one(settings: Settings, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "docker.json"
    real.parent.mkdir()
    real.write_text('{"a": 1}')
    docker_path(settings).parent.mkdir(parents=True)
    docker_path(settings).symlink_to(real)
    login(settings, "a.example", ME)
    assert docker_path(settings).is_symlink()
    assert json.loads(real.read_text())["a"] == 1
    assert found(settings, "a.example") == ME


def test_a_broken_file_is_left_as_it_is(settings: Settings) -> None:
    file = docker_path(settings)
    file.parent.mkdir(parents=True)
    file.write_text('{"auths": ')
    for act in (lambda: login(settings, "a.example", ME), lambda: logout(settings, "a.example")):
        with pytest.raises(UsageError, match=str(file)):
            act()
    assert file.read_text() == '{"auths": '


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, small_tmpfs: Callable[[int], Path]) -> None:
    folder = small_tmpfs(64 << 10)
    file = folder / "auth.json"
    file.write_text('{"auths": {}}')
    with pytest.raises(OSError, match="No space"):
        (folder / "filler").write_bytes(bytes(1 << 20))
    with pytest.raises(StorageError, match="cannot be written"):
        login(Settings(root=tmp_path, auth_file=file), "a.example", ME)
    assert file.read_text() == '{"auths": {}}'
    assert sorted(path.name for path in folder.iterdir()) == ["auth.json", "filler"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot be written") as caught:
        login(Settings(root=tmp_path, auth_file=tmp_path / "file" / "auth.json"), "a.example", ME)
    assert "REGISTRY_AUTH_FILE" in (caught.value.hint or "")


def test_skopeo_reads_what_is_written(tmp_path: Path) -> None:
    import subprocess

    if shutil.which("skopeo") is None:
        pytest.skip("the program skopeo is not installed")
    settings = Settings(root=tmp_path, auth_file=tmp_path / "auth.json")
    login(settings, "a.example:5000", ME)
    argv = ["skopeo", "login", "--get-login", "--authfile", str(tmp_path / "auth.json"), "a.example:5000"]
    run = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "me"


def test_logins_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, auth_file=tmp_path / "auth.json")
    names = [f"registry-{number}.example" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: login(settings, name, ME), names))
    assert sorted(json.loads((tmp_path / "auth.json").read_text())["auths"]) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["auth.json"]


def test_what_a_killed_login_left_is_written_over(tmp_path: Path) -> None:
    left = tmp_path / ".auth.json.polyarch"
    left.write_text("half")
    left.chmod(0o644)
    login(Settings(root=tmp_path, auth_file=tmp_path / "auth.json"), "a.example", ME)
    assert [path.name for path in tmp_path.iterdir()] == ["auth.json"]
    assert (tmp_path / "auth.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", [errno.EIO, errno.EROFS, errno.ENOSPC])
def test_a_disk_at_fault_is_told_as_such(fault: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="cannot be written"):
        login(Settings(root=tmp_path, auth_file=tmp_path / "auth.json"), "a.example", ME)
    assert list(tmp_path.iterdir()) == []
