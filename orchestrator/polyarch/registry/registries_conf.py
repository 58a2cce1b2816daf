"""podman's registries.conf: what one file says, and what several say together. Pure.

Source: containers-registries.conf(5), containers-registries.conf.d(5), and containers/image, pkg/sysregistriesv2,
whose rules of merging these are. Two differ: a registry without a port in a prefix does not stand for the one with a
port (the source calls that unintended), and names are compared without regard to the case of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

from polyarch.errors import UsageError, printable
from polyarch.reference import Reference, names_registry, names_tag, parse_reference, parse_registry
from polyarch.registry.toml_file import Fault, flag, parse_toml, table, tables, text, texts
from polyarch_platforms.lazy_dataclass import dataclass

Pulls: TypeAlias = Literal["all", "digest-only", "tag-only"]
Mode: TypeAlias = Literal["enforcing", "permissive", "disabled"]


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of what lies below a prefix. `pulls` says for which references it is asked."""

    location: str
    insecure: bool = False
    pulls: Pulls = "all"


@dataclass(frozen=True, slots=True)
class Rule:
    """What `file` says of the names below `prefix`. `location` is "" where names are not rewritten."""

    prefix: str
    location: str
    file: Path
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class Alias:
    """The full name, without tag and digest, that a short one stands for; "" takes an earlier alias away."""

    name: str
    file: Path


@dataclass(frozen=True, slots=True)
class RegistriesConf:
    """What the files say together. `rules` by their prefix, `search` with the file that it stands in.

    None is what no file says.
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    search: tuple[tuple[str, ...], Path] | None = None
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    mode: Mode | None = None
    helpers: tuple[str, ...] | None = None

    def rule_for(self, reference: Reference) -> Rule | None:
        """The rule with the longest prefix of the reference's name."""
        fitting = (rule for rule in self.rules.values() if matched(rule.prefix, reference) is not None)
        return max(fitting, key=lambda rule: len(rule.prefix), default=None)

    def merged(self, later: RegistriesConf) -> RegistriesConf:
        """With what a later file says: it replaces single rules, single aliases, and each list as a whole."""
        return RegistriesConf(
            {**self.rules, **later.rules},
            self.search if later.search is None else later.search,
            {**self.aliases, **later.aliases},
            later.mode or self.mode,
            self.helpers if later.helpers is None else later.helpers,
        )


NOTHING = RegistriesConf()
"""What holds where no file is read."""


def matched(prefix: str, reference: Reference) -> int | None:
    """How many characters of the reference's text the prefix covers; None if it is none of it."""
    whole = str(reference)
    host = reference.registry.lower()
    if prefix.startswith("*."):
        name = host.partition(":")[0]  # no wildcard stands for addresses
        return len(name) if name.endswith(prefix[1:]) else None
    whole = host + whole[len(host) :]
    if not whole.startswith(prefix):
        return None
    # Behind a host a colon begins its port, which makes it another registry.
    ends = ("", "/", ":", "@") if "/" in prefix else ("", "/")
    return len(prefix) if whole[len(prefix) : len(prefix) + 1] in ends else None


def rewritten(reference: Reference, rule: Rule, location: str) -> Reference:
    """The reference with its prefix replaced by a location. Raises UsageError where that is no reference."""
    covered = matched(rule.prefix, reference)
    if not location or covered is None:
        return reference
    name = location + str(reference)[covered:]
    try:
        if not names_registry(name):
            raise UsageError("it names no registry", "write a host with a dot or a port in front")
        return parse_reference(name)
    except UsageError as error:
        raise UsageError(
            f"{rule.file}: the location '{printable(location, 100)}' makes '{printable(name, 200)}' of {reference}: "
            f"{error.message}",
            error.hint,
        ) from error


def merge(confs: Iterable[RegistriesConf]) -> RegistriesConf:
    """What the files say together, in the order in which they are read."""
    whole = NOTHING
    for conf in confs:
        whole = whole.merged(conf)
    return whole


def parse_registries_conf(raw: bytes, path: Path, *, drop_in: bool = False) -> RegistriesConf:
    """What one file says; keys that are not known say nothing. A `drop_in` may not have the old format.

    Raises UsageError with the path, and the line or the key.
    """
    try:
        document = parse_toml(raw)
        old = table(document.get("registries"), "registries")
        if old:
            if drop_in:
                raise Fault("[registries] is the old format, which a drop-in file may not have")
            if set(document) != {"registries"}:
                raise Fault("the old format ([registries]) and the new one ([[registry]]) in one file")
            return _old_format(old, path)
        return _new_format(document, path)
    except Fault as fault:
        raise UsageError(f"registries.conf {path}: {fault}", "see containers-registries.conf(5), or mend it") from fault


def parse_aliases(raw: bytes, path: Path) -> RegistriesConf:
    """What podman's own record of short names says, of which only the aliases count. Raises UsageError."""
    try:
        return RegistriesConf(aliases=_aliases(parse_toml(raw), path))
    except Fault as fault:
        raise UsageError(f"short names {path}: {fault}", "podman makes this file; it may be removed") from fault


def _new_format(document: Mapping[str, object], path: Path) -> RegistriesConf:
    rules: dict[str, Rule] = {}
    said: dict[str, Rule] = {}
    for number, entry in enumerate(tables(document.get("registry"), "registry"), 1):
        rule = _rule(entry, f"[[registry]] {number}", path)
        place = rule.location or rule.prefix
        other = said.setdefault(place, rule)
        for name in ("insecure", "blocked"):
            if getattr(other, name) != getattr(rule, name):
                raise Fault(f"{place} is there several times, with different values of {name}")
        rules.setdefault(rule.prefix, rule)  # of two with one prefix the first
    search = texts(document.get("unqualified-search-registries"), "unqualified-search-registries")
    mode = text(document.get("short-name-mode"), "short-name-mode")
    if mode not in ("", "enforcing", "permissive", "disabled"):
        raise Fault(f"short-name-mode is enforcing, permissive or disabled, not '{printable(mode, 80)}'")
    return RegistriesConf(
        rules,
        None if search is None else (tuple(_registry(name) for name in search), path),
        _aliases(document, path),
        cast(Mode, mode) or None,
        _helpers(document.get("credential-helpers")),
    )


def _rule(entry: Mapping[str, object], where: str, path: Path) -> Rule:
    location = _location(entry.get("location"), f"{where}: location")
    prefix = _location(entry.get("prefix"), f"{where}: prefix") or location
    if not prefix:
        raise Fault(f"{where} has neither location nor prefix")
    where += f" (prefix '{printable(prefix, 100)}')"
    if prefix.startswith("*."):
        if any(mark in prefix for mark in "/@:") or "*" in prefix[1:]:
            raise Fault(f"{where}: a prefix with * has the form *.example.com")
    elif not location:
        raise Fault(f"{where} has no location")
    if entry.get("pull-from-mirror") is not None:
        raise Fault(f"{where}: pull-from-mirror is for mirrors only")
    by_digest = flag(entry.get("mirror-by-digest-only"), f"{where}: mirror-by-digest-only")
    mirrors = []
    for number, mirror in enumerate(tables(entry.get("mirror"), "registry.mirror"), 1):
        here = f"{where}, mirror {number}"
        there = _location(mirror.get("location"), f"{here}: location")
        if not there:
            raise Fault(f"{here} has no location")
        pulls = text(mirror.get("pull-from-mirror"), f"{here}: pull-from-mirror")
        if pulls not in ("", "all", "digest-only", "tag-only"):
            raise Fault(f"{here}: pull-from-mirror is all, digest-only or tag-only, not '{printable(pulls, 80)}'")
        if pulls and by_digest:
            raise Fault(f"{here}: pull-from-mirror is set, and so is mirror-by-digest-only")
        asked = cast(Pulls, "digest-only" if by_digest else pulls or "all")
        mirrors.append(Mirror(there, flag(mirror.get("insecure"), f"{here}: insecure"), asked))
    return Rule(
        _with_small_host(prefix),
        location,
        path,
        flag(entry.get("insecure"), f"{where}: insecure"),
        flag(entry.get("blocked"), f"{where}: blocked"),
        tuple(mirrors),
    )


def _old_format(old: Mapping[str, object], path: Path) -> RegistriesConf:
    def names(kind: str) -> tuple[str, ...]:
        where = f"registries.{kind}"
        return texts(table(old.get(kind), where).get("registries"), f"{where}: registries") or ()

    rules: dict[str, Rule] = {}
    for kind in ("block", "insecure"):
        for name in names(kind):
            location = _location(name, f"registries.{kind}")
            if not location:
                raise Fault(f"registries.{kind} has an empty name")
            prefix = _with_small_host(location)
            rule = rules.get(prefix, Rule(prefix, location, path))
            rules[prefix] = replace(rule, blocked=True) if kind == "block" else replace(rule, insecure=True)
    search = tuple(_registry(name) for name in names("search"))
    return RegistriesConf(rules, (search, path) if search else None)


def _location(value: object, where: str) -> str:
    name = text(value, where).rstrip("/")
    if name.startswith(("http://", "https://")):
        raise Fault(f"{where}: '{printable(name, 100)}' is a URL; write it without http:// or https://")
    return name


def _with_small_host(name: str) -> str:
    host, slash, rest = name.partition("/")
    return host.lower() + slash + rest


def _registry(name: str) -> str:
    try:
        return parse_registry(_location(name, "unqualified-search-registries") or "-")
    except UsageError as error:
        raise Fault(f"unqualified-search-registries: {error.message}") from error


def _helpers(value: object) -> tuple[str, ...] | None:
    names = texts(value, "credential-helpers")
    if names:
        from polyarch.auth.files import AUTH_FILES
        from polyarch.auth.helpers import is_helper_name

        for name in names:
            if name != AUTH_FILES and not is_helper_name(name):
                raise Fault(f"credential-helpers: '{printable(name, 80)}' is not the name of a credential helper")
    return names


def _aliases(document: Mapping[str, object], path: Path) -> dict[str, Alias]:
    aliases: dict[str, Alias] = {}
    for name, value in table(document.get("aliases"), "aliases").items():
        where = f"aliases: '{printable(name, 100)}'"
        full = text(value, where)
        try:
            parse_reference(name)
            if names_registry(name) or names_tag(name):
                raise Fault(f"{where}: a short name has no registry, tag or digest")
            if full and (not names_registry(full) or names_tag(full)):
                raise Fault(f"{where} = '{printable(full, 100)}': an alias has a registry, and no tag or digest")
            aliases[name] = Alias(parse_reference(full).name if full else "", path)
        except UsageError as error:
            raise Fault(f"{where}: {error.message}") from error
    return aliases
