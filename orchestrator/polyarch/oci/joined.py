"""Indexes made of other indexes' entries, which stay as they were written: also with fields that nobody here reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from polyarch.oci.document import Index, parse_document
from polyarch.oci.json import list_of, mapping_of, parse_json
from polyarch.oci.written import encode

Entry = Mapping[str, object]
"""A descriptor as JSON."""


def listed(index: Index) -> tuple[Entry, ...]:
    """The entries as they are written, in the order of `index.manifests`."""
    return tuple(mapping_of(entry, "entry") for entry in list_of(parse_json(index.raw, "index")["manifests"], "index"))


def joined(index: Index, entries: Sequence[Entry]) -> Index:
    """The index with these entries in place of its own; all else stays. The same bytes where nothing changed."""
    document = json.loads(index.raw)
    if document["manifests"] == list(entries):
        return index
    raw = encode({**document, "manifests": list(entries)})
    return cast("Index", parse_document(raw, index.media_type, "index"))
