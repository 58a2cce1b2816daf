"""The CPU that an emulator is given for an image's variant."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms import qemu, qemu_cpu
from polyarch_platforms.architecture import load
from polyarch_platforms.platform import parse
from polyarch_platforms.qemu import QemuBinary

# The beginnings of what QEMU 7.2 (Debian 12) prints, one form each.
HELP = {
    "arm": ("Available CPUs:\n  arm1026\n  arm1176\n  max\n", {"arm1026", "arm1176", "max"}),
    "riscv64": ("any\nrv64\nsifive-u54\n", {"any", "rv64", "sifive-u54"}),
    "x86_64": (
        "Available CPUs:\nx86 486                   (alias configured by machine type)\n"
        "x86 max                   Enables all features supported by the accelerator in the current host\n\n"
        "Recognized CPUID flags:\n  3dnow 3dnowext\n",
        {"486", "max"},
    ),
    "ppc64le": (
        "PowerPC power10_v2.0     PVR 00800200\nPowerPC power10          (alias for power10_v2.0)\n",
        {"power10_v2.0", "power10"},
    ),
    "s390x": ("s390 z14.2            IBM z14 GA2           (static, migration-safe)\n", {"z14.2"}),
}


@pytest.mark.parametrize("name", HELP)
def test_the_names_in_qemus_help(name: str) -> None:
    text, names = HELP[name]
    found = qemu_cpu.parse_help(text)
    assert names <= found
    assert not found & {"alias", "PVR", "IBM", "x86", "PowerPC", "s390", "(alias", "configured"}


@given(st.text())
def test_any_text_gives_names_without_blanks(text: str) -> None:
    assert all(name.split() == [name] for name in qemu_cpu.parse_help(text))


def _wanted() -> Iterator[tuple[str, str, str]]:
    for known in load().values():
        for variant, model in known.qemu_cpu.items():
            assert variant in known.variants
            yield known.name, variant, model


# What the QEMU at hand may be too old for; it is then not asked for, and the default stays.
_NEWER = {"power11": (10, 1), "max": (8, 2)}


@pytest.mark.system
@pytest.mark.parametrize(("name", "variant", "model"), list(_wanted()))
def test_the_real_qemu_has_the_model_or_is_not_given_it(name: str, variant: str, model: str) -> None:
    binary = qemu.find(load()[name])
    if binary is None:
        pytest.skip(f"no QEMU for {name} here")
    given = qemu_cpu.variables(parse(f"linux/{name}/{variant}"), binary)
    if (binary.version or ()) < _NEWER.get(model, ()) and not given:
        assert model not in qemu_cpu.models(binary)
        said = subprocess.run([binary.path, "-cpu", model, "/bin/true"], capture_output=True, check=False)
        assert b"unable to find CPU model" in said.stderr, "it would not start"
        return
    assert given == {"QEMU_CPU": model}
    assert qemu.run([str(binary.path), "-cpu", model, "-version"]).output.startswith(b"qemu-")


@pytest.mark.parametrize(
    "platform", ["linux/arm/v7", "linux/arm", "linux/arm64", "linux/amd64", "linux/s390x", "linux/vax"]
)
def test_the_default_serves_the_others(platform: str) -> None:
    nobody = QemuBinary(Path("/no/such/qemu"), True)
    assert qemu_cpu.variables(parse(platform), nobody) == {}
    assert qemu_cpu.variables(parse("linux/arm/v6"), nobody) == {}, "one that does not tell its CPUs gets none"
    assert qemu_cpu.variables(parse("linux/arm/v6"), None) == {}


@pytest.mark.system
@pytest.mark.parametrize("level", ["v2", "v3"])
def test_x86_levels_are_reached(level: str) -> None:
    """glibc's loader tells which levels its CPU has; the same text comes from any amd64 loader."""
    binary, loader = qemu.find(load()["amd64"]), Path("/lib64/ld-linux-x86-64.so.2")
    if binary is None or not loader.exists():
        pytest.skip("no QEMU for amd64, or no amd64 loader here")
    environment = qemu_cpu.variables(parse(f"linux/amd64/{level}"), binary)
    said = subprocess.run(
        [binary.path, loader, "--help"], env=environment, capture_output=True, text=True, check=False
    ).stdout
    assert f"x86-64-{level} (supported, searched)" in said
    poor = subprocess.run(
        [binary.path, loader, "--help"], env={"QEMU_CPU": "qemu64-v1"}, capture_output=True, text=True, check=False
    ).stdout
    assert f"x86-64-{level} (supported" not in poor
