"""Thinks of names in a namespace of the architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from polyarch.contract import Platform, Reference, TagProposal
from polyarch_plugins.tag_conventions.words import asked, named, table

OFFICIAL = "library"
MAX_NAME_LENGTH = 255
"""github.com/distribution/reference, reference.go: NameTotalLengthMax."""


class Namespace:
    """A TagConvention. It never leaves the publisher's own part of a registry.

    Docker Hub's official images, and copies of them on other hosts, stand beside `library`. Elsewhere the first part
    of a repository is often its owner (ghcr.io, quay.io), and `arm32v7` there might be anybody: the architecture comes
    behind it. On Docker Hub itself other names have two parts, and no such place.
    """

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """One name at most, in a namespace that Docker Hub has."""
        wanted = asked(platform)
        if not table()["platforms"].get(str(wanted), {}).get("hub") or not reference.tag:
            return
        [namespace] = named(wanted, "docker_arch")
        first, slash, rest = reference.repository.partition("/")
        if first == OFFICIAL and rest:
            repository = f"{namespace}/{rest}"
        elif reference.registry == "docker.io":
            return
        elif slash:
            repository = f"{first}/{namespace}/{rest}"
        else:
            repository = f"{namespace}/{first}"
        if len(reference.registry) + 1 + len(repository) <= MAX_NAME_LENGTH:
            yield TagProposal(replace(reference, repository=repository, digest=""), platform, "sure")
