"""The build attributes of RISC-V programs: for which extensions a program was built.

Sources: RISC-V ELF psABI, "Attributes" (vendor `riscv`; odd tags are texts; Tag_RISCV_arch is 5); RISC-V ISA, "ISA
Extension Naming Conventions" (a version `2p0` may follow each name).
"""

from __future__ import annotations

import re

from polyarch_platforms import arm_attributes

MAX_SEGMENT = arm_attributes.MAX_SECTION

_ARCH = 5
_VERSION = re.compile(r"(?<![0-9])[0-9]+p[0-9]+")  # what stands before a version is looked at once, digits or not
_LAST = re.compile(rf"{_VERSION.pattern}$")


def extensions(section: bytes) -> tuple[str, ...]:
    """The section `.riscv.attributes` -> the extensions that some part of the program was built for; () is unknown.

    They are those of all parts together: one that runs only where the CPU has them (libraries choose at run time) adds
    its own. So a single extension proves no need; a whole profile does, as -march=rva23u64 gives it. ValueError where
    the section is broken.
    """
    if section[:1] != b"A":
        raise ValueError("not version A of the build attributes")
    _, texts = arm_attributes.file_values(section, "little", b"riscv", lambda tag: tag % 2 == 1)
    base, *longer = texts.get(_ARCH, b"").decode("ascii", "replace").lower().split("_")
    if not base.startswith("rv64"):
        return ()
    # rv64i2p1_m2p0_zba1p0, as linkers write it, and rv64imafdc_zba, as compilers take it.
    letters = _VERSION.sub("", base.removeprefix("rv64")).replace("g", "imafd")
    return (*letters, *(_LAST.sub("", one) for one in longer))
