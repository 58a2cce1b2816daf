"""Which platforms a CPU executes natively, best first, and where a candidate stands among them. Pure.

The order is containerd's (containerd/platforms, compare.go, platformVector), with two differences: what is of another
architecture (arm on arm64, 386 on amd64) is taken only where it is proven, and the levels of RISC-V and POWER are
ordered, too. OCI image-spec 1.1.1, image-index.md: a platform states minimum requirements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polyarch_platforms import architecture
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, normalise

# Linux, arch/arm64/Kconfig: COMPAT depends on ARM64_4K_PAGES || EXPERT, as 32-bit programs are aligned to 4K.
_AARCH32_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Cpu:
    """What the vector is made of: the kernel's architecture and what is proven of the CPU under it.

    architecture   the OCI name of what the kernel runs as (`arm64` for a 64-bit kernel with a 32-bit userland, too)
    variant        the CPU's best variant (`v8.2`, `v3`, `rva22u64`); "" is the lowest that all have
    aarch32        arm64 only: 32-bit arm programs run. True is proven, False disproven, None unknown
    ia32           amd64 only: 386 programs run. True is proven, False disproven, None unknown
    page_size      bytes; None is unknown
    userland_bits  32 or 64; None is unknown. 32 on a 64-bit kernel proves that such programs run
    """

    architecture: str
    variant: str = ""
    aarch32: bool | None = None
    ia32: bool | None = None
    page_size: int | None = None
    userland_bits: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """Where a candidate stands; the smaller the better.

    position  by the vector
    proven    False where only the program itself can tell whether it runs (an arm image without a variant on a v6 CPU)
    """

    position: int
    proven: bool


def vector(cpu: Cpu) -> tuple[Platform, ...]:
    """The platforms that `cpu` executes natively, best first. An unknown architecture runs itself alone."""
    known = architecture.get(cpu.architecture)
    if known is None:
        return (Platform("linux", cpu.architecture, cpu.variant),)
    own = _own(known, cpu.variant)
    if not runs_32bit(cpu):
        return own
    others = tuple(one for name in known.may_run for one in _own(architecture.load()[name], ""))
    return others + own if cpu.userland_bits == 32 else own + others


def runs_32bit(cpu: Cpu) -> bool | None:
    """Whether the 32-bit programs of the CPU's family run beside its own: proven, disproven, or None for unknown.

    None, too, for architectures that have no such family.
    """
    known = architecture.get(cpu.architecture)
    if known is None or not known.may_run:
        return None
    if cpu.userland_bits == 32:
        return True
    if cpu.architecture == "amd64":
        return cpu.ia32
    if cpu.page_size not in (None, _AARCH32_PAGE):
        return False
    return None if cpu.page_size is None and cpu.aarch32 else cpu.aarch32


def own_platform(native: Sequence[Platform]) -> Platform:
    """What programs made for a device are labelled: the first of its vector without a level; arm keeps its variant."""
    first = native[0]
    return first if first.architecture == "arm" else replace(first, variant="")


def _own(known: Architecture, variant: str) -> tuple[Platform, ...]:
    """The platforms of one architecture for a CPU of `variant`; without one, arm means any, as where arm64 runs it."""
    if not known.variants:
        return (Platform("linux", known.name, variant),)
    if known.implied_variant or known.name == "arm":
        best = variant or known.implied_variant or known.variants[0]
        return tuple(normalise(Platform("linux", known.name, held)) for held in known.runs(best))
    levels = known.runs(variant) if variant else ()
    return tuple(Platform("linux", known.name, held) for held in (*levels, ""))


def asked(platform: Platform) -> tuple[Platform, ...]:
    """The vector of a platform asked for by name: itself, then the lower variants of the same architecture.

    Nothing of another architecture: that takes a proof, and a name proves nothing.
    """
    wanted = normalise(platform)
    known = architecture.get(wanted.architecture)
    if known is None:
        return (wanted,)
    held = known.runs(wanted.variant or known.unlabelled_variant)
    lower = (normalise(replace(wanted, variant=variant)) for variant in held)
    return tuple(dict.fromkeys((wanted, *lower)))


def rank(native: Sequence[Platform], candidate: Platform) -> Rank | None:
    """Where `candidate` stands in `native` (a `vector` or an `asked`), or None if it cannot run there.

    An entry without a variant counts as its architecture's `unlabelled_variant`, just behind an entry that says so.
    Where that variant is not in the vector, but another of the architecture is (arm on a v6 CPU), it comes last of all
    and `proven` is False. Variants nobody knows match by equality alone. `os` must be equal; `os_version` must where
    both have one, except on Linux, where the kernel's version says nothing.
    """
    entry = normalise(candidate)
    known = architecture.get(entry.architecture)
    unlabelled = known.unlabelled_variant if known else ""
    other_variant = False
    for index, place in enumerate(map(normalise, native)):
        if place.architecture != entry.architecture or not _same_system(place, entry):
            continue
        if place.variant == entry.variant:
            return Rank(2 * index, True)
        if not entry.variant and place.variant == unlabelled:
            return Rank(2 * index + 1, True)
        other_variant = True
    return Rank(2 * len(native), False) if other_variant and not entry.variant else None


def _same_system(place: Platform, entry: Platform) -> bool:
    if place.os != entry.os:
        return False
    versions = {place.os_version, entry.os_version} - {""}
    return place.os == "linux" or len(versions) < 2
