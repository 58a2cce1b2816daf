"""Thinks of names in a namespace of the architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from polyarch.contract import Platform, Reference, TagProposal

NAMESPACES = {
    "amd64": "amd64",
    "386": "i386",
    "arm64": "arm64v8",
    "arm/v7": "arm32v7",
    "arm/v6": "arm32v6",
    "arm/v5": "arm32v5",
    "riscv64": "riscv64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "mips64le": "mips64le",
}
"""Docker's own namespaces: docker-library/official-images, README.md, "Architectures other than amd64?"."""

OFFICIAL = "library"


class Namespace:
    """A TagConvention. It never leaves the publisher's own part of a registry.

    Docker Hub's official images, and copies of them on other hosts, stand beside `library`. Elsewhere the first part
    of a repository is often its owner (ghcr.io, quay.io), and `arm32v7` there might be anybody: the architecture comes
    behind it. On Docker Hub itself other names have two parts, and no such place.
    """

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """One name at most."""
        key = f"arm/{platform.variant or 'v7'}" if platform.architecture == "arm" else platform.architecture
        namespace = NAMESPACES.get(key)
        if platform.os != "linux" or not reference.tag or reference.scheme or namespace is None:
            return
        first, slash, rest = reference.repository.partition("/")
        if first == OFFICIAL and rest:
            repository = f"{namespace}/{rest}"
        elif reference.registry == "docker.io":
            return
        elif slash:
            repository = f"{first}/{namespace}/{rest}"
        else:
            repository = f"{namespace}/{first}"
        yield TagProposal(replace(reference, repository=repository, digest=""), platform)
