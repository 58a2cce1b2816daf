"""What a storage needs that can be repaired."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, runtime_checkable

from polyarch.contract.storage import BlobWriter, ImageSummary
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.reference import Reference


@runtime_checkable
class TellsLacking(Protocol):
    """A storage that tells names which lead to images that are not whole any more. All methods raise StorageError."""

    def examined(self) -> tuple[tuple[ImageSummary, ...], tuple[Reference, ...]]:
        """Every whole image under every name; and the names that lead to what has gone or damaged parts."""

    def lacks(self, reference: Reference) -> bool:
        """Whether parts are gone of what a name leads to."""


@runtime_checkable
class Repairs(Protocol):
    """A storage in which what the disk has damaged can be put right. All methods raise StorageError."""

    def mend(self) -> tuple[str, ...]:
        """Put right what names images; a sentence for each thing that was done. What is sound stays."""

    def entries(self) -> tuple[Descriptor, ...]:
        """What an index.json names, be what it leads to sound or not."""

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A seekable stream of the blob. Raises NotFoundError."""

    def replace_blob(self, blob: Descriptor) -> AbstractContextManager[BlobWriter | None]:
        """Bring a blob in anew, in the place of a damaged one, which stays until then; None if it is sound by now."""
