"""What a registry with mirrors can do beyond the contract: say who served, and be told of wrong bytes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest


@runtime_checkable
class HasMirrors(Protocol):
    """A registry that may be asked in several places."""

    def served_by(self, digest: Digest) -> str | None:
        """The host that a document or a blob came from; None if it was not asked for."""

    def doubt(self, blob: Descriptor) -> bool:
        """What came of the blob was wrong: its mirrors are not asked for it again. False if it came from none."""
