"""The devices of an inventory, by what `ansible-inventory` really prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.fleet.inventory import LISTING_ENVIRON, InventoryDevice, listing_command, parse_inventory
from polyarch_platforms.platform import parse

INI = """
[pis]
pi1 polyarch_engine=podman polyarch_platform=armhf
pi[2:10:8]

[servers]
srv1 ansible_host=10.0.0.1 polyarch_engine=docker

[site:children]
pis
servers

[pis:vars]
polyarch_images=["busybox:1.36", "ghcr.io/owner/app:1"]

[servers:vars]
polyarch_images=nginx,redis:7 nginx
"""
YAML = """
all:
  children:
    site:
      children:
        pis:
          vars: {polyarch_images: [busybox]}
          hosts:
            pi1: {secret: !vault "x", port: 22}
    empty: {}
  hosts:
    lonely: {polyarch_images: "app:1"}
"""


def listed(*inventory: str, limit: str = "") -> tuple[InventoryDevice, ...]:
    """What the real program says of it."""
    program = Path(sys.executable).parent / "ansible-inventory"
    if not program.exists():
        pytest.skip("ansible-core is not installed beside this Python")
    argv = [str(program), *listing_command(inventory, limit)[1:]]
    done = subprocess.run(argv, env={**os.environ, **LISTING_ENVIRON}, capture_output=True, timeout=120)
    return parse_inventory(done.stdout, done.stderr.decode(), done.returncode, limit=limit)


@pytest.mark.system
def test_an_ini_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(INI)
    images = ("busybox:1.36", "ghcr.io/owner/app:1")
    assert listed(str(path)) == (
        InventoryDevice("pi1", ("pis", "site"), "podman", images, parse("arm/v7")),
        InventoryDevice("pi2", ("pis", "site"), None, images),
        InventoryDevice("pi10", ("pis", "site"), None, images),
        InventoryDevice("srv1", ("servers", "site"), "docker", ("nginx", "redis:7")),
    )
    assert [device.name for device in listed(str(path), limit="pis:!pi1")] == ["pi2", "pi10"]


@pytest.mark.system
def test_a_yaml_file_and_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(YAML)
    assert listed(str(path), "pi2,pi1,") == (
        InventoryDevice("lonely", (), None, ("app:1",)),
        InventoryDevice("pi1", ("pis", "site"), None, ("busybox",)),
        InventoryDevice("pi2"),
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("text", "limit", "words"),
    [
        ("all:\n  hosts: [\n", "", "the inventory cannot be read: .*hosts.yml"),
        (None, "", "the inventory cannot be read: .*hosts.yml"),
        (YAML, "pi1,nowhere", "no host and no group 'nowhere'"),
        (YAML, "empty", "'empty' leaves no device"),
        ("all: {}\n", "", "the inventory has no host"),
    ],
)
def test_a_broken_inventory_is_told(tmp_path: Path, text: str | None, limit: str, words: str) -> None:
    path = tmp_path / "hosts.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        listed(str(path), limit=limit)
    assert caught.value.hint


def listing(**variables: Any) -> bytes:
    return json.dumps({"_meta": {"hostvars": {"pi": variables}}, "pis": {"hosts": ["pi"]}}).encode()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"polyarch_engine": "lxc"}, "host pi: polyarch_engine is 'lxc'"),
        ({"polyarch_engine": ["docker"]}, "a text is wanted"),
        ({"polyarch_engine": "{{ engine }}"}, "polyarch_engine is a template"),
        ({"polyarch_platform": "pdp11"}, "host pi: .*pdp11"),
        ({"polyarch_platform": "linux/pdp11"}, "no architecture is called 'pdp11'"),
        ({"polyarch_platform": 386}, "a text is wanted"),
        ({"polyarch_images": 1.36}, "polyarch_images is 1.36, and a text is wanted"),
        ({"polyarch_images": ["app", {"name": "app"}]}, "a text is wanted"),
        ({"polyarch_images": ["{{ registry }}/app"]}, "polyarch_images is a template"),
        ({"polyarch_images": {"__ansible_vault": "x"}}, "a text is wanted"),
    ],
)
def test_a_variable_of_ours_that_is_wrong(variables: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_inventory(listing(**variables))


def test_other_variables_are_nobodys_concern() -> None:
    devices = parse_inventory(listing(ansible_host="{{ x }}", polyarch_images=None, polyarch_engine=""))
    assert devices == (InventoryDevice("pi", ("pis",)),)


def test_groups_that_hold_each_other_end() -> None:
    text = {"a": {"children": ["b"], "hosts": ["x"]}, "b": {"children": ["a"]}, "all": {"children": ["a"]}}
    assert parse_inventory(json.dumps(text).encode()) == (InventoryDevice("x", ("a", "b")),)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"[]",
        b"{}",
        b'{"_meta": []}',
        b'{"_meta": {"hostvars": 3}}',
        b'{"a": 3}',
        b'{"a": {"hosts": "pi"}}',
        b'{"a": {"hosts": [3]}}',
        b'{"_meta": {"hostvars": {"pi": []}}, "a": {"children": [{}]}}',
        b'{"_meta": {"hostvars": {"pi": 5}}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_listing(output: bytes) -> None:
    with pytest.raises(UsageError):
        parse_inventory(output)


@given(st.binary())
def test_any_bytes_are_no_listing(output: bytes) -> None:
    with pytest.raises(UsageError):
        parse_inventory(output)


NAMES = st.text(max_size=4)
GROUPS = st.dictionaries(
    NAMES, st.fixed_dictionaries({}, optional={"hosts": st.lists(NAMES), "children": st.lists(NAMES)}), max_size=5
)


@given(GROUPS, st.dictionaries(NAMES, st.fixed_dictionaries({}, optional={"polyarch_images": st.text("ab:,/ ")})))
def test_any_listing_gives_each_host_once_in_an_order(groups: dict[str, Any], variables: dict[str, Any]) -> None:
    document = {**groups, "_meta": {"hostvars": variables}}
    names = {*variables, *(host for group in groups.values() for host in group.get("hosts", ()))}
    if not names:
        with pytest.raises(UsageError, match="no host"):
            parse_inventory(json.dumps(document).encode())
        return
    devices = parse_inventory(json.dumps(document).encode())
    assert {device.name for device in devices} == names
    assert len(devices) == len(names)


def test_the_command() -> None:
    argv = ["ansible-inventory", "--inventory=a.ini", "--inventory=pi1,", "--list", "--limit=-pis"]
    assert listing_command(["a.ini", "pi1,"], "-pis") == argv, "a pattern is no option"
    assert listing_command([]) == ["ansible-inventory", "--list"]
