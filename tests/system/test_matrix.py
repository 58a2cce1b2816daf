"""Every source into every storage: the place's own means show the asked name, and the config stays byte for byte.

A new source or storage is a line in support.matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from polyarch.errors import IntegrityError, UsageError
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.testing.layout_writer import LayoutWriter, regular
from polyarch_platforms.architecture import load
from polyarch_platforms.tiny import tiny_program
from support.command import NO_FILES_OF_THE_MACHINE
from support.docker_registry import DockerRegistry, skopeo
from support.layout_files import Layout
from support.matrix import ARM64, KEEP_SEVERAL, SOURCES, STORAGES, Origin, Parts, Target
from support.s3_server import S3Server

pytestmark = pytest.mark.system
LYING = ("oci", "oci-archive", "docker-archive")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """`matrix/SOURCE:1.0` for amd64 and arm64, with layers of its own for each; `matrix/lying:1.0` is amd64's program
    that calls itself arm64's.
    """
    writer = LayoutWriter(tmp_path_factory.mktemp("matrix") / "layout")
    programs = {name: tiny_program(load()[name]) for name in ("amd64", "arm64")}

    def image(platform: str, program: bytes, text: str) -> dict[str, Any]:
        layers = [
            writer.layer([regular("bin/sh", program, 0o755), regular("etc/name", text.encode())], "COPY sh /bin/"),
            writer.layer([regular("etc/second", f"{text} {platform}".encode())], "RUN second"),
        ]
        labels = {"os": "linux", "architecture": platform}
        return {**writer.image(labels, layers), "platform": labels}

    for source in SOURCES:
        writer.name(f"matrix/{source}:1.0", writer.index([image(p, data, source) for p, data in programs.items()]))
    writer.name("matrix/lying:1.0", image("arm64", programs["amd64"], "lying"))
    writer.finish()
    return Layout(writer.directory)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def parts(
    layout: Layout, registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Parts:
    return Parts(layout, tmp_path_factory.mktemp("parts"), registry, request.getfixturevalue)


@pytest.fixture(scope="module")
def origin(parts: Parts) -> Callable[[str], Origin]:
    """A source's name -> its image, made once."""
    return cache(lambda source: SOURCES[source](parts))


class Puller:
    """Pulls with what leads to all parts that are used."""

    def __init__(self, parts: Parts, root: Path, home: Path) -> None:
        self._parts, self._root, self._home = parts, root, home

    def __call__(self, text: str, target: Target, **words: Any) -> Any:
        environ = {"HOME": str(self._home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **NO_FILES_OF_THE_MACHINE}
        settings = target.settings
        if text.startswith("docker-daemon:"):
            environ |= self._parts.docker.environ
        if text.startswith("s3:"):
            environ |= self._parts.s3.environ
        if text.startswith("containers-storage:") or target.into == "podman":
            settings += self._parts.podman.settings
        file = self._home / "config.toml"
        file.write_text(settings)
        with Session(load_settings(self._root, file, {**environ, **target.environ})) as session:
            return session.pull(text, into=target.into, **words)


@pytest.fixture
def pull(parts: Parts, tmp_path: Path) -> Puller:
    (tmp_path / "home").mkdir()
    return Puller(parts, tmp_path / "root", tmp_path / "home")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("source", SOURCES)
def test_from_into(
    source: str, storage: str, parts: Parts, origin: Callable[[str], Origin], pull: Puller, tmp_path: Path
) -> None:
    image, target = origin(source), STORAGES[storage](parts, tmp_path)
    [result] = pull(image.text, target, platform="linux/arm64")
    assert (result.platform, result.match, str(result.name)) == ("linux/arm64", "exact", image.name)
    manifest = parts.layout.manifest(f"matrix/{source}:1.0", "arm64")
    config = parts.layout.json(manifest)["config"]["digest"]
    assert target.configs().get(image.name) == config
    [again] = pull(image.text, target, platform="linux/arm64")
    assert (again.status, again.downloaded_bytes) == ("up-to-date", 0)


@pytest.mark.parametrize("storage", KEEP_SEVERAL)
def test_all_platforms_of_a_layout(
    storage: str, parts: Parts, origin: Callable[[str], Origin], pull: Puller, tmp_path: Path
) -> None:
    image, target = origin("oci"), STORAGES[storage](parts, tmp_path)
    results = pull(image.text, target, all_platforms=True)
    assert [result.platform for result in results] == ["linux/amd64", "linux/arm64"]
    assert {result.root.digest for result in results} == {parts.layout.names["matrix/oci:1.0"]["digest"]}
    again = pull(image.text, target, all_platforms=True)
    assert [result.status for result in again] == ["up-to-date", "up-to-date"]


@pytest.mark.parametrize("storage", [storage for storage in STORAGES if storage not in KEEP_SEVERAL])
def test_all_platforms_into_what_keeps_one(
    storage: str, parts: Parts, origin: Callable[[str], Origin], pull: Puller, tmp_path: Path
) -> None:
    target = STORAGES[storage](parts, tmp_path)
    with pytest.raises(UsageError, match="keeps one platform of a name"):
        pull(origin("oci").text, target, all_platforms=True)


@pytest.mark.parametrize("storage", ["oci-archive", "docker-archive", "s3"])
@pytest.mark.parametrize("kind", LYING)
def test_what_lies_of_its_platform_is_refused(
    kind: str, storage: str, parts: Parts, pull: Puller, tmp_path: Path
) -> None:
    place, target = f"{kind}:{tmp_path / 'lying'}", STORAGES[storage](parts, tmp_path)
    skopeo(*ARM64, "copy", f"oci:{parts.layout.directory}:matrix/lying:1.0", f"{place}:example.org/lying:1.0")
    with pytest.raises(IntegrityError, match="is mislabelled: /bin/sh: linux/arm64 is promised"):
        pull(place, target, platform="linux/arm64")
    with Session(load_settings(tmp_path / "root", None, {"HOME": str(tmp_path), **target.environ})) as session:
        assert session.images(target.into) == ()
