"""What an OCI layout on a device is sent: the blobs that it lacks, and an index.json with the images' names in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from polyarch.contract.layout_images import LayoutImages
from polyarch.contract.layout_names import reference_of, root_of
from polyarch.contract.layout_reader import VerifiedPlace
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import IntegrityError, StorageError
from polyarch.fleet.at_hand import AtHand
from polyarch.fleet.facts import Engine, EngineImage
from polyarch.fleet.offers import content_of
from polyarch.fleet.planned import ImagePlan
from polyarch.fleet.pull_answer import LayoutAnswer
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, hex_of
from polyarch.oci.document import Index, parse_document
from polyarch.oci.layout import MAX_INDEX_JSON_SIZE, MAX_NAMES, index_json
from polyarch.oci.media_types import OCI_INDEX
from polyarch.oci.tar_stream import bytes_member, file_member, tar_chunks
from polyarch.reference import parse_reference
from polyarch_platforms.lazy_dataclass import dataclass

_WHERE = "index.json of the device"


@dataclass(frozen=True, slots=True)
class LayoutParcel:
    """What goes to a layout.

    manifests  the manifest of each image that it does not have yet, by number in the plan
    at_hand    the same of those that it has
    index      its new index.json
    documents  manifests, indexes and configs that it lacks, by digest
    layers     those that it lacks
    needed     all that has to be there for the names to be given
    """

    manifests: Mapping[int, Digest]
    at_hand: Mapping[int, Digest]
    index: bytes
    documents: Mapping[Digest, bytes]
    layers: tuple[Descriptor, ...]
    needed: tuple[Digest, ...]


def layout_parcel(told: LayoutAnswer, lines: Mapping[int, ImagePlan], images: Mapping[Digest, Image]) -> LayoutParcel:
    """What a layout that told this needs for these lines of its plan, by number.

    The names of other images stay as they are; of an image that is replaced only what comes now keeps its name. Raises
    IntegrityError and StorageError for an index.json that cannot be read or gets too large, and KeyError for an image
    that is not known.
    """
    index = _index(told.index)
    entries: tuple[Descriptor, ...] = index.manifests if index else ()
    held = AtHand(Engine("oci", images=tuple(map(_held, entries)), blobs=tuple(told.blobs)))
    layout = LayoutImages(VerifiedPlace(None, _WHERE))
    manifests, at_hand = dict[int, Digest](), dict[int, Digest]()
    documents, layers, needed = dict[Digest, bytes](), dict[Digest, Descriptor](), dict[Digest, None]()
    for number, line in lines.items():
        if line.manifest is None:
            continue
        image = images[line.manifest]
        content = content_of(image.manifest, image.config)
        lacking = [blob for blob in image.manifest.blobs if told.blobs.get(blob.digest) != blob.size and not blob.urls]
        if not lacking and held.holds(line.reference, line.digest or line.manifest, content):
            at_hand[number] = line.manifest
            continue
        root = image.root if image.root.digest == line.digest else image.manifest
        new = layout.with_image(entries, replace(image, reference=parse_reference(line.reference), root=root))
        entries = new.entries
        manifests[number] = line.manifest
        needed |= dict.fromkeys([*new.raw, *(blob.digest for blob in image.manifest.blobs if not blob.urls)])
        raws = {**new.raw, image.manifest.config.digest: image.config.raw}
        documents |= {key: raw for key, raw in raws.items() if told.blobs.get(key) != len(raw)}
        layers |= {blob.digest: blob for blob in lacking if blob.digest not in raws}
    if strange := next((digest for digest in needed if not digest.startswith("sha256:")), None):
        raise StorageError(f"an OCI layout on a device is sent blobs with a sha256, and {strange[:20]}… is another")
    return LayoutParcel(
        manifests, at_hand, index_json(index, entries, _WHERE), documents, tuple(layers.values()), tuple(needed)
    )


def _index(text: str) -> Index | None:
    if not text.strip():
        return None
    raw = text.encode("utf-8", "surrogateescape")
    document = parse_document(raw, OCI_INDEX, _WHERE, max_size=MAX_INDEX_JSON_SIZE, max_entries=MAX_NAMES)
    if not isinstance(document, Index):
        raise IntegrityError(f"{_WHERE} is a manifest, no index")
    return document


def _held(entry: Descriptor) -> EngineImage:
    digests = tuple(dict.fromkeys((entry.digest, root_of(entry).digest)))
    return EngineImage((str(reference_of(entry)),), digests=digests)


def index_sum(parcel: LayoutParcel) -> str:
    """The hexadecimal digest of the new index.json."""
    return hex_of(digest_of(parcel.index))


def layout_stream(parcel: LayoutParcel, blobs: HasBlobFiles) -> Iterator[bytes]:
    """A tar: `blobs/HEX` each, the list `needed`, and `index.json`. Layers are read in pieces.

    Raises NotFoundError at once for a layer that `blobs` does not have; the iterator raises StorageError where a file
    cannot be read, or is not of the size that it should have.
    """
    members = [
        file_member(f"blobs/{hex_of(layer.digest)}", blobs.blob_path(layer.digest), layer.size)
        for layer in parcel.layers
    ]
    members += [bytes_member(f"blobs/{hex_of(digest)}", raw) for digest, raw in parcel.documents.items()]
    members.append(bytes_member("needed", "".join(f"{hex_of(digest)}\n" for digest in parcel.needed).encode()))
    members.append(bytes_member("index.json", parcel.index))
    return tar_chunks(members)
