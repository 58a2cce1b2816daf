"""What the inventory says that a device shall get: our variables of a host. Pure."""

from __future__ import annotations

import re

from polyarch.contract.fleet import FleetDevice
from polyarch.errors import PolyarchError, UsageError, platforms_errors, printable
from polyarch.fleet.facts import ENGINE_KINDS, EngineKind
from polyarch.oci.json import list_of
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, is_known, parse

# What is not text of ours comes as it stands in the inventory: Ansible fills templates in when it runs a task.
_TEMPLATE = re.compile(r"{[{%#]")


@dataclass(frozen=True, slots=True)
class DeviceWishes:
    """What a host's variables ask for.

    engine    `polyarch_engine`; None where it says nothing
    images    `polyarch_images`: a list, or a text with commas or white space between
    platform  `polyarch_platform`
    """

    engine: EngineKind | None = None
    images: tuple[str, ...] = ()
    platform: Platform | None = None


def wishes_of(device: FleetDevice) -> DeviceWishes:
    """The wishes in a device's variables. Raises UsageError, naming the host, for one that is wrong."""
    variables = device.variables
    try:
        return DeviceWishes(
            _engine(variables.get("polyarch_engine")),
            _images(variables.get("polyarch_images")),
            _platform(variables.get("polyarch_platform")),
        )
    except PolyarchError as error:
        raise UsageError(f"host {printable(device.name, 100)}: {error.message}", error.hint) from error


def _engine(value: object) -> EngineKind | None:
    text = _word("polyarch_engine", value)
    if not text:
        return None
    for kind in ENGINE_KINDS:
        if kind == text:
            return kind
    raise UsageError(f"polyarch_engine is '{printable(text, 100)}'", f"known are {', '.join(ENGINE_KINDS)}")


def _platform(value: object) -> Platform | None:
    text = _word("polyarch_platform", value)
    if not text:
        return None
    with platforms_errors():
        platform = parse(text)
    if not is_known(platform):
        raise UsageError(f"polyarch_platform: no architecture is called '{printable(platform.architecture, 100)}'")
    return platform


def _images(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        words = [_word("polyarch_images", one) for one in list_of(value, "polyarch_images")]
    else:
        words = _word("polyarch_images", value).replace(",", " ").split()
    return tuple(dict.fromkeys(word for word in words if word))


def _word(variable: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{variable} is {printable(str(value), 100)}, and a text is wanted", "put it in quotes")
    if _TEMPLATE.search(value):
        raise UsageError(
            f"{variable} is a template, '{printable(value, 100)}', and ansible-inventory does not fill it in",
            "write what it stands for",
        )
    return value.strip()
