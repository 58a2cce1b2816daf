"""Facts kept between two commands: as JSON, a line a device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from polyarch.errors import IntegrityError
from polyarch.fleet.facts import ENGINE_KINDS, DeviceFacts, Engine, EngineImage
from polyarch.oci.digest import Digest, check_digest
from polyarch.oci.json import list_of, mapping_of, strings, text_of
from polyarch_platforms import device as device_file
from polyarch_platforms.device import Device
from polyarch_platforms.errors import DeviceError

VERSION = 3


def facts_to_json(facts: DeviceFacts) -> str:
    """One line, which `facts_from_json` reads back as equal facts."""
    document = {
        "version": VERSION,
        "name": facts.name,
        "taken": facts.taken,
        "clock_skew": facts.clock_skew,
        "forwarding": facts.forwarding,
        "outdated": facts.outdated,
        "device": json.loads(facts.device.to_json()),
        "engines": [_engine_json(engine) for engine in facts.engines],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _engine_json(engine: Engine) -> dict[str, object]:
    return {
        "kind": engine.kind,
        "version": engine.version,
        "program": list(engine.program),
        "sudo": engine.sudo,
        "address": engine.address,
        "namespace": engine.namespace,
        "place": engine.place,
        "free": engine.free,
        "images": [
            {"names": list(one.names), "id": one.id, "digests": list(one.digests), "layers": list(one.layers)}
            for one in engine.images
        ],
        "blobs": list(engine.blobs),
        "by_digest": engine.by_digest,
        "in_use": engine.in_use,
        "refused": engine.refused,
        "complete": engine.complete,
    }


def facts_from_json(text: str) -> DeviceFacts:
    """What `facts_to_json` wrote; their age is the clock's time less `taken`.

    Raises IntegrityError, and nothing else, for any other text, also for one of another version.
    """
    return FactsReader().read(text)


class FactsReader:
    """Reads the facts of many devices: texts that they have in common are looked at, and kept in memory, once."""

    def __init__(self) -> None:
        self._digests: dict[str, Digest] = {}
        self._names: dict[str, str] = {}

    def read(self, text: str) -> DeviceFacts:
        """As `facts_from_json`."""
        try:
            document = mapping_of(json.loads(text), "facts")
        except (ValueError, RecursionError) as error:
            raise IntegrityError(f"facts: not JSON ({error})") from error
        if document.get("version") != VERSION:
            raise IntegrityError(f"facts: of another version than {VERSION}")
        taken = document.get("taken")
        # Infinity and NaN pass for JSON in Python.
        if isinstance(taken, bool) or not isinstance(taken, int | float) or not 0 <= taken < 1 << 48:
            raise IntegrityError("facts: 'taken' is no time")
        engines = list_of(document.get("engines"), "engines")
        return DeviceFacts(
            name=text_of(document, "name", "facts"),
            device=_device(json.dumps(mapping_of(document.get("device"), "facts: device"))),
            engines=tuple(self._engine(mapping_of(one, "engine")) for one in engines),
            clock_skew=_number(document, "clock_skew"),
            taken=taken,
            forwarding=None if document.get("forwarding") is None else _truth(document, "forwarding"),
            outdated=_truth(document, "outdated"),
        )

    def _engine(self, document: Mapping[str, object]) -> Engine:
        kind = next((kind for kind in ENGINE_KINDS if kind == document.get("kind")), None)
        if kind is None:
            raise IntegrityError("engine: its kind is not known")
        return Engine(
            kind=kind,
            version=text_of(document, "version", "engine"),
            program=strings(document.get("program"), "program"),
            sudo=_truth(document, "sudo"),
            address=text_of(document, "address", "engine"),
            namespace=text_of(document, "namespace", "engine"),
            place=text_of(document, "place", "engine"),
            free=_number(document, "free"),
            images=tuple(self._image(mapping_of(one, "image")) for one in list_of(document.get("images"), "images")),
            blobs=self._all_digests(document, "blobs"),
            by_digest=_truth(document, "by_digest"),
            in_use=_truth(document, "in_use"),
            refused=text_of(document, "refused", "engine"),
            complete=_truth(document, "complete"),
        )

    def _image(self, document: Mapping[str, object]) -> EngineImage:
        identity = text_of(document, "id", "image")
        names = strings(document.get("names"), "names")
        return EngineImage(
            names=tuple([self._names.setdefault(name, name) for name in names]),
            id=self._digest(identity, "id") if identity else "",
            digests=self._all_digests(document, "digests"),
            layers=self._all_digests(document, "layers"),
        )

    def _all_digests(self, document: Mapping[str, object], key: str) -> tuple[Digest, ...]:
        values = list_of(document.get(key), key)
        try:
            return tuple([self._digests[value] for value in values])  # type: ignore[index]  # any other is no key
        except (KeyError, TypeError):
            return tuple([self._digest(value, key) for value in values])

    def _digest(self, value: object, key: str) -> Digest:
        digest = check_digest(value, key)
        return self._digests.setdefault(digest, digest)


@lru_cache(maxsize=256)
def _device(text: str) -> Device:
    """A fleet has thousands of devices, but a few kinds."""
    try:
        return device_file.from_json(text)
    except DeviceError as error:
        raise IntegrityError(f"facts: {error.message}") from error


def _number(document: Mapping[str, object], key: str) -> int | None:
    value = document.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63):
        raise IntegrityError(f"{key}: a number is wanted")
    return value


def _truth(document: Mapping[str, object], key: str) -> bool:
    value = document.get(key)
    if not isinstance(value, bool):
        raise IntegrityError(f"{key}: true or false is wanted")
    return value
