"""What happens while polyarch works, as frozen values: progress bars, JSON lines and observers are made of these.

A function that works long takes `emit`, a callable that is given each event; it must not raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Literal, TypeAlias

from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""

    def to_json(self) -> dict[str, object]:
        """The event's fields and its name under `event`, for one line of JSON."""
        values: dict[str, object] = {"event": type(self).__name__}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = value if value is None or isinstance(value, int | float | str | bool) else str(value)
        return values


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something the user should know that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class PullStarted(Event):
    """A name is about to be asked for. `tag_defaulted` says that `latest` was added."""

    reference: str
    tag_defaulted: bool = False


@dataclass(frozen=True, slots=True)
class NameTaken(Event):
    """A name without a registry was found to mean `reference`, by an alias or the search registries in `file`."""

    name: str
    reference: str
    how: Literal["alias", "search"]
    file: str


@dataclass(frozen=True, slots=True)
class ServedElsewhere(Event):
    """A document of `reference` came from `host`, a mirror or what stands for its registry."""

    reference: str
    host: str


@dataclass(frozen=True, slots=True)
class VariantChosen(Event):
    """Selection made its choice among `candidates` variants.

    `manifest` and `config` are digests; the config comes as a blob, too, but is no layer.
    """

    reference: str
    platform: str
    match: Literal["exact", "compatible", "emulated"]
    source: Literal["index", "tag", "manifest"]
    candidates: int
    manifest: str
    config: str


@dataclass(frozen=True, slots=True)
class BlobStarted(Event):
    """Bytes of a blob begin to arrive, at `offset` of `size`."""

    digest: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class BlobProgress(Event):
    """`received` of `size` bytes of a blob are here (counted from the blob's first byte)."""

    digest: str
    size: int
    received: int


@dataclass(frozen=True, slots=True)
class BlobRetried(Event):
    """A transfer broke and starts again at `offset`."""

    digest: str
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class BlobDone(Event):
    """A blob is whole and verified in the storage. `status` tells how it came there."""

    digest: str
    size: int
    status: Literal["downloaded", "resumed", "exists"]


@dataclass(frozen=True, slots=True)
class ImageLoading(Event):
    """All of an image is here, and goes into a storage that takes it whole."""

    reference: str
    storage: str


@dataclass(frozen=True, slots=True)
class PullFinished(Event):
    """A name points at its image.

    `reused_bytes` of it were here before; `prepared` is the form in which its layers are ready to be run, None where
    that was not asked for.
    """

    reference: str
    digest: str
    status: Literal["downloaded", "up-to-date"]
    reused_bytes: int = 0
    prepared: Literal["erofs", "unpacked"] | None = None


@dataclass(frozen=True, slots=True)
class BuildSaid(Event):
    """A line of what makes the image of `platform`."""

    platform: str
    line: str


@dataclass(frozen=True, slots=True)
class PushStarted(Event):
    """An image is about to be pushed. `tag_defaulted` says that `latest` was added."""

    reference: str
    tag_defaulted: bool = False


@dataclass(frozen=True, slots=True)
class BlobPushed(Event):
    """A blob is whole at the registry that an image is pushed to. `source` is the repository it was mounted from."""

    digest: str
    size: int
    status: Literal["uploaded", "exists", "mounted"]
    source: str = ""


@dataclass(frozen=True, slots=True)
class PushFinished(Event):
    """A name at a registry points at what was pushed, a document of `size` bytes."""

    reference: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class LayerUnpacked(Event):
    """A layer's files are ready to be mounted."""

    diff_id: str


@dataclass(frozen=True, slots=True)
class LayerAwaited(Event):
    """Another polyarch makes the layer's files ready, and is waited for: `holder` says which process it is."""

    diff_id: str
    holder: str


@dataclass(frozen=True, slots=True)
class LayerListed(Event):
    """The files in a layer were read out of its blob, of `size` bytes, and will be remembered."""

    digest: str
    size: int


Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `Emit` for callers that do not listen."""
