"""Platform: os, architecture and variant, as the OCI image-spec and containerd write them.

Sources: OCI image-spec 1.1.1, image-index.md (`platform`, "Platform Variants"); containerd/platforms, platforms.go and
database.go (the specifier's form and its normal form).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from polyarch_platforms import architecture
from polyarch_platforms.errors import PlatformError, quoted
from polyarch_platforms.lazy_dataclass import dataclass

MAX_TEXT = 128

_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# `os.version` and `os.features` are free text in the image-spec; taken is what containerd's specifier can write.
_OPTION = re.compile(r"[A-Za-z0-9_.%+-]{1,64}", re.ASCII)
_MAX_FEATURES = 32

# Go's lists (internal/syslist, as containerd/platforms, database.go): what a word alone can be.
_SYSTEMS = frozenset(
    "aix android darwin dragonfly freebsd hurd illumos ios js linux"  # noqa: SIM905
    " nacl netbsd openbsd plan9 solaris wasip1 windows zos".split()
)
_FURTHER_ARCHITECTURES = frozenset(
    "amd64p32 arm64be armbe mips mips64 mips64p32 mips64p32le mipsle"  # noqa: SIM905
    " ppc ppc64 riscv s390 sparc sparc64 wasm".split()
)


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """One platform. `str` gives `os/architecture[/variant]`; the version and features of the system are not printed."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse(text: str) -> Platform:
    """What a user writes -> its normal form: `aarch64` -> linux/arm64, `arm` -> linux/arm/v7, `x86_64` -> linux/amd64.

    The forms are `architecture`, `architecture/variant`, `os/architecture` and `os/architecture/variant`; without a
    system it is Linux. Raises PlatformError, and nothing else, whatever the text.
    """
    if not isinstance(text, str):
        raise PlatformError(f"a platform is a text, not {type(text).__name__}")
    if len(text) > MAX_TEXT:
        raise PlatformError(f"platform {quoted(text, 40)} is longer than {MAX_TEXT} characters")
    parts = text.split("/")
    for part in parts:
        if not _PART.fullmatch(part):
            raise _unreadable(text, f"{quoted(part)} is no part of a platform" if part else "a part is empty")
    if len(parts) > 3:
        raise _unreadable(text, "it has more than three parts")
    system, rest = _system(parts[0]), parts[1:]
    if system not in _SYSTEMS:
        if not _is_architecture(parts[0]):
            raise _unreadable(text, f"{quoted(parts[0])} is no known operating system or architecture")
        if len(parts) == 3:
            raise _unreadable(text, f"{quoted(parts[0])} is no known operating system")
        system, rest = "linux", parts
    elif not rest:
        raise _unreadable(text, "it names an operating system, but no architecture")
    return _from_user(text, system, rest[0], rest[1] if len(rest) > 1 else "")


def is_known(platform: Platform) -> bool:
    """True if Go, whose words the image-spec uses, has the system and the architecture; `parse` takes others, too."""
    return platform.os in _SYSTEMS and _is_architecture(platform.architecture)


def _from_user(text: str, system: str, word: str, variant: str) -> Platform:
    name, meant = architecture.words().get(word.lower(), (word.lower(), ""))
    if meant and variant and _variant(name, variant) != meant:
        raise _unreadable(
            text, f"{quoted(word)} means {name}/{meant}", f"write {name}/{variant.lower()} or {word} alone"
        )
    known = architecture.get(name)
    default = known.default_variant if known else ""
    return Platform(system, name, _variant(name, variant or meant or default))


def _unreadable(text: str, why: str, hint: str | None = None) -> PlatformError:
    return PlatformError(
        f"cannot read the platform {quoted(text)}: {why}",
        hint or "a platform is written OS/ARCHITECTURE[/VARIANT], as in linux/arm64 or linux/arm/v7",
    )


def _system(word: str) -> str:
    """containerd/platforms, database.go, normalizeOS."""
    lower = word.lower()
    return "darwin" if lower == "macos" else lower


def _is_architecture(word: str) -> bool:
    return word.lower() in architecture.words() or word.lower() in _FURTHER_ARCHITECTURES


def _variant(name: str, variant: str) -> str:
    """The normal form of a variant: `7` -> v7, `v8.0` of arm64 -> "" (implied). Unknown ones stay as they are."""
    variant = variant.lower()
    known = architecture.get(name)
    if known is None:
        return variant
    if f"v{variant}".removesuffix(".0") in known.variants:
        variant = f"v{variant}"
    if variant.endswith(".0") and variant.removesuffix(".0") in known.variants:
        variant = variant.removesuffix(".0")
    return "" if variant == known.implied_variant else variant


def normalise(platform: Platform) -> Platform:
    """The same platform in its normal form: aliases and implied variants resolved, a missing arm variant stays missing.

    Where an alias stands for a variant (`armhf`), the alias decides, as in containerd/platforms, normalizeArch.
    """
    word = platform.architecture.lower()
    name, meant = architecture.words().get(word, (word, ""))
    return Platform(
        _system(platform.os),
        name,
        _variant(name, meant or platform.variant),
        platform.os_version,
        tuple(sorted(set(platform.os_features))),
    )


def from_oci(document: Mapping[str, object]) -> Platform:
    """The `platform` of an index entry, or the same fields of a config, in normal form; other keys are passed over.

    A missing arm variant stays "": only the program itself can tell. Raises PlatformError for missing fields, wrong
    types and characters that no platform has.
    """
    if not isinstance(document, Mapping):
        raise PlatformError(f"a platform is a JSON object, not {type(document).__name__}")
    features = document.get("os.features")
    if features is None:
        features = []
    if not isinstance(features, list | tuple) or len(features) > _MAX_FEATURES:
        raise PlatformError(f"the platform's 'os.features' is no list of at most {_MAX_FEATURES} texts")
    return normalise(
        Platform(
            os=_field(document, "os", _PART, required=True),
            architecture=_field(document, "architecture", _PART, required=True),
            variant=_field(document, "variant", _PART),
            os_version=_field(document, "os.version", _OPTION),
            os_features=tuple(_text("os.features", one, _OPTION) for one in features),
        )
    )


def _field(document: Mapping[str, object], key: str, form: re.Pattern[str], *, required: bool = False) -> str:
    value = document.get(key)
    if value is None or value == "":
        if required:
            raise PlatformError(f"the platform has no {key!r}")
        return ""
    return _text(key, value, form)


def _text(key: str, value: object, form: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        raise PlatformError(f"the platform's {key!r} is a {type(value).__name__}, not a text")
    if not form.fullmatch(value):
        raise PlatformError(f"the platform's {key!r} is {quoted(value)}, which no platform has")
    return value


def to_oci(platform: Platform) -> dict[str, object]:
    """The `platform` object of an index entry; empty fields are left out."""
    fields: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        fields["os.version"] = platform.os_version
    if platform.os_features:
        fields["os.features"] = list(platform.os_features)
    if platform.variant:
        fields["variant"] = platform.variant
    return fields
