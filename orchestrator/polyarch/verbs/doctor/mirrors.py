"""Mirrors and short names: whether what podman's and containerd's files say of registries can be understood.

A broken file stops every pull that it may have to do with, so it is told with the command that puts it aside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from polyarch.errors import UsageError
from polyarch.registry.hosts_toml import Hosts, parse_hosts
from polyarch.registry.machine_files import hosts_directory, podman_files, read_conf
from polyarch.registry.registries_conf import RegistriesConf
from polyarch.registry.toml_file import read_toml
from polyarch.settings import Settings
from polyarch.verbs.doctor.check import Check, Mend, words

_NAME = "mirrors"
_MOST_HOSTS = 500


def mirrors(settings: Settings) -> Iterator[Check]:
    """One check of podman's files together, one of containerd's, or one for each that is broken."""
    said = list(_of_podman(settings)) + list(_of_containerd(settings))
    yield from said or [Check(_NAME, "ok", "no registries.conf, no hosts.toml: every registry is asked itself")]


def _of_podman(settings: Settings) -> Iterator[Check]:
    try:
        files = list(podman_files(settings))
    except UsageError as error:
        yield Check(_NAME, "failed", f"{error.message} ({error.hint})" if error.hint else error.message, essential=True)
        return
    sound = []
    for file in files:
        try:
            read_conf([file])
            sound.append(file)
        except UsageError as error:
            yield _broken(file.path, error, essential=True)
    if sound and sound == files:
        yield Check(_NAME, "ok", f"{files[0].path}{_more(len(files))}: {_podman_words(read_conf(files))}")


def _of_containerd(settings: Settings) -> Iterator[Check]:
    directory = hosts_directory(settings)
    if directory is None:
        return
    found: list[Hosts] = []
    for path in sorted(directory.glob("*/hosts.toml"))[:_MOST_HOSTS]:
        try:
            found.append(parse_hosts(read_toml(path, "hosts.toml") or b"", path))
        except UsageError as error:
            yield _broken(path, error, essential=path.parent.name == "_default")
    if found:
        hosts = sum(len(each.hosts) for each in found)
        yield Check(_NAME, "ok", f"{directory}: {_count(len(found), 'registry')}, {_count(hosts, 'host')} before them")


def _broken(path: Path, error: UsageError, *, essential: bool) -> Check:
    mend = Mend(words("mv", path, f"{path}.broken"), as_root=not os.access(path.parent, os.W_OK))
    if not os.access(path, os.R_OK):
        mend = Mend(words("chmod", "a+r", path), as_root=True)
    return Check(_NAME, "failed", error.message, mend, essential=essential)


def _podman_words(conf: RegistriesConf) -> str:
    copies = sum(len(rule.mirrors) for rule in conf.rules.values())
    blocked = sum(rule.blocked for rule in conf.rules.values())
    parts = [
        _count(len(conf.rules), "registry"),
        _count(copies, "mirror") if copies else "",
        f"{blocked} blocked" if blocked else "",
        _count(len(conf.aliases), "short name") if conf.aliases else "",
        f"searches {', '.join(conf.search[0])}" if conf.search and conf.search[0] else "",
    ]
    return ", ".join(part for part in parts if part)


def _count(number: int, what: str) -> str:
    if number == 1:
        return f"1 {what}"
    return f"{number} {what.removesuffix('y') + 'ies' if what.endswith('y') else what + 's'}"


def _more(files: int) -> str:
    return "" if files == 1 else f" and {_count(files - 1, 'more file')}"
