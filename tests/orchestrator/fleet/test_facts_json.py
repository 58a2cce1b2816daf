"""Facts written and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.fleet.facts import ENGINE_KINDS, DeviceFacts, Engine, EngineImage
from polyarch.fleet.facts_json import FactsReader, facts_from_json, facts_to_json
from polyarch.oci.digest import digest_of
from polyarch_platforms.named import named

DIGESTS = st.binary(max_size=2).map(digest_of)
IMAGES = st.builds(
    EngineImage,
    names=st.lists(st.text()).map(tuple),
    id=st.one_of(st.just(""), DIGESTS),
    digests=st.lists(DIGESTS).map(tuple),
    layers=st.lists(DIGESTS).map(tuple),
)
ENGINES = st.builds(
    Engine,
    kind=st.sampled_from(ENGINE_KINDS),
    version=st.text(),
    program=st.lists(st.text()).map(tuple),
    free=st.one_of(st.none(), st.integers(0, 1 << 60)),
    images=st.lists(IMAGES, max_size=4).map(tuple),
    blobs=st.lists(DIGESTS).map(tuple),
    sudo=st.booleans(),
    by_digest=st.booleans(),
    in_use=st.booleans(),
    complete=st.booleans(),
    refused=st.text(),
    place=st.text(),
    address=st.text(),
    namespace=st.text(),
)
FACTS = st.builds(
    DeviceFacts,
    name=st.text(),
    device=st.sampled_from(["pi-zero", "pi-5", "x86-64-v3"]).map(named),
    engines=st.lists(ENGINES, max_size=3).map(tuple),
    clock_skew=st.one_of(st.none(), st.integers(-(1 << 40), 1 << 40)),
    taken=st.floats(0, 1e12),
    forwarding=st.sampled_from([None, True, False]),
    outdated=st.booleans(),
)
ONE = DeviceFacts(
    "pi",
    named("pi-zero"),
    (Engine("docker", free=5, images=(EngineImage(("app:1",), digest_of(b"i"), (digest_of(b"d"),)),)),),
    3,
    1000.5,
)


@given(FACTS)
def test_what_was_written_is_read(facts: DeviceFacts) -> None:
    line = facts_to_json(facts)
    assert "\n" not in line
    assert facts_from_json(line) == facts


def test_a_reader_keeps_what_devices_have_in_common_once() -> None:
    reader = FactsReader()
    first, second = reader.read(facts_to_json(ONE)), reader.read(facts_to_json(replace(ONE, name="pi2")))
    assert first.engines[0].images[0].id is second.engines[0].images[0].id
    assert first.device is second.device
    assert (first.name, second.name) == ("pi", "pi2")


def _with(*path: str | int, value: object) -> str:
    document: Any = json.loads(facts_to_json(ONE))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        facts_to_json(ONE)[:-9],
        _with("version", value=1),
        _with("name", value=None),
        _with("taken", value=float("nan")),
        _with("taken", value=True),
        _with("clock_skew", value="3"),
        _with("forwarding", value="yes"),
        _with("outdated", value=None),
        _with("device", value=None),
        _with("device", "native", value=[]),
        _with("engines", value={}),
        _with("engines", 0, "kind", value="lxc"),
        _with("engines", 0, "free", value=1 << 70),
        _with("engines", 0, "sudo", value="yes"),
        _with("engines", 0, "blobs", value=["x"]),
        _with("engines", 0, "blobs", value=[{}]),
        _with("engines", 0, "images", 0, "id", value="abc"),
        _with("engines", 0, "images", 0, "names", value=[3]),
        _with("engines", 0, "images", 0, "layers", value=[None]),
    ],
)
def test_what_nobody_wrote_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        facts_from_json(text)


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        facts_from_json(text)
