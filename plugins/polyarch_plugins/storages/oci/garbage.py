"""Taking blobs away, and what broken transfers left. All of it happens under the storage's lock."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from polyarch.contract import Digest, Layout, is_digest, try_lock
from polyarch_plugins.storages.oci.partial import digest_of_partial


def blobs_here(layout: Layout) -> Iterator[Digest]:
    """The digest of every file among the blobs that is named as a blob is. Raises OSError."""
    folder = layout.directory / "blobs"
    for algorithm in sorted(folder.iterdir()) if folder.is_dir() else ():
        for path in sorted(algorithm.iterdir()) if algorithm.is_dir() else ():
            if is_digest(digest := f"{algorithm.name}:{path.name}"):
                yield digest


def remove_blobs(
    layout: Layout, digests: Collection[Digest], *, dry_run: bool = False
) -> tuple[tuple[Digest, int], ...]:
    """Delete blobs, or only look at them; digest and bytes of each that was here. Raises OSError."""
    removed = []
    for digest in sorted(digests):
        path = layout.blob_path(digest)
        try:
            size = path.stat().st_size
            if not dry_run:
                path.unlink()
        except FileNotFoundError:
            continue
        removed.append((digest, size))
    return tuple(removed)


def remove_partials(folder: Path, *, dry_run: bool = False) -> tuple[tuple[Digest, int], ...]:
    """Delete the unfinished blobs that nobody is writing, or only look; digest and bytes of each. Raises OSError."""
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # finished by now
            continue
        try:
            # Whoever waits for the lock will see that the file has gone, and begin a new one.
            if try_lock(descriptor):
                removed.append((digest_of_partial(path), os.fstat(descriptor).st_size))
                if not dry_run:
                    path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    return tuple(removed)
