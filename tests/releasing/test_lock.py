"""The lock: what it names, and how it is made of what an index tells."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from release import index, needs
from release.lock import roots
from release.pins import CHECKOUT, CONSTRAINTS, DEV, INSTALLER, Pin, ReleaseError, read, write

PINS = {pin.key: pin for file in (INSTALLER, DEV) for pin in read(file.read_text())}


def _requires() -> dict[str, list[str]]:
    """What each pinned package needs, by its own words; polyarch by pyproject.toml's."""
    found = {}
    for key in PINS:
        try:
            found[key] = metadata.requires(key) or []
        except metadata.PackageNotFoundError:
            found[key] = []  # for another Python than this one
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    found["polyarch"] = list(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in map(Requirement, requirements):
            own = f"extra == '{extra}'"
            requirement.marker = Marker(f"({requirement.marker}) and {own}" if requirement.marker else own)
            found["polyarch"].append(str(requirement))
    return found


@pytest.mark.parametrize("python", needs.PYTHONS)
def test_the_lock_names_all_that_is_needed_and_nothing_else(python: str) -> None:
    values = needs.environment(python)
    pinned = {key for key, pin in PINS.items() if not pin.marker or Marker(pin.marker).evaluate(values)}
    assert pinned == set(needs.closure(roots(), _requires(), values)) - {"polyarch"}


def test_the_versions_are_those_that_are_wanted() -> None:
    requires = _requires()
    wanted = [Requirement(text) for text in roots()]
    for key, extras in needs.closure(roots(), requires, needs.environment("3.11")).items():
        wanted += needs.direct(requires[key], extras, needs.environment("3.11"))
    for requirement in wanted:
        if (key := canonicalize_name(requirement.name)) != "polyarch":
            assert requirement.specifier.contains(PINS[key].version, prereleases=True), str(requirement)
    assert CONSTRAINTS.read_text() == "".join(f"{PINS[key].name}=={PINS[key].version}\n" for key in sorted(PINS))


def test_the_lock_names_hashes_and_no_host() -> None:
    for pin in PINS.values():
        assert pin.hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in pin.hashes)
    for file in (INSTALLER, DEV, CONSTRAINTS):
        assert "://" not in file.read_text()
        assert "-url" not in file.read_text()
    assert write(PINS[key] for key in PINS if key != "pip") == DEV.read_text()


def test_setup_installs_nothing_without_a_hash() -> None:
    installs = re.findall(r'"\$\{install\[@\]\}" (.*)', (CHECKOUT / ".ci" / "setup").read_text())
    assert [words for words in installs if "--require-hashes" not in words] == ["--no-build-isolation --editable ."]
    assert "--no-deps)" in (CHECKOUT / ".ci" / "setup").read_text()


@pytest.mark.parametrize(
    "entry", ["a>=1 --hash=sha256:0\n", "a==1\n", "a --hash=sha256:0\n"], ids=("range", "bare", "any")
)
def test_what_is_no_pin(entry: str) -> None:
    with pytest.raises(ReleaseError, match=r"^a.* is not pinned with hashes$"):
        list(read(entry))


@pytest.mark.parametrize(
    ("pythons", "marker"),
    [
        (needs.PYTHONS, ""),
        (("3.11", "3.12"), 'python_version < "3.13"'),
        (("3.13", "3.14"), 'python_version >= "3.13"'),
        (("3.12",), 'python_version == "3.12"'),
        (("3.11", "3.14"), 'python_version == "3.11" or python_version == "3.14"'),
    ],
    ids=("all", "older", "newer", "one", "apart"),
)
def test_markers(pythons: tuple[str, ...], marker: str) -> None:
    assert needs.marker(pythons) == marker
    for python in needs.PYTHONS:
        assert (not marker or Marker(marker).evaluate(needs.environment(python))) == (python in pythons)


def test_what_only_another_python_needs_is_asked_for() -> None:
    requires = {"a": ["b[x]; python_version >= '3.13'"], "b": ["c; extra == 'x'", "d; extra == 'y'"], "c": ["a"]}
    assert needs.closure(["a"], requires, needs.environment("3.11")) == {"a": set()}
    assert needs.closure(["a"], requires, needs.environment("3.13")) == {"a": set(), "b": {"x"}, "c": set()}
    with pytest.raises(needs.Missing) as caught:
        needs.closure(["a"], {"a": requires["a"]}, needs.environment("3.13"))
    assert caught.value.requirement.startswith("b[x]")


NAMES = {
    "a_b-1.0-py3-none-any.whl": True,
    "a_b-1.0-cp311-cp311-manylinux_2_17_x86_64.whl": True,
    "a_b-1.0-cp312-cp312-musllinux_1_2_aarch64.whl": True,
    "a_b-1.0.tar.gz": True,
    "a_b-1.0-cp311-cp311-win_amd64.whl": False,
    "a_b-1.0-cp311-cp311-macosx_11_0_arm64.whl": False,
    "a_b-1.0.1.tar.gz": False,
    "a_b-1.0-py3.8.egg": False,
}
"""Files of an index, and which of them the lock of version 1.0 takes."""


@pytest.mark.parametrize("form", ["json", "html"])
def test_which_files_of_an_index_are_taken(form: str) -> None:
    hashes = {name: f"{number:064x}" for number, name in enumerate(NAMES)}
    if form == "json":
        media_type = "application/vnd.pypi.simple.v1+json"
        listed = [{"filename": name, "hashes": {"sha256": hashes[name]}} for name in NAMES]
        text = json.dumps({"files": [*listed, {"filename": "a_b-1.0.zip", "hashes": {}}]})
    else:
        media_type = "text/html"
        text = "".join(f'<a href="../../f/{name}#sha256={hashes[name]}" class="x">{name}</a>\n' for name in NAMES)
        text += '<a href="../../f/a_b-1.0.zip">a_b-1.0.zip</a>'
    found = index.files(media_type, text.encode(), "1.0")
    assert {file.name: file.sha256 for file in found} == {name: hashes[name] for name, taken in NAMES.items() if taken}


def test_where_a_package_has_no_wheel() -> None:
    names = ["a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "a-1-cp312-abi3-manylinux2014_aarch64.whl", "a-1.tar.gz"]
    text = json.dumps({"files": [{"filename": name, "hashes": {"sha256": "0" * 64}} for name in names]})
    found = index.files("application/vnd.pypi.simple.v1+json", text.encode(), "1")
    lacking = ["3.11 aarch64", "3.11 armv7l", "3.13 x86_64", "3.13 armv7l"]
    assert index.without_wheel(found, ["3.11", "3.13"]) == lacking


def test_a_pin_comes_back_as_it_was() -> None:
    pins = [Pin("B.c", "1", 'python_version < "3.14"', ("sha256:1", "sha256:2")), Pin("a", "2", "", ("sha256:3",))]
    assert list(read(write(pins))) == [pins[1], pins[0]]
