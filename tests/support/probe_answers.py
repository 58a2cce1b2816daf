"""Answers of the probe made from single facts, for devices that are not at hand."""

from __future__ import annotations

from polyarch_platforms import architecture

ARM64 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
# Raspberry Pi 5: raspberrypi/linux, issue 5761, /proc/cpuinfo.
A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
ARMV6 = "half thumb fastmult vfp edsp java tls"
ARMV7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"

# 386 programs on amd64: the kernel can, or an emulator is registered for them (with the mask of QEMU's script).
CONFIG = "config CONFIG_IA32_EMULATION=y"
QEMU_I386 = (
    "binfmt qemu-i386:enabled",
    "binfmt qemu-i386:interpreter /usr/bin/qemu-i386-static",
    "binfmt qemu-i386:flags: F",
    "binfmt qemu-i386:offset 0",
    "binfmt qemu-i386:magic 7f454c4601010100000000000000000002000300",
    "binfmt qemu-i386:mask fffffffffffefe00fffffffffffffffffeffffff",
)


def answer(*lines: str, uname: str, userland: str = "", page: int = 4096, hwcap2: int = 0, process: str = "") -> str:
    """A probe's answer: `uname` as `-s -r -m` print it, the userland's architecture by name, further lines as is."""
    auxv = elf = shell = ""
    if userland:
        known = architecture.load()[userland]
        order, wide = known.elf_data, known.elf_class == 64
        words = [_words(one, order, wide) for one in (6, page, 26, hwcap2, 0, 0)]
        auxv, elf = f"auxv {' '.join(words)}", f"elf-user {_elf(userland)}"
        shell = f"elf-process {_elf(process or userland)}"
    body = [f"uname {uname}", elf, auxv, shell, "mountinfo yes", "root-mount yes", *lines]
    return "\n".join(["polyarch-probe 1", *filter(None, body), "end", ""])


def _words(number: int, order: str, wide: bool) -> str:
    low, high = f"{number & 0xFFFFFFFF:08x}", f"{number >> 32:08x}"
    if not wide:
        return low
    return f"{low} {high}" if order == "little" else f"{high} {low}"


def _elf(name: str) -> str:
    return architecture.load()[name].magic[0][0].ljust(64, b"\0").hex(" ")


def core(part: str, features: str, implementer: str = "0x41") -> tuple[str, ...]:
    """The lines of an ARM core."""
    return (
        f"cpu Features\t: {features}",
        f"cpu CPU implementer\t: {implementer}",
        "cpu CPU architecture: 8",
        f"cpu CPU part\t: {part}",
    )


def tree(model: str, *compatible: str) -> tuple[str, ...]:
    """The lines of a device tree."""
    return (f"dt-model {model}", *(f"dt-compatible {one}" for one in compatible))
