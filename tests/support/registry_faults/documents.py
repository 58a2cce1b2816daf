"""Manifests, indexes, configs and descriptors that are not what they should be."""

from __future__ import annotations

from support.registry_faults.case import (
    CONFIG_BYTES,
    CONFIG_DOCUMENT,
    INDEX,
    LAYER,
    LAYER_BYTES,
    MANIFEST,
    MANIFEST_DOCUMENT,
    TAG,
    Case,
    Image,
    case_of,
    chunked,
    descriptor,
    encoded,
    entry_of,
    index_of,
    nothing_wrong,
    on,
    sha256,
    with_config,
    with_layer,
    with_manifest,
    with_root,
)
from support.registry_faults.server import Reply, Request, for_ever

ROOT = encoded(MANIFEST_DOCUMENT)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: " + MANIFEST.encode() + b"\r\n"
_HEX = "0123456789abcdef" * 4


def _nested(levels: int) -> Image:
    """An index within an index, and so on; a manifest in the last."""
    documents = {sha256(ROOT): (MANIFEST, ROOT)}
    inner, kind = ROOT, MANIFEST
    for _ in range(levels):
        inner, kind = index_of([descriptor(inner, kind)] if kind == INDEX else [entry_of(inner)]), INDEX
        documents[sha256(inner)] = (INDEX, inner)
    return Image(inner, INDEX, documents)


def _wide(indexes: int, entries: int) -> Image:
    """An index of indexes with entries of their own, none of which is there."""
    made = [index_of([entry_of(b"%d %d" % (number, each)) for each in range(entries)]) for number in range(indexes)]
    root = index_of([descriptor(each, INDEX) for each in made])
    return Image(root, INDEX, {sha256(each): (INDEX, each) for each in made})


def _bulky(count: int) -> Image:
    """Manifests of 4 MiB without a platform: each has to be read to know what it is for."""
    made = []
    for number in range(count):
        raw = encoded({**MANIFEST_DOCUMENT, "annotations": {"number": str(number)}})
        made.append(raw + b" " * ((4 << 20) - len(raw)))
    root = index_of([descriptor(each, MANIFEST) for each in made])
    return Image(root, INDEX, {sha256(each): (MANIFEST, each) for each in made})


def _index(name: str, does: str, code: int, says: str, entries: list[object], **documents: bytes) -> Case:
    there = {sha256(ROOT): (MANIFEST, ROOT), **{sha256(raw): (MANIFEST, raw) for raw in documents.values()}}
    return Case(name, does, code, says, nothing_wrong, Image(index_of(entries), INDEX, there))


def _by_digest_other(request: Request, image: Image) -> Reply | None:
    if request.target == TAG:
        return None
    other = encoded({**MANIFEST_DOCUMENT, "annotations": {"other": "yes"}})
    return Reply(200, {"Content-Type": MANIFEST}, other)


def _doubled(raw: bytes, name: bytes, value: bytes) -> bytes:
    """A JSON object with one name more."""
    return raw[:-1] + b',"%b":%b}' % (name, value)


_INDEX_IMAGE = Image(index_of([entry_of(ROOT)]), INDEX, {sha256(ROOT): (MANIFEST, ROOT)})

DOCUMENTS = [
    with_root("document-no-json", "sends a manifest that is no JSON", 7, "not JSON", b"not json"),
    with_root("document-empty", "sends a manifest of no bytes", 7, "not JSON", b""),
    with_root("document-page", "sends a login page with 200", 7, "a web page titled 'Hotel'",
              b"<html><title>Hotel</title>", "text/html"),
    with_root("document-bytes", "sends a manifest that is not UTF-8", 7, "not JSON", ROOT[:-1] + b',"a":"\xff\xfe"}'),
    with_root("document-utf16", "sends a manifest in UTF-16", 7, "not JSON", ROOT.decode().encode("utf-16")),
    with_root("document-list", "sends a list as a manifest", 7, "object is wanted, not list", b"[]"),
    with_root("document-null", "sends null as a manifest", 7, "object is wanted, not NoneType", b"null"),
    with_root("document-deep-lists", "nests 100,000 lists", 7, "nests deeper than 64", b'{"a":' + b"[" * 100_000),
    with_root("document-deep-objects", "nests 1,000 objects", 7, "nests deeper than 64",
              b'{"a":' * 1000 + b"1" + b"}" * 1000),
    with_root("document-names-twice", "has `layers` twice in a manifest", 7, "stands there twice",
              _doubled(ROOT, b"layers", b"[]")),
    with_root("document-digest-twice", "has `digest` twice in a descriptor", 7, "stands there twice",
              ROOT.replace(b'"layers":[{', b'"layers":[{"digest":"sha256:%b",' % _HEX.encode())),
    with_root("document-other-case", "writes `Layers` for `layers`, which Go takes for the same", 7,
              "the manifest has 0 layers", ROOT.replace(b'"layers"', b'"Layers"')),
    with_root("document-nan", "gives NaN as a size", 7, "NaN is no number",
              ROOT.replace(b'"size":%d' % len(LAYER_BYTES), b'"size":NaN')),
    with_root("document-long-number", "gives a size of 100,000 digits", 7, "not JSON",
              ROOT.replace(b'"size":%d' % len(LAYER_BYTES), b'"size":' + b"9" * 100_000)),
    with_root("document-values", "packs a million lists into a manifest of 4 MiB", 7, "more than [0-9]+ values",
              b'{"a":[' + b"[]," * ((4 << 20) // 3 - 10) + b"1]}"),
    with_root("document-large", "sends a manifest of a byte more than 4 MiB", 7, "more than 4194304 bytes",
              ROOT + b" " * ((4 << 20) + 1 - len(ROOT))),
    case_of("document-endless", "sends a manifest without end, in chunks", 7, "more than 4194304 bytes",
            on("manifests", chunked(OK, for_ever(b" " * 65536)))),
    with_root("document-both-kinds", "sends what is a manifest and an index (CVE-2021-41190)", 7, "ambiguous",
              encoded({**MANIFEST_DOCUMENT, "manifests": [entry_of(ROOT)]})),
    with_root("document-other-kind", "calls a manifest an index (CVE-2021-41190)", 7, "the media type was given as",
              ROOT, INDEX),
    with_root("document-unknown-kind", "sends a document of a kind that nobody knows", 7, "is no manifest",
              encoded({**MANIFEST_DOCUMENT, "mediaType": "application/x\x1b[31m"}), "application/x"),
    with_root("document-schema1", "sends a manifest of Docker's schema 1", 7, "schema 1",
              encoded({"schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": [], "history": []}),
              "application/vnd.docker.distribution.manifest.v1+json"),
    case_of("document-announced-other", "announces another digest than the manifest has", 7, "announced was",
            on("manifests", Reply(200, {"Content-Type": MANIFEST, "Docker-Content-Digest": f"sha256:{_HEX}"}, ROOT))),
    case_of("document-moves", "answers by digest with another manifest than the index names", 7, "asked for was",
            on("manifests", _by_digest_other), image=_INDEX_IMAGE),
    _index("entry-size", "lists a manifest with a wrong size", 7, "bytes were promised",
           [{**entry_of(ROOT), "size": len(ROOT) + 1}]),
    _index("entry-missing", "lists a manifest that it does not have", 3, "has no manifest",
           [entry_of(b"nothing there")]),
    _index("entry-other-kind", "lists a manifest as an index", 7, "", [{**descriptor(ROOT, INDEX)}]),
    _index("entry-platform", "lists a manifest for a platform with an escape sequence in its name", 7, "u001b|x1b",
           [{**entry_of(ROOT), "platform": {"os": "linux\x1b]0;owned\x07", "architecture": "amd64"}}]),
    _index("entry-platform-list", "lists a manifest whose platform is a list", 7, "object is wanted",
           [{**entry_of(ROOT), "platform": ["linux", "amd64"]}]),
    _index("index-empty", "sends an index without entries", 4, "", []),
    _index("index-of-strings", "sends an index of strings", 7, "object is wanted, not str", ["a", "b"]),
    _index("index-long", "sends an index of 1,001 entries", 7, "1001 entries are more",
           [entry_of(b"%d" % number) for number in range(1001)]),
    case_of("index-nested", "nests ten indexes", 7, "nest deeper than 4", image=_nested(10)),
    case_of("index-wide", "lists 100 manifests in each of 20 indexes of an index", 7, "more than 1000 entries",
            image=_wide(20, 100)),
    case_of("index-bulky", "lists manifests of 4 MiB, each of which has to be read", 7, "more than .* documents or 64",
            image=_bulky(18), heavy=True),
    with_manifest("manifest-no-config", "sends a manifest without a config", 7, "without config", config=None),
    with_manifest("manifest-config-text", "gives a text as the config's descriptor", 7, "object is wanted", config="x"),
    with_manifest("manifest-layers-object", "gives an object as the list of layers", 7, "list is wanted", layers={}),
    with_manifest("manifest-layers-1001", "sends a manifest of 1,001 layers", 7, "1001 layers are more",
                  layers=[descriptor(LAYER_BYTES, LAYER)] * 1001),
    with_manifest("manifest-two-sizes", "gives one layer two sizes", 7, "are both the size of",
                  layers=[descriptor(LAYER_BYTES, LAYER), {**descriptor(LAYER_BYTES, LAYER), "size": 1}]),
    with_manifest("manifest-annotations", "gives a list as annotations", 7, "annotations", annotations=["a"]),
    with_layer("digest-upper-case", "writes a digest in upper case", 7, "is not a digest",
               digest="sha256:" + _HEX.upper()),
    with_layer("digest-short", "gives a digest of 12 digits", 7, "is not a digest", digest="sha256:0123456789ab"),
    with_layer("digest-long", "gives a digest of 65 digits", 7, "is not a digest", digest=f"sha256:{_HEX}0"),
    with_layer("digest-md5", "gives a digest of MD5", 7, "is not a digest", digest="md5:" + _HEX[:32]),
    with_layer("digest-path", "gives a path as a digest", 7, "is not a digest",
               digest="sha256:../../../../../../etc/passwd"),
    with_layer("digest-newline", "ends a digest with a line break", 7, "is not a digest", digest=f"sha256:{_HEX}\n"),
    with_layer("digest-digits", "writes a digest in other digits than ASCII's", 7, "is not a digest",
               digest="sha256:" + "\u0661" * 64),
    with_layer("digest-missing", "gives a descriptor without a digest", 7, "is not a digest", digest=None),
    with_layer("digest-number", "gives a number as a digest", 7, "is not a digest", digest=7),
    with_layer("size-negative", "gives a size of -1", 7, "is not a number of bytes", size=-1),
    with_layer("size-fraction", "gives a size of 3.5", 7, "is not a number of bytes", size=3.5),
    with_layer("size-text", "gives a size as a text", 7, "is not a number of bytes", size=str(len(LAYER_BYTES))),
    with_layer("size-true", "gives true as a size", 7, "is not a number of bytes", size=True),
    with_layer("size-63-bits", "gives a size of 2^63", 7, "is not a number of bytes", size=1 << 63),
    with_layer("size-missing", "gives no size", 7, "is not a number of bytes", size=None),
    with_layer("size-absurd", "promises a layer of 2^62 bytes and sends the few there are", 6, "broke off",
               size=1 << 62),
    with_layer("size-smaller", "promises a layer of fewer bytes than come", 7, "more than the", size=100),
    with_layer("size-larger", "promises a layer of more bytes than come", 6, "broke off", size=len(LAYER_BYTES) + 5),
    with_layer("media-type-number", "gives a number as a media type", 7, "mediaType", mediaType=7),
    with_layer("urls-text", "gives a text as `urls`", 7, "list is wanted", urls="http://127.0.0.1/"),
    with_layer("foreign-layer", "keeps a layer at a URL that leads to a metadata server", 3, "is a foreign one",
               digest=f"sha256:{_HEX}", urls=["http://169.254.169.254/latest/meta-data/"]),
    with_config("config-no-json", "sends a config that is no JSON", 7, "not JSON", b"\x00\x01"),
    with_config("config-names-twice", "has `rootfs` twice in a config", 7, "stands there twice",
                _doubled(CONFIG_BYTES, b"rootfs", b"{}")),
    with_config("config-deep", "nests a config 1,000 levels deep", 7, "nests deeper than 64",
                b'{"a":' * 1000 + b"1" + b"}" * 1000),
    with_config("config-fewer-diff-ids", "names fewer diff IDs than there are layers", 7, "diff IDs",
                encoded({**CONFIG_DOCUMENT, "rootfs": {"type": "layers", "diff_ids": []}})),
    with_config("config-diff-id", "names a diff ID that is none", 7, "is not a digest",
                encoded({**CONFIG_DOCUMENT, "rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}})),
    with_config("config-architecture", "names a number as the architecture", 7, "",
                encoded({**CONFIG_DOCUMENT, "architecture": 7})),
    with_config("config-values", "packs 8 MiB of lists into a config", 7, "more than [0-9]+ values",
                b'{"a":[' + b"[]," * ((8 << 20) // 3 - 10) + b"1]}"),
    case_of("config-large", "promises a config of a byte more than 8 MiB", 7, "more than a config may have",
            image=Image(encoded({**MANIFEST_DOCUMENT, "config": {**MANIFEST_DOCUMENT["config"],
                                                                 "size": (8 << 20) + 1}}))),
    case_of("config-longer", "sends a config without end", 7, "bytes were promised",
            lambda request, image: chunked(b"HTTP/1.1 200 OK\r\n", for_ever(b" " * 65536))
            if request.target == sha256(CONFIG_BYTES) else None),
    case_of("config-other", "sends another config than the manifest names", 7, "was promised",
            lambda request, image: Reply(200, {}, CONFIG_BYTES.replace(b"linux", b"plan9"))
            if request.target == sha256(CONFIG_BYTES) else None),
]  # fmt: skip
