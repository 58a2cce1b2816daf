"""From a machine's facts to the device it is. `detect` is pure; `local_facts` asks this machine."""

from __future__ import annotations

from collections.abc import Sequence

from polyarch_platforms import architecture, arm_cpu, binfmt, raspberry_pi
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.arm_cpu import ArmCpu
from polyarch_platforms.compatibility import Cpu, own_platform, runs_32bit, vector
from polyarch_platforms.device import Board, CpuInfo, Device, Emulation
from polyarch_platforms.errors import FactsError, quoted
from polyarch_platforms.facts import Facts, parse_facts
from polyarch_platforms.platform import Platform
from polyarch_platforms.probe import local_facts, probe_script

__all__ = ["Facts", "detect", "local_facts", "parse_facts", "probe_script"]


# Linux, lib/kstrtox.c, kstrtobool: what a kernel parameter takes for no.
_OFF = ("0", "n", "no", "f", "false", "off")


def detect(facts: Facts) -> Device:
    """The device that these facts are of. What they do not prove is not claimed.

    Raises FactsError if the machine runs no Linux, or one of an architecture that no image is made for.
    """
    if facts.os != "Linux":
        raise FactsError(
            f"the device runs {quoted(facts.os)}, not Linux",
            "containers run in a Linux machine on it: ask that one",
        )
    known = _architecture(facts)
    cores = _cores(facts)
    pi = raspberry_pi.identify(
        facts.dt_revision or _first(facts, "Revision"), _first(facts, "Hardware"), facts.dt_model, facts.dt_compatible
    )
    features = _features(facts, known)
    if known.name == "arm":
        level, variant = "", _arm_variant(facts, known, cores + ([pi.cpu] if pi and pi.cpu else []), features)
    else:
        level = variant = known.level(features)
    cpu = Cpu(
        architecture=known.name,
        variant=variant,
        aarch32=_aarch32(facts, cores),
        ia32=_ia32(facts),
        page_size=facts.page_size,
        userland_bits=_userland_bits(facts, known),
    )
    native = vector(cpu)
    return Device(
        name="",
        platform=own_platform(native),
        native=native,
        emulated=_emulations(facts, native),
        machine=facts.machine,
        kernel=facts.release,
        userland_bits=cpu.userland_bits,
        page_size=cpu.page_size,
        cpu=_cpu_info(facts, cores, features, level),
        board=_board(facts, pi),
        compat32=runs_32bit(cpu),
        libc=facts.libc,
        inside=_inside(facts),
    )


def _architecture(facts: Facts) -> Architecture:
    """By `uname -m`; where one word stands for both byte orders (mips64), the userland decides."""
    for known in architecture.load().values():
        if facts.machine not in known.uname:
            continue
        # armv8l is what a 32-bit process of a 64-bit kernel may be told: the kernel counts.
        if known.aliases.get(facts.machine) == ("arm", "v8"):
            return architecture.load()["arm64"]
        if facts.userland is None or facts.userland.data == known.elf_data:
            return known
    raise FactsError(
        f"the device is a {quoted(facts.machine)}, for which polyarch knows no images",
        f"known are {', '.join(architecture.load())}",
    )


def _userland_bits(facts: Facts, known: Architecture) -> int | None:
    """Of the programs that the machine's own tools are. x32 has 32-bit pointers, but is no 386."""
    if facts.userland is None:
        return None if known.elf_class == 64 else 32
    siblings = {architecture.load()[name].elf_machine for name in known.may_run}
    return 32 if known.elf_class == 32 or facts.userland.machine in siblings else 64


def _features(facts: Facts, known: Architecture) -> tuple[str, ...]:
    """What all cores have, in the kernel's words. Nothing under an emulator: QEMU shows the host's /proc/cpuinfo."""
    if facts.emulator:
        return ()
    if known.hwcap2:
        return tuple(name for name, bit in known.hwcap2.items() if facts.hwcap2 & bit)
    if known.name == "riscv64":
        lines = [riscv_extensions(isa) for isa in facts.cpu("isa")]
    else:
        lines = [tuple(value.split()) for key in ("flags", "Features", "features") for value in facts.cpu(key)]
    if not lines:
        return ()
    common = set(lines[0]).intersection(*lines[1:])
    return tuple(one for one in dict.fromkeys(lines[0]) if one in common)


def riscv_extensions(isa: str) -> tuple[str, ...]:
    """`rv64imafdc_zicsr_zba` -> i, m, a, f, d, c, zicsr, zba (RISC-V ISA, "ISA Extension Naming Conventions")."""
    base, *longer = isa.lower().split("_")
    letters = base.removeprefix("rv64").replace("g", "imafd")
    return (*letters, *longer)


def _cores(facts: Facts) -> list[ArmCpu]:
    """The ARM cores that /proc/cpuinfo names and the table knows. big.LITTLE chips have two kinds."""
    if facts.emulator:
        return []
    found = [
        arm_cpu.find(implementer, part)
        for implementer in _numbers(facts, "CPU implementer")
        for part in _numbers(facts, "CPU part")
    ]
    return [core for core in found if core]


def _numbers(facts: Facts, key: str) -> list[int]:
    numbers = []
    for value in facts.cpu(key):
        try:
            numbers.append(int(value, 16))
        except ValueError:
            continue
    return numbers


def _arm_variant(facts: Facts, known: Architecture, cores: list[ArmCpu], features: tuple[str, ...]) -> str:
    """The lowest of what the kernel's word, the cores and their features say; under a 32-bit kernel never above v7.

    "CPU architecture" in /proc/cpuinfo is not asked: kernels say 7 for the ARMv6 of the first Raspberry Pi.
    """
    said = [known.aliases.get(facts.machine, ("arm", known.variants[-1]))[1]]
    said += [core.version_32bit for core in cores]
    if features:
        said.append(known.level(features))
    order = known.variants
    return max((one for one in said if one in order), key=order.index)


def _aarch32(facts: Facts, cores: list[ArmCpu]) -> bool | None:
    """Whether 32-bit ARM programs run on this 64-bit kernel.

    PER_LINUX32 is the kernel's own answer (Linux, arch/arm64/kernel/sys.c: EINVAL without AArch32 at EL0), and comes
    before what is known of the cores. An emulator of AArch64 runs nothing else: a 32-bit program would need another.
    """
    if facts.emulator:
        return False
    if facts.linux32 is not None:
        return facts.linux32
    if facts.aarch32_el0:
        return True
    return False if any(core.aarch32 == "none" for core in cores) else None


def _ia32(facts: Facts) -> bool | None:
    """Whether 386 programs run on this 64-bit kernel.

    Linux, arch/x86/Kconfig (IA32_EMULATION, IA32_EMULATION_DEFAULT_DISABLED), kernel-parameters (ia32_emulation=).
    A program that ran proves nothing where an emulator is registered for it.
    """
    if facts.emulator:
        return False
    if facts.ran_386 is not None and not any(one.platform.architecture == "386" for one in _emulations(facts, ())):
        return facts.ran_386
    if facts.vsyscall32 is False or facts.ia32_parameter.lower() in _OFF:
        return False
    settings = dict(line.partition("=")[::2] for line in facts.kernel_config)
    if not facts.kernel_config:
        return None
    if settings.get("CONFIG_IA32_EMULATION") != "y":
        return False
    return settings.get("CONFIG_IA32_EMULATION_DEFAULT_DISABLED") != "y" or bool(facts.ia32_parameter)


def _emulations(facts: Facts, native: Sequence[Platform]) -> tuple[Emulation, ...]:
    """What the kernel's table hands to an interpreter, beyond the `native` architectures."""
    if ("status", ("disabled",)) in facts.binfmt:
        return ()
    read = (binfmt.parse_entry(name, "\n".join(lines)) for name, lines in facts.binfmt)
    entries = [entry for entry in read if entry]
    own = {one.architecture for one in native}
    return tuple(
        Emulation(Platform("linux", known.name, known.default_variant), entry.interpreter, "registered")
        for known in architecture.load().values()
        if known.name not in own and (entry := binfmt.matching(entries, known))
    )


def _first(facts: Facts, key: str) -> str:
    values = facts.cpu(key)
    return values[0] if values else ""


def _cpu_info(facts: Facts, cores: list[ArmCpu], features: tuple[str, ...], level: str) -> CpuInfo:
    if facts.emulator:
        return CpuInfo()
    if cores:
        vendors = dict.fromkeys(core.vendor for core in cores)
        models = dict.fromkeys(core.model for core in cores)
        return CpuInfo(" + ".join(vendors), " + ".join(models), features, level)
    vendor = _first(facts, "vendor_id") or next((arm_cpu.vendor(one) for one in _numbers(facts, "CPU implementer")), "")
    keys = ("model name", "Model Name", "cpu model", "uarch", "cpu", "processor 0")
    model = next((value for key in keys if (value := _first(facts, key))), "")
    # s390x: "version = 00,  identification = 0E19C8,  machine = 8561"; the identification is a serial number.
    _, _, machine = model.partition("machine = ")
    return CpuInfo(vendor, f"machine {machine}" if machine else model, features, level)


def _board(facts: Facts, pi: raspberry_pi.RaspberryPi | None) -> Board | None:
    if pi is not None:
        model = facts.dt_model or (f"{pi.model} Rev {pi.revision}" if pi.model else "Raspberry Pi")
        code = (facts.dt_revision or _first(facts, "Revision")).lstrip("0")
        # As its maker writes it: the old codes have four digits.
        return Board(model, code and code.zfill(4), pi.soc)
    # "linux,dummy-virt" and its like are machines of an emulator.
    if not facts.dt_model or facts.dt_model.startswith("linux,"):
        return None
    # From the board to the chip, the most general last; "apple,arm-platform" says nothing more.
    chip = next((one for one in reversed(facts.dt_compatible) if not one.endswith("-platform")), "")
    return Board(facts.dt_model, soc=chip.rpartition(",")[2].upper())


def _inside(facts: Facts) -> tuple[str, ...]:
    """What the machine's programs run in, innermost first."""
    found: list[str] = []
    if facts.emulator:
        found.append("qemu" if facts.qemu else facts.emulator.rsplit("/", 1)[-1])
    if facts.in_chroot:
        found.append("chroot")
    found += facts.inside
    release = facts.release.lower()
    if "microsoft" in release:
        # Microsoft's kernels: 4.4.0-19041-Microsoft (WSL 1), 5.15.90.1-microsoft-standard-WSL2.
        found.append("wsl2" if "standard" in release or "wsl2" in release else "wsl1")
    return tuple(found)
