"""What the tests of a registry stand on."""

from __future__ import annotations

import zlib

import pytest

from polyarch.contract import BlobStream, Descriptor, Digest, Document, Manifest, Reference, Registry, digest_of
from polyarch.testing.conformance.content import IMAGE, Content, Source

NOTHING = digest_of(b"nobody has a document or a blob like this")


class RegistryBase:
    """The fixtures."""

    @pytest.fixture
    def source(self) -> Source:
        """The author's: the registry, and where it offers the content."""
        pytest.fail(f"{type(self).__name__} has to give, within it, a fixture `source`: a Source with the registry")

    @pytest.fixture
    def registry(self, source: Source) -> Registry:
        """The registry."""
        return source.registry

    @pytest.fixture
    def reference(self, source: Source) -> Reference:
        """The name of the one image that each source holds."""
        return wanted(source, IMAGE)

    @pytest.fixture
    def manifest(self, registry: Registry, reference: Reference) -> Manifest:
        """The manifest of that image, as the registry hands it out."""
        return image_at(registry, reference)


def wanted(source: Source, name: str) -> Reference:
    """The reference of one of the content's names; the test is skipped where the source does not hold it."""
    if name not in source.references:
        if name == IMAGE:
            pytest.fail(f"the source has to hold {IMAGE!r} at least (Source.references)")
        pytest.skip(f"the source does not hold {name[:20]!r}")
    return source.references[name]


def exact(source: Source) -> None:
    """Skips the test where the source makes its documents itself."""
    if not source.exact:
        pytest.skip("the source makes its manifests itself (Source.exact)")


def image_at(registry: Registry, reference: Reference) -> Manifest:
    """The manifest of one image; of an index the first one's."""
    document: Document = registry.get(reference)
    if not isinstance(document, Manifest):
        document = registry.get(reference.with_digest(document.manifests[0].digest))
    assert isinstance(document, Manifest), "what an index lists can be got by digest (Registry.get)"
    return document


def read(registry: Registry, reference: Reference, blob: Descriptor, offset: int = 0) -> bytes:
    """The whole blob, whatever part was asked for; AssertionError where the stream begins behind that."""
    with registry.open_blob(reference, blob, offset) as stream:
        assert stream.offset <= offset, "a stream begins where it was asked to, or earlier (BlobStream.offset)"
        return bytes(stream.offset) + join(stream)


def join(stream: BlobStream) -> bytes:
    """All chunks, each copied before the next one is asked for."""
    return b"".join(bytes(chunk) for chunk in stream.chunks)


def diff_id(data: bytes) -> Digest:
    """The digest of a layer's tar."""
    return digest_of(zlib.decompress(data, wbits=31) if data.startswith(b"\x1f\x8b") else data)


def held(content: Content, source: Source) -> dict[str, Document]:
    """Of the content what the source holds."""
    return {name: document for name, document in content.names.items() if name in source.references}
