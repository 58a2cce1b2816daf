"""`polyarch tags`, and names by convention, against a real registry with hundreds of tags."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Body, Request
from support.faulty_registry import FaultyRegistry
from support.layout_files import Layout

pytestmark = pytest.mark.system

AMD64, ARM64, ARM = "1.0-amd64", "1.0-arm64v8", "1.0-armhf"  # what the sample image `tagged` has
FORMS = {
    "{v}-amd64": AMD64,
    "arm64-{v}": ARM64,
    "{v}_armhf": ARM,
    "linux-arm-{v}-slim": ARM,
    "{v}": AMD64,
    "{v}-riscv64": ARM64,
    "{v}-rpi": ARM,
    "{v}-slim.aarch64": ARM64,
}
LONG = [f"2.{n}{end}" for n in range(1250) for end in ("-amd64", "-arm64")]
VERSIONS = [f"1.{minor}" for minor in range(49)] + ["latest"]


def tag_folder(server: DockerRegistry, repository: str) -> Path:
    return server.storage / f"docker/registry/v2/repositories/{repository}/_manifests/tags"


def give_tags(server: DockerRegistry, repository: str, tags: Iterable[tuple[str, str]]) -> None:
    """Make a repository with the manifests of `tagged`, and (tag, tag of `tagged`) for names: links in its storage."""
    source = tag_folder(server, "tagged")
    shutil.copytree(source.parents[1], tag_folder(server, repository).parents[1])
    shutil.rmtree(tag_folder(server, repository))
    for tag, meant in tags:
        place = tag_folder(server, repository) / tag / "current"
        place.mkdir(parents=True)
        shutil.copyfile(source / meant / "current" / "link", place / "link")


@pytest.fixture(scope="module")
def server(sample_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A registry with `mixed` (400 tags of several conventions), `long` (2,500 tags) and `plain`."""
    server = DockerRegistry(tmp_path_factory.mktemp("tags"))
    layout = Layout(sample_layout)
    server.fill(layout, [name for name in layout.names if name.startswith("tagged:")])
    mixed = [(form.format(v=version), meant) for version in VERSIONS for form, meant in FORMS.items()]
    assert len(mixed) == 400
    give_tags(server, "mixed", mixed)
    give_tags(server, "long", [(tag, ARM64) for tag in LONG])
    give_tags(server, "plain", [(tag, AMD64) for tag in ("1.0", "1.0-rc1", "20.04", "bookworm-slim", "1.0-armored")])
    yield server
    server.stop()


def test_four_hundred_tags_give_one_row_a_version(polyarch: Polyarch, server: DockerRegistry) -> None:
    rows = polyarch("tags", "--format", "json", server.ref("mixed")).ok().json_lines
    names = [row["version"] for row in rows]
    expected = [f"1.{minor}{end}" for minor in range(49) for end in ("", "-slim")]
    assert names == [*expected, "latest", "latest-slim"]
    by_version = {row["version"]: row for row in rows}
    assert by_version["1.7"] == {
        "repository": f"{server.address}/mixed",
        "version": "1.7",
        "tag": "1.7",
        "tags": {
            "linux/amd64": "1.7-amd64",
            "linux/arm/v6": "1.7-rpi",
            "linux/arm/v7": "1.7_armhf",
            "linux/arm64": "arm64-1.7",
            "linux/riscv64": "1.7-riscv64",
        },
        "certainty": {
            "linux/amd64": "sure",
            "linux/arm/v6": "guess",
            "linux/arm/v7": "likely",
            "linux/arm64": "sure",
            "linux/riscv64": "sure",
        },
        "others": [],
    }
    assert by_version["1.7-slim"]["tag"] is None
    assert by_version["1.7-slim"]["tags"] == {"linux/arm/v7": "linux-arm-1.7-slim", "linux/arm64": "1.7-slim.aarch64"}


def test_the_table(polyarch: Polyarch, server: DockerRegistry) -> None:
    lines = polyarch("tags", server.ref("mixed")).ok().stdout.splitlines()
    assert len(lines) == 1 + 2 * len(VERSIONS)
    assert lines[0].split() == ["VERSION", "TAG", "amd64", "arm/v6", "arm/v7", "arm64", "riscv64"]
    row = next(line for line in lines if line.startswith("1.48 "))
    columns = {name: row[lines[0].index(name)] for name in lines[0].split()[1:]}
    assert columns == {"TAG": "x", "amd64": "x", "arm/v6": "?", "arm/v7": "x", "arm64": "x", "riscv64": "x"}
    assert lines[-1].split() == ["latest-slim", "x", "x"]


def test_the_list_costs_one_request_and_no_version_is_asked_for(polyarch: Polyarch, server: DockerRegistry) -> None:
    before = len(server.access_log())
    polyarch("tags", server.ref("mixed")).ok()
    assert [access.path for access in server.access_log()[before:]] == ["/v2/mixed/tags/list?n=1000"]


def pages(request: Request, _: Answer) -> Answer:
    """The tags of `long` in pages, as the distribution-spec has them (Debian's registry gives all at once)."""
    everything = sorted(LONG)
    first = everything.index(request.query["last"][0]) + 1 if "last" in request.query else 0
    page = everything[first : first + int(request.query["n"][0])]
    headers = {"Content-Type": "application/json"}
    if page[-1] != everything[-1]:
        headers["Link"] = f'<{request.path}?n=1000&last={page[-1]}>; rel="next"'
    return Answer(200, headers, Body(json.dumps({"name": "long", "tags": page}).encode()))


def test_thousands_of_tags(polyarch: Polyarch, server: DockerRegistry) -> None:
    names = polyarch("tags", "-q", server.ref("long")).ok().stdout.splitlines()
    assert sorted(names) == sorted(LONG)
    rows = polyarch("tags", "--format", "json", server.ref("long")).ok().json_lines
    assert [row["version"] for row in rows] == [f"2.{n}" for n in range(1250)]
    assert all(set(row["tags"]) == {"linux/amd64", "linux/arm64"} for row in rows)


def test_pages(polyarch: Polyarch, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/tags/list", pages, forever=True)
    names = polyarch("tags", "-q", faulty_registry.ref("long")).ok().stdout.splitlines()
    assert names == sorted(LONG)  # in the registry's order
    assert len(faulty_registry.asked("GET", "/tags/list")) == 3
    rows = polyarch("tags", "--format", "json", faulty_registry.ref("long")).ok().json_lines
    assert [row["version"] for row in rows] == [f"2.{n}" for n in range(1250)]


def test_tags_that_name_no_platform(polyarch: Polyarch, server: DockerRegistry) -> None:
    lines = polyarch("tags", server.ref("plain")).ok().stdout.split()
    assert lines == ["VERSION", "1.0-rc1", "1.0", "1.0-armored", "20.04", "bookworm-slim"]
    quiet = polyarch("tags", "-q", server.ref("plain")).ok().stdout.split()
    assert sorted(quiet) == sorted(lines[1:])


def on_a_terminal(width: int, *arguments: str) -> list[str]:
    """What the command prints on a terminal of that width."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen([sys.executable, "-m", "polyarch", *arguments], stdout=theirs, env=variables) as process:
        os.close(theirs)
        printed = b""
        try:
            while chunk := os.read(ours, 65536):
                printed += chunk
        except OSError:  # EIO: the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return printed.decode().replace("\r\n", "\n").splitlines()


def test_a_narrow_terminal_gets_one_column_for_all_platforms(server: DockerRegistry, tmp_path: Path) -> None:
    wide = on_a_terminal(100, "--root", str(tmp_path), "tags", server.ref("mixed"))
    assert wide[0].split()[2:] == ["amd64", "arm/v6", "arm/v7", "arm64", "riscv64"]
    narrow = on_a_terminal(56, "--root", str(tmp_path), "tags", server.ref("mixed"))
    assert narrow[0].split() == ["VERSION", "TAG", "PLATFORMS"]
    assert max(map(len, narrow)) <= 56
    text = "\n".join(narrow)
    assert " ".join(text[text.index("1.48 ") :].split()).startswith(
        "1.48 x amd64, arm/v6?, arm/v7, arm64, riscv64 1.48-slim arm/v7, arm64"
    )


@pytest.mark.parametrize(
    ("asked", "platform", "tag"),
    [
        ("mixed:1.7", "linux/arm64", "arm64-1.7"),
        ("mixed:1.7", "linux/arm/v7", "1.7_armhf"),
        ("mixed:latest", "linux/arm64", "arm64-latest"),
        ("mixed:1.7-slim", "linux/arm/v7", "linux-arm-1.7-slim"),
        ("mixed:1.7-slim", "linux/arm64", "1.7-slim.aarch64"),
        ("long:2.1200", "linux/arm64", "2.1200-arm64"),
    ],
)
def test_each_convention_is_found(
    polyarch: Polyarch, server: DockerRegistry, asked: str, platform: str, tag: str
) -> None:
    before = len(server.access_log())
    [told] = polyarch("resolve", "--platform", platform, "--format", "json", server.ref(asked)).ok().json_lines
    assert (told["chosen"]["platform"], told["chosen"]["tag"], told["chosen"]["source"]) == (platform, tag, "tag")
    paths = [access.path for access in server.access_log()[before:]]
    assert sum("/tags/list" in path for path in paths) == 1
    assert sum(path.startswith("/v2/mixed/manifests") for path in paths) <= 8


def test_a_name_by_convention_is_pulled_and_proven(polyarch: Polyarch, server: DockerRegistry) -> None:
    [told] = polyarch("pull", "--platform", "linux/arm64", "--format", "json", server.ref("mixed:1.3")).ok().json_lines
    assert (told["platform"], told["tag"], told["source"]) == ("linux/arm64", "arm64-1.3", "tag")


def test_what_a_name_holds_is_what_its_config_says(polyarch: Polyarch, server: DockerRegistry) -> None:
    """1.7-riscv64 is an arm64 image."""
    asked = polyarch("resolve", "--platform", "linux/riscv64", server.ref("mixed:1.7"))
    assert asked.code == 4
    assert "variants: linux/amd64, linux/arm64" in asked.stderr


def settings(folder: Path, *templates: str) -> Path:
    path = folder / "config.toml"
    path.write_text(f"[options.template]\ntemplates = {list(templates)!r}\n")
    return path


def test_a_template_of_the_user(polyarch: Polyarch, server: DockerRegistry, tmp_path: Path) -> None:
    repository = "templated"
    give_tags(server, repository, [("build-7-for-arm64v8", ARM64), ("build-7-for-arm32v7", ARM)])
    config = settings(tmp_path, "{name}:build-{tag}-for-{docker_arch}")
    [row] = polyarch("--config", config, "tags", "--format", "json", server.ref(repository)).ok().json_lines
    assert row["version"] == "7"
    assert row["tags"] == {"linux/arm/v7": "build-7-for-arm32v7", "linux/arm64": "build-7-for-arm64v8"}
    command = ("resolve", "--platform", "linux/arm64", "--format", "json", server.ref(f"{repository}:7"))
    [told] = polyarch("--config", config, *command).ok().json_lines
    assert told["chosen"]["tag"] == "build-7-for-arm64v8"
    assert polyarch(*command).code == 3


def test_a_broken_template_is_named(polyarch: Polyarch, server: DockerRegistry, tmp_path: Path) -> None:
    config = settings(tmp_path, "{name}:{tag}-{deb_arch}")
    for command in ("tags", "resolve"):
        told = polyarch("--config", config, command, server.ref("mixed:1.7"))
        assert told.code == 2
        assert "'{name}:{tag}-{deb_arch}' cannot be used: there is no field {deb_arch}" in told.stderr
        assert "hint: known: " in told.stderr
