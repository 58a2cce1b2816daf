"""The devices of an inventory, by what `ansible-inventory` really prints."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import FleetDevice, PluginServices
from polyarch.errors import UsageError
from polyarch_plugins.fleet_engines.ansible.engine import AnsibleEngine
from polyarch_plugins.fleet_engines.ansible.inventory import listing_command, parse_inventory

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


def listed(*inventory: str, pattern: str = "") -> list[FleetDevice]:
    """What the engine says, by the real program."""
    if not (Path(sys.executable).parent / "ansible-inventory").exists():
        pytest.skip("ansible-core is not installed beside this Python")
    return list(AnsibleEngine(PluginServices(environ=os.environ)).devices(inventory, pattern))


@pytest.mark.system
def test_an_ini_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(INI)
    images = {"polyarch_images": ["busybox:1.36", "ghcr.io/owner/app:1"]}
    server = {"ansible_host": "10.0.0.1", "polyarch_engine": "docker", "polyarch_images": "nginx,redis:7 nginx"}
    assert listed(str(path)) == [
        FleetDevice("pi1", ("pis", "site"), {"polyarch_engine": "podman", "polyarch_platform": "armhf", **images}),
        FleetDevice("pi2", ("pis", "site"), images),
        FleetDevice("pi10", ("pis", "site"), images),
        FleetDevice("srv1", ("servers", "site"), server),
    ]
    assert [device.name for device in listed(str(path), pattern="pis:!pi1")] == ["pi2", "pi10"]


@pytest.mark.system
def test_a_yaml_file_and_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(YAML)
    lonely, first, second = listed(str(path), "pi2,pi1,")
    assert lonely == FleetDevice("lonely", (), {"polyarch_images": "app:1"})
    assert (first.name, first.groups, first.variables["port"]) == ("pi1", ("pis", "site"), 22)
    assert first.variables["polyarch_images"] == ["busybox"]
    assert second == FleetDevice("pi2")


@pytest.mark.system
@pytest.mark.parametrize(
    ("text", "pattern", "words"),
    [
        ("all:\n  hosts: [\n", "", "the inventory cannot be read: .*hosts.yml: YAML parsing failed"),
        (None, "", "the inventory cannot be read: .*hosts.yml: it is not there"),
        (YAML, "pi1,nowhere", "no host and no group 'nowhere'"),
        # The real program takes half a second each time.
        pytest.param(YAML, "empty", "'empty' leaves no device", marks=pytest.mark.costly),
        pytest.param("all: {}\n", "", "the inventory has no host", marks=pytest.mark.costly),
    ],
)
def test_a_broken_inventory_is_told(tmp_path: Path, text: str | None, pattern: str, words: str) -> None:
    path = tmp_path / "hosts.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        listed(str(path), pattern=pattern)
    assert caught.value.hint


def listing(**variables: Any) -> bytes:
    return json.dumps({"_meta": {"hostvars": {"pi": variables}}, "pis": {"hosts": ["pi"]}}).encode()


def test_variables_come_as_they_are() -> None:
    variables = {"ansible_host": "{{ x }}", "polyarch_images": None, "polyarch_engine": ""}
    assert parse_inventory(listing(**variables)) == (FleetDevice("pi", ("pis",), variables),)


def test_groups_that_hold_each_other_end() -> None:
    text = {"a": {"children": ["b"], "hosts": ["x"]}, "b": {"children": ["a"]}, "all": {"children": ["a"]}}
    assert parse_inventory(json.dumps(text).encode()) == (FleetDevice("x", ("a", "b")),)


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
