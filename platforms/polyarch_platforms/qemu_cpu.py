"""Which CPU an emulator shall have, where its own choice does not fit an image's variant.

An emulator's default is the best CPU it has, or an old one; a program for a lesser variant then sees more than its
device has (`uname -m` says armv7l to an arm/v6 image), one for a better variant less. QEMU takes the model from the
variable QEMU_CPU (QEMU, linux-user/main.c, handle_arg_cpu).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from polyarch_platforms import architecture
from polyarch_platforms.platform import Platform, normalise
from polyarch_platforms.qemu import QemuBinary

VARIABLE = "QEMU_CPU"

_MAX_HELP = 1 << 20
_SECONDS = 20


def variables(platform: Platform, binary: QemuBinary | None) -> dict[str, str]:
    """The variables that `binary` needs for programs of `platform`; {} where its default serves.

    A model that this QEMU does not have would keep it from starting, so it is asked, once, and only if need be.
    """
    wanted = normalise(platform)
    known = architecture.get(wanted.architecture)
    model = known.qemu_cpu.get(wanted.variant) if known else None
    if model is None or binary is None or model not in models(binary):
        return {}
    return {VARIABLE: model}


def models(binary: QemuBinary) -> frozenset[str]:
    """The names that `-cpu` of this emulator takes; none where it does not tell."""
    program = binary.path.resolve()  # a wrapper is a link to the emulator, and takes no options itself
    try:
        return _models(program, program.stat().st_mtime_ns)
    except OSError:
        return frozenset()


@cache
def _models(program: Path, changed: int) -> frozenset[str]:
    import subprocess

    try:
        done = subprocess.run(
            [program, "-cpu", "help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return parse_help(done.stdout[:_MAX_HELP].decode("utf-8", "replace"))


def parse_help(text: str) -> frozenset[str]:
    """What `qemu-ARCH -cpu help` prints -> the names in it.

    A name a line, indented or not; x86, PowerPC and s390 put their own name before it, and words of explanation behind.
    """
    words = (line.split() for line in text.splitlines())
    return frozenset(
        each[1] if each[0] in ("x86", "PowerPC", "s390") and len(each) > 1 else each[0] for each in words if each
    )
