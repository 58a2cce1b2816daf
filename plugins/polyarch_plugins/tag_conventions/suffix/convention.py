"""Thinks of tags that end with the architecture."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract import Platform, Reference, TagProposal

MAX_TAG_LENGTH = 128
"""distribution-spec, "Pulling manifests": the grammar of a tag."""

SUFFIXES: dict[str, tuple[str, ...]] = {
    "amd64": ("-amd64", "-x86_64", "-linux-amd64", "_amd64", ".amd64", "-x86-64", "-x64", "-x86"),
    "386": ("-i386", "-386", "-linux-386", "-x86", "-i686", "_i386", ".i386", "_386"),
    "arm64": ("-arm64v8", "-arm64", "-aarch64", "-linux-arm64", "_arm64", "-armv8", ".aarch64", "_aarch64"),
    "arm/v7": ("-arm32v7", "-armhf", "-armv7", "-arm-v7", "-arm", "-rpi", "_armhf", "-linux-arm"),
    "arm/v6": ("-arm32v6", "-armv6", "-armhf", "-arm-v6", "-arm", "-rpi", "_armhf", "-linux-arm"),
    "arm/v5": ("-arm32v5", "-armv5", "-armel", "-arm-v5", "-arm", "_armel", "-linux-arm"),
    "riscv64": ("-riscv64", "-linux-riscv64", "_riscv64"),
    "ppc64le": ("-ppc64le", "-ppc64el", "-linux-ppc64le", "_ppc64le"),
    "s390x": ("-s390x", "-linux-s390x", "_s390x"),
    "mips64le": ("-mips64le", "-mips64el", "-linux-mips64le", "_mips64le"),
    "loong64": ("-loong64", "-loongarch64", "-linux-loong64", "_loong64"),
}
"""What images are seen to have behind their tags, the likeliest first; by architecture, for arm by variant.

`arm32v7`, `arm64v8` and the like are Docker's own words (docker-library/official-images, "Architectures other than
amd64?"), `armhf`, `armel`, `i386` are Debian's, `aarch64` and `x86_64` the kernel's, `arm-v7` and `linux-arm64` are
made from the platform's. One word may stand for several platforms: what the image's config says decides.
"""

BARE = 6
"""So many of the words are also tried as the whole tag, in place of `latest`."""


class Suffix:
    """A TagConvention: names in the same repository, so all of them together cost one list of tags."""

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """`TAG-WORD`; for `latest` also `WORD`."""
        if platform.os != "linux" or not reference.tag:
            return
        suffixes = _suffixes(platform)
        tags = [reference.tag + suffix for suffix in suffixes]
        if reference.tag == "latest":
            tags += [suffix[1:] for suffix in suffixes[:BARE]]
        for tag in dict.fromkeys(tags):
            if len(tag) <= MAX_TAG_LENGTH:
                yield TagProposal(reference.with_tag(tag), platform)


def _suffixes(platform: Platform) -> tuple[str, ...]:
    if platform.architecture == "arm":
        return SUFFIXES.get(f"arm/{platform.variant or 'v7'}", ())
    return SUFFIXES.get(platform.architecture, ())
