"""No built-in plugin is without the kit."""

from __future__ import annotations

import ast
from pathlib import Path

from polyarch.plugin_host.host import PluginHost
from polyarch.settings import Settings

FOLDER = Path(__file__).parent

HELD = {
    "registries": {
        "docker-archive": "TestDockerArchiveSource",
        "docker-daemon": "TestDockerDaemon",
        "oci-archive": "TestOciArchiveSource",
        "oci-layout": "TestOciLayout",
        "podman": "TestPodmanSource",
        "s3": "TestS3Source",
    },
    "storages": {
        "containerd": "TestContainerd",
        "docker": "TestDocker",
        "docker-archive": "TestDockerArchive",
        "oci": "TestOci",
        "oci-archive": "TestOciArchive",
        "podman": "TestPodman",
        "s3": "TestS3",
    },
    "tag_conventions": {
        "namespace": "TestNamespace",
        "prefix": "TestPrefix",
        "repository-suffix": "TestRepositorySuffix",
        "suffix": "TestSuffix",
        "template": "TestTemplate",
    },
}
"""The test class of each plugin; test_distribution.py makes those of the registries with hosts from a table."""

SAME_CODE = {"gs", "az"}
"""Object stores that are one class with `s3`, whose server alone can be had here."""


def test_each_has_its_class() -> None:
    there = {
        node.name
        for path in FOLDER.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and any("Conformance" in ast.unparse(base) for base in node.bases)
    }
    for kind, classes in HELD.items():
        assert set(classes.values()) - there == set(), kind


def test_each_is_held() -> None:
    registered = PluginHost(Settings(root=Path("/"))).registrations
    for kind, classes in HELD.items():
        names = {each.plugin.name for each in registered if each.kind == kind}
        assert names - SAME_CODE == set(classes) | (hosts() if kind == "registries" else set()), kind


def hosts() -> set[str]:
    """The registries of the table in test_distribution.py, and the one that needs no table."""
    for node in ast.parse((FOLDER / "test_distribution.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES":
            return {"distribution", *ast.literal_eval(node.value)}
    raise AssertionError("there is no table NAMES")
