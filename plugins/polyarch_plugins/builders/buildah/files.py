"""What buildah is told by files: where the base images are, and that nothing else is to be taken. Pure.

Sources: containers-registries.conf(5), containers-policy.json(5), containers.conf(5), containers-storage.conf(5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from polyarch.contract import BuildBase


def registries_conf(bases: Iterable[BuildBase]) -> str:
    """Each repository is read from where polyarch offers it, and short names mean nothing."""
    places = {base.name: base.location for base in bases}
    tables = [
        f"[[registry]]\nprefix = {_quoted(name)}\nlocation = {_quoted(location)}\ninsecure = true\n"
        for name, location in sorted(places.items())
    ]
    return "\n".join(['unqualified-search-registries = []\nshort-name-mode = "disabled"\n', *tables])


def policy_json(bases: Iterable[BuildBase]) -> str:
    """Images of these repositories, and what buildah itself has made, and no others."""
    accepted = [{"type": "insecureAcceptAnything"}]
    scopes = {base.name: accepted for base in bases}
    document: dict[str, object] = {"default": [{"type": "reject"}]}
    document["transports"] = {"docker": scopes, "containers-storage": {"": accepted}}
    return json.dumps(document, sort_keys=True)


CONTAINERS_CONF = """\
[containers]
default_ulimits = []
[engine]
events_logger = "none"
"""
"""In place of the machine's and the user's own."""

STORAGE_CONF = '[storage]\ndriver = "overlay"\n'
"""The same; where its store is, and of which driver, buildah is told by words."""


def signatures_yaml(nowhere: Path) -> str:
    """Signatures are looked for in a folder that is not there, not in the machine's, nor where that would ask for them.

    Source: containers-registries.d(5).
    """
    return json.dumps({"default-docker": {"lookaside": nowhere.as_uri()}}) + "\n"  # YAML contains JSON


def _quoted(text: str) -> str:
    # A basic string of TOML is one of JSON, but for U+007F, which no name or path of ours has.
    return json.dumps(text, ensure_ascii=False)
