"""Facts kept between commands: whose they are, how old they are, and what is left of damaged ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.errors import StorageError
from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage
from polyarch.verbs.fleet.facts_cache import KEPT_INVENTORIES, KEPT_SECONDS, FactsCache
from polyarch_platforms.named import named

FACTS = DeviceFacts("pi1", named("pi-zero"), (Engine("docker", version="27"),), 3, 1000.0, True)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_kept_is_there(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "fleet" / "facts", ["hosts"])
    assert cache.get("pi1") is None
    cache.put(FACTS)
    cache.put(replace(FACTS, taken=2000.0))
    assert cache.get("pi1") == FactsCache(tmp_path / "fleet" / "facts", ["hosts"]).get("pi1")
    assert cache.get("pi1") == replace(FACTS, taken=2000.0)
    assert cache.get("pi2") is None
    (path,) = files(tmp_path)
    assert (tmp_path / "fleet").stat().st_mode & 0o777 == 0o700
    assert "pi1" not in path.name


def test_what_a_killed_one_left_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that fails leaves nothing."""
    cache = FactsCache(tmp_path, ["hosts"])
    cache.put(FACTS)
    (path,) = files(tmp_path)
    path.with_name(".new").write_text("half of something that is much longer than it was" * 1000)
    cache.put(replace(FACTS, taken=2000.0))
    assert files(tmp_path) == [path]
    assert cache.get("pi1") == replace(FACTS, taken=2000.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        cache.put(FACTS)
    assert files(tmp_path) == [path]


def test_of_one_that_was_brought_images_stays_what_it_is(tmp_path: Path) -> None:
    """Its facts are no good for a plan: those of its images and its disk are gone."""
    cache = FactsCache(tmp_path, [], lambda: 1000.0)
    cache.outdate("pi1")
    assert cache.get("pi1") is None
    image = EngineImage(("docker.io/library/app:1",), f"sha256:{'0' * 64}")
    engine = Engine("oci", version="1", place="/place", free=7, images=(image,), blobs=(image.id,))
    cache.put(replace(FACTS, engines=(engine,)))
    assert cache.get("pi1", 60)
    for _ in range(2):
        cache.outdate("pi1")
        assert cache.get("pi1", 60) is None
        left = replace(engine, free=None, images=(), blobs=())
        assert cache.get("pi1") == replace(FACTS, engines=(left,), outdated=True)
    cache.put(FACTS)
    assert cache.get("pi1", 60) == FACTS


@pytest.mark.parametrize(
    ("taken", "max_age", "good"),
    [(940.0, 60, True), (939.0, 60, False), (1001.0, 60, False), (0.0, None, True), (1001.0, None, True)],
)
def test_facts_have_an_age(taken: float, max_age: float | None, good: bool, tmp_path: Path) -> None:
    """What comes from the future has none."""
    cache = FactsCache(tmp_path, [], lambda: 1000.0)
    cache.put(replace(FACTS, taken=taken))
    assert (cache.get("pi1", max_age) is not None) is good


def test_inventories_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have a `pi1`: by another file of the same name in another folder, too."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts").touch()
    caches = []
    for folder, words in (
        *((tmp_path / "one", words) for words in (["hosts"], ["pi1,pi2,"], [], ["pi1,", "pi2,"])),
        *((tmp_path / "two", words) for words in (["hosts"], [])),
    ):
        monkeypatch.chdir(folder)
        caches.append(FactsCache(tmp_path / "facts", words))
    for number, cache in enumerate(caches):
        cache.put(replace(FACTS, clock_skew=number))
    assert [facts.clock_skew for cache in caches if (facts := cache.get("pi1"))] == list(range(len(caches)))
    monkeypatch.chdir(tmp_path)
    named_otherwise = FactsCache(tmp_path / "facts", ["one/hosts"]).get("pi1")
    assert named_otherwise
    assert named_otherwise.clock_skew == 0


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 4000, "\N{SNOWMAN}", "\ud800", "a\0b", "a\nb"])
def test_any_name_has_a_place(name: str, tmp_path: Path) -> None:
    cache = FactsCache(tmp_path / "facts", [name])
    cache.put(replace(FACTS, name=name))
    (path,) = files(tmp_path)
    assert path.is_relative_to(tmp_path / "facts")
    assert cache.get(name) == replace(FACTS, name=name)


@pytest.mark.parametrize("damage", [b"", b"\xff", b'{"version": 1}', b"[" * 100_000])
def test_damaged_facts_are_none(damage: bytes, tmp_path: Path) -> None:
    cache = FactsCache(tmp_path, [])
    cache.put(FACTS)
    (path,) = files(tmp_path)
    path.write_bytes(damage)
    assert cache.get("pi1") is None
    cache.put(FACTS)
    assert cache.get("pi1") == FACTS
    path.unlink()
    path.mkdir()
    assert cache.get("pi1") is None


def test_facts_under_the_name_of_another_are_none(tmp_path: Path) -> None:
    cache = FactsCache(tmp_path, [])
    cache.put(FACTS)
    (path,) = files(tmp_path)
    cache.put(replace(FACTS, name="pi2"))
    (other,) = set(files(tmp_path)) - {path}
    other.rename(path)
    assert cache.get("pi1") is None


def test_what_is_old_goes(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    first = FactsCache(folder, ["first"])
    first.put(FACTS)
    first.put(replace(FACTS, name="gone"))
    for number, path in enumerate(sorted(files(folder))):
        if number == 0:
            os.utime(path, (0, path.stat().st_mtime - KEPT_SECONDS - 10))
    left = path.with_suffix(".1234")  # of a process that was killed while it wrote
    left.touch()
    os.utime(left, (0, 0))
    FactsCache(folder, ["first"]).put(replace(FACTS, name="new"))
    assert len(files(folder)) == 2
    os.utime(path.parent, (0, 0))
    for number in range(KEPT_INVENTORIES):
        FactsCache(folder, [f"other{number},"]).put(FACTS)
    assert len(list(folder.iterdir())) == KEPT_INVENTORIES
    assert not path.parent.exists()


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        FactsCache(tmp_path / "file", []).put(FACTS)
