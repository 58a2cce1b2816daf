"""A release: built twice, its bill of materials, and that its checks see what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from release import check, sbom
from release.__main__ import release
from release.build import ANOTHER_WAY, ONE_WAY, Commit, build, export, last_commit
from release.pins import CHECKOUT, DEV, Pin, ReleaseError, read

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "polyarch"
version = "1.2"
[tool.hatch.build.targets.wheel]
packages = ["orchestrator/polyarch"]
"""


@pytest.mark.costly
def test_the_release_of_this_checkout(tmp_path: Path) -> None:
    made = release(CHECKOUT, tmp_path)
    names = sorted(path.suffix for path in made.iterdir())
    assert names == ["", ".gz", ".json", ".whl"]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=True, capture_output=True)


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Commit]:
    """A checkout of a package with a program, a file that git ignores and one that is not committed."""
    checkout = tmp_path / "checkout"
    package = checkout / "orchestrator" / "polyarch"
    package.mkdir(parents=True)
    (checkout / "pyproject.toml").write_text(PROJECT)
    (checkout / ".gitignore").write_text("*.log\n")
    for name in ("__init__.py", "tool.sh", "ä.txt"):
        (package / name).write_text(name)
    (package / "tool.sh").chmod(0o755)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], cwd=checkout, check=True, capture_output=True)
    (package / "later.py").touch()
    (package / "a.log").touch()
    return checkout, last_commit(checkout)


def test_two_builds_give_the_same_bytes(small: tuple[Path, Commit], tmp_path: Path) -> None:
    checkout, commit = small
    export(checkout, commit, tmp_path / "a", 0o022)
    export(checkout, commit, tmp_path / "other" / "b", 0o077)
    assert (tmp_path / "other" / "b" / "pyproject.toml").stat().st_mode & 0o077 == 0
    one = build(tmp_path / "a", tmp_path / "1", commit.epoch, ONE_WAY, 0o022)
    other = build(tmp_path / "other" / "b", tmp_path / "2", commit.epoch, ANOTHER_WAY, 0o077)
    check.same(one.wheel, other.wheel)
    check.same(one.sdist, other.sdist)
    check.wheel(one.wheel, commit.files)
    assert check.about(one.wheel)["Version"] == "1.2"
    year, month, day, hour, minute, second = time.gmtime(commit.epoch)[:6]
    with zipfile.ZipFile(one.wheel) as wheel:
        assert {member.date_time for member in wheel.infolist()} == {(year, month, day, hour, minute, second // 2 * 2)}


def test_what_differs_is_named(small: tuple[Path, Commit], tmp_path: Path) -> None:
    checkout, commit = small
    export(checkout, commit, tmp_path / "a", 0o022)
    one = build(tmp_path / "a", tmp_path / "1", commit.epoch, ONE_WAY, 0o022)
    (tmp_path / "a" / "orchestrator" / "polyarch" / "later.py").touch()
    other = build(tmp_path / "a", tmp_path / "2", commit.epoch, ONE_WAY, 0o022)
    with pytest.raises(ReleaseError, match=r"polyarch/later\.py"):
        check.same(one.wheel, other.wheel)
    with pytest.raises(ReleaseError, match=r"polyarch/later\.py"):
        check.same(one.sdist, other.sdist)
    with pytest.raises(ReleaseError, match=r"not as committed: polyarch/later\.py"):
        check.wheel(other.wheel, commit.files)


def test_a_changed_wheel_is_seen(small: tuple[Path, Commit], tmp_path: Path) -> None:
    checkout, commit = small
    export(checkout, commit, tmp_path / "a", 0o022)
    built = build(tmp_path / "a", tmp_path / "1", commit.epoch, ONE_WAY, 0o022)
    changed = tmp_path / built.wheel.name
    with zipfile.ZipFile(built.wheel) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"evil" if name.endswith("tool.sh") else source.read(name))
    with pytest.raises(ReleaseError, match="RECORD"):
        check.wheel(changed, commit.files)


def _about(*requires: str, extras: tuple[str, ...] = ()) -> Any:
    from email.message import Message

    found = Message()
    for name, value in (("Name", "polyarch"), ("Version", "1.2"), ("License-Expression", "Apache-2.0")):
        found[name] = value
    for requirement in requires:
        found["Requires-Dist"] = requirement
    for extra in extras:
        found["Provides-Extra"] = extra
    return found


PINS = {pin.key: pin for pin in read(DEV.read_text())}
ABOUT = _about("httpx>=0.28", "h2; extra == 'http2'", extras=("http2",))


def test_the_bill_tells_what_the_wheel_needs() -> None:
    bill = sbom.document("ab" * 32, ABOUT, PINS, 86400)
    check.bill(bill, "ab" * 32)
    assert bill == sbom.document("ab" * 32, ABOUT, PINS, 86400)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["timestamp"] == "1970-01-02T00:00:00Z"
    components = {component["name"]: component for component in bill["components"]}
    assert {name for name, component in components.items() if component["scope"] == "required"} == {
        *("anyio", "certifi", "h11", "httpcore", "httpx", "idna", "typing_extensions")
    }
    assert {name for name, component in components.items() if component["scope"] == "optional"} == {
        *("h2", "hpack", "hyperframe")
    }
    pin, httpx = PINS["httpx"], components["httpx"]
    assert (httpx["version"], httpx["purl"]) == (pin.version, f"pkg:pypi/httpx@{pin.version}")
    assert httpx["licenses"] == [{"expression": "BSD-3-Clause"}]
    told = {f"sha256:{one['hashes'][0]['content']}" for one in httpx["externalReferences"]}
    assert told == set(pin.hashes)
    assert components["h2"]["properties"] == [{"name": "polyarch:extra", "value": "http2"}]
    needs = {line["ref"].partition("@")[0]: line["dependsOn"] for line in bill["dependencies"]}
    assert [ref.partition("@")[0] for ref in needs["pkg:pypi/polyarch"]] == ["pkg:pypi/h2", "pkg:pypi/httpx"]


@pytest.mark.parametrize(
    ("about", "pins", "why"),
    [
        (_about("httpx"), {key: pin for key, pin in PINS.items() if key != "h11"}, "not in|not installed"),
        (_about("httpx"), {**PINS, "h11": Pin("h11", "0.1", "", ("sha256:0",))}, "h11 .* is installed, where the lock"),
        (_about("no-such-package-here"), PINS, "no-such-package-here is not installed"),
    ],
    ids=("not-pinned", "other-version", "not-installed"),
)
def test_a_bill_is_not_made_of_guesses(about: Any, pins: dict[str, Pin], why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        sbom.document("ab" * 32, about, pins, 0)


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "hash": lambda bill: bill["metadata"]["component"]["hashes"][0].update(content="00"),
    "component-gone": lambda bill: bill["components"].pop(),
    "component-twice": lambda bill: bill["components"].append(bill["components"][0]),
    "alone": lambda bill: bill["dependencies"][-1].update(dependsOn=[]) or bill["dependencies"][0].update(dependsOn=[]),
    "licence": lambda bill: bill["components"][0].update(licenses=[]),
    "files": lambda bill: bill["components"][0].update(externalReferences=[]),
    "purl": lambda bill: bill["components"][0].update(purl="pkg:npm/a@1"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_bill_is_seen(name: str) -> None:
    bill = deepcopy(sbom.document("ab" * 32, ABOUT, PINS, 0))
    BREAKS[name](bill)
    with pytest.raises(ReleaseError, match="bill of materials"):
        check.bill(bill, "ab" * 32)


def test_sums_tell_each_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    text = f"{check.sha256(tmp_path / 'a')}  a\n"
    check.sums(tmp_path, text)
    shutil.copy(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ReleaseError):
        check.sums(tmp_path, text)
    with pytest.raises(ReleaseError):
        check.sums(tmp_path, text.replace(text[0], "0" if text[0] != "0" else "1", 1))


def test_the_metadata_of_pyproject_make_a_bill() -> None:
    """The editable install's, so that a dependency without licence or pin is seen before a release."""
    from importlib import metadata

    about = metadata.metadata("polyarch")
    check.bill(json.loads(json.dumps(sbom.document("ab" * 32, about, PINS, 0))), "ab" * 32)  # type: ignore[arg-type]
