"""Which requirements hold for a name: the most specific scope wins (containers-policy.json(5), "FORMAT")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polyarch.contract import Reference
from polyarch_plugins.verifiers.containers_policy.policy import Policy, Requirements

REGISTRIES = "docker"
"""What containers/image calls the transport of registries."""

_OF_FILES = ("oci", "oci-archive")


@dataclass(frozen=True, slots=True)
class Rule:
    """Requirements, and the transport and scope that they stand under: "" and "" for the default."""

    requirements: Requirements
    transport: str = ""
    scope: str = ""

    @property
    def words(self) -> str:
        """Where it stands, and what it asks for."""
        kinds = ", ".join(each.kind for each in self.requirements)
        return f"{self.place}: {kinds}"

    @property
    def place(self) -> str:
        """Where it stands in the file."""
        if not self.transport:
            return "default"
        return f"{self.transport}: {self.scope}" if self.scope else self.transport


def rule_for(policy: Policy, reference: Reference) -> Rule:
    """The rule for an image that is taken from `reference`."""
    transport = reference.scheme or REGISTRIES
    scopes = policy.scopes.get(transport, {})
    for scope in (*scopes_of(reference), ""):
        if scope in scopes:
            return Rule(scopes[scope], transport, scope)
    return Rule(policy.default)


def scopes_of(reference: Reference) -> Iterator[str]:
    """The scopes that hold for a reference, the most specific first.

    Of a registry: the name with its tag or digest, the repository, the namespaces, the host with its port, `*.` and the
    domains above the host. Of a layout or an OCI archive: its path, all links followed, and the folders above. Source:
    containers/image, docker/policyconfiguration, oci/layout, oci/archive.
    """
    if not reference.scheme:
        yield intended_name(reference)
        yield from namespaces_of(reference.name)
    elif reference.scheme in _OF_FILES:
        path = Path(reference.repository).resolve()
        yield from (str(each) for each in (path, *path.parents) if each != each.parent)


def namespaces_of(name: str) -> Iterator[str]:
    """The repository, what stands above it, and `*.` and the domains above its host."""
    while True:
        yield name
        above, slash, _ = name.rpartition("/")
        if not slash:
            break
        name = above
    host = name.partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"


def intended_name(reference: Reference) -> str:
    """The name of an image in a registry as a policy knows it; of a tag and a digest the digest, as with podman."""
    return f"{reference.name}@{reference.digest}" if reference.digest else f"{reference.name}:{reference.tag}"
