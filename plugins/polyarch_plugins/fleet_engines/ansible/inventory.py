"""The devices of an inventory, out of what `ansible-inventory --list` prints. Pure: Ansible is run elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from polyarch.contract import FleetDevice, IntegrityError, UsageError, mapping_of, parse_json, printable, strings

MAX_LISTING = 256 << 20
"""Bytes of a listing; ten thousand hosts with some variables each have about ten million."""

_DIGITS = re.compile(r"([0-9]+)")
# Groups that everybody is in.
_COMMON = ("all", "ungrouped")


def listing_command(inventory: Sequence[str], pattern: str = "") -> list[str]:
    """What prints the listing: `inventory` are Ansible's sources (a file, a folder, `a,b,`), `pattern` selects."""
    sources = [f"--inventory={source}" for source in inventory]
    return ["ansible-inventory", *sources, "--list", *([f"--limit={pattern}"] if pattern else [])]


# By itself Ansible warns of a source that it cannot read, and goes on without its hosts.
LISTING_ENVIRON: Mapping[str, str] = {
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
}
"""What the command's environment must say."""


def parse_inventory(output: bytes, errors: str = "", status: int = 0, *, pattern: str = "") -> tuple[FleetDevice, ...]:
    """The devices in what `listing_command` printed (`output`), `errors` being its stderr, `status` its exit code.

    They are in natural order: pi2 before pi10. Raises UsageError: the inventory is broken, `pattern` names a host or a
    group that there is not or leaves none, the inventory has no host.
    """
    warnings = messages(errors)
    if status != 0:
        why = _unreadable(errors) or next(filter(None, warnings), f"ansible-inventory ended with {status}")
        raise UsageError(f"the inventory cannot be read: {why}", "look at it with: ansible-inventory --list -i FILE")
    for line in warnings:
        if "Could not match supplied host pattern" in line:
            unknown = line.rpartition(":")[2].strip()
            raise UsageError(
                f"the inventory has no host and no group '{printable(unknown, 100)}'",
                "the groups and hosts that there are: ansible-inventory --graph",
            )
    if len(output) > MAX_LISTING:
        raise UsageError(f"the inventory's listing has {len(output)} bytes, and at most {MAX_LISTING} are read")
    try:
        memberships, variables = _read(output)
    except IntegrityError as error:
        raise UsageError(f"the inventory: {error.message}", "ansible-inventory --list prints it") from error
    if not variables:
        empty = f"'{printable(pattern, 100)}' leaves no device of the inventory"
        raise UsageError(
            empty if pattern else "the inventory has no host", "look at it with: ansible-inventory --graph"
        )
    return tuple(
        FleetDevice(name, tuple(sorted(memberships.get(name, ()))), variables[name])
        for name in sorted(variables, key=_natural)
    )


def messages(errors: str) -> list[str]:
    """Ansible's errors and then its warnings, each without its mark: Ansible breaks them at a terminal's width."""
    parts = re.split(r"(?=\[[A-Z ]+\]:)|(?=ERROR! )", " ".join(errors.split()))
    found: list[str] = []
    for mark in ("[ERROR]:", "ERROR!", "[WARNING]:"):
        found += [printable(part.removeprefix(mark).strip(), 400) for part in parts if part.startswith(mark)]
    return found


def _unreadable(errors: str) -> str:
    """Which source Ansible cannot read and, as the plugin for its kind of file tells it, why; "" where it says neither
    (ansible-core 2.19: inventory/manager.py).
    """
    text = " ".join(errors.split())
    source = re.search(r"Completely failed to parse inventory source (\S+)", text)
    if source is None:
        return ""
    plugin = "yaml" if source[1].endswith((".yml", ".yaml", ".json")) else "ini"
    reason = re.search(rf"with '{plugin}' plugin: (.+?) (?:Failed to parse inventory with|<<<|\[)", text)
    why = reason[1] if reason else "it is not there, or nothing that Ansible can read"
    return printable(f"{source[1]}: {why.rstrip('.')}", 400)


def _read(output: bytes) -> tuple[dict[str, set[str]], dict[str, Mapping[str, object]]]:
    """Each host's groups and each host's variables. Hosts without variables are in groups alone."""
    document = parse_json(output, "its listing")
    told = mapping_of(mapping_of(document.pop("_meta", {}), "_meta").get("hostvars") or {}, "hostvars")
    memberships = _memberships({name: mapping_of(value, f"group {name!r}") for name, value in document.items()})
    hosts = dict.fromkeys((*told, *memberships))
    return memberships, {name: mapping_of(told.get(name, {}), f"host {name!r}") for name in hosts}


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


def _natural(name: str) -> tuple[tuple[int, int | str, str], ...]:
    """Numbers in a name count as numbers."""
    parts = [part for part in _DIGITS.split(name) if part]
    return tuple((0, int(part), part) if part.isdecimal() and len(part) < 19 else (1, part, part) for part in parts)
