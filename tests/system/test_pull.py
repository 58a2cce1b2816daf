"""Pull and resolve through the real command, against a real registry, with skopeo as the second opinion."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from polyarch.oci.digest import digest_of
from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.layout_files import Layout

pytestmark = pytest.mark.system

# what is asked for, what skopeo is told to be, the platform that is taken
SKOPEO_AGREES = [
    ("linux/amd64", ("amd64", ""), "linux/amd64"),
    ("linux/386", ("386", ""), "linux/386"),
    ("linux/arm64", ("arm64", ""), "linux/arm64"),
    ("linux/arm64/v8", ("arm64", "v8"), "linux/arm64"),
    ("linux/arm/v7", ("arm", "v7"), "linux/arm/v7"),
    ("linux/arm/v6", ("arm", "v6"), "linux/arm/v5"),
    ("linux/arm/v5", ("arm", "v5"), "linux/arm/v5"),
    ("linux/s390x", ("s390x", ""), "linux/s390x"),
    ("linux/ppc64le", ("ppc64le", ""), "linux/ppc64le"),
]


def as_platform(architecture: str, variant: str) -> list[str]:
    """skopeo's options to be another machine."""
    return [
        "--override-os",
        "linux",
        "--override-arch",
        architecture,
        *(["--override-variant", variant] if variant else []),
    ]


@pytest.mark.parametrize(("asked", "as_skopeo", "taken"), SKOPEO_AGREES, ids=[row[0] for row in SKOPEO_AGREES])
@pytest.mark.parametrize("image", ["busybox:1.36", "docker-list:1.0"])
def test_the_choice_is_skopeos(
    polyarch: Polyarch, registry: DockerRegistry, image: str, asked: str, as_skopeo: tuple[str, str], taken: str
) -> None:
    name = registry.ref(image)
    [line] = polyarch("resolve", "--format", "json", "--platform", asked, name).ok().json_lines
    assert line["chosen"]["platform"] == taken
    chosen = f"docker://{name.rpartition(':')[0]}@{line['chosen']['manifest']}"
    ours = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", chosen))["config"]["digest"]
    theirs = skopeo(*as_platform(*as_skopeo), "inspect", "--tls-verify=false", "--config", "--raw", f"docker://{name}")
    assert ours == digest_of(theirs.encode())


def test_v6_takes_v5_of_v7_and_v5(polyarch: Polyarch, registry: DockerRegistry, sample_layout: Path) -> None:
    [line] = polyarch("resolve", "--format", "json", "--platform", "arm/v6", registry.ref("v7-v5:1.0")).ok().json_lines
    assert line["chosen"]["manifest"] == Layout(sample_layout).manifest("v7-v5:1.0", "arm", "v5")
    refused = {entry["platform"]: entry["refused"] for entry in line["candidates"]}
    assert refused["linux/arm/v5"] is None
    assert "needs linux/arm/v7" in refused["linux/arm/v7"]


# AArch32 of the device, its page size, its emulators; how an arm-only image runs there (None: not at all)
ARM_ON_ARM64 = [
    (["linux/arm64", "linux/arm/v8", "linux/arm/v7"], [], "compatible"),
    (["linux/arm64"], [{"platform": "linux/arm/v7", "emulator": "/usr/bin/qemu-arm", "how": "registered"}], "emulated"),
    (["linux/arm64"], [], None),
]


@pytest.mark.parametrize(("native", "emulated", "match"), ARM_ON_ARM64)
def test_arm_on_arm64_is_native_or_emulated_as_the_probe_says(
    polyarch: Polyarch,
    registry: DockerRegistry,
    tmp_path: Path,
    native: list[str],
    emulated: list[object],
    match: str | None,
) -> None:
    device = tmp_path / "device.json"
    device.write_text(json.dumps({"platform": "linux/arm64", "native": native, "emulated": emulated}))
    result = polyarch("resolve", "--format", "json", "--device", device, registry.ref("arm-only:1.0"))
    if match is None:
        assert result.code == 4
        assert result.json_lines[0]["error"]["code"] == "no-variant"
    else:
        assert result.ok().json_lines[0]["chosen"]["match"] == match


def test_resolve_fetches_no_layer(polyarch: Polyarch, registry: DockerRegistry) -> None:
    before = len(registry.access_log())
    polyarch("resolve", registry.ref("busybox:1.36")).ok()
    asked = [access for access in registry.access_log()[before:] if access.path != "/v2/"]
    assert asked
    assert not [access for access in asked if "/blobs/" in access.path]


def test_a_second_pull_costs_one_head(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", name).ok()
    before = len(registry.access_log())
    [line] = polyarch("pull", "--format", "json", name).ok().json_lines
    asked = [(access.method, access.path) for access in registry.access_log()[before:] if access.path != "/v2/"]
    assert asked == [("HEAD", "/v2/busybox/manifests/1.36")]
    assert (line["status"], line["downloaded_bytes"]) == ("up-to-date", 0)
    assert {layer["status"] for layer in line["layers"]} == {"exists"}


NAMES = [
    ("busybox:1.36", "linux/amd64", "index"),
    ("busybox:1.36", "linux/arm/v7", "index"),
    ("arm64-only:1.0", "linux/arm64", "index"),
    ("nested:1.0", "linux/arm64", "index"),
    ("no-platform:1.0", "linux/arm/v7", "index"),
    ("docker-list:1.0", "linux/s390x", "index"),
    ("single:1.0", "linux/arm64", "manifest"),
    ("tagged:1.0", "linux/arm64", "tag"),
    ("tagged:1.0", "linux/arm/v7", "tag"),
    ("tagged:1.0", "linux/amd64", "tag"),
    ("clock:1.0", "linux/arm/v7", "tag"),
    ("zstd:1.0", "linux/386", "index"),
]


@pytest.mark.parametrize(("image", "platform", "source"), NAMES)
def test_skopeo_reads_what_was_pulled(
    polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path, image: str, platform: str, source: str
) -> None:
    name = registry.ref(image)
    [line] = polyarch("pull", "--format", "json", "--platform", platform, name).ok().json_lines
    assert (line["platform"], line["source"], line["status"]) == (platform, source, "downloaded")
    architecture, _, variant = platform.removeprefix("linux/").partition("/")
    override = as_platform(architecture, variant)
    shown = json.loads(skopeo(*override, "inspect", f"oci:{polyarch.root}/oci:{name}"))
    assert shown["Architecture"] == architecture
    assert shown["Layers"] == [layer["digest"] for layer in line["layers"]]
    skopeo(*override, "copy", f"oci:{polyarch.root}/oci:{name}", f"dir:{tmp_path}/copy")
    manifest = digest_of((tmp_path / "copy" / "manifest.json").read_bytes())
    assert manifest == line["manifest"]


@pytest.mark.parametrize("everything", [True, False], ids=["all", "one"])
def test_a_layout_that_skopeo_wrote_is_read(polyarch: Polyarch, registry: DockerRegistry, everything: bool) -> None:
    (polyarch.root / "oci").mkdir(parents=True)
    name = registry.ref("busybox:1.36")
    source, target = f"docker://{name}", f"oci:{polyarch.root}/oci:{name}"
    if everything:
        skopeo("copy", "--all", "--src-tls-verify=false", source, target)
    else:
        skopeo(*as_platform("arm64", ""), "copy", "--src-tls-verify=false", source, target)
    lines = polyarch("image", "ls", "--format", "json").ok().json_lines
    found = {line["platform"] for line in lines if line["repository"] == name.rpartition(":")[0]}
    assert "linux/arm64" in found
    assert len(found) == (7 if everything else 1)
    polyarch("verify", name).ok()


def test_several_platforms_of_a_name_live_side_by_side(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", "--platform", "linux/arm64,linux/s390x", name).ok()
    polyarch("pull", "--platform", "linux/386", name).ok()
    lines = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert {line["platform"] for line in lines} == {"linux/arm64", "linux/s390x", "linux/386"}
    polyarch("image", "rm", "--platform", "linux/s390x", name).ok()
    lines = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert {line["platform"] for line in lines} == {"linux/arm64", "linux/386"}
    polyarch("verify", name).ok()


def test_all_platforms(polyarch: Polyarch, registry: DockerRegistry) -> None:
    lines = polyarch("pull", "--format", "json", "--all-platforms", registry.ref("busybox:1.36")).ok().json_lines
    assert len(lines) == 7
    assert {line["match"] for line in lines} == {"exact"}


def test_a_liar_is_refused_and_its_name_stays_what_it_was(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("liar:1.0")
    result = polyarch("pull", "--format", "json", "--platform", "linux/arm64", name)
    assert result.code == 7
    assert result.json_lines[-1]["error"]["code"] == "integrity"
    assert "linux/amd64" in result.json_lines[-1]["error"]["message"]
    assert polyarch("image", "ls", "--format", "json").ok().json_lines == []
    taken = polyarch("pull", "--format", "json", "--allow-mislabelled", "--platform", "linux/arm64", name).ok()
    assert taken.json_lines[-1]["platform"] == "linux/amd64"


@pytest.mark.parametrize(("image", "code"), [("unlabelled-v5:1.0", 0), ("arm-only:1.0", 7)])
def test_an_entry_without_a_variant_is_proven_by_its_program(
    polyarch: Polyarch, registry: DockerRegistry, image: str, code: int
) -> None:
    name = registry.ref(image)
    [line] = polyarch("resolve", "--format", "json", "--device", "pi-zero", name).ok().json_lines
    assert line["candidates"][0]["unproven"] is True
    result = polyarch("pull", "--format", "json", "--device", "pi-zero", name)
    assert result.code == code
    if code == 0:
        assert result.json_lines[0]["platform"] == "linux/arm/v5"


def test_a_dry_run_stores_nothing(polyarch: Polyarch, registry: DockerRegistry) -> None:
    [line] = polyarch("pull", "--dry-run", "--format", "json", registry.ref("busybox:1.36")).ok().json_lines
    assert line["status"] == "planned"
    assert {layer["status"] for layer in line["layers"]} == {"missing"}
    assert polyarch("image", "ls", "--format", "json").ok().json_lines == []


def test_without_a_terminal_pull_prints_what_docker_prints(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox")
    lines = polyarch("pull", name).ok().stdout.splitlines()
    assert lines[:3] == [
        "Using default tag: latest",
        "latest: Pulling from busybox",
        "Platform: linux/amd64 (exact; 7 variants in the index)",
    ]
    assert sorted(line.partition(": ")[2] for line in lines[3:5]) == ["Pull complete", "Pull complete"]
    assert lines[5].startswith("Digest: sha256:")
    assert lines[6:] == [f"Status: Downloaded newer image for {name}:latest", f"{name}:latest"]
    again = polyarch("pull", name).ok().stdout.splitlines()
    assert f"Status: Image is up to date for {name}:latest" in again


def test_unpack_is_what_umoci_unpacks(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", "--platform", "linux/arm64", name).ok()
    polyarch("image", "unpack", "--platform", "linux/arm64", name, tmp_path / "ours").ok()
    source = f"docker://{name}"
    skopeo("--override-arch", "arm64", "copy", "--src-tls-verify=false", source, f"oci:{tmp_path}/umoci:v1")
    subprocess.run(["umoci", "unpack", "--image", f"{tmp_path}/umoci:v1", str(tmp_path / "theirs")], check=True)
    listing = ["find", ".", "-printf", "%P %y %m %U %G %l %s\\n"]

    def tree(folder: Path) -> list[str]:
        text = subprocess.run(listing, cwd=folder, check=True, capture_output=True, text=True).stdout
        return sorted(line for line in text.splitlines() if " d " not in line)

    assert tree(tmp_path / "ours") == tree(tmp_path / "theirs" / "rootfs")
