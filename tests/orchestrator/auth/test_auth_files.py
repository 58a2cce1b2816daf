"""Auth files as podman and docker write them, in the order in which they are asked."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.auth.credentials import Credentials
from polyarch.auth.files import (
    auth_paths,
    find_credentials,
    normal_name,
    parse_auth_file,
    read_auth_files,
    read_document,
    server_name,
)
from polyarch.errors import UsageError
from polyarch.settings import Settings, load_settings
from support.isolation import without_privilege


def entry(username: str, secret: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{secret}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def settings(folder: Path, **changed: object) -> Settings:
    alone = {"root": folder, "home": folder, "runtime_directory": folder / "run"}
    return Settings(**{**alone, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://index.docker.io/v1/access-token", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io/library", "docker.io/library"),
        ("Quay.io", "quay.io"),
        ("quay.io/ns/repo", "quay.io/ns/repo"),
        ("http://registry.example:5000", "registry.example:5000"),
        ("registry.example:5000/v2/", "registry.example:5000"),
        ("https://registry.example/some/path", "registry.example"),
        ("localhost:5000/", "localhost:5000"),
    ],
)
def test_names_have_one_form(name: str, normal: str) -> None:
    assert normal_name(name) == normal
    assert normal_name(normal) == normal


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("docker.io", "https://index.docker.io/v1/"),
        ("https://index.docker.io/v1/", "https://index.docker.io/v1/"),
        ("ghcr.io/owner", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_what_helpers_call_a_registry(name: str, server: str) -> None:
    assert server_name(name) == server


@pytest.mark.parametrize(
    ("value", "credentials"),
    [
        (entry("me", "pass:word"), Credentials("me", "pass:word")),
        (entry("mé", "ü"), Credentials("mé", "ü")),
        (entry("me", "pw\0\0"), Credentials("me", "pw")),
        ({"username": "me", "password": "pw"}, Credentials("me", "pw")),
        ({"username": "old", "password": "old", **entry("me", "pw")}, Credentials("me", "pw")),
        ({**entry("me", ""), "identitytoken": "t"}, Credentials("me", "t", is_identity_token=True)),
        ({"identitytoken": "t"}, Credentials("", "t", is_identity_token=True)),
        ({}, None),
        (None, None),
        ({"auth": ""}, None),
        ({"auth": None, "email": "a@b"}, None),
    ],
)
def test_an_entry(tmp_path: Path, value: object, credentials: Credentials | None) -> None:
    file = parse_auth_file(tmp_path / "auth.json", {"auths": {"a.example": value}})
    assert find_credentials([file], "a.example") == credentials


@pytest.mark.parametrize(
    "name", ["a.example", "https://a.example", "http://a.example/v1/", "a.example/v2/", "A.Example", "a.example/"]
)
def test_an_entry_is_found_under_each_form_of_its_name(tmp_path: Path, name: str) -> None:
    file = parse_auth_file(tmp_path / "auth.json", {"auths": {name: entry("me", "pw")}})
    assert find_credentials([file], "a.example", "any/repository") == Credentials("me", "pw")
    assert find_credentials([file], "b.example") is None
    assert find_credentials([file], "a.example:5000") is None


@pytest.mark.parametrize(
    ("repository", "username"),
    [
        ("foo/bar/image", "image"),
        ("foo/bar/other", "foo"),
        ("foo", "foo"),
        ("foobar/image", "host"),
        ("other", "host"),
        ("", "host"),
    ],
)
def test_the_longest_name_wins(tmp_path: Path, repository: str, username: str) -> None:
    """The example of containers-auth.json(5)."""
    names = {"": "host", "/foo": "foo", "/foo/bar/image": "image"}
    auths = {f"my-registry.local{path}": entry(name, "pw") for path, name in names.items()}
    found = find_credentials([parse_auth_file(tmp_path, {"auths": auths})], "my-registry.local", repository)
    assert found == Credentials(username, "pw")


def test_the_places_in_their_order(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/7"}
    assert auth_paths(load_settings(environ=environ)) == (
        Path("/run/user/7/containers/auth.json"),
        tmp_path / ".config/containers/auth.json",
        tmp_path / ".docker/config.json",
    )
    environ |= {"XDG_CONFIG_HOME": "/conf", "DOCKER_CONFIG": "/dock"}
    assert auth_paths(load_settings(environ=environ))[1:] == (
        Path("/conf/containers/auth.json"),
        Path("/dock/config.json"),
    )
    environ["REGISTRY_AUTH_FILE"] = "/only/this"
    assert auth_paths(load_settings(environ=environ)) == (Path("/only/this"),)
    assert auth_paths(load_settings(environ={"HOME": "/h"}))[0].parent.parent == Path("/run/containers")


def test_the_first_file_that_has_some_decides(tmp_path: Path) -> None:
    runtime, config, docker = auth_paths(settings(tmp_path))
    write(docker, {"auths": {"a.example": entry("docker", "pw"), "b.example": entry("docker", "pw")}})
    write(config, {"auths": {"a.example": entry("podman", "pw")}})
    write(runtime, {"auths": {"a.example": {}}})
    files = read_auth_files(settings(tmp_path))
    assert [file.path for file in files] == [runtime, config, docker]
    assert find_credentials(files, "a.example") == Credentials("podman", "pw")
    assert find_credentials(files, "b.example") == Credentials("docker", "pw")


def test_missing_and_empty_files_hold_nothing(tmp_path: Path) -> None:
    assert read_auth_files(settings(tmp_path)) == ()
    assert read_auth_files(settings(tmp_path, auth_file=tmp_path / "no" / "such")) == ()
    assert read_auth_files(settings(tmp_path, auth_file=write(tmp_path / "file", "x") / "below")) == ()
    (file,) = read_auth_files(settings(tmp_path, auth_file=Path("/dev/null")))
    assert (file.entries, file.helpers, file.store) == ({}, {}, "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON object is wanted"),
        ("\x00", "not JSON"),
        ('{"auths": [1]}', "auths: a JSON object is wanted, not list"),
        ('{"auths": {"a": 5}}', "auths: a: a JSON object is wanted"),
        ('{"auths": {"a": {"auth": 5}}}', "auths: a: auth is missing or not a string"),
        ('{"auths": {"a": {"auth": "%%%"}}}', "auths: a: auth is not USERNAME:PASSWORD in base64"),
        ('{"auths": {"a": {"auth": "bm9jb2xvbg=="}}}', "auths: a: auth is not USERNAME:PASSWORD in base64"),
        ('{"auths": {"a": {"auth": "Om5vdXNlcg=="}}}', "auths: a: auth is not USERNAME:PASSWORD in base64"),
        ('{"auths": {"a": {"auth": "/////w=="}}}', "auths: a: auth is not USERNAME:PASSWORD in base64"),
        ('{"auths": {"a\\u001b[31m": {"auth": "%"}}}', r"auths: a\\x1b\[31m: auth"),
        ('{"credHelpers": {"a": 5}}', "credHelpers: strings are wanted"),
        ('{"credHelpers": {"a": "../../bin/sh"}}', "is not the name of a credential helper"),
        ('{"credsStore": "a b"}', "'a b' is not the name of a credential helper"),
        ('{"credsStore": 5}', "credsStore is missing or not a string"),
        ("[" * 100 + "]" * 100, "nests deeper"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, content: str, says: str) -> None:
    path = write(tmp_path / "auth.json", content)
    with pytest.raises(UsageError, match=says) as caught:
        read_auth_files(settings(tmp_path, auth_file=path))
    assert caught.value.message.startswith(f"auth file {path}: ")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        read_document(tmp_path)
    with pytest.raises(UsageError, match="larger than 1048576 bytes"):
        read_document(write(tmp_path / "large", " " * ((1 << 20) + 1)))


def test_a_folder_that_is_closed_to_this_user_holds_nothing() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # below folders that everybody may enter
        Path(name).chmod(0o755)
        closed, path = Path(name, "closed"), write(Path(name, "closed/auth.json"), "{}")
        write(Path(name, "open.json"), "{}").chmod(0)
        closed.chmod(0)
        assert without_privilege(lambda: read_document(path)) is None
        with pytest.raises(AssertionError, match=r"open\.json: Permission denied"):
            without_privilege(lambda: read_document(Path(name, "open.json")))
        closed.chmod(0o700)


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    auths = {"a": entry("me", "hidden"), "b": {"identitytoken": "hidden"}}
    assert "hidden" not in repr(parse_auth_file(tmp_path, {"auths": auths}))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=10,
)


@given(st.fixed_dictionaries({}, optional={"auths": _json, "credHelpers": _json, "credsStore": _json}))
def test_any_json_is_an_auth_file_or_a_usage_error(document: dict[str, object]) -> None:
    try:
        file = parse_auth_file(Path("auth.json"), document)
    except UsageError:
        return
    assert all(normal_name(name) == name for name in file.entries)
