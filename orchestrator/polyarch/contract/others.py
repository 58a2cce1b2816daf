"""The smaller kinds of plugins: tag conventions, emulators, verifiers, observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from polyarch.contract.http import Http
from polyarch.contract.registry import Registry, no_folder
from polyarch.errors import UnreachableError
from polyarch.events import Event
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch_platforms.qemu import QemuBinary


@dataclass(frozen=True, slots=True)
class PluginServices:
    """What polyarch hands to the factory of a plugin that needs nothing else.

    `options` is the table `[options.NAME]` of the settings file, NAME being the plugin's; what it may hold is the
    plugin's own affair. `environ` is the environment, which nobody else reads.
    """

    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


Certainty: TypeAlias = Literal["sure", "likely", "guess"]
"""How much a word in a name tells: `arm64v8` is sure, `arm` is likely, `rpi` is a guess."""


@dataclass(frozen=True, slots=True)
class TagProposal:
    """A name under which the variant for `platform` may be kept, by some convention."""

    reference: Reference
    platform: Platform
    certainty: Certainty = "likely"


class TagConvention(Protocol):
    """A habit of naming variants where there is no index. Pure: it only thinks of names, polyarch looks them up."""

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        """Names for the variant of `platform`, the likeliest first; at most a handful."""


@dataclass(frozen=True, slots=True)
class TagReading:
    """What a convention reads out of a tag: the version that is left, and the platforms that the word may mean."""

    version: str
    platforms: tuple[Platform, ...]
    certainty: Certainty = "likely"


@runtime_checkable
class ReadsTags(Protocol):
    """A convention that knows its own tags when it sees them. Pure."""

    def read(self, tag: str) -> TagReading | None:
        """The reading of a tag, None for one that is not of this convention."""


class ImageFiles(Protocol):
    """The files of images, for those who need some on this machine."""

    def __call__(self, reference: str, *, fetch: bool) -> Path | None:
        """A directory with the merged root file system of the image's variant for this machine; nobody writes there.

        Without `fetch`, None unless it is at hand already. Never a variant that has to be emulated. Raises what pulling
        and unpacking raise.
        """


def no_image_files(reference: str, *, fetch: bool) -> Path | None:
    """Of a machine that has no images: None."""
    return None


@dataclass(frozen=True, slots=True)
class EmulatorServices:
    """What polyarch hands to the factory of an emulator source.

    `directories` are those that the user wants searched before any other (setting `qemu_directories`), `image` is the
    image that QEMU is taken from if nothing else has it (setting `qemu_image`), "" for none. `options` is the table
    `[options.NAME]` of the settings file.
    """

    directories: tuple[Path, ...] = ()
    image: str = ""
    image_files: ImageFiles = no_image_files
    options: Mapping[str, object] = field(default_factory=dict, repr=False)


class EmulatorSource(Protocol):
    """A place that emulator binaries come from."""

    def find(self, architecture: str) -> QemuBinary | None:
        """The emulator at hand for programs of `architecture` (OCI's name), else None. Fetches nothing."""


@runtime_checkable
class FetchesEmulators(Protocol):
    """A source that can bring emulators to this machine: asked only when one is needed that no source has at hand."""

    def offers(self, architecture: str) -> str:
        """Where the emulator for `architecture` would come from, in words; "" if from nowhere. Fetches nothing."""

    def fetch(self, architecture: str) -> QemuBinary | None:
        """The emulator, brought here; None where there is none. Raises PolyarchError where it cannot be brought."""


def no_http_here() -> Http:
    """For those who have no connections to hand out: raises UnreachableError."""
    raise UnreachableError("there is no HTTP here")


@dataclass(frozen=True, slots=True)
class VerifierServices(PluginServices):
    """What polyarch hands to the factory of a verifier.

    `policy` is the setting of that name: `auto`, `none` or a file; `home` is the user's home folder. `http` makes what
    speaks HTTP, `temporary` a folder for files that are of no use later: ask for either when it is needed.
    """

    policy: str = "none"
    home: Path = Path("/")
    http: Callable[[], Http] = no_http_here
    temporary: Callable[[], Path] = no_folder


class Verifier(Protocol):
    """Decides whether an image may be used at all."""

    def verify(self, reference: Reference, document: Document) -> None:
        """Look at what the name points at, before anything is stored. Raises IntegrityError to refuse it."""


@dataclass(frozen=True, slots=True)
class ChosenVariant:
    """The variant of a name that is about to be stored, or that is read again.

    `reference` is what was asked for, `found` the name that it was found under: another one where a tag convention led
    there. `root` is what that name points at, `manifest` the one manifest in it. `registry` is where it came from.
    """

    reference: Reference
    found: Reference
    root: Document
    manifest: Manifest
    registry: Registry


@runtime_checkable
class VerifiesVariants(Protocol):
    """A verifier that looks at the variant that was chosen, too, and may read more of its registry: signatures."""

    def verify_variant(self, variant: ChosenVariant) -> None:
        """Asked after `verify`, and before anything is stored. Raises IntegrityError to refuse the variant."""


@runtime_checkable
class ExplainsRules(Protocol):
    """A verifier that can say what it asks for."""

    def rules_for(self, reference: Reference | None) -> str:
        """Its rule for a name, in words and with where it stands; for None, all of them in short.

        Raises UsageError where its rules cannot be read.
        """


class Observer(Protocol):
    """Is told what happens. It can neither break a pull nor hold it: one that raises is told and passed over.

    It is made, and called, in a thread of its own. Where it falls behind, events of the kind `BlobProgress` are left
    out; one that falls far behind, or that is not done a few seconds after all else is, is told and passed over.
    """

    def notify(self, event: Event) -> None:
        """Called for one event after the other, in the order in which they happened."""
