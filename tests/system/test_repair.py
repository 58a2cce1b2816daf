"""`verify --repair`: what a disk has damaged is fetched again by digest, from a real registry, and nothing is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.oci.digest import digest_of
from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.seen_layout import seen_layout

pytestmark = pytest.mark.system

PLATFORMS = ("linux/amd64", "linux/arm64")


class Stored:
    """An image of two platforms in a storage of its own, and ways to damage it."""

    def __init__(self, polyarch: Polyarch, registry: DockerRegistry) -> None:
        self.name = registry.ref("busybox:1.36")
        self.folder = polyarch.root / "oci"
        polyarch("pull", "--platform", ",".join(PLATFORMS), self.name).ok()
        self.before = seen_layout(self.folder)
        [self.entry] = json.loads((self.folder / "index.json").read_text())["manifests"]

    def path(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def read(self, digest: str) -> dict[str, object]:
        return json.loads(self.path(digest).read_bytes())  # type: ignore[no-any-return]

    @property
    def manifests(self) -> list[str]:
        return [each["digest"] for each in self.read(self.entry["digest"])["manifests"]]  # type: ignore[attr-defined]

    def blob(self, part: str) -> str:
        """The digest of a part of it."""
        if part in ("list", "root"):
            return str(self.entry["digest"] if part == "list" else self.entry["annotations"]["io.polyarch.root"])
        if part == "manifest":
            return self.manifests[1]
        manifest = self.read(self.manifests[0])
        return str(manifest["config"]["digest"] if part == "config" else manifest["layers"][0]["digest"])  # type: ignore[index]


@pytest.fixture
def stored(polyarch: Polyarch, registry: DockerRegistry) -> Stored:
    return Stored(polyarch, registry)


def turn_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("part", ["config", "manifest", "list", "root"])
def test_another_pull_mends_documents(polyarch: Polyarch, stored: Stored, part: str) -> None:
    turn_a_bit(stored.path(stored.blob(part)))
    assert polyarch("image", "inspect", stored.name).code == 9
    pulled = polyarch("pull", "--platform", ",".join(PLATFORMS), stored.name).ok()
    assert "is brought anew" in pulled.stderr
    assert "0 bytes" not in polyarch("verify", stored.name).ok().stdout
    assert seen_layout(stored.folder) == stored.before


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        pytest.param(
            part,
            damage,
            id=f"{part}-{damage.__name__}",
            marks=() if (part, damage) in (("layer", turn_a_bit), ("list", Path.unlink)) else pytest.mark.costly,
        )
        for part in ("layer", "config", "manifest", "list", "root")
        for damage in (turn_a_bit, cut, empty, Path.unlink)
    ],
)
def test_a_damaged_blob_comes_again(
    part: str, damage: Callable[[Path], None], stored: Stored, polyarch: Polyarch
) -> None:
    digest = stored.blob(part)
    damage(stored.path(digest))
    lines = polyarch("verify", "--repair", "--format", "json", stored.name).ok().json_lines
    assert [line["repaired"] for line in lines] == [[digest]] * 2
    assert all(line["problems"] == [] for line in lines)
    assert seen_layout(stored.folder) == stored.before
    assert skopeo("inspect", f"oci:{stored.folder}:{stored.name}")
    [again, _] = polyarch("verify", "--repair", "--format", "json", stored.name).ok().json_lines
    assert again["repaired"] == []


@pytest.mark.costly
def test_what_is_damaged_everywhere_comes_again(stored: Stored, polyarch: Polyarch, registry: DockerRegistry) -> None:
    """Also where an older try left bytes that are no good, and in other images that share it."""
    other = registry.ref("wordpress:1.0")
    partial = stored.folder / ".polyarch" / "partial" / stored.blob("layer").replace(":", "-")
    partial.write_bytes(b"wrong")
    for digest in stored.before.blobs:
        cut(stored.path(digest))
    told = polyarch("verify", stored.name)
    assert told.code in (3, 7, 9), told.stderr
    repaired = polyarch("verify", "--repair", "--format", "json", stored.name).ok().json_lines[0]["repaired"]
    assert set(repaired) == stored.before.needed
    assert seen_layout(stored.folder) == stored.before
    assert not partial.exists()
    assert polyarch("verify", "--repair", other).code == 3


def test_without_the_registry_nothing_is_lost(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    own = DockerRegistry(tmp_path / "own")
    name, folder = f"{own.address}/away:1", polyarch.root / "oci"
    try:
        polyarch("copy", "--platform", "linux/amd64", registry.ref("busybox:1.36"), name).ok()
        polyarch("pull", name, "--platform", "linux/amd64").ok()
    finally:
        own.stop()
    turn_a_bit(max((folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "settings.toml").write_text("retries = 0\n")
    away = polyarch("verify", "--repair", "--format", "json", name, env={"POLYARCH_CONFIG": tmp_path / "settings.toml"})
    assert away.code == 6
    assert away.json_lines[-1]["error"]["code"] == "unreachable"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


@pytest.mark.costly
def test_what_the_registry_has_no_more_is_told(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    own = DockerRegistry(tmp_path / "own")
    try:
        polyarch("copy", "--platform", "linux/amd64", registry.ref("busybox:1.36"), f"{own.address}/gone:1").ok()
        polyarch("pull", "--platform", "linux/amd64", f"{own.address}/gone:1").ok()
        folder = polyarch.root / "oci" / "blobs" / "sha256"
        largest, second = sorted(folder.iterdir(), key=lambda path: path.stat().st_size)[-1:-3:-1]
        for path in (largest, second):
            turn_a_bit(path)
        kept = own.storage / "docker" / "registry" / "v2" / "blobs" / "sha256" / largest.name[:2] / largest.name
        (kept / "data").unlink()
        told = polyarch("verify", "--repair", f"{own.address}/gone:1")
        assert told.code == 3, told.stderr
        assert largest.name[:12] in told.stderr
        assert polyarch("verify", f"{own.address}/gone:1").code == 7
        assert largest.exists(), "the damaged one stays until there is a better"
        assert digest_of(second.read_bytes()) == f"sha256:{second.name}", "the other one came"
    finally:
        own.stop()


def break_the_first(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"digest":"sha256:', b'"digest":"sha25\xff:', 1))


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        pytest.param(
            damage, names, id=damage.__name__, marks=pytest.mark.costly if damage is not break_the_first else ()
        )
        for damage, names in ((break_the_first, 2), (cut, 2), (empty, 0), (Path.unlink, 0))
    ],
)
def test_of_a_damaged_index_json_is_kept_what_can_be_read(
    damage: Callable[[Path], None], names: int, stored: Stored, polyarch: Polyarch
) -> None:
    for new in ("other:1", "third:1"):
        polyarch("image", "tag", stored.name, new).ok()
    before = seen_layout(stored.folder)
    damage(stored.folder / "index.json")
    refused = polyarch("image", "ls")
    assert (refused.code, refused.stderr.splitlines()[-1]) == (9, "hint: polyarch verify --repair")
    if os.environ.get("POLYARCH_SOAK"):  # asks registries
        checks = polyarch("doctor", "--format", "json").json_lines
        assert [each["mend"] for each in checks if each.get("name") == "images"] == ["polyarch verify --repair"]
    told = polyarch("verify", "--repair", "other:1")
    assert told.code == (0 if names else 3), told.stderr
    assert "index.json was damaged" in (told.stdout if names else told.stderr)
    if not names:
        assert "polyarch image tag ID NAME" in told.stderr
    assert polyarch("verify", "--repair").ok().stdout == "what names the images is sound\n"
    after = seen_layout(stored.folder)
    assert after.images == before.images, "an image is lost"
    assert len(after.names) == names
    assert after.names.items() <= before.names.items()


@pytest.mark.costly
@pytest.mark.parametrize("damage", [turn_a_bit, cut, empty, Path.unlink], ids=lambda damage: damage.__name__)
def test_a_damaged_oci_layout_is_written_anew(
    damage: Callable[[Path], None], stored: Stored, polyarch: Polyarch
) -> None:
    damage(stored.folder / "oci-layout")
    line = polyarch("verify", "--repair", "--format", "json", stored.name).ok().json_lines[0]
    assert line["repaired"] == ["oci-layout was damaged and is written anew"]
    assert seen_layout(stored.folder) == stored.before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has layers as EROFS images")
@pytest.mark.parametrize("name", ["layer.tar", pytest.param("layer.erofs", marks=pytest.mark.costly)])
def test_a_layer_that_was_made_ready_is_made_anew(name: str, polyarch: Polyarch, stored: Stored) -> None:
    """Where it is shared by images, everywhere."""
    place = polyarch.root / "snapshots" / "erofs"
    ready = polyarch("pull", "--prepare", "--platform", "linux/amd64", stored.name)
    files = sorted(place.glob("*/layer.*"))
    if ready.code or not files:
        pytest.skip("layers are not EROFS images here")
    before = {path: (path.read_bytes(), path.stat().st_mode) for path in files}
    for damage in (turn_a_bit, Path.unlink):
        damage(next(path for path in files if path.name == name))
        told = polyarch("verify", stored.name)
        assert told.code == 7
        assert "made ready" in told.stderr
        assert "--repair" in told.stderr
        lines = polyarch("verify", "--repair", "--format", "json", stored.name).ok().json_lines
        assert sum(len(line["repaired"]) for line in lines) == 1
        assert {path: (path.read_bytes(), path.stat().st_mode) for path in files} == before
        assert [path.name for path in place.rglob(".*")] == []
        polyarch("verify", stored.name).ok()


def test_run_says_of_a_damaged_layer_what_mends_it(polyarch: Polyarch, stored: Stored) -> None:
    turn_a_bit(stored.path(stored.blob("layer")))
    words = ("run", "--rm", "--pull", "never", stored.name, "/bin/true")
    refused = polyarch(*words)
    assert refused.code == 125
    assert f"error: {stored.name}: layer " in refused.stderr
    assert f"hint: polyarch verify {stored.name} says whether the disk has damaged it" in refused.stderr
    polyarch("verify", "--repair", stored.name).ok()
    polyarch(*words).ok()


@pytest.mark.costly
def test_two_repairs_at_once_end_well(stored: Stored, polyarch: Polyarch) -> None:
    for part in ("layer", "config"):
        turn_a_bit(stored.path(stored.blob(part)))
    both = [polyarch.start("verify", "--repair", stored.name) for _ in range(2)]
    assert [polyarch.finish(each).code for each in both] == [0, 0]
    assert seen_layout(stored.folder) == stored.before


@pytest.mark.costly
def test_an_image_without_a_name_has_nowhere_to_come_from(polyarch: Polyarch, stored: Stored) -> None:
    digest = stored.manifests[0]
    polyarch("image", "rm", stored.name).ok()
    assert polyarch("verify", "--repair", digest).code == 3
