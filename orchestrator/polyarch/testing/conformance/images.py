"""Images for the kit: small and real (gzip layers, right diff IDs, a config that engines take), new for each test."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from polyarch.contract import (
    Descriptor,
    Digest,
    Document,
    Image,
    ImageConfig,
    Index,
    Manifest,
    NotFoundError,
    Platform,
    Reference,
    parse_config,
    parse_document,
)
from polyarch.testing.layout_writer import Json, Layer, LayoutWriter, folder, regular
from polyarch_platforms.platform import from_oci, parse, to_oci

MAX_TAG_LENGTH = 128
"""distribution-spec, "Pulling manifests": the grammar of a tag."""
MAX_NAME_LENGTH = 255
"""Registry and repository together: distribution-spec, "Pulling manifests"."""

BIG = 8 << 20
"""Bytes of a layer that nobody should hold whole."""
MOST_HELD = 4 << 20
"""Bytes that may be held at once while such a layer passes through."""

ODD_WORDS: Json = {"x-unbekannt": {"ключ": [1, 2.50, None, True], "": "\u0007 \\ / é"}}
"""Fields that no specification knows: who writes a document again loses them, or spells them otherwise."""


@dataclass(frozen=True, slots=True)
class SampleImage:
    """One variant: its documents, and the files with the bytes of its config and layers."""

    manifest: Manifest
    config: ImageConfig
    platform: Platform
    files: Mapping[Digest, Path] = field(repr=False)

    @property
    def entry(self) -> Descriptor:
        """What an index says of this image."""
        return replace(self.manifest.descriptor, platform=self.platform)

    def bytes_of(self, blob: Descriptor) -> bytes:
        """The bytes of the config or a layer."""
        return self.files[blob.digest].read_bytes()

    def named(self, reference: Reference, root: Document | None = None, platform: Platform | None = None) -> Image:
        """What a storage is given at the end of a pull."""
        return Image(reference, root or self.manifest, self.manifest, self.config, platform or self.platform)


class SampleImages:
    """Makes images and names that nobody has seen before: `salt` is in each of them.

    So a test of an engine that keeps what earlier tests have loaded starts with nothing of its own there.
    """

    def __init__(self, directory: Path, salt: str) -> None:
        self._writer = LayoutWriter(directory)
        self._blobs = directory / "blobs" / "sha256"
        self._salt = salt

    def name(self, repository: str = "app", tag: str = "1.0") -> Reference:
        """A name of this test's own."""
        return Reference("registry.example", f"kit-{self._salt}/{repository}", tag)

    def layer(self, text: str = "", size: int = 0) -> Layer:
        """A gzip layer with a text file, and with one of `size` bytes that cannot be compressed."""
        entries = [folder("etc"), regular(f"etc/{text or 'motd'}", f"{text} {self._salt}\n".encode())]
        if size:
            entries.append(regular("big", random.Random(self._salt).randbytes(size)))
        return self._writer.layer(entries, f"COPY {text} /etc # buildkit")

    def image(
        self,
        platform: str = "linux/amd64",
        *,
        layers: Sequence[Layer] = (),
        text: str = "",
        docker: bool = False,
        odd: bool = False,
    ) -> SampleImage:
        """An image of the layers, or of two small ones that `text` makes differ from others.

        `docker` takes Docker's media types; an `odd` one has spaces and unknown fields in its documents.
        """
        parts = to_oci(parse(platform))
        stack = layers or [self.layer(f"base{text}"), self.layer(f"top-{platform.replace('/', '-')}{text}")]
        made = self._writer.image({key: str(part) for key, part in parts.items()}, stack, docker=docker)
        manifest = self._read(made)
        if odd:
            config = self._again(
                manifest["config"], lambda read: read["config"].update(Labels={"grüße": "日本 \u202e"})
            )
            made = self._again(made, lambda read: read.update(config=config, annotations={"grüße": "日本"}))
        return self._sample(made)

    def index(self, *images: SampleImage, odd: bool = False, docker: bool = False) -> Index:
        """An index of the images."""
        made = self._writer.index([image.entry.to_json() for image in images], docker=docker)
        if odd:
            made = self._again(made, lambda read: read.update(annotations={"grüße": "日本"}))
        document = parse_document(self._bytes(made["digest"]), made["mediaType"])
        assert isinstance(document, Index)
        return document

    def name_in_layout(self, name: str, document: Document) -> None:
        """Names a document in the layout, whose folder `finish` makes whole."""
        self._writer.name(name, document.descriptor.to_json())

    def finish(self) -> None:
        """Makes the layout whole."""
        self._writer.finish()

    def path(self, digest: Digest) -> Path:
        """The file of a blob or document."""
        return self._blobs / digest.removeprefix("sha256:")

    def _again(self, made: Json, change: Callable[[Json], object]) -> Json:
        """A document written as nobody's library would write it."""
        document = self._read(made)
        change(document)
        text = json.dumps(ODD_WORDS | document, indent=7, ensure_ascii=False, separators=(" ,", "  : "))
        return self._writer.blob(f"\n {text}\n\n".encode(), made["mediaType"])

    def _sample(self, made: Json) -> SampleImage:
        manifest = parse_document(self._bytes(made["digest"]), made["mediaType"])
        assert isinstance(manifest, Manifest)
        raw = self._bytes(manifest.config.digest)
        files = {blob.digest: self.path(blob.digest) for blob in manifest.blobs}
        return SampleImage(manifest, parse_config(raw), from_oci(json.loads(raw)), files)

    def _read(self, made: Json) -> Json:
        read: Json = json.loads(self._bytes(made["digest"]))
        return read

    def _bytes(self, digest: Digest) -> bytes:
        return self.path(digest).read_bytes()


def names_of(sample: SampleImages) -> list[Reference]:
    """Names of all forms that nobody else has: ports, IPv6, the longest tag and name, a plugin's scheme, unicode."""
    word = sample.name().repository.partition("/")[0]
    host = "registry.example:65535"
    return [
        Reference("docker.io", f"library/{word}"),
        Reference("registry.example", f"{word}/under__score/do.t/da--sh", "1.0"),
        Reference("127.0.0.1:5000", word, "v1"),
        Reference("[::1]:5000", f"{word}/app", "v1"),
        Reference("localhost", word, "_tag.with-all_1.0"),
        Reference("registry.example", word, "t" * MAX_TAG_LENGTH),
        Reference(host, word.ljust(MAX_NAME_LENGTH - len(host) - 1, "r"), "1.0"),
        Reference("", f"/srv/{word}/ein Größenvergleich/日本", "1.0", "", "attic"),
    ]


class BlobFiles:
    """The contract's `HasBlobFiles` over files of images: what an ImageLoader is handed. `asked` is what it read."""

    def __init__(self, files: Mapping[Digest, Path]) -> None:
        self._files = files
        self.asked: list[Digest] = []

    def blob_path(self, digest: Digest) -> Path:
        """The file. Raises NotFoundError for a blob that was not said to be lacking."""
        self.asked.append(digest)
        if digest not in self._files:
            raise NotFoundError(f"blob {digest} is not at hand: `lacks` did not name it")
        return self._files[digest]
