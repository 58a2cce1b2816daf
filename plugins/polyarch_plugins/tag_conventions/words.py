"""What the words in names mean, for all conventions: `words.toml` and the architecture data of polyarch_platforms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from polyarch.contract import Architecture, Certainty, Platform, Reference, TagProposal, architecture_named

SEPARATOR = re.compile(r"[-_.]")
CERTAINTIES: tuple[Certainty, ...] = ("sure", "likely", "guess")
"""From the surest on."""

MAX_TAG_LENGTH = 128
"""distribution-spec, "Pulling manifests": the grammar of a tag."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and the platforms that it may mean, the likeliest first.

    `alone` is False for one that may be something else where nothing stands before it: `amd64-v3` is version v3 too.
    """

    text: str
    platforms: tuple[Platform, ...]
    certainty: Certainty
    alone: bool = True


@cache
def table() -> Mapping[str, Any]:
    """`words.toml`, read once."""
    import tomllib

    return tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))


@cache
def words() -> Mapping[str, Word]:
    """Every word, in lower case and with `-` for each separator: `x86_64` stands under `x86-64`."""
    found: dict[str, Word] = {}
    for name in dict.fromkeys(platform.architecture for platform in platforms()):
        architecture = architecture_named(name)
        if architecture is not None:
            found.update((word.text, word) for word in _of_architecture(architecture))
    for platform in platforms():
        for text in (*named(platform, "docker_arch"), *named(platform, "gnu_arch")):
            found.setdefault(_key(text), Word(_key(text), (platform,), "sure"))
    for certainty in CERTAINTIES:
        for text, meant in table()[certainty].items():
            found[text] = Word(text, tuple(_platform(each) for each in meant), certainty, alone=not text.isdigit())
    return MappingProxyType(found)


def _of_architecture(architecture: Architecture) -> Iterable[Word]:
    aliases = {alias: variant for alias, (_, variant) in architecture.aliases.items()}
    for text, meant in {architecture.name: "", **aliases}.items():
        yield Word(_key(text), (_of_variant(architecture, meant or architecture.default_variant),), "sure")
        for variant in () if meant else architecture.variants:
            if "." in variant:
                continue  # a version, as likely as not: arm64v8.2
            platforms = (_of_variant(architecture, variant),)
            yield Word(_key(text + variant), platforms, "sure")
            # A project's versions start with v1 … v4, too; those of arm are told by their number.
            alone = architecture.name == "arm" or variant == architecture.implied_variant != "v1"
            yield Word(_key(f"{text}-{variant}"), platforms, "sure", alone)


def _of_variant(architecture: Architecture, variant: str) -> Platform:
    return Platform("linux", architecture.name, "" if variant == architecture.implied_variant else variant)


def word(text: str) -> Word | None:
    """The word that `text` is, in whatever case and with whatever separators."""
    return words().get(_key(text))


def _key(text: str) -> str:
    return SEPARATOR.sub("-", text.lower())


@cache
def platforms() -> tuple[Platform, ...]:
    """The platforms that have words of their own."""
    return tuple(_platform(text) for text in table()["platforms"])


@cache
def variants() -> tuple[Platform, ...]:
    """Every variant of their architectures, those with words of their own first."""
    found = dict.fromkeys(platforms())
    for platform in platforms():
        architecture = architecture_named(platform.architecture)
        if architecture is not None:
            found.update(dict.fromkeys(_of_variant(architecture, variant) for variant in architecture.variants))
    return tuple(found)


def _platform(text: str) -> Platform:
    system, architecture, *variant = text.split("/")
    return Platform(system, architecture, "".join(variant))


def asked(platform: Platform) -> Platform:
    """The platform that is asked for: arm without a variant is v7, as everywhere (containerd/platforms)."""
    known = architecture_named(platform.architecture)
    default = known.default_variant if known else ""
    return Platform(platform.os, platform.architecture, platform.variant or default)


FIELDS = ("os", "arch", "variant", "debian_arch", "docker_arch", "gnu_arch", "kernel_arch")
"""What a platform is called, each way by itself; `board` is known besides, and not promised."""


def named(platform: Platform, field: str) -> tuple[str, ...]:
    """What `platform` is called in the way that `field` says, the likeliest first; () where it has no such name."""
    match field:
        case "os":
            return (platform.os,)
        case "arch":
            return (platform.architecture,)
        case "variant":
            return (platform.variant,)
        case "kernel_arch":
            return _kernel(platform)
    own = table()["platforms"].get(str(platform))
    if own is None:
        return ()
    value = own.get(field.removesuffix("_arch"), () if field == "board" else platform.architecture)
    return (value,) if isinstance(value, str) else tuple(value)


def _kernel(platform: Platform) -> tuple[str, ...]:
    """What `uname -m` says there. Where a word stands for another variant, it is left out."""
    known = architecture_named(platform.architecture)
    if known is None or platform.os != "linux":
        return ()
    variants = {name: known.aliases.get(name, ("", ""))[1] for name in known.uname}
    return tuple(name for name in known.uname if variants[name] == platform.variant)


def likely_words(platform: Platform) -> tuple[str, ...]:
    """What images for `platform` are seen to be called, the likeliest first; () where nothing is known."""
    if str(platform) not in table()["platforms"]:
        return ()
    compact = f"{platform.architecture}{platform.variant}"
    dashed = [f"{platform.architecture}-{platform.variant}"] if platform.variant else []
    several = [
        *named(platform, "docker_arch"),
        compact,
        *named(platform, "debian_arch")[:1],
        *named(platform, "gnu_arch"),
        *dashed,
        f"linux-{compact}",
        platform.architecture,
        f"linux-{platform.architecture}",
        *named(platform, "board")[:1],
    ]
    return tuple(dict.fromkeys(several))


def certainty_of(*texts: str) -> Certainty:
    """How much words tell together: as much as the surest of them."""
    found = [meant.certainty for text in texts if (meant := word(text.removeprefix("linux-")))]
    return min(found, key=CERTAINTIES.index, default="likely")


def tag_proposals(reference: Reference, platform: Platform, names: Iterable[tuple[str, str]]) -> Iterator[TagProposal]:
    """Tags of the same repository, each given with the word in it; those that are too long are left out."""
    for text, tag in names:
        if len(tag) <= MAX_TAG_LENGTH:
            yield TagProposal(reference.with_tag(tag), platform, certainty_of(text))
