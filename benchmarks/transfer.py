"""`python -P benchmarks/transfer.py REF ROOT`: what a pull moves, verified by digest and size, and nothing else.

There is no such command, since nothing is named that was not looked at. It waits for no disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.transfer.fetch import fetch


def main(text: str, root: Path) -> None:
    """Bring the blobs of the image that this machine gets into a storage below `root`."""
    with Session(load_settings(root=root, sync="none")) as session:
        candidate = session.resolve(text).chosen.candidate
        storage = session.storage()
        documents = session._documents(candidate.reference, storage)  # the parts that a pull is made of
        manifest = documents.manifest(candidate.reference, candidate.manifest)
        fetch(
            documents.registry,
            candidate.reference,
            manifest,
            storage,
            max_connections=session.settings.max_connections,
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
