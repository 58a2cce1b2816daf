"""What a registry with mirrors can do beyond the contract: tell who served, hear of wrong bytes, pass mirrors over."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document
from polyarch.reference import Reference


@runtime_checkable
class HasMirrors(Protocol):
    """A registry that may be asked in several places."""

    def served_by(self, digest: Digest) -> str | None:
        """The host that a document or a blob came from; None if it was not asked for."""

    def doubt(self, blob: Descriptor) -> bool:
        """What came of the blob was wrong: its mirrors are not asked for it again. False if it came from none."""

    def get_itself(self, reference: Reference) -> Document:
        """As `get`, from the registry itself: for what is to be changed there, and may be older elsewhere."""
