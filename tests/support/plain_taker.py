"""A registry in folders that takes images, as plain as can be: what the conformance kit for pushing is tried on.

References are `plain:FOLDER:TAG`; each folder is a repository.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import BlobStream, Descriptor, Document, NotFoundError, Reference, parse_document
from polyarch.testing.conformance import Target


class PlainTaker:
    """Satisfies Registry, ListsReferrers and TakesImages."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0

    def file(self, reference: Reference, name: str) -> Path:
        path = Path(reference.repository, name.replace(":", "-"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def head(self, reference: Reference) -> Descriptor | None:
        return self.get(reference).descriptor

    def get(self, reference: Reference) -> Document:
        try:
            return parse_document(self.file(reference, f"document-{reference.target}").read_bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"{reference} is not there") from error

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        data = self.file(reference, blob.digest).read_bytes()
        yield BlobStream(offset, iter([data[offset:]]))

    def referrers(self, reference: Reference, artifact_type: str = "") -> Iterator[Descriptor]:
        for path in sorted(Path(reference.repository).glob("document-sha256-*")):
            document = parse_document(path.read_bytes())
            if document.subject is not None and document.subject.digest == reference.digest:
                yield replace(document.descriptor, artifact_type=document.artifact_type)

    def has_blob(self, reference: Reference, blob: Descriptor) -> bool:
        return self.file(reference, blob.digest).exists()

    def mount_blob(self, reference: Reference, blob: Descriptor, repository: str) -> bool:
        there = self.file(replace(reference, repository=repository), blob.digest)
        if not there.exists():
            return False
        self.file(reference, blob.digest).write_bytes(there.read_bytes())
        return True

    def partial(self, reference: Reference) -> Path:
        with self.lock:
            self.count += 1
            return self.file(reference, f"partial-{self.count}")

    def put_blob(
        self, reference: Reference, blob: Descriptor, open_at: Callable[[int], AbstractContextManager[BlobStream]]
    ) -> None:
        partial = self.partial(reference)
        with partial.open("wb") as file, open_at(0) as stream:
            for chunk in stream.chunks:
                file.write(chunk)
        partial.rename(self.file(reference, blob.digest))

    def has(self, reference: Reference) -> bool:
        return self.file(reference, f"document-{reference.target}").exists()

    def put(self, reference: Reference, document: Document) -> None:
        for target in (document.digest, reference.target):
            self.file(reference, f"document-{target}").write_bytes(document.raw)

    def close(self) -> None:
        pass


def taker_fixtures(kind: type[PlainTaker]) -> dict[str, Any]:
    """What a test class of the kit needs to try such a registry."""

    @pytest.fixture
    def target(self: object, tmp_path: Path) -> Target:
        first, second = (Reference("", str(tmp_path / name), "tag", scheme="plain") for name in ("one", "two"))
        return Target(kind(), first, second)

    return {"target": target}
