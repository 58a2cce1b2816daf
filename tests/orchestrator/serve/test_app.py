"""What the registry answers, asked over a real connection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection

import pytest

from polyarch.serve.server import serving
from support.small_images import SmallStorage, index_of

LAYER = bytes(range(256)) * 4
NOTHING = "sha256:" + "0" * 64


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The one error that the body holds."""
        (error,) = json.loads(self.body)["errors"]
        assert set(error) == {"code", "message", "detail"}
        assert self.headers["content-type"] == "application/json"
        return str(error["code"])


class Client:
    """Speaks to the registry over one connection that is kept."""

    def __init__(self, address: str) -> None:
        self.connection = HTTPConnection(address, timeout=30)

    def __call__(self, method: str, path: str, **headers: str) -> Answer:
        self.connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        with self.connection.getresponse() as response:
            fields = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, fields, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self("GET", path, **headers)


@pytest.fixture
def client(small_storage: SmallStorage) -> Iterator[Client]:
    with serving(small_storage) as address:
        yield Client(address)


@pytest.fixture
def layer(small_storage: SmallStorage) -> str:
    """The storage holds busybox:1.36 for amd64; the digest of its layer."""
    small_storage.add("busybox:1.36", [small_storage.manifest("linux/amd64", [LAYER])])
    return small_storage.listed[0].manifest.layers[0].digest


def test_the_base(client: Client) -> None:
    answer = client.get("/v2/")
    assert answer.status == 200
    assert json.loads(answer.body) == {}
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert client("HEAD", "/v2/").status == 200


@pytest.mark.parametrize("name", ["busybox", "library/busybox", "docker.io/library/busybox"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.usefixtures("layer")
def test_a_manifest_by_tag_and_by_digest(client: Client, small_storage: SmallStorage, name: str, method: str) -> None:
    manifest = small_storage.listed[0].manifest
    for target in ("1.36", manifest.digest, "sha512:" + hashlib.sha512(manifest.raw).hexdigest()):
        answer = client(method, f"/v2/{name}/manifests/{target}")
        if target.startswith("sha512:"):
            assert answer.status == 404, "nobody named it by sha512"
            continue
        assert answer.status == 200
        assert answer.headers["content-type"] == manifest.media_type
        assert answer.headers["docker-content-digest"] == manifest.digest
        assert answer.headers["content-length"] == str(len(manifest.raw))
        assert answer.body == (manifest.raw if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob(client: Client, layer: str, method: str) -> None:
    answer = client(method, f"/v2/busybox/blobs/{layer}")
    assert answer.status == 200
    assert answer.headers["docker-content-digest"] == layer
    assert answer.headers["content-length"] == str(len(LAYER))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.body == (LAYER if method == "GET" else b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("10-19", 10, 19), ("1000-", 1000, 1023), ("-24", 1000, 1023), ("0-5000", 0, 1023)],
)
def test_a_part_of_a_blob(client: Client, layer: str, asked: str, first: int, last: int) -> None:
    answer = client.get(f"/v2/busybox/blobs/{layer}", Range=f"bytes={asked}")
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.body == LAYER[first : last + 1]


def test_a_part_that_is_not_there(client: Client, layer: str) -> None:
    answer = client.get(f"/v2/busybox/blobs/{layer}", Range="bytes=1024-")
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */1024"
    assert answer.code == "RANGE_INVALID"


def test_several_ranges_bring_the_whole(client: Client, layer: str) -> None:
    assert client.get(f"/v2/busybox/blobs/{layer}", Range="bytes=0-1,3-4").status == 200


def test_a_range_only_of_the_same_blob(client: Client, layer: str) -> None:
    path = f"/v2/busybox/blobs/{layer}"
    tag = client("HEAD", path).headers["etag"]
    assert client.get(path, Range="bytes=0-9", If_Range=tag).status == 206
    assert client.get(path, Range="bytes=0-9", If_Range='"another"').status == 200


def test_head_knows_no_ranges(client: Client, layer: str) -> None:
    assert client("HEAD", f"/v2/busybox/blobs/{layer}", Range="bytes=0-9").status == 200


def test_an_empty_blob(client: Client, small_storage: SmallStorage) -> None:
    small_storage.add("empty:1", [small_storage.manifest("linux/amd64", [b""])])
    digest = small_storage.listed[0].manifest.layers[0].digest
    answer = client.get(f"/v2/empty/blobs/{digest}")
    assert (answer.status, answer.body) == (200, b"")
    assert client.get(f"/v2/empty/blobs/{digest}", Range="bytes=0-").status == 416


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/other/manifests/1.36", 404, "NAME_UNKNOWN"),
        ("/v2/busybox/manifests/1.37", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/busybox/manifests/{NOTHING}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/busybox/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        ("/v2/busybox/manifests/SHA256:" + "0" * 64, 400, "DIGEST_INVALID"),
        (f"/v2/busybox/blobs/{NOTHING}", 404, "BLOB_UNKNOWN"),
        (f"/v2/other/blobs/{NOTHING}", 404, "NAME_UNKNOWN"),
        ("/v2/busybox/blobs/sha256:..%2f..%2fetc", 404, "UNSUPPORTED"),
        ("/v2/busybox/blobs/..", 400, "DIGEST_INVALID"),
        ("/v2/busybox/blobs/..%2f..%2f..%2fetc%2fpasswd", 404, "UNSUPPORTED"),
        ("/v2/../../etc/passwd/blobs/" + NOTHING, 404, "NAME_UNKNOWN"),
        ("/v2//manifests/1.36", 404, "NAME_UNKNOWN"),
        ("/v2/busybox/tags/list?n=-1", 400, "UNSUPPORTED"),
        ("/v2/busybox/tags/list?n=many", 400, "UNSUPPORTED"),
        ("/v2/other/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/busybox/referrers/abc", 400, "DIGEST_INVALID"),
        ("/v2", 404, "UNSUPPORTED"),
        ("/", 404, "UNSUPPORTED"),
        ("/v2/busybox/blobs/uploads/", 404, "UNSUPPORTED"),
        ("/v2/busybox/manifests/1.36?ns=quay.io", 404, "NAME_UNKNOWN"),
    ],
)
@pytest.mark.usefixtures("layer")
def test_errors_are_the_specs(client: Client, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/v2/", "/v2/busybox/manifests/1.36", f"/v2/busybox/blobs/{NOTHING}"])
def test_nothing_can_be_written(client: Client, method: str, path: str) -> None:
    answer = client(method, path)
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert answer.headers["allow"] == "GET, HEAD"


def test_an_upload_cannot_begin(client: Client) -> None:
    assert client("POST", "/v2/busybox/blobs/uploads/").status == 404


def test_a_blob_of_another_repository_is_not_given(client: Client, small_storage: SmallStorage, layer: str) -> None:
    small_storage.add("other:1", [small_storage.manifest("linux/amd64", [b"other"])])
    assert client.get(f"/v2/other/blobs/{layer}").code == "BLOB_UNKNOWN"


def test_a_mirror_asked_with_the_registrys_name(client: Client, layer: str) -> None:
    for name, registry in (("library/busybox", "docker.io"), ("busybox", "docker.io")):
        answer = client.get(f"/v2/{name}/blobs/{layer}?ns={registry}")
        assert answer.status == (200 if name == "library/busybox" else 404)


def test_tags_in_pages(client: Client, small_storage: SmallStorage) -> None:
    image = small_storage.manifest("linux/amd64")
    for tag in ("b", "A", "c", "B", "1.0", "latest"):
        small_storage.add(f"busybox:{tag}", [image])
    ordered = ["1.0", "A", "B", "b", "c", "latest"]
    whole = json.loads(client.get("/v2/library/busybox/tags/list").body)
    assert whole == {"name": "library/busybox", "tags": ordered}
    seen: list[str] = []
    path = "/v2/library/busybox/tags/list?n=2"
    while path:
        answer = client.get(path)
        page = json.loads(answer.body)["tags"]
        assert len(page) <= 2
        seen += page
        link = answer.headers.get("link", "")
        assert link.endswith('>; rel="next"') or not link
        path = link.partition("<")[2].partition(">")[0]
    assert seen == ordered
    nothing = client.get("/v2/busybox/tags/list?n=0")
    assert json.loads(nothing.body)["tags"] == []
    assert "link" not in nothing.headers
    assert json.loads(client.get("/v2/busybox/tags/list?last=c").body)["tags"] == ["latest"]


def test_the_catalogue_in_pages(client: Client, small_storage: SmallStorage) -> None:
    for name in ("one:1", "two:1", "ghcr.io/a/b:1"):
        small_storage.add(name, [small_storage.manifest("linux/amd64")])
    assert json.loads(client.get("/v2/_catalog").body) == {"repositories": ["ghcr.io/a/b", "one", "two"]}
    answer = client.get("/v2/_catalog?n=1&last=ghcr.io/a/b")
    assert json.loads(answer.body) == {"repositories": ["one"]}
    assert answer.headers["link"] == '</v2/_catalog?n=1&last=one>; rel="next"'


@pytest.mark.parametrize("name", ["busybox", "unknown"])
@pytest.mark.usefixtures("layer")
def test_nothing_refers_to_anything(client: Client, name: str) -> None:
    answer = client.get(f"/v2/{name}/referrers/{NOTHING}?artifactType=x")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
    assert json.loads(answer.body)["manifests"] == []


def test_what_comes_into_the_storage_is_served(client: Client, small_storage: SmallStorage, layer: str) -> None:
    assert client.get("/v2/later/manifests/1").status == 404
    small_storage.add("later:1", [small_storage.manifest("linux/arm64", [b"later"])])
    image = small_storage.listed[-1]
    assert client.get("/v2/later/manifests/1").body == image.manifest.raw
    assert client.get(f"/v2/later/blobs/{image.manifest.layers[0].digest}").body == b"later"


def test_a_tag_that_moves_is_served_anew(client: Client, small_storage: SmallStorage, layer: str) -> None:
    assert client.get("/v2/busybox/manifests/1.36").status == 200
    images = [small_storage.manifest("linux/amd64", [b"new"]), small_storage.manifest("linux/arm64", [b"new"])]
    small_storage.add("busybox:1.36", images, root := index_of(images))
    assert client.get("/v2/busybox/manifests/1.36").body == root.raw
    assert client.get(f"/v2/busybox/blobs/{images[1].manifest.layers[0].digest}").body == b"new"
    assert client.get(f"/v2/busybox/manifests/{images[1].manifest.digest}").body == images[1].manifest.raw


def test_what_leaves_the_storage_is_gone(client: Client, small_storage: SmallStorage, layer: str) -> None:
    assert client.get(f"/v2/busybox/blobs/{layer}").status == 200
    small_storage.listed.clear()
    small_storage.path(layer).unlink()
    assert client.get("/v2/busybox/manifests/1.36").code == "NAME_UNKNOWN"
    assert client.get(f"/v2/busybox/blobs/{layer}").status == 404


def test_names_that_are_there_do_not_read_the_whole_storage_again(
    client: Client, small_storage: SmallStorage, layer: str
) -> None:
    client.get("/v2/busybox/manifests/1.36")
    made = small_storage.made
    for _ in range(5):
        client.get(f"/v2/busybox/blobs/{layer}")
    assert small_storage.made <= made + 1


def test_a_storage_that_fails_is_an_error_of_the_server(
    client: Client, small_storage: SmallStorage, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyarch.errors import StorageError

    def images() -> Iterator[None]:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(small_storage, "images", images)
    answer = client.get("/v2/busybox/tags/list")
    assert (answer.status, answer.code) == (500, "UNKNOWN")
    assert b"the disk is gone" in answer.body


def test_a_defect_is_told_without_its_traceback(
    small_storage: SmallStorage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small_storage, "images", None)
    with serving(small_storage) as address:
        answer = Client(address).get("/v2/busybox/tags/list")
    assert (answer.status, answer.code) == (500, "UNKNOWN")
    assert capfd.readouterr() == ("", "")
