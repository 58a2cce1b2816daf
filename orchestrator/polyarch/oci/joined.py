"""Indexes made of other indexes' entries, which stay as they were written: also with fields that nobody here reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import cast

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Index, is_attestation, parse_document
from polyarch.oci.json import list_of, mapping_of, parse_json
from polyarch.oci.written import encode

# What an attestation is about (BuildKit docs/attestations/attestation-storage.md).
ATTESTED_ANNOTATION = "vnd.docker.reference.digest"

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


def attested(entry: Descriptor) -> Digest:
    """The digest of what an attestation in an index is about; "" for an entry that is none, or does not say so."""
    return entry.annotations.get(ATTESTED_ANNOTATION, "") if is_attestation(entry) else ""


def narrowed(index: Index, wanted: Collection[Digest], without: Collection[Digest] = ()) -> Index:
    """The index with these of its manifests and the attestations of theirs, but for `without`; the same where that is
    all of it.
    """
    kept = [
        raw
        for raw, entry in zip(listed(index), index.manifests, strict=True)
        if (attested(entry) if is_attestation(entry) else entry.digest) in wanted and entry.digest not in without
    ]
    return joined(index, kept)
