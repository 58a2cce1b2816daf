"""The devices of an inventory, out of what `ansible-inventory --list` prints. Pure: Ansible is run elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from polyarch.errors import IntegrityError, PolyarchError, UsageError, platforms_errors, printable
from polyarch.fleet.facts import ENGINE_KINDS, EngineKind
from polyarch.oci.json import list_of, mapping_of, parse_json, strings
from polyarch_platforms.platform import Platform, is_known, parse

MAX_LISTING = 256 << 20
"""Bytes of a listing; ten thousand hosts with some variables each have about ten million."""

# What is not text of ours comes as it stands in the inventory: Ansible fills templates in when it runs a task.
_TEMPLATE = re.compile(r"{[{%#]")
_DIGITS = re.compile(r"([0-9]+)")
# Groups that everybody is in.
_COMMON = ("all", "ungrouped")


@dataclass(frozen=True, slots=True)
class InventoryDevice:
    """A host of the inventory: its groups, outer ones too, and what its variables ask for.

    engine    `polyarch_engine`; None where it says nothing
    images    `polyarch_images`: a list, or a text with commas or white space between
    platform  `polyarch_platform`
    """

    name: str
    groups: tuple[str, ...] = ()
    engine: EngineKind | None = None
    images: tuple[str, ...] = ()
    platform: Platform | None = None


def listing_command(inventory: Sequence[str], limit: str = "") -> list[str]:
    """What prints the listing: `inventory` are Ansible's sources (a file, a folder, `a,b,`), `limit` a pattern."""
    sources = [f"--inventory={source}" for source in inventory]
    return ["ansible-inventory", *sources, "--list", *([f"--limit={limit}"] if limit else [])]


# By itself Ansible warns of a source that it cannot read, and goes on without its hosts.
LISTING_ENVIRON: Mapping[str, str] = {
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
}
"""What the command's environment must say."""


def parse_inventory(
    output: bytes, errors: str = "", status: int = 0, *, limit: str = ""
) -> tuple[InventoryDevice, ...]:
    """The devices in what `listing_command` printed (`output`), `errors` being its stderr, `status` its exit code.

    They are in natural order: pi2 before pi10. Raises UsageError: the inventory is broken, `limit` names a host or a
    group that there is not or leaves none, the inventory has no host, a variable of ours is wrong.
    """
    warnings = _messages(errors)
    if status != 0:
        why = next((line for line in warnings if line), f"ansible-inventory ended with {status}")
        raise UsageError(f"the inventory cannot be read: {why}", "look at it with: ansible-inventory --list -i FILE")
    for line in warnings:
        if "Could not match supplied host pattern" in line:
            unknown = line.rpartition(":")[2].strip()
            raise UsageError(
                f"the inventory has no host and no group {printable(unknown, 100)!r}",
                "the groups and hosts that there are: ansible-inventory --graph",
            )
    if len(output) > MAX_LISTING:
        raise UsageError(f"the inventory's listing has {len(output)} bytes, and at most {MAX_LISTING} are read")
    try:
        memberships, variables = _read(output)
    except IntegrityError as error:
        raise UsageError(f"the inventory: {error.message}", "ansible-inventory --list prints it") from error
    if not variables:
        what = f"{printable(limit, 100)!r} leaves no device of the inventory" if limit else "the inventory has no host"
        raise UsageError(what, "look at it with: ansible-inventory --graph")
    return tuple(
        _device(name, tuple(sorted(memberships.get(name, ()))), variables[name])
        for name in sorted(variables, key=_natural)
    )


def _read(output: bytes) -> tuple[dict[str, set[str]], dict[str, Mapping[str, object]]]:
    """Each host's groups and each host's variables. Hosts without variables are in groups alone."""
    document = parse_json(output, "its listing")
    told = mapping_of(mapping_of(document.pop("_meta", {}), "_meta").get("hostvars") or {}, "hostvars")
    memberships = _memberships({name: mapping_of(value, f"group {name!r}") for name, value in document.items()})
    hosts = dict.fromkeys((*told, *memberships))
    return memberships, {name: mapping_of(told.get(name, {}), f"host {name!r}") for name in hosts}


def _messages(errors: str) -> list[str]:
    """Ansible's errors and then its warnings, each without its mark: Ansible breaks them at a terminal's width."""
    parts = re.split(r"(?=\[[A-Z ]+\]:)|(?=ERROR! )", " ".join(errors.split()))
    found: list[str] = []
    for mark in ("[ERROR]:", "ERROR!", "[WARNING]:"):
        found += [printable(part.removeprefix(mark).strip(), 400) for part in parts if part.startswith(mark)]
    return found


def _memberships(groups: Mapping[str, Mapping[str, object]]) -> dict[str, set[str]]:
    """The groups of each host, with those that hold these groups."""
    hosts = {name: strings(group.get("hosts"), f"group {name}") for name, group in groups.items()}
    parents: dict[str, list[str]] = {}
    for name, group in groups.items():
        for child in strings(group.get("children"), f"group {name}"):
            parents.setdefault(child, []).append(name)
    found: dict[str, set[str]] = {}
    for name, members in hosts.items():
        above = _above(name, parents)
        for member in members:
            found.setdefault(member, set()).update(above)
    return found


def _above(name: str, parents: Mapping[str, Iterable[str]]) -> set[str]:
    seen, left = set[str](), [name]
    while left:
        group = left.pop()
        if group not in seen:
            seen.add(group)
            left += parents.get(group, ())
    return seen - set(_COMMON)


def _device(name: str, groups: tuple[str, ...], variables: Mapping[str, object]) -> InventoryDevice:
    try:
        return InventoryDevice(
            name,
            groups,
            _engine(variables.get("polyarch_engine")),
            _images(variables.get("polyarch_images")),
            _platform(variables.get("polyarch_platform")),
        )
    except PolyarchError as error:
        raise UsageError(f"host {printable(name, 100)}: {error.message}", error.hint) from error


def _engine(value: object) -> EngineKind | None:
    text = _word("polyarch_engine", value)
    if not text:
        return None
    for kind in ENGINE_KINDS:
        if kind == text:
            return kind
    raise UsageError(f"polyarch_engine is {printable(text, 100)!r}", f"known are {', '.join(ENGINE_KINDS)}")


def _platform(value: object) -> Platform | None:
    text = _word("polyarch_platform", value)
    if not text:
        return None
    with platforms_errors():
        platform = parse(text)
    if not is_known(platform):
        raise UsageError(f"polyarch_platform: no architecture is called {printable(platform.architecture, 100)!r}")
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
            f"{variable} is a template, {printable(value, 100)!r}, and ansible-inventory does not fill it in",
            "write what it stands for",
        )
    return value.strip()


def _natural(name: str) -> tuple[tuple[int, int | str, str], ...]:
    """Numbers in a name count as numbers."""
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), part) if part.isdecimal() and len(part) < 19 else (1, part, part) for part in parts)
