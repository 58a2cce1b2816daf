"""doctor's words on podman's and containerd's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.settings import Settings
from polyarch.verbs.doctor.check import Mend, words
from polyarch.verbs.doctor.mirrors import mirrors


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "certs.d").mkdir()
    (tmp_path / "registries.conf").touch()
    return Settings(
        tmp_path,
        registries_conf=str(tmp_path / "registries.conf"),
        containerd_hosts=str(tmp_path / "certs.d"),
    )


def hosts(settings: Settings, registry: str, text: str) -> Path:
    folder = Path(settings.containerd_hosts) / registry
    folder.mkdir()
    (folder / "hosts.toml").write_text(text)
    return folder / "hosts.toml"


def test_none(tmp_path: Path) -> None:
    [check] = mirrors(Settings(tmp_path))
    assert (check.name, check.verdict) == ("mirrors", "ok")
    assert "every registry is asked itself" in check.fact


def test_what_they_say(settings: Settings) -> None:
    Path(settings.registries_conf).write_text(
        "unqualified-search-registries = ['quay.io', 'docker.io']\n"
        "[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]\nlocation = 'm.local'\n"
        "[[registry]]\nlocation = 'c.d'\nblocked = true\n[aliases]\n'x' = 'a.b/x'"
    )
    hosts(settings, "a.b", "[host.'https://m.local']\n[host.'https://n.local']")
    podmans, containerds = mirrors(settings)
    assert {podmans.verdict, containerds.verdict} == {"ok"}
    said = "2 registries, 1 mirror, 1 blocked, 1 short name, searches quay.io, docker.io"
    assert podmans.fact == f"{settings.registries_conf}: {said}"
    assert containerds.fact == f"{settings.containerd_hosts}: 1 registry, 2 hosts before them"


def test_each_broken_file_is_told_with_what_puts_it_aside(settings: Settings) -> None:
    conf = Path(settings.registries_conf)
    conf.write_text("registry = 1")
    default, other = hosts(settings, "_default", "server = 1"), hosts(settings, "a.b", "ca = 1")
    checks = list(mirrors(settings))
    assert [check.verdict for check in checks] == ["failed"] * 3
    assert [check.mend for check in checks] == [
        Mend(words("mv", path, f"{path}.broken")) for path in (conf, default, other)
    ]
    assert [check.essential for check in checks] == [True, True, False]  # the last stops pulls from a.b alone
    assert all(str(path) in check.fact for path, check in zip((conf, default, other), checks, strict=True))


def test_a_file_that_is_named_and_missing(settings: Settings) -> None:
    Path(settings.registries_conf).unlink()
    [check] = mirrors(settings)
    assert (check.verdict, check.essential, check.mend) == ("failed", True, None)
    assert "no such file (the setting registries_conf names it)" in check.fact
