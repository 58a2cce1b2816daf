"""Descriptors: OCI image-spec 1.1, descriptor.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from polyarch.errors import IntegrityError
from polyarch.oci.digest import Digest, check_digest
from polyarch.oci.json import mapping_of, string_map, strings, text_of
from polyarch_platforms.errors import PlatformError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, from_oci, to_oci


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of a blob: media type, digest, size in bytes; for an index entry also its platform.

    `platform` is None where the entry states none.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The descriptor as the image-spec writes it."""
        document: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform is not None:
            document["platform"] = to_oci(self.platform)
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.urls:
            document["urls"] = list(self.urls)
        return document


def parse_descriptor(value: object, where: str) -> Descriptor:
    """A descriptor out of JSON; IntegrityError, naming `where`, if a field is not valid."""
    document = mapping_of(value, where)
    size = document.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 1 << 63:
        raise IntegrityError(f"{where}: size {str(size)[:40]!r} is not a number of bytes")
    platform = None
    stated = mapping_of(document.get("platform") or {}, f"{where}: platform")
    if stated.get("os") or stated.get("architecture"):  # some tools write an empty object where they know nothing
        try:
            platform = from_oci(stated)
        except PlatformError as error:
            raise IntegrityError(f"{where}: {error}") from error
    return Descriptor(
        media_type=text_of(document, "mediaType", where),
        digest=check_digest(document.get("digest"), where),
        size=size,
        platform=platform,
        annotations=string_map(document.get("annotations"), f"{where}: annotations"),
        artifact_type=text_of(document, "artifactType", where, default=""),
        urls=strings(document.get("urls"), f"{where}: urls"),
    )
