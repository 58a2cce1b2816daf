"""Device: what a machine is and what it can execute, natively and by emulation; and its form in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field
from typing import Any, Literal, TypeVar

from polyarch_platforms import platform
from polyarch_platforms.errors import DeviceError, PlatformError, quoted
from polyarch_platforms.facts import MAX_LINE
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

MAX_TEXT = 256 * 1024
# Whatever facts may tell can be written and read again: a text is at most a line, a list at most the words of one.
_MAX_ITEM = MAX_LINE
_MAX_ITEMS = MAX_LINE // 2

How = Literal["registered", "private", "explicit"]
_HOWS: dict[str, How] = {"registered": "registered", "private": "private", "explicit": "explicit"}
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Emulation:
    """A platform that runs by emulation.

    platform  what it makes run
    emulator  the path of the program (`/usr/bin/qemu-aarch64-static`)
    how       `registered` in the kernel's binfmt_misc, `private` to a user namespace, or started `explicit`ly
    """

    platform: Platform
    emulator: str
    how: How


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """The processor: maker, model, the features that the kernel names, the architecture's level ("" is unknown)."""

    vendor: str = ""
    model: str = ""
    features: tuple[str, ...] = ()
    level: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """The board, where there is one to name: model, the maker's revision code ("" is unknown), system on chip."""

    model: str
    revision: str = ""
    soc: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A machine.

    name           its name in `device ls`, the host's own word, or ""
    platform       what its own programs are: `linux/arm64`, `linux/arm/v7`, without a level
    native         what it executes natively, best first (`compatibility.vector`)
    emulated       what it executes by emulation
    machine        `uname -m`
    kernel         the kernel's release
    userland_bits  32 or 64; None is unknown
    page_size      bytes; None is unknown
    cpu, board     what they are
    compat32       on a 64-bit kernel, whether 32-bit programs run: proven, disproven, or None for unknown
    libc           `glibc`, `musl` or ""
    inside         what it runs in: `qemu`, `wsl1`, `wsl2`, `docker`, `podman`, `lxc`, `chroot`, …
    """

    name: str
    platform: Platform
    native: tuple[Platform, ...]
    emulated: tuple[Emulation, ...] = ()
    machine: str = ""
    kernel: str = ""
    userland_bits: int | None = None
    page_size: int | None = None
    cpu: CpuInfo = field(default_factory=CpuInfo)
    board: Board | None = None
    compat32: bool | None = None
    libc: str = ""
    inside: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON, which `from_json` reads back as an equal device."""
        document = {
            "name": self.name,
            "platform": str(self.platform),
            "native": [str(one) for one in self.native],
            "emulated": [
                {"platform": str(one.platform), "emulator": one.emulator, "how": one.how} for one in self.emulated
            ],
            "machine": self.machine,
            "kernel": self.kernel,
            "userland_bits": self.userland_bits,
            "page_size": self.page_size,
            "cpu": {
                "vendor": self.cpu.vendor,
                "model": self.cpu.model,
                "features": list(self.cpu.features),
                "level": self.cpu.level,
            },
            "board": self.board and {"model": self.board.model, "revision": self.board.revision, "soc": self.board.soc},
            "compat32": self.compat32,
            "libc": self.libc,
            "inside": list(self.inside),
        }
        return json.dumps(document, ensure_ascii=False)


def from_json(text: str) -> Device:
    """The device that `to_json` (or `polyarch device --format json`) wrote; further keys are passed over.

    `platform` and `native` must be there, all else may be missing. Raises DeviceError, and nothing else, for any text.
    """
    if len(text) > MAX_TEXT:
        raise DeviceError(f"a device file has at most {MAX_TEXT} characters, this one has {len(text)}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"the device file is no JSON: {error}", _HINT) from None
    if not isinstance(document, dict):
        raise DeviceError("the device file is no JSON object", _HINT)
    native = _list(document, "native", lambda one: _platform("native", one))
    if not native:
        raise DeviceError("the device file names no 'native' platform", _HINT)
    cpu, board = _object(document, "cpu"), _object(document, "board")
    return Device(
        name=_text(document, "name"),
        platform=_platform("platform", document.get("platform")),
        native=native,
        emulated=_list(document, "emulated", _emulation),
        machine=_text(document, "machine"),
        kernel=_text(document, "kernel"),
        userland_bits=_number(document, "userland_bits"),
        page_size=_number(document, "page_size"),
        cpu=CpuInfo(
            vendor=_text(cpu, "vendor"),
            model=_text(cpu, "model"),
            features=_list(cpu, "features", lambda one: _string("features", one)),
            level=_text(cpu, "level"),
        ),
        board=Board(_text(board, "model"), _text(board, "revision"), _text(board, "soc")) if board else None,
        compat32=_truth(document, "compat32"),
        libc=_text(document, "libc"),
        inside=_list(document, "inside", lambda one: _string("inside", one)),
    )


_HINT = "write one with: polyarch device --format json"


def _wrong(key: str, value: object, wanted: str) -> DeviceError:
    return DeviceError(f"the device file's {quoted(key)} is {quoted(json.dumps(value), 60)}, not {wanted}", _HINT)


def _string(key: str, value: object) -> str:
    # Tabs are in what kernels say of processors, and facts keep them.
    if not isinstance(value, str) or not value.replace("\t", " ").isprintable() or len(value) > _MAX_ITEM:
        raise _wrong(key, value, f"a printable text of at most {_MAX_ITEM} characters")
    return value


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return "" if value is None else _string(key, value)


def _number(document: dict[str, Any], key: str) -> int | None:
    value = document.get(key)
    if value is None:
        return None
    # 2 GiB is far above any page size, and keeps absurd numbers out.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise _wrong(key, value, "a positive number")
    return value


def _truth(document: dict[str, Any], key: str) -> bool | None:
    value = document.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(key, value, "true, false or null")
    return value


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key, value, "an object")
    return value


def _list(document: dict[str, Any], key: str, read: Callable[[object], _Item]) -> tuple[_Item, ...]:
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_ITEMS:
        raise _wrong(key, value, f"a list of at most {_MAX_ITEMS}")
    return tuple(read(one) for one in value)


def _platform(key: str, value: object) -> Platform:
    try:
        return platform.parse(_string(key, value))
    except PlatformError as error:
        raise DeviceError(f"the device file's {quoted(key)}: {error}", error.hint) from None


def _emulation(value: object) -> Emulation:
    if not isinstance(value, dict):
        raise _wrong("emulated", value, "a list of objects")
    how = _HOWS.get(_text(value, "how"))
    if how is None:
        raise _wrong("how", value.get("how"), " or ".join(_HOWS))
    return Emulation(_platform("emulated", value.get("platform")), _text(value, "emulator"), how)
