"""An image offered to an engine: what a tag points at, who may ask, what is told of a file that cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from polyarch.contract.storage import Image, OfferedImage
from polyarch.errors import NotFoundError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.media_types import OCI_INDEX, OCI_MANIFEST
from polyarch.serve.loopback import offered
from polyarch_platforms.platform import Platform
from support.small_images import SmallStorage, index_of

LAYER = b"a layer, if only by its name" * 100_000
OTHER = f"sha256:{hashlib.sha256(b'another').hexdigest()}"


@pytest.fixture
def storage(tmp_path: Path) -> SmallStorage:
    return SmallStorage(tmp_path)


@pytest.fixture
def image(storage: SmallStorage) -> Image:
    """A variant for linux/arm64 whose root is its manifest."""
    return storage.manifest("linux/arm64", [LAYER])


def ask(offer: OfferedImage, path: str, *, repository: str | None = None, method: str = "GET") -> HTTPResponse:
    """An answer, read."""
    connection = HTTPConnection(offer.registry, timeout=10)
    connection.request(method, f"/v2/{offer.repository if repository is None else repository}/any/{path}")
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def test_all_of_the_image_can_be_pulled(storage: SmallStorage, image: Image) -> None:
    manifest = image.manifest
    wanted = {
        "manifests/1.0": (manifest.raw, OCI_MANIFEST),
        f"manifests/{manifest.digest}": (manifest.raw, OCI_MANIFEST),
        f"blobs/{manifest.config.digest}": (image.config.raw, "application/octet-stream"),
        f"blobs/{manifest.layers[0].digest}": (LAYER, "application/octet-stream"),
        f"blobs/{manifest.layers[0].digest}?ns=docker.io": (LAYER, "application/octet-stream"),
    }
    with offered(image, storage) as offer:
        for path, (body, media_type) in wanted.items():
            for method, expected in (("GET", body), ("HEAD", b"")):
                answer = ask(offer, path, method=method)
                assert (answer.status, answer.body) == (200, expected), path  # type: ignore[attr-defined]
                assert answer.headers["Content-Type"] == media_type
                assert answer.headers["Content-Length"] == str(len(body))
                digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
                assert answer.headers["Docker-Content-Digest"] == digest
        assert ask(offer, "", repository="").status == 404
    with pytest.raises(ConnectionRefusedError):
        ask(offer, "manifests/1.0")


def test_nothing_else_can_be_pulled(storage: SmallStorage, image: Image) -> None:
    """The storage has more than the image; and who was not told the repository gets nothing."""
    beside = storage.blob(b"of another image", "application/octet-stream")
    layer = image.manifest.layers[0].digest
    with offered(image, storage) as offer:
        for path in (
            f"blobs/{beside.digest}",
            f"manifests/{OTHER}",
            f"manifests/{layer}",
            "blobs/..%2f..%2fetc",
            "tags/list",
        ):
            assert ask(offer, path).status == 404, path
        for repository in ("x", offer.repository[:-1], f"x/{offer.repository}"):
            assert ask(offer, "manifests/1.0", repository=repository).status == 404
            assert ask(offer, f"blobs/{layer}", repository=repository).status == 404
    with offered(image, storage) as another:
        assert another.repository != offer.repository


def entry(platform: Platform | None, digest: str = OTHER, media_type: str = OCI_MANIFEST) -> Descriptor:
    return Descriptor(media_type, digest, 7, platform)


@pytest.mark.parametrize(
    ("others", "is_index"),
    [
        ([], True),
        ([entry(Platform("linux", "amd64"))], True),
        ([entry(Platform("linux", "arm"))], True),
        ([entry(Platform("unknown", "unknown"))], True),
        ([entry(Platform("linux", "arm64", "v9"))], True),
        ([entry(Platform("linux", "arm64"))], False),
        ([entry(Platform("linux", "arm64", os_version="10"))], False),
        ([entry(None)], False),
        ([entry(None, media_type=OCI_INDEX)], False),
    ],
)
def test_an_index_is_offered_where_it_leads_to_the_manifest_alone(
    others: Sequence[Descriptor], is_index: bool, storage: SmallStorage, image: Image
) -> None:
    image = replace(image, root=index_of([image], others))
    with offered(image, storage) as offer:
        assert offer.root == (image.root if is_index else image.manifest)
        assert offer.platform == Platform("linux", "arm64")
        assert ask(offer, "manifests/latest").headers["Docker-Content-Digest"] == offer.root.digest
        assert ask(offer, f"manifests/{image.manifest.digest}").status == 200


def test_arm_without_a_variant_may_be_taken_for_v7(storage: SmallStorage) -> None:
    image = storage.manifest("linux/arm/v7", [LAYER])
    image = replace(image, root=index_of([image], [entry(Platform("linux", "arm"))]))
    with offered(image, storage) as offer:
        assert offer.root == image.manifest


def test_a_file_that_cannot_be_read_is_why_the_engine_failed(storage: SmallStorage, image: Image) -> None:
    layer = image.manifest.layers[0].digest
    storage.path(layer).unlink()

    def engine() -> None:
        with offered(image, storage) as offer:
            assert ask(offer, f"blobs/{layer}").status == 404
            raise RuntimeError("the engine says that there is no such blob")

    with pytest.raises(NotFoundError, match=layer):
        engine()
