"""What every fixture in tests/platforms/facts is of. The source of each is in its own first lines."""

from __future__ import annotations

from dataclasses import dataclass

ARM6 = "arm/v6 arm/v5"
ARM7 = f"arm/v7 {ARM6}"
ARM8 = f"arm/v8 {ARM7}"
V80 = "arm64"
V81 = f"arm64/v8.1 {V80}"
V82 = f"arm64/v8.2 {V81}"
V84 = f"arm64/v8.4 arm64/v8.3 {V82}"
V86 = f"arm64/v8.6 arm64/v8.5 {V84}"
V90 = f"arm64/v9 arm64/v8.5 {V84}"
X1 = "amd64"
X2 = f"amd64/v2 {X1}"
X3 = f"amd64/v3 {X2}"
X4 = f"amd64/v4 {X3}"


@dataclass(frozen=True, slots=True)
class Row:
    """What must come out: the platform, the vector best first, the board, the processor and its level, and more."""

    name: str
    platform: str
    native: str
    board: tuple[str, str, str] | None = None
    cpu: str = ""
    level: str = ""
    compat32: bool | None = None
    pages: int | None = 4096
    inside: str = ""


# fmt: off
ROWS = (
    Row("a64fx", "arm64", V82, cpu="A64FX", level="v8.2", compat32=False, pages=65536),
    Row("allwinner-d1", "riscv64", "riscv64/rva20u64 riscv64", cpu="thead,c906", level="rva20u64"),
    Row("ampere-altra-4k", "arm64", f"{V82} {ARM8}", cpu="Neoverse-N1", level="v8.2", compat32=True),
    Row("ampereone-64k", "arm64", V86, cpu="Ampere-1a", level="v8.6", compat32=False, pages=65536),
    Row("ampereone", "arm64", V86, cpu="Ampere-1", level="v8.6", pages=None),
    Row("apple-m1-pro-asahi", "arm64", V84, board=("Apple MacBook Pro (14-inch, M1 Pro, 2021)", "", "T6000"),
        cpu="Icestorm (M1 Pro) + Firestorm (M1 Pro)", level="v8.4", compat32=False, pages=16384),
    Row("apple-m1-vm", "arm64", V84, cpu="Icestorm (M1) + Firestorm (M1)", level="v8.4", compat32=False),
    Row("apple-m2-asahi", "arm64", V86, cpu="Blizzard (M2)", level="v8.6", compat32=False, pages=16384),
    Row("atom-n270", "386", "386", cpu="Intel(R) Atom(TM) CPU N270   @ 1.60GHz"),
    Row("atom-z8350", "amd64", X2, cpu="Intel(R) Atom(TM) x5-Z8350  CPU @ 1.44GHz", level="v2"),
    Row("beaglebone-black", "arm/v7", ARM7, board=("TI AM335x BeagleBone Black", "", "AM33XX"), cpu="Cortex-A8"),
    Row("celeron-j4105", "amd64", f"{X2} 386", cpu="Intel(R) Celeron(R) J4105 CPU @ 1.50GHz", level="v2",
        compat32=True),
    Row("cm1", "arm/v6", ARM6, board=("Raspberry Pi Compute Module Rev 1.0", "0011", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("cm3-plus", "arm64", V80, board=("Raspberry Pi Compute Module 3 Plus Rev 1.0", "a02100", "BCM2837"),
        cpu="Cortex-A53", level="v8", pages=None),
    Row("cm3", "arm/v7", ARM7, board=("Raspberry Pi Compute Module 3 Rev 1.0", "a220a0", "BCM2837"), cpu="Cortex-A53"),
    Row("cm4-32bit", "arm/v7", ARM7, board=("Raspberry Pi Compute Module 4 Rev 1.0", "b03140", "BCM2711"),
        cpu="Cortex-A72"),
    Row("cm4-64bit", "arm64", V80, board=("Raspberry Pi Compute Module 4 Rev 1.1", "d03141", "BCM2711"),
        cpu="Cortex-A72", level="v8", pages=None),
    Row("cm4s", "arm64", V80, board=("Raspberry Pi Compute Module 4S Rev 1.0", "a03150", "BCM2711"), cpu="Cortex-A72",
        level="v8", pages=None),
    Row("cm5", "arm64", V82, board=("Raspberry Pi Compute Module 5 Rev 1.0", "", "BCM2712"), cpu="Cortex-A76",
        level="v8.2", compat32=False, pages=16384),
    Row("core2-386-userland", "386", f"386 {X1}", cpu="Intel(R) Core(TM)2 Quad CPU    Q8300  @ 2.50GHz", level="v1",
        compat32=True),
    Row("core2-quad", "amd64", X1, cpu="Intel(R) Core(TM)2 Quad CPU    Q8300  @ 2.50GHz", level="v1"),
    Row("e-450", "amd64", f"{X1} 386", cpu="AMD E-450 APU with Radeon(tm) HD Graphics", level="v1", compat32=True),
    Row("geode", "386", "386", cpu="Geode(TM) Integrated Processor by AMD PCS"),
    Row("graviton1", "arm64", V80, cpu="Cortex-A72", level="v8", pages=None),
    Row("graviton2", "arm64", f"{V82} {ARM8}", cpu="Neoverse-N1", level="v8.2", compat32=True),
    Row("graviton3", "arm64", V84, cpu="Neoverse-V1", level="v8.4", pages=None),
    Row("graviton4", "arm64", V90, cpu="Neoverse-V2", level="v9", compat32=False, pages=None),
    Row("haswell-ep", "amd64", X3, cpu="Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz", level="v3"),
    Row("hifive-unleashed", "riscv64", "riscv64/rva20u64 riscv64", cpu="sifive,u54-mc", level="rva20u64"),
    Row("hifive-unmatched", "riscv64", "riscv64/rva20u64 riscv64", board=("SiFive HiFive Unmatched A00", "", "FU740"),
        cpu="sifive,u74-mc", level="rva20u64"),
    Row("imx6-quad", "arm/v7", ARM7, cpu="Cortex-A9"),
    Row("jetson-nano", "arm64", f"{V80} {ARM8}", board=("NVIDIA Jetson Nano Developer Kit", "", "TEGRA210"),
        cpu="Cortex-A57", level="v8", compat32=True),
    Row("jetson-orin-nano", "arm64", f"{V82} {ARM8}", board=("NVIDIA Orin Nano Developer Kit", "", "TEGRA234"),
        cpu="Cortex-A78AE", level="v8.2", compat32=True),
    Row("jetson-tx2", "arm64", V80, cpu="Cortex-A57 + Denver 2", level="v8", pages=None),
    Row("k10-opteron", "amd64", X1, cpu="AMD Opteron(tm) Processor 6136", level="v1"),
    Row("kunpeng-920", "arm64", V82, cpu="Kunpeng-920", level="v8.2", pages=None),
    Row("lichee-pi-4a", "riscv64", "riscv64/rva20u64 riscv64",
        board=("T-HEAD Light Lichee Pi 4A configuration for 8GB DDR board", "", "LIGHT"), level="rva20u64"),
    Row("loongson-3a5000", "loong64", "loong64", cpu="Loongson-3A5000-HV", pages=16384),
    Row("loongson-3a6000", "loong64", "loong64", cpu="Loongson-3A6000", pages=16384),
    Row("milk-v-pioneer", "riscv64", "riscv64/rva20u64 riscv64", level="rva20u64"),
    Row("n100-lxc", "amd64", X3, cpu="Intel(R) N100", level="v3", inside="lxc"),
    Row("nanopi-neo4", "arm64", f"{V80} {ARM8}", board=("FriendlyARM NanoPi NEO4", "", "RK3399"),
        cpu="Cortex-A53 + Cortex-A72", level="v8", compat32=True),
    Row("neoverse-n2-yitian", "arm64", V82, cpu="Neoverse-N2", level="v8.2", pages=None),
    Row("odroid-n2-plus", "arm64", f"{V80} {ARM8}", board=("Hardkernel ODROID-N2Plus", "", "G12B"),
        cpu="Cortex-A53 + Cortex-A73", level="v8", compat32=True),
    Row("odroid-xu4", "arm/v7", ARM7, board=("Hardkernel Odroid XU4", "", "EXYNOS5"), cpu="Cortex-A7 + Cortex-A15"),
    Row("orange-pi-pc-2", "arm64", f"{V80} {ARM8}", board=("Xunlong Orange Pi PC 2", "", "SUN50I-H5"),
        cpu="Cortex-A53", level="v8", compat32=True),
    Row("orange-pi-pc-plus", "arm/v7", ARM7, board=("Xunlong Orange Pi PC Plus", "", "SUN8I-H3"), cpu="Cortex-A7"),
    Row("pentium-m", "386", "386", cpu="Intel(R) Pentium(R) M processor 2.00GHz"),
    Row("phytium-d2000", "arm64", f"{V80} {ARM8}", cpu="FTC663", level="v8", compat32=True),
    Row("pi-1-a-plus-0012", "arm/v6", ARM6, board=("Raspberry Pi Model A Plus Rev 1.1", "0012", "BCM2835"),
        cpu="ARM1176JZF-S"),
    Row("pi-1-a-plus", "arm/v6", ARM6, board=("Raspberry Pi Model A+", "", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-1-a", "arm/v6", ARM6, board=("Raspberry Pi Model A Rev 2.0", "0008", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-1-b-000d", "arm/v6", ARM6, board=("Raspberry Pi Model B Rev 2.0", "000d", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-1-b-plus", "arm/v6", ARM6, board=("Raspberry Pi Model B Plus Rev 1.2", "1000010", "BCM2835"),
        cpu="ARM1176JZF-S"),
    Row("pi-1-b-rev1", "arm/v6", ARM6, board=("Raspberry Pi Model B Rev 1.0", "0002", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-1-b-rev2", "arm/v6", ARM6, board=("Raspberry Pi Model B Rev 2", "000e", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-2-b-3.18", "arm/v7", ARM7, board=("Raspberry Pi 2 Model B Rev 1.0", "1a01040", "BCM2836"), cpu="Cortex-A7"),
    Row("pi-2-b-v1.1", "arm/v7", ARM7, board=("Raspberry Pi 2 Model B Rev 1.1", "a01041", "BCM2836"), cpu="Cortex-A7"),
    Row("pi-2-b-v1.2", "arm/v7", ARM7, board=("Raspberry Pi 2 Model B Rev 1.2", "a22042", "BCM2837"), cpu="Cortex-A53"),
    Row("pi-2-b", "arm/v7", ARM7, board=("Raspberry Pi 2 Model B", "", "BCM2836"), cpu="Cortex-A7"),
    Row("pi-3-a-plus", "arm/v7", ARM7, board=("Raspberry Pi 3 Model A Plus Rev 1.0", "9020e0", "BCM2837"),
        cpu="Cortex-A53"),
    Row("pi-3-b-32bit-userland", "arm/v8", f"{ARM8} {V80}", board=("Raspberry Pi 3 Model B Rev 1.2", "", "BCM2837"),
        cpu="Cortex-A53", level="v8", compat32=True, pages=None),
    Row("pi-3-b-4.1", "arm/v7", ARM7, board=("Raspberry Pi 3 Model B Rev 1.2", "a22082", "BCM2837"), cpu="Cortex-A53"),
    Row("pi-3-b-64bit-arm-socs", "arm64", V80, board=("Raspberry Pi 3 Model B Rev 1.2", "a02082", "BCM2837"),
        cpu="Cortex-A53", level="v8", pages=None),
    Row("pi-3-b-64bit-kernel-32bit-userland", "arm/v8", f"{ARM8} {V80}",
        board=("Raspberry Pi 3 Model B", "", "BCM2837"), cpu="Cortex-A53", level="v8", compat32=True),
    Row("pi-3-b-64bit", "arm64", f"{V80} {ARM8}", board=("Raspberry Pi 3 Model B", "", "BCM2837"), cpu="Cortex-A53",
        level="v8", compat32=True),
    Row("pi-3-b-plus", "arm64", V80, board=("Raspberry Pi 3 Model B Plus Rev 1.3", "a020d3", "BCM2837"),
        cpu="Cortex-A53", level="v8", pages=None),
    Row("pi-4-b-32bit-userland", "arm/v8", f"{ARM8} {V80}",
        board=("Raspberry Pi 4 Model B Rev 1.4", "d03114", "BCM2711"), cpu="Cortex-A72", level="v8", compat32=True),
    Row("pi-4-b-32bit", "arm/v7", ARM7, board=("Raspberry Pi 4 Model B Rev 1.1", "a03111", "BCM2711"),
        cpu="Cortex-A72"),
    Row("pi-4-b-64bit", "arm64", f"{V80} {ARM8}", board=("Raspberry Pi 4 Model B Rev 1.1", "a03111", "BCM2711"),
        cpu="Cortex-A72", level="v8", compat32=True),
    Row("pi-4-b-docker-32bit", "arm/v8", f"{ARM8} {V80}",
        board=("Raspberry Pi 4 Model B Rev 1.4", "d03114", "BCM2711"), cpu="Cortex-A72", level="v8", compat32=True,
        inside="docker"),
    Row("pi-4-b-fedora", "arm64", V80, cpu="Cortex-A72", level="v8", pages=None),
    Row("pi-400", "arm/v7", ARM7, board=("Raspberry Pi 400 Rev 1.0", "c03130", "BCM2711"), cpu="Cortex-A72"),
    Row("pi-5-16k", "arm64", V82, board=("Raspberry Pi 5 Model B Rev 1.0", "d04170", "BCM2712"), cpu="Cortex-A76",
        level="v8.2", compat32=False, pages=16384),
    Row("pi-5-32bit-userland", "arm/v8", f"{ARM8} {V82}",
        board=("Raspberry Pi 5 Model B Rev 1.0", "d04170", "BCM2712"), cpu="Cortex-A76", level="v8.2", compat32=True),
    Row("pi-5-4k", "arm64", f"{V82} {ARM8}", board=("Raspberry Pi 5 Model B Rev 1.0", "d04170", "BCM2712"),
        cpu="Cortex-A76", level="v8.2", compat32=True),
    Row("pi-500", "arm64", V82, board=("Raspberry Pi 500 Rev 1.0", "d04190", "BCM2712"), cpu="Cortex-A76",
        level="v8.2", compat32=False, pages=16384),
    Row("pi-zero-2", "arm/v7", ARM7, board=("Raspberry Pi Zero 2 W Rev 1.0", "902120", "BCM2837"), cpu="Cortex-A53"),
    Row("pi-zero-alpine", "arm/v6", ARM6, board=("Raspberry Pi Zero Rev 1.3", "900093", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-zero-w-rev1.1", "arm/v6", ARM6, board=("Raspberry Pi Zero W Rev 1.1", "9000c1", "BCM2835"),
        cpu="ARM1176JZF-S"),
    Row("pi-zero-w", "arm/v6", ARM6, board=("Raspberry Pi Zero W", "", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("pi-zero", "arm/v6", ARM6, board=("Raspberry Pi Zero Rev 1.3", "900093", "BCM2835"), cpu="ARM1176JZF-S"),
    Row("power10", "ppc64le", "ppc64le/power10 ppc64le/power9 ppc64le/power8 ppc64le",
        cpu="POWER10, altivec supported", level="power10", pages=None),
    Row("power8", "ppc64le", "ppc64le/power8 ppc64le", cpu="POWER8NVL (raw), altivec supported", level="power8",
        pages=65536),
    Row("power9", "ppc64le", "ppc64le/power9 ppc64le/power8 ppc64le", cpu="POWER9, altivec supported", level="power9",
        pages=65536),
    Row("qemu-neoverse-n2", "arm64", V90, cpu="Neoverse-N2", level="v9", pages=None),
    Row("qemu-user-arm64", "arm64", V80, compat32=False, inside="qemu chroot"),
    Row("qemu-user-armel", "arm/v7", ARM7, inside="qemu chroot"),
    Row("qemu-user-armhf", "arm/v7", ARM7, inside="qemu chroot"),
    Row("qemu-user-i386", "386", "386", inside="qemu chroot"),
    Row("qemu-user-ppc64el", "ppc64le", "ppc64le", inside="qemu chroot"),
    Row("qemu-user-s390x", "s390x", "s390x", inside="qemu chroot"),
    Row("rock-5b", "arm64", f"{V82} {ARM8}", board=("Radxa ROCK 5 Model B", "", "RK3588"),
        cpu="Cortex-A55 + Cortex-A76", level="v8.2", compat32=True),
    Row("rock-pi-s", "arm64", f"{V80} {ARM8}", board=("Radxa ROCK Pi S", "", "RK3308"), cpu="Cortex-A35", level="v8",
        compat32=True),
    Row("rock64", "arm64", f"{V80} {ARM8}", board=("Pine64 Rock64", "", "RK3328"), cpu="Cortex-A53", level="v8",
        compat32=True),
    Row("sheevaplug", "arm/v5", "arm/v5", cpu="Feroceon 88FR131"),
    Row("skylake-x", "amd64", X4, cpu="Intel(R) Xeon(R) Gold 6132 CPU @ 2.60GHz", level="v4"),
    Row("spacemit-k1-debian", "riscv64", "riscv64/rva22u64 riscv64/rva20u64 riscv64", cpu="Spacemit(R) X60",
        level="rva22u64"),
    Row("spacemit-k1-vendor", "riscv64", "riscv64/rva20u64 riscv64", cpu="Spacemit(R) X60", level="rva20u64"),
    Row("thunderx2", "arm64", V81, cpu="ThunderX2", level="v8.1", compat32=False, pages=None),
    Row("virt-a64fx", "arm64", V82, cpu="A64FX", level="v8.2", compat32=False),
    Row("virt-arm64", "arm64", f"{V80} {ARM8}", cpu="Cortex-A72", level="v8", compat32=True),
    Row("virt-armhf", "arm/v7", ARM7, cpu="Cortex-A15"),
    Row("virt-cortex-a76", "arm64", f"{V82} {ARM8}", cpu="Cortex-A76", level="v8.2", compat32=True),
    Row("virt-neoverse-n1", "arm64", f"{V82} {ARM8}", cpu="Neoverse-N1", level="v8.2", compat32=True),
    Row("visionfive-1", "riscv64", "riscv64/rva20u64 riscv64", cpu="sifive,u74-mc", level="rva20u64"),
    Row("visionfive-2", "riscv64", "riscv64/rva20u64 riscv64", board=("StarFive VisionFive 2 v1.3B", "", "JH7110"),
        cpu="sifive,u74-mc", level="rva20u64"),
    Row("westmere-i5", "amd64", X2, cpu="Intel(R) Core(TM) i5 CPU       M 560  @ 2.67GHz", level="v2"),
    Row("wsl1-arm64", "arm64", V80, cpu="Cortex-A57", level="v8", compat32=False, pages=None, inside="wsl1"),
    Row("wsl1-xeon", "amd64", X1, cpu="Intel(R) Xeon(R) CPU E3-1280 v3 @ 3.60GHz", level="v1", inside="wsl1"),
    Row("wsl2-arm64", "arm64", f"{V82} {ARM8}", cpu="Cortex-A78C + Cortex-X1C", level="v8.2", compat32=True,
        inside="wsl2"),
    Row("wsl2-i7", "amd64", X3, cpu="13th Gen Intel(R) Core(TM) i7-1360P", level="v3", inside="wsl2"),
    Row("z14", "s390x", "s390x", cpu="machine 3906"),
    Row("z15", "s390x", "s390x", cpu="machine 8561"),
    Row("zen1-podman", "amd64", X3, cpu="AMD EPYC 7301 16-Core Processor", level="v3", inside="podman oci"),
    Row("zen3", "amd64", f"{X3} 386", cpu="AMD Ryzen 9 5950X 16-Core Processor", level="v3", compat32=True),
    Row("zen4", "amd64", X4, cpu="AMD EPYC 9654 96-Core Processor", level="v4"),
)
# fmt: on
