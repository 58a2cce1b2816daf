"""The storage `s3`: what is uploaded, in which order, how writers get along, and what its faults are called."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import (
    HostError,
    Image,
    IntegrityError,
    NotFoundError,
    StorageError,
    StorageServices,
    UnauthorizedError,
    UnreachableError,
    UsageError,
    digest_of,
)
from polyarch.testing.conformance.images import BlobFiles, SampleImage, SampleImages
from polyarch_plugins.storages.objects import storage as storage_module
from polyarch_plugins.storages.objects.storage import ObjectStorage
from polyarch_plugins.storages.objects.store import Changed, Version, open_store
from support.docker_registry import skopeo
from support.s3_server import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.bucket()


@pytest.fixture
def opened(s3: S3Server, bucket: str) -> Callable[..., ObjectStorage]:
    """Opens the storage below the prefix `images` of the test's bucket, or elsewhere."""

    def open_one(location: str = f"//{bucket}/images", **environ: str) -> ObjectStorage:
        return ObjectStorage("s3", StorageServices(Path("/nowhere"), location, environ={**s3.environ, **environ}))

    return open_one


@pytest.fixture
def sample(tmp_path: Path) -> SampleImages:
    return SampleImages(tmp_path / "sample", "objects")


def loaded(storage: ObjectStorage, made: SampleImage, image: Image) -> Image:
    storage.load(image, BlobFiles(made.files))
    return image


def test_it_is_a_layout(
    opened: Callable[..., ObjectStorage], s3: S3Server, bucket: str, sample: SampleImages, tmp_path: Path
) -> None:
    made = sample.image("linux/arm64")
    image = loaded(opened(), made, made.named(sample.name()))
    folder = s3.copy(bucket, "images", tmp_path / "copied")
    blobs = list(folder.rglob("blobs/*/*"))
    assert all(digest_of(path.read_bytes()) == f"sha256:{path.name}" for path in blobs)
    raw = json.loads(skopeo("inspect", "--raw", f"oci:{folder}:{image.reference}"))
    assert raw["config"]["digest"] == made.config.digest
    assert {key.partition("/")[0] for key in s3.keys(bucket)} == {"images"}


def test_the_whole_bucket_may_be_the_layout(
    opened: Callable[..., ObjectStorage], s3: S3Server, bucket: str, sample: SampleImages
) -> None:
    made = sample.image()
    assert opened(f"//{bucket}").has(loaded(opened(f"//{bucket}/"), made, made.named(sample.name())))
    assert "index.json" in s3.keys(bucket)


def test_the_index_is_written_last_and_nothing_twice(
    opened: Callable[..., ObjectStorage], s3: S3Server, bucket: str, sample: SampleImages
) -> None:
    base = sample.layer("base")
    one, two = (sample.image(layers=[base, sample.layer(text)]) for text in ("one", "two"))
    loaded(opened(), one, one.named(sample.name("one")))
    before = len(s3.requests())
    loaded(opened(), two, two.named(sample.name("two")))
    written = [path.rpartition("/")[2] for method, path in map(str.split, s3.requests()[before:]) if method == "PUT"]
    fresh = [two.manifest.digest, *(blob.digest for blob in two.manifest.blobs if blob.digest != base.digest)]
    assert written[-1] == "index.json"
    assert sorted(written[:-1]) == sorted(digest[7:] for digest in fresh)
    before = len(s3.requests())
    loaded(opened(), two, two.named(sample.name("again")))
    written = [path for method, path in map(str.split, s3.requests()[before:]) if method == "PUT"]
    assert written == [f"/{bucket}/images/index.json"]


def test_writers_do_not_lose_each_others_names(opened: Callable[..., ObjectStorage], sample: SampleImages) -> None:
    made = [sample.image(text=str(number)) for number in range(8)]
    images = [each.named(sample.name(tag=str(number))) for number, each in enumerate(made)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: loaded(opened(), *pair), zip(made, images, strict=True)))
    assert {image.reference for image in opened().images()} == {image.reference for image in images}


def test_who_comes_second_reads_again(
    opened: Callable[..., ObjectStorage], sample: SampleImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes index.json between the reading and the writing of another."""
    mine, theirs = sample.image(text="mine"), sample.image(text="theirs")
    storage = opened()
    replaced = storage._store.replace
    between: list[int] = []

    def replace_later(*words: Any) -> None:
        if not between:
            between.append(1)
            loaded(opened(), theirs, theirs.named(sample.name("theirs")))
        replaced(*words)

    monkeypatch.setattr(storage._store, "replace", replace_later)
    image = loaded(storage, mine, mine.named(sample.name("mine")))
    assert between
    assert {each.reference for each in opened().images()} == {image.reference, sample.name("theirs")}


def test_it_does_not_try_for_ever(
    opened: Callable[..., ObjectStorage], sample: SampleImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def changed(*words: Any) -> None:
        tries.append(words)
        raise Changed

    monkeypatch.setattr(storage_module, "_TRIES", 3)
    storage, made = opened(), sample.image()
    monkeypatch.setattr(storage._store, "replace", changed)
    with pytest.raises(StorageError, match="written by others 3 times in a row"):
        loaded(storage, made, made.named(sample.name()))
    assert len(tries) == 3


def test_a_lost_blob_comes_again(
    opened: Callable[..., ObjectStorage], s3: S3Server, bucket: str, sample: SampleImages
) -> None:
    made = sample.image()
    image = loaded(opened(), made, made.named(sample.name()))
    layer = made.manifest.layers[0]
    s3.delete(f"/{bucket}/images/blobs/sha256/{layer.digest[7:]}")
    assert opened().lacks(image) == [layer.digest]
    assert not opened().has(image)
    s3.put(f"/{bucket}/images/blobs/sha256/{layer.digest[7:]}", b"half")
    assert opened().lacks(image) == [layer.digest]
    loaded(opened(), made, image)
    assert opened().has(image)


def test_an_index_that_is_none(
    opened: Callable[..., ObjectStorage], s3: S3Server, bucket: str, sample: SampleImages
) -> None:
    image = sample.image().named(sample.name())
    for raw, message in (
        (b"{", "index.json: not JSON"),
        (b'{"manifests":1}', "a list is"),
        (image.manifest.raw, "was given"),
    ):
        s3.put(f"/{bucket}/images/index.json", raw)
        with pytest.raises(IntegrityError, match=message):
            opened().has(image)


def test_a_prefix_with_odd_characters(opened: Callable[..., ObjectStorage], bucket: str, sample: SampleImages) -> None:
    made, place = sample.image(), f"//{bucket}/größe und+%20/a"
    assert opened(place).has(loaded(opened(place), made, made.named(sample.name())))


@pytest.mark.parametrize("location", ["", "//", "/"])
def test_a_bucket_has_to_be_named(location: str, opened: Callable[..., ObjectStorage]) -> None:
    with pytest.raises(UsageError, match="s3 wants a bucket"):
        opened(location)


def test_there_is_no_bucket(opened: Callable[..., ObjectStorage], sample: SampleImages) -> None:
    made = sample.image()
    storage = opened("//no-such-bucket/images")
    with pytest.raises(NotFoundError, match="s3://no-such-bucket/images: there is no such bucket"):
        storage.has(made.named(sample.name()))
    with pytest.raises(NotFoundError, match="there is no such bucket"):
        loaded(storage, made, made.named(sample.name()))


def test_nobody_answers(opened: Callable[..., ObjectStorage], sample: SampleImages) -> None:
    with pytest.raises(UnreachableError, match=r"cannot read index\.json in s3://") as caught:
        opened(AWS_ENDPOINT_URL="http://127.0.0.1:1").has(sample.image().named(sample.name()))
    assert "Debug source" not in caught.value.message
    assert "secret-of-the-tests" not in repr(caught.value.details) + caught.value.message


def test_the_endpoint_of_s3_alone_comes_first(
    opened: Callable[..., ObjectStorage], s3: S3Server, sample: SampleImages
) -> None:
    storage = opened(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_ENDPOINT_URL_S3=s3.url)
    assert not storage.has(sample.image().named(sample.name()))


def test_options_outweigh_the_environment(s3: S3Server, bucket: str, sample: SampleImages) -> None:
    services = StorageServices(
        Path("/nowhere"),
        f"//{bucket}",
        environ={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        options={"endpoint": s3.url, "access_key_id": "test", "secret_access_key": "secret", "region": "eu-north-1"},
    )
    assert not ObjectStorage("s3", services).has(sample.image().named(sample.name()))


@pytest.mark.parametrize("options", [{"end_point": "x"}, {"region": {"a": 1}}, {"skip_signature": "perhaps"}])
def test_options_that_are_none(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="s3://bucket cannot be opened") as caught:
        open_store("s3", "bucket", options, {})
    assert caught.value.hint == "see the environment and [options.s3]"


@pytest.mark.parametrize(
    ("bucket", "options", "said"),
    [
        ("my bucket", {}, "'my bucket' is no name of a bucket"),
        ("bucket", {"endpoint": "minio:9000"}, "no URL of a host"),
        ("bucket", {"endpoint": "https://"}, "no URL of a host"),
        ("bucket", {"endpoint": "http://127.0.0.1:99999"}, "no URL of a host"),
        ("bucket", {"endpoint": "http://a b"}, "no URL of a host"),
        ("bucket", {"endpoint": "http://user:SECRET@127.0.0.1:1"}, "no URL of a host"),
        ("bucket", {"endpoint": {"a": 1}}, "no URL of a host"),
        ("bucket", {"secret_access_key": "SECRET\r"}, "secret_access_key has a line end"),
    ],
)
def test_what_obstore_would_panic_over(bucket: str, options: dict[str, object], said: str) -> None:
    """Each ended with a traceback out of Rust, or with the secret in the message, at the first request."""
    with pytest.raises(UsageError, match=said) as caught:
        open_store("s3", f"{bucket}/a", options, {})
    assert caught.value.hint
    assert "SECRET" not in str(caught.value)


def test_who_is_refused(s3: S3Server, bucket: str, opened: Callable[..., ObjectStorage], sample: SampleImages) -> None:
    """moto checks signatures from here on."""
    s3.check_signatures()
    try:
        with pytest.raises(UnauthorizedError, match=r"cannot read index\.json") as caught:
            opened().has(sample.image().named(sample.name()))
        assert caught.value.hint == "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    finally:
        s3.check_signatures(False)


def test_without_obstore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(HostError, match="need obstore, which is not installed") as caught:
        ObjectStorage("s3", StorageServices(Path("/nowhere"), "//bucket"))
    assert caught.value.hint == "pip install 'polyarch[objects]'"


@pytest.mark.parametrize("kind", ["gs", "az"])
def test_the_other_stores_open(kind: str) -> None:
    """Nothing is asked for yet."""
    environ = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}
    assert open_store(kind, "bucket/a", {"skip_signature": True}, environ).where == f"{kind}://bucket/a"


def test_versions_are_kept_apart(s3: S3Server, bucket: str) -> None:
    store = open_store("s3", bucket, {}, s3.environ)
    store.replace("a", b"1", None)
    with pytest.raises(Changed):
        store.replace("a", b"2", None)
    _, first = store.read("a", 10)
    store.replace("a", b"2", first)
    with pytest.raises(Changed):
        store.replace("a", b"3", first)
    raw, second = store.read("a", 10)
    assert raw == b"2"
    assert second != first
    assert isinstance(second, Version)
    with pytest.raises(IntegrityError, match="larger than the 0 bytes"):
        store.read("a", 0)


def test_parts_of_an_object(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    """20 MiB are several parts on the way up, and can be read from any offset."""
    store, file = open_store("s3", bucket, {}, s3.environ), tmp_path / "big"
    data = bytes(range(256)) * (80 << 10)
    file.write_bytes(data)
    before = len(s3.requests())
    store.upload("big", file)
    assert sum("partNumber=" in request for request in s3.requests()[before:]) == 3
    assert store.size("big") == len(data)
    for offset in (0, 1, len(data) - 1, len(data), len(data) + 1):
        assert b"".join(store.chunks("big", offset)) == data[offset:]
    assert store.size("none") is None
    with pytest.raises(NotFoundError):
        next(store.chunks("none", 0))


def test_a_name_by_digest(opened: Callable[..., ObjectStorage], sample: SampleImages) -> None:
    made = sample.image()
    image = made.named(replace(sample.name(), tag="", digest=made.manifest.digest))
    assert opened().has(loaded(opened(), made, image))
