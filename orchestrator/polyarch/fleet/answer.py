"""Reading what a device answered to `device_script`: from an honest one, cut, hostile. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from sys import intern

from polyarch.contract.layout_names import reference_of
from polyarch.errors import IntegrityError, PolyarchError, UsageError
from polyarch.fleet.device_script import first_line, last_line
from polyarch.fleet.facts import ENGINE_KINDS, DeviceFacts, Engine, EngineImage, EngineKind
from polyarch.fleet.framed import framed_lines
from polyarch.fleet.reasons import FactsFault
from polyarch.oci.descriptor import parse_descriptor
from polyarch.oci.digest import is_digest
from polyarch.oci.held import ROOT
from polyarch.oci.json import list_of, parse_json, strings
from polyarch.reference import parse_reference
from polyarch_platforms.device import Device
from polyarch_platforms.errors import FactsError
from polyarch_platforms.host import detect, parse_facts

MAX_ANSWER = 4 << 20
"""Characters of an answer; an engine with a thousand images needs about one and a half million."""

_PROBE_END = "end"
_MAX_TEXT = 4096


def parse_answer(name: str, text: str, nonce: str, *, asked: float, received: float) -> DeviceFacts:
    """The facts of device `name` in what it printed (`text`, decoded however it came) when it was asked with `nonce`.

    `asked` and `received` are the times of this machine, in seconds since 1970, between which the script ran. Lines
    around the answer (a login's greeting) and facts that are not known are passed over; a line of an engine's that
    cannot be read makes its facts incomplete.

    Raises FactsFault, and nothing else, for any text: `integrity` (too long, no answer, of another asking),
    `unreachable` (cut short), `no-variant` (no image is made for such a machine).
    """
    probe, lines = _parts(name, text, nonce)
    device = _device(name, probe)
    said, blocks = _blocks(lines)
    return DeviceFacts(
        name=name,
        device=device,
        engines=tuple(_engine(kind, block) for kind, block in blocks.items()),
        clock_skew=_skew(said.get("clock", ""), asked, received),
        taken=received,
        forwarding={"yes": True, "no": False}.get(said.get("forwarding", "").strip()),
    )


def _device(name: str, probe: str) -> Device:
    try:
        facts = parse_facts(probe)
    except FactsError as error:
        raise FactsFault(name, "integrity", error.message, error.hint) from error
    try:
        device = detect(facts)
    except FactsError as error:
        raise FactsFault(name, "no-variant", error.message, error.hint) from error
    return _shared(device)


@lru_cache(maxsize=256)
def _shared(device: Device) -> Device:
    """A fleet has thousands of devices, but a few kinds: those that are equal are one object."""
    return device


def _shared_texts(texts: Iterable[str]) -> tuple[str, ...]:
    """The same texts; those that many devices have in common are in memory once."""
    return tuple(map(intern, texts))


def _parts(name: str, text: str, nonce: str) -> tuple[str, list[str]]:
    """The probe's answer and the lines behind it."""
    if len(text) > MAX_ANSWER:
        what = f"it answered {len(text)} characters, and an answer has at most {MAX_ANSWER}"
        raise FactsFault(name, "integrity", what)
    lines, whole = framed_lines(name, text, first_line(nonce), last_line(nonce))
    if not whole:
        raise FactsFault(name, "unreachable", "its answer was cut short", "ask it again")
    middle = next((i for i, line in enumerate(lines) if line.strip() == _PROBE_END), None)
    if middle is None:
        raise FactsFault(name, "integrity", "its answer has no end of the probe's part")
    return "\n".join(lines[: middle + 1]), lines[middle + 1 :]


_Lines = list[tuple[str, str]]


def _blocks(lines: Iterable[str]) -> tuple[dict[str, str], dict[EngineKind, _Lines]]:
    """What the device said of itself, and the lines of each engine, by name."""
    said, blocks, current = dict[str, str](), dict[EngineKind, _Lines](), None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "engine":
            kind = next((kind for kind in ENGINE_KINDS if kind == value.strip()), None)
            current = None if kind is None else blocks.setdefault(kind, [])
        elif key in ("clock", "forwarding"):
            said.setdefault(key, value)
        elif current is not None:
            current.append((key, value))
    return said, blocks


def _engine(kind: EngineKind, lines: _Lines) -> Engine:
    one = {key: _clean(value) for key, value in reversed(lines) if key not in ("image", "blob", "name", "index")}
    by_digest = one.get("store") == "containerd"
    found = list(_images(kind, lines, by_digest))
    told = [image for image in found if image is not None]
    free = _number(one.get("free", ""))
    return Engine(
        kind=kind,
        version=one.get("version", ""),
        program=tuple(one.get("program", "").split()),
        sudo=one.get("sudo") == "yes",
        address=one.get("address", ""),
        namespace=one.get("namespace", ""),
        place=one.get("place", ""),
        free=None if free is None else free * 1024,
        images=_merged(told),
        blobs=_shared_texts(dict.fromkeys(value for key, value in lines if key == "blob" and is_digest(value))),
        by_digest=by_digest,
        in_use=kind != "oci" or one.get("layout") == "yes",
        refused=one.get("refused", "") or ("it cannot be used" if "refused" in one else ""),
        complete=len(told) == len(found) and "images" not in one,
    )


def _images(kind: EngineKind, lines: _Lines, by_digest: bool) -> Iterator[EngineImage | None]:
    """The images that the lines tell of; None for each that cannot be read."""
    for key, value in lines:
        if key == "image":
            yield _inspected(value, by_digest)
        elif key == "name":
            name, _, digest = value.partition(" ")
            # Kubernetes names images by their IDs, too, which would pass for a tag of an image called sha256.
            whole = () if is_digest(name) else _names((name,))
            if whole and is_digest(digest):
                yield EngineImage(whole, digests=_shared_texts((digest,)))
        elif key == "index":
            yield from _layout_images(value)


def _inspected(text: str, by_digest: bool) -> EngineImage | None:
    """A line of docker's or podman's `image inspect`."""
    try:
        document = parse_json(text.encode("utf-8", "replace"), "image")
        told = [one.rpartition("@")[2] for one in strings(document.get("digests"), "digests")]
        identity, manifest = str(document.get("id")), str(document.get("manifest"))
        identity = identity if ":" in identity else f"sha256:{identity}"  # podman leaves the algorithm out
        layers = strings(document.get("layers"), "layers")
        if not all(map(is_digest, (identity, *layers))):
            return None
        if by_digest:
            told, identity = [identity, *told], ""
        digests = _shared_texts(dict.fromkeys(one for one in (*told, manifest) if is_digest(one)))
        names = _names(strings(document.get("names"), "names"))
        return EngineImage(names, intern(identity), digests, _shared_texts(layers))
    except IntegrityError:
        return None


def _layout_images(text: str) -> Iterator[EngineImage | None]:
    """The entries of an OCI layout's index.json."""
    try:
        entries = list_of(parse_json(text.encode("utf-8", "replace"), "index").get("manifests"), "manifests")
    except IntegrityError:
        yield None
        return
    for value in entries:
        try:
            entry = parse_descriptor(value, "entry")
            digests = tuple(dict.fromkeys(one for one in (entry.digest, entry.annotations.get(ROOT)) if is_digest(one)))
            yield EngineImage(_shared_texts([str(reference_of(entry))]), digests=_shared_texts(map(str, digests)))
        except PolyarchError:
            yield None


def _merged(images: Sequence[EngineImage]) -> tuple[EngineImage, ...]:
    """Each image once: engines list one that has several names as often."""
    merged: dict[object, EngineImage] = {}
    for image in images:
        key = (image.id, image.digests, image.layers)
        same = merged.get(key)
        names = image.names if same is None else (*same.names, *image.names)
        merged[key] = EngineImage(tuple(dict.fromkeys(names)), image.id, image.digests, image.layers)
    return tuple(merged.values())


def _names(names: Iterable[str]) -> tuple[str, ...]:
    """Whole names; what is none (`<none>:<none>`) is left out."""
    whole = []
    for name in names:
        try:
            whole.append(str(parse_reference(name)))
        except UsageError:
            continue
    return _shared_texts(dict.fromkeys(whole))


def _skew(clock: str, asked: float, received: float) -> int | None:
    """Seconds that the clock is ahead or behind; a second is lost to rounding."""
    now = _number(clock)
    if now is None:
        return None
    return round(now - received) if now > received else min(0, round(now + 1 - asked))


def _number(text: str) -> int | None:
    """A number of at most 16 digits, which any clock and any disk can do with."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else None


def _clean(value: str) -> str:
    """Text that may be shown: what is not printable becomes a question mark."""
    return "".join(one if one.isprintable() else "?" for one in value[:_MAX_TEXT]).strip()
