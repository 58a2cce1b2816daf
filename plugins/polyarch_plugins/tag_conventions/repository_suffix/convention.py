"""Thinks of repositories that end with the architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from polyarch.contract import Platform, Reference, TagProposal

SUFFIXES: dict[str, tuple[str, ...]] = {
    "amd64": ("-amd64", "-x86_64"),
    "386": ("-i386", "-386"),
    "arm64": ("-arm64", "-aarch64", "-arm64v8", "-rpi"),
    "arm/v7": ("-armhf", "-armv7", "-arm", "-rpi", "-arm32v7"),
    "arm/v6": ("-armhf", "-armv6", "-arm", "-rpi", "-arm32v6"),
    "arm/v5": ("-armel", "-arm", "-arm32v5"),
    "riscv64": ("-riscv64",),
    "ppc64le": ("-ppc64le",),
    "s390x": ("-s390x",),
    "mips64le": ("-mips64le",),
    "loong64": ("-loong64",),
}
"""What repositories are seen to end with, the likeliest first. Each costs a request, so only what is common is here."""

MAX_NAME_LENGTH = 255


class RepositorySuffix:
    """A TagConvention: names of the same owner."""

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """`REPOSITORY-WORD` with the same tag. Docker Hub's official images have namespaces instead."""
        official = reference.registry == "docker.io" and reference.repository.startswith("library/")
        if platform.os != "linux" or not reference.tag or reference.scheme or official:
            return
        key = f"arm/{platform.variant or 'v7'}" if platform.architecture == "arm" else platform.architecture
        for suffix in SUFFIXES.get(key, ()):
            repository = reference.repository + suffix
            if len(reference.registry) + 1 + len(repository) <= MAX_NAME_LENGTH:
                yield TagProposal(replace(reference, repository=repository, digest=""), platform)
