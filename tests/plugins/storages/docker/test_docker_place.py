"""Where docker's engine listens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from polyarch.contract import UsageError
from polyarch_plugins.storages.docker.place import find_socket

USUAL = Path("/var/run/docker.sock")
HOST = {"DOCKER_HOST": "unix:///run/host.sock"}


@pytest.mark.parametrize(
    ("location", "options", "environ", "found"),
    [
        ("", {}, {}, USUAL),
        ("", {}, HOST, "/run/host.sock"),
        ("", {"socket": "/run/option.sock"}, HOST, "/run/option.sock"),
        ("/run/here.sock", {"socket": "/run/option.sock"}, HOST, "/run/here.sock"),
        ("unix:///run/here.sock", {}, {}, "/run/here.sock"),
        ("", {}, {"DOCKER_HOST": ""}, USUAL),
    ],
)
def test_the_nearest_word_counts(
    location: str, options: Mapping[str, object], environ: Mapping[str, str], found: str, tmp_path: Path
) -> None:
    assert find_socket(location, options, {"HOME": str(tmp_path), **environ}) == Path(found)


def _context(folder: Path, name: str, host: object) -> None:
    """A context as `docker context create` writes it."""
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    document = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (meta / "meta.json").write_text(json.dumps(document))


def test_dockers_context_is_taken(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    folder = tmp_path / ".docker"
    _context(folder, "rootless", "unix:///run/user/1000/docker.sock")
    _context(folder, "other", "unix:///run/other.sock")
    assert find_socket("", {}, home) == USUAL
    (folder / "config.json").write_text('{"auths": {}}')
    assert find_socket("", {}, home) == USUAL
    (folder / "config.json").write_text('{"currentContext": "rootless"}')
    assert find_socket("", {}, home) == Path("/run/user/1000/docker.sock")
    assert find_socket("", {}, {**home, "DOCKER_CONTEXT": "other"}) == Path("/run/other.sock")
    assert find_socket("", {}, {**home, "DOCKER_CONTEXT": "default"}) == USUAL
    assert find_socket("", {}, {**home, **HOST}) == Path("/run/host.sock")
    assert find_socket("", {}, {"HOME": "/nowhere", "DOCKER_CONFIG": str(folder)}).name == "docker.sock"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("ssh://pi@10.0.0.7", r"docker's context far is 'ssh://pi@10\.0\.0\.7', but polyarch speaks with docker over"),
        (None, "docker's context far is 'None'"),
        ("unix://", "docker's context far is"),
    ],
)
def test_an_engine_that_is_not_here(host: object, message: str, tmp_path: Path) -> None:
    _context(tmp_path, "far", host)
    with pytest.raises(UsageError, match=message) as raised:
        find_socket("", {}, {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert "name the socket" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("location", "options", "environ", "message"),
    [
        ("docker.sock", {}, {}, r"the storage's location is 'docker\.sock'"),
        ("", {"socket": "tcp://127.0.0.1:2375"}, {}, "docker's option socket is 'tcp://"),
        ("", {"socket": 7}, {}, "docker's option socket is no text"),
        ("", {"sokcet": "/run/docker.sock"}, {}, "docker has no option 'sokcet'"),
        ("", {}, {"DOCKER_HOST": "tcp://127.0.0.1:2375"}, "DOCKER_HOST is 'tcp://"),
        ("", {}, {"DOCKER_HOST": "ssh://user:secret@host"}, "DOCKER_HOST is 'ssh://\\[secret\\]@host'"),
        ("", {}, {"DOCKER_CONTEXT": "gone"}, "docker's context gone names no engine"),
    ],
)
def test_bad_words(
    location: str, options: Mapping[str, object], environ: Mapping[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        find_socket(location, options, {"HOME": str(tmp_path), **environ})


@pytest.mark.parametrize("content", ["{", "[]", "\x00", "[" * 100_000])
def test_a_broken_file_of_dockers(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        find_socket("", {}, {"DOCKER_CONFIG": str(tmp_path)})
