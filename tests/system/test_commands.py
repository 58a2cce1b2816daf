"""What the commands print, through the real command and against a real registry: for people and for scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.layout_files import Layout
from support.plugin_packages import install

pytestmark = pytest.mark.system

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@pytest.fixture
def busybox(registry: DockerRegistry) -> str:
    return registry.ref("busybox:1.36")


@pytest.fixture
def stored(polyarch: Polyarch, busybox: str) -> str:
    """The name of an image at hand, for amd64 and arm64."""
    polyarch("pull", "-q", "--platform", "linux/amd64,linux/arm64", busybox).ok()
    return busybox


def test_pull_in_dockers_words(polyarch: Polyarch, registry: DockerRegistry, sample_layout: Path) -> None:
    layout = Layout(sample_layout)
    index = layout.names["busybox:latest"]["digest"]
    layers = layout.json(layout.manifest("busybox:latest", "s390x"))["layers"]
    name = registry.ref("busybox")
    first = polyarch("pull", "--platform", "linux/s390x", name).ok()
    lines = first.stdout.splitlines()
    assert first.stderr == ""
    assert lines[:3] == [
        "Using default tag: latest",
        "latest: Pulling from busybox",
        "Platform: linux/s390x (exact; 7 variants in the index)",
    ]
    assert sorted(lines[3:-3]) == sorted(f"{layer['digest'][7:19]}: Pull complete" for layer in layers)
    assert lines[-3:] == [
        f"Digest: {index}",
        f"Status: Downloaded newer image for {name}:latest",
        f"{name}:latest",
    ]
    again = polyarch("pull", "--platform", "linux/s390x", name).ok().stdout.splitlines()
    assert again == [*lines[:3], f"Digest: {index}", f"Status: Image is up to date for {name}:latest", f"{name}:latest"]


def test_pull_shares_layers_and_says_so(polyarch: Polyarch, stored: str) -> None:
    lines = polyarch("pull", "--platform", "linux/ppc64le", stored).ok().stdout.splitlines()
    assert [line.partition(": ")[2] for line in lines[2:4]] == ["Already exists", "Pull complete"]


def test_json_of_pull(polyarch: Polyarch, busybox: str) -> None:
    result = polyarch("pull", "--platform", "linux/arm64", busybox, "--format", "json").ok()
    [line] = result.json_lines
    assert set(line) >= {
        "reference",
        "digest",
        "manifest",
        "platform",
        "match",
        "source",
        "tag",
        "status",
        "layers",
        "downloaded_bytes",
        "reused_bytes",
        "storage",
    }
    assert (line["reference"], line["tag"], line["status"]) == (busybox, "1.36", "downloaded")
    assert set(line["layers"][0]) == {"digest", "size", "status", "reused_bytes"}
    assert "Pull complete" in result.stderr  # progress
    quiet = polyarch("pull", "-q", "--platform", "linux/arm64", busybox).ok()
    assert (quiet.stdout, quiet.stderr) == (f"{line['manifest']}\n", "")


def test_a_name_written_twice_is_pulled_once(polyarch: Polyarch, busybox: str) -> None:
    assert len(polyarch("pull", "--format", "json", busybox, busybox).ok().json_lines) == 1


def test_a_dry_run_brings_nothing(polyarch: Polyarch, busybox: str) -> None:
    words = ["pull", "--dry-run", "--platform", "linux/arm64,linux/s390x", busybox]
    lines = polyarch(*words).ok().stdout.splitlines()
    assert sum(bool(re.fullmatch(r"[0-9a-f]{12}: \S+ to pull", line)) for line in lines) == 4
    assert f"for {busybox} (linux/s390x)" in lines[-2]
    for line in polyarch(*words, "--format", "json").ok().json_lines:
        assert line["status"] == "planned"
        assert {layer["status"] for layer in line["layers"]} == {"missing"}
    assert polyarch("images", "-q").ok().stdout == ""


def test_progress_as_json(polyarch: Polyarch, busybox: str) -> None:
    result = polyarch("pull", "--progress", "json", "--format", "json", busybox).ok()
    events = [json.loads(line)["event"] for line in result.stderr.splitlines()]
    assert events[:2] == ["PullStarted", "VariantChosen"]
    assert events[-1] == "PullFinished"
    assert len(result.json_lines) == 1
    assert polyarch("pull", "--progress", "none", "--format", "json", busybox).ok().stderr == ""


def test_resolve(polyarch: Polyarch, busybox: str) -> None:
    [line] = polyarch("resolve", "--device", "pi-zero", "--format", "json", busybox).ok().json_lines
    assert set(line) == {"reference", "digest", "device", "chosen", "candidates", "served_by"}
    assert set(line["chosen"]) == {"platform", "manifest", "match", "source", "tag", "size", "emulator"}
    for candidate in line["candidates"]:
        assert set(candidate) == {"platform", "manifest", "source", "tag", "size", "match", "unproven", "refused"}
    lines = polyarch("resolve", "--device", "pi-zero", busybox).ok().stdout.splitlines()
    assert lines[0] == f"{busybox} for pi-zero"
    assert lines[1].split() == ["PLATFORM", "MATCH", "SOURCE", "DIGEST", "WHY"]
    assert lines[2].split()[:2] == ["linux/arm/v5", "compatible"]
    assert len(lines) == 2 + len(line["candidates"])
    reasons = {row.split()[0]: row for row in lines[2:]}
    for candidate in line["candidates"]:
        assert candidate["refused"] is None or candidate["refused"] in reasons[candidate["platform"]]
    assert polyarch("resolve", "-q", "--device", "pi-zero", busybox).ok().stdout == f"{line['chosen']['manifest']}\n"


def test_image_ls(polyarch: Polyarch, stored: str) -> None:
    lines = polyarch("image", "ls").ok().stdout.splitlines()
    assert lines[0] == polyarch("images").ok().stdout.splitlines()[0]
    assert lines[0].split("   ")[0] == "REPOSITORY"
    assert lines[0].split() == ["REPOSITORY", "TAG", "PLATFORM", "IMAGE", "ID", "CREATED", "SIZE", "SHARED"]
    documents = polyarch("images", "--format", "json").ok().json_lines
    assert {line["platform"] for line in documents} == {"linux/amd64", "linux/arm64"}
    for document, row in zip(documents, lines[1:], strict=True):
        assert set(document) >= {
            "repository",
            "tag",
            "id",
            "digest",
            "platform",
            "created",
            "size",
            "shared_size",
        }
        assert document["shared_size"] > 0
        assert document["id"][7:19] in row.split()
        assert [document["repository"], document["tag"], document["platform"]] == row.split()[:3]
    assert polyarch("images", "-q").ok().stdout.split() == [document["id"][7:19] for document in documents]


def test_an_image_by_id_and_by_platform(polyarch: Polyarch, stored: str) -> None:
    for document in polyarch("images", "--format", "json").ok().json_lines:
        for words in ([document["id"][7:19]], ["--platform", document["platform"], stored]):
            [inspected] = polyarch("image", "inspect", "--format", "json", *words).ok().json_lines
            assert inspected["platform"] == document["platform"]
            assert inspected["id"] == document["id"]
    index = document["digest"]
    assert index != document["manifest"]
    for name in (index, index[7:19]):  # as `pull`, `push` and `lock` print it
        words = ["image", "inspect", "--format", "json", "--platform", document["platform"], name]
        assert polyarch(*words).ok().json_lines == [inspected]
    shown = json.loads(polyarch("image", "inspect", "--platform", "linux/arm64", stored).ok().stdout)
    assert shown["cmd"] == ["sh"]
    assert [layer["digest"] for layer in shown["layers"]]


def test_history(polyarch: Polyarch, stored: str) -> None:
    words = ["image", "history", "--platform", "linux/arm64", stored]
    steps = polyarch(*words, "--format", "json").ok().json_lines
    assert steps[0]["by"] == "COPY etc /etc # buildkit"
    assert [bool(step["layer"]) for step in steps] == [True, False, True]
    lines = polyarch(*words).ok().stdout.splitlines()
    assert re.split(r" {3,}", lines[0]) == ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]
    assert [line.split()[0] == "<missing>" for line in lines[1:]] == [False, True, True]
    assert '/bin/sh -c #(nop)  CMD ["sh"]   0B' in lines[2]


def test_a_second_name_and_its_end(polyarch: Polyarch, stored: str) -> None:
    assert polyarch("image", "tag", stored, "mine:1").ok().stdout == ""
    assert len(polyarch("images", "--format", "json").ok().json_lines) == 4
    assert polyarch("image", "rm", stored).ok().stdout == f"Untagged: {stored}\n"
    [gone] = polyarch("image", "rm", "--format", "json", "mine:1").ok().json_lines
    assert len(gone["removed"]) >= 5
    assert polyarch("images", "--format", "json").ok().stdout == ""
    assert polyarch("image", "prune").ok().stdout == "Total reclaimed space: 0B\n"


def test_one_platform_of_several_is_removed(polyarch: Polyarch, stored: str) -> None:
    polyarch("image", "rm", "--platform", "linux/arm64", stored).ok()
    [left] = polyarch("images", "--format", "json").ok().json_lines
    assert left["platform"] == "linux/amd64"


def test_unpack(polyarch: Polyarch, stored: str, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    said = polyarch("image", "unpack", "--platform", "linux/arm64", stored, folder).ok().stdout
    assert said == f"Unpacked {stored} (linux/arm64) into {folder}\n"
    assert (folder / "etc/motd").read_text() == "written by the second layer\n"
    assert not (folder / "etc/removed-by-second-layer").exists()


def test_verify(polyarch: Polyarch, stored: str) -> None:
    lines = polyarch("verify", "--format", "json", stored).ok().json_lines
    assert [line["problems"] for line in lines] == [[], []]
    assert polyarch("verify", stored).ok().stdout.count(": sound, ") == 2


def test_tags(polyarch: Polyarch, registry: DockerRegistry) -> None:
    names = polyarch("tags", "-q", registry.ref("tagged")).ok().stdout.split()
    assert sorted(names) == ["1.0-amd64", "1.0-arm64v8", "1.0-armhf"]
    [document] = polyarch("tags", "--format", "json", registry.ref("tagged")).ok().json_lines
    assert document["repository"] == registry.ref("tagged")
    assert (document["version"], document["tag"]) == ("1.0", None)
    assert sorted(document["tags"].values()) == sorted(names)


def test_device(polyarch: Polyarch) -> None:
    [line] = polyarch("device", "--format", "json").ok().json_lines
    assert set(line) >= {
        "platform",
        "native",
        "emulated",
        "machine",
        "kernel",
        "userland_bits",
        "page_size",
        "cpu",
        "board",
    }
    assert set(line["cpu"]) == {"vendor", "model", "features", "level"}
    assert polyarch("device", "-q").ok().stdout == f"{line['platform']}\n"
    rows = dict(re.split(r" {3,}", row, maxsplit=1) for row in polyarch("device").ok().stdout.splitlines())
    assert rows["platform"] == line["platform"]
    assert rows["native"] == ", ".join(line["native"])


def test_this_machine_as_if_it_were_another(polyarch: Polyarch, busybox: str, tmp_path: Path) -> None:
    probe = polyarch("device", "--print-probe").ok().stdout
    answer = subprocess.run(["sh", "-s"], input=probe, capture_output=True, text=True, check=True).stdout
    far = polyarch("device", "--facts", "-", "--format", "json", stdin=answer).ok()
    assert far.json_lines[0]["platform"] == polyarch("device", "-q").ok().stdout.strip()
    file = tmp_path / "far.json"
    file.write_text(far.stdout)
    [line] = polyarch("resolve", "--device", file, "--format", "json", busybox).ok().json_lines
    assert line["device"] == "far"


def test_device_ls(polyarch: Polyarch) -> None:
    names = polyarch("device", "ls", "-q").ok().stdout.split()
    assert len(names) >= 30
    assert {"pi-zero", "pi-3-32bit", "pi-5", "x86-64-v2"} <= set(names)
    assert [line["name"] for line in polyarch("device", "ls", "--format", "json").ok().json_lines] == names
    assert len(polyarch("device", "ls").ok().stdout.splitlines()) == 1 + len(names)


def test_login_and_logout(polyarch: Polyarch, authed_registry: DockerRegistry) -> None:
    address, name = authed_registry.address, authed_registry.ref("busybox:1.36")
    words = ["login", "-u", "ali", "--password-stdin", address]
    said = polyarch(*words, stdin="open sesame\n").ok().stdout.splitlines()
    assert said[0] == "Login Succeeded"
    assert "sesame" not in "".join(said)
    assert Path(said[1].rpartition(" ")[2]).is_file()
    polyarch("resolve", name).ok()
    assert polyarch("logout", address).ok().stdout == f"Removing login credentials for {address}\n"
    assert polyarch("resolve", name).code == 5
    assert polyarch("logout", address).ok().stdout == f"Not logged in to {address}\n"


def test_serve(polyarch: Polyarch, stored: str, tmp_path: Path) -> None:
    process = polyarch.start("serve", "--format", "json")
    assert process.stdout
    address = json.loads(process.stdout.readline())["address"]
    [line] = polyarch("pull", "--format", "json", f"{address}/busybox:1.36", root=tmp_path / "other").ok().json_lines
    assert line["status"] == "downloaded"
    process.terminate()
    assert polyarch.finish(process, seconds=20).code == 0


def test_plugin_ls(polyarch: Polyarch) -> None:
    documents = polyarch("plugin", "ls", "--format", "json").ok().json_lines
    assert {"distribution", "docker-hub", "oci"} <= {line["name"] for line in documents}
    lines = polyarch("plugin", "ls").ok().stdout.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "FROM", "SUMMARY"]
    assert len(lines) == 1 + len(documents)


def test_doctor(polyarch: Polyarch) -> None:
    documents = polyarch("doctor", "--format", "json").json_lines
    for line in documents:
        if "error" not in line:
            assert set(line) == {"name", "verdict", "fact", "mend", "as_root", "essential"}
    assert polyarch("doctor").stdout.splitlines()[0].split() == ["CHECK", "VERDICT", "FACT"]


def test_the_later_shared_option_counts(polyarch: Polyarch, tmp_path: Path, stored: str) -> None:
    other = tmp_path / "other"
    for words in (
        ["image", "ls", "-q", "--root", other],
        ["--root", other, "image", "ls", "-q"],
        ["--root", "/nonexistent", "image", "--root", other, "-q", "ls"],
        ["--root", "/nonexistent", "image", "ls", "--root", other, "-q"],
    ):
        assert polyarch(*words).ok().stdout == ""
    assert polyarch("--format", "json", "images", "--format", "table").ok().stdout.startswith("REPOSITORY")
    assert polyarch("images", "--root", polyarch.root, "-q", root=other).ok().stdout != ""


def test_a_reader_that_goes_away(polyarch: Polyarch) -> None:
    process = polyarch.start("device", "ls", "--format", "json")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def test_debug_shows_where(polyarch: Polyarch) -> None:
    command = [sys.executable, "-m", "polyarch", "--debug", "image", "rm", "nothing"]
    env = {**os.environ, "POLYARCH_ROOT": str(polyarch.root)}
    run = subprocess.run(command, capture_output=True, text=True, env=env)
    assert run.returncode == 3
    assert "Traceback" in run.stderr
    assert "error: nothing is not in the storage\n" in run.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(polyarch: Polyarch, shell: str) -> None:
    script = polyarch("completion", shell).ok().stdout
    assert "_POLYARCH_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("polyarch pu", ["pull", "push"]),
        ("polyarch image in", ["inspect"]),
        ("polyarch pull --dry", ["--dry-run"]),
        ("polyarch resolve --device pi-zero-2-32", ["pi-zero-2-32bit", "pi-zero-2-32bit-userland"]),
        ("polyarch resolve --device pi-4-32bit x --emulation n", ["never"]),
        ("polyarch pull --platform linux/amd64,linux/s39", ["linux/amd64,linux/s390x"]),
        ("polyarch emulator test risc", ["riscv64"]),
        ("polyarch pull --into docker", ["docker", "docker-archive"]),
        ("polyarch image ls --storage con", ["containerd"]),
        ("polyarch plugin show docker", ["docker", "docker-archive", "docker-daemon", "docker-hub", "docker_hub"]),
        ("polyarch plugin check containerd", ["containerd"]),
    ],
)
def test_completion(polyarch: Polyarch, words: str, offered: list[str]) -> None:
    assert _complete(polyarch, words) == offered


def test_completion_of_images(polyarch: Polyarch, stored: str) -> None:
    assert _complete(polyarch, f"polyarch image inspect {stored[:11]}") == [stored]
    assert _complete(polyarch, "polyarch image inspect --root /nonexistent x") == []


def test_who_presses_tab_hears_nothing_of_broken_plugins(polyarch: Polyarch, tmp_path: Path) -> None:
    install(tmp_path / "site", "broken-plugin", "raise RuntimeError\n")
    env = {"PYTHONPATH": str(tmp_path / "site")}
    assert _complete(polyarch, "polyarch pull --into po", env) == ["podman"]
    assert _complete(polyarch, "polyarch plugin show br", env) == ["broken-plugin"]


def _complete(polyarch: Polyarch, words: str, env: Mapping[str, str] | None = None) -> list[str]:
    env = {"_POLYARCH_COMPLETE": "bash_complete", "COMP_WORDS": words, **(env or {})}
    env["COMP_CWORD"] = str(len(words.split()) - 1)
    result = polyarch(env=env).ok()
    assert result.stderr == ""
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line]
