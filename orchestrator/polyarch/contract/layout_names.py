"""What index.json says: the names in it, and how images of several platforms stand under one name. Pure.

An image of one platform with an OCI manifest is an entry of its own. Several platforms of a name are listed by an index
that is made here, because other tools take the first entry of a name; likewise a Docker manifest, because
containers/image looks only at OCI media types in index.json (oci/layout/oci_transport.go, getManifestDescriptor,
v5.22). Alone in its index, a Docker manifest stands there without a platform, so that such tools take it anywhere.

What the name points at in the registry is an annotation: that index may name manifests that are not at hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from polyarch.contract.storage import unnamed
from polyarch.errors import UsageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, is_digest
from polyarch.oci.held import POLYARCH_NAME, REF_NAME, ROOT, names_of
from polyarch.oci.media_types import OCI_MANIFEST
from polyarch.oci.written import write_index
from polyarch.reference import Reference, parse_reference
from polyarch_platforms.lazy_dataclass import dataclass

SCHEME = "io.polyarch.scheme"
"""The scheme that the name begins with, for names that a plugin understands."""
ROOT_TYPE = "io.polyarch.root.media-type"
MADE_HERE = "io.polyarch.index"
"""Marks an index that was made here to list the platforms of a name."""

_REF_NAME_GRAMMAR = re.compile(
    r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*"
)


@dataclass(frozen=True, slots=True)
class Root:
    """What a name points at in the registry."""

    digest: Digest
    media_type: str


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry for index.json, and the index document that it needs, if it needs one."""

    entry: Descriptor
    index: bytes | None


def stored_name(reference: Reference) -> Reference:
    """The name under which an image is kept: by its tag if it has one, else by digest."""
    return replace(reference, digest="") if reference.tag else reference


def reference_of(entry: Descriptor) -> Reference:
    """The name of an entry, whoever wrote it: `ref.name` read as a person's text is, unless a whole name is beside it.

    Entries without a name, or with one that is no reference, are called `localhost/unnamed@DIGEST`.
    """
    scheme = entry.annotations.get(SCHEME)
    for name in names_of(entry):
        try:
            return stored_name(parse_reference(name, (scheme,) if scheme else ()))
        except UsageError:
            continue
    return unnamed(entry.digest)


def root_of(entry: Descriptor) -> Root:
    """What the name of an entry points at in the registry: the entry itself, unless it says otherwise."""
    digest = entry.annotations.get(ROOT, "")
    if is_digest(digest):
        return Root(digest, entry.annotations.get(ROOT_TYPE, ""))
    return Root(entry.digest, entry.media_type)


def is_made_here(entry: Descriptor) -> bool:
    """True for an entry whose index was made here."""
    return MADE_HERE in entry.annotations


def has_no_name(entry: Descriptor) -> bool:
    """True for an entry that nobody gave a name."""
    return not names_of(entry)


def new_entry(reference: Reference | None, root: Root, manifests: Sequence[Descriptor]) -> NewEntry:
    """The entry that lets `reference`, or no name at all, stand for `manifests`, each with the platform it is for."""
    manifests = sorted(manifests, key=lambda manifest: (manifest.platform is not None, manifest.platform))
    alone = manifests[0] if len(manifests) == 1 else None
    if alone is not None and alone.media_type == OCI_MANIFEST:
        bare = replace(alone, annotations={})
        return NewEntry(replace(bare, annotations=_annotations(reference, root, bare.digest)), None)
    listed = [
        replace(manifest, annotations={}, platform=None if alone else manifest.platform) for manifest in manifests
    ]
    index = write_index(listed)
    annotations = {**_annotations(reference, root, index.digest), MADE_HERE: "platforms"}
    platform = alone.platform if alone else None
    return NewEntry(replace(index.descriptor, platform=platform, annotations=annotations), index.raw)


def _annotations(reference: Reference | None, root: Root, digest: Digest) -> dict[str, str]:
    annotations = {}
    if reference is not None:
        name = str(stored_name(reference))
        annotations[REF_NAME if _REF_NAME_GRAMMAR.fullmatch(name) else POLYARCH_NAME] = name
        if reference.scheme:
            annotations[SCHEME] = reference.scheme
    if root.digest != digest:
        annotations |= {ROOT: root.digest, ROOT_TYPE: root.media_type}
    return annotations
