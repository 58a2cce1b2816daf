"""What a storage promises, a test for each promise. See `polyarch.testing.conformance` for how to use it."""

from __future__ import annotations

from polyarch.testing.conformance.storage_abilities import StorageAbilities
from polyarch.testing.conformance.storage_blobs import StorageBlobs
from polyarch.testing.conformance.storage_images import StorageImages


class StorageConformance(StorageBlobs, StorageImages, StorageAbilities):
    """Subclass it as `Test…`, and give the fixture `open_storage`: a function that opens it at one place.

    `several_platforms` is that of the plugin's StoragePlugin; `most_held` is how many bytes of a blob may be held at
    once. `forks` is False where what the plugin uses cannot be used in a forked process: processes are started anew
    then, and `open_storage` has to be one that can be pickled, such as a functools.partial.
    """
