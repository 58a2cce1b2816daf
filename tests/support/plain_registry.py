"""A registry over an OCI image layout, as plain as can be, with every ability: what the conformance kit is tried on.

References are `plain:FOLDER:TAG`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import (
    BlobStream,
    Descriptor,
    Digest,
    Document,
    Layout,
    NotFoundError,
    Reference,
    StorageError,
    parse_document,
    parse_reference,
)
from polyarch.testing.conformance import Content, Source

REF_NAME = "org.opencontainers.image.ref.name"
PIECE = 1 << 16


class PlainRegistry:
    """Satisfies Registry, ListsTags and NamesImages."""

    def layout(self, reference: Reference) -> Layout:
        try:
            layout = Layout(Path(reference.repository))
            layout.entries()
        except StorageError as error:
            raise NotFoundError(f"{reference}: {error}") from error
        return layout

    def entry(self, reference: Reference) -> Digest:
        if reference.digest:
            return reference.digest
        for entry in self.layout(reference).entries():
            if entry.annotations.get(REF_NAME) == reference.tag:
                return entry.digest
        raise NotFoundError(f"{reference} is not there")

    def head(self, reference: Reference) -> Descriptor | None:
        return self.get(reference).descriptor

    def get(self, reference: Reference) -> Document:
        digest = self.entry(reference)
        return self.parsed(self.layout(reference).read_blob(digest, 4 << 20))

    def parsed(self, raw: bytes) -> Document:
        return parse_document(raw)

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        with self.layout(reference).open_blob(blob.digest) as file:
            yield BlobStream(offset, self.chunks(file.fileno(), offset))

    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        while piece := os.pread(file, PIECE, offset):
            yield piece
            offset += len(piece)

    def tags(self, reference: Reference) -> Iterator[str]:
        for entry in self.layout(reference).entries():
            yield entry.annotations[REF_NAME]

    def kept_name(self, reference: Reference) -> Reference:
        return parse_reference(f"localhost/plain:{reference.tag}")

    def close(self) -> None:
        pass


def registry_fixtures(kind: type[PlainRegistry]) -> dict[str, Any]:
    """What a test class of the kit needs to try such a registry."""

    @pytest.fixture
    def source(self: object, polyarch_content: Content) -> Source:
        folder = str(polyarch_content.layout)
        return Source(kind(), {name: Reference("", folder, name, scheme="plain") for name in polyarch_content.names})

    return {"source": source}
