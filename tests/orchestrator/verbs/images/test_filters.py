"""Which images a list shows."""

from __future__ import annotations

import pytest

from polyarch.errors import NotFoundError, UsageError
from polyarch.reference import Reference, parse_reference
from polyarch.verbs.images.filters import chosen
from polyarch.verbs.images.listing import ListedImage, total_size
from polyarch_platforms.platform import parse


def listed(name: str, created: str, platform: str = "linux/amd64", **more: object) -> ListedImage:
    identifier = f"sha256:{abs(hash(name + platform)):064x}"
    values: dict[str, object] = {"labels": {}, "blobs": {identifier: 7, "sha256:" + "b" * 64: 100}, **more}
    return ListedImage(
        parse_reference(name), identifier, identifier, identifier, parse(platform), created, 107, 100, **values
    )  # type: ignore[arg-type]


IMAGES = (
    listed("alpine:3", "2024-01-01T00:00:00Z", labels={"stage": "base"}),
    listed("alpine:3", "2024-01-01T00:00:00Z", "linux/arm64", labels={"stage": "base"}),
    listed("user/app:1.0", "2024-02-01T00:00:00.123456789Z", labels={"stage": "app", "team": "a"}),
    listed("registry.example:5000/team/app:1.1", "2024-03-01T00:00:00+02:00", labels={"stage": "app"}),
    listed("localhost/unnamed@sha256:" + "c" * 64, ""),
)
NAMES = ["alpine", "alpine/arm64", "app:1.0", "app:1.1", "old"]


def found(*filters: str, pattern: str = "", platform: str = "") -> list[str]:
    platforms = [parse(one) for one in platform.split(",")] if platform else []
    names = dict(zip(map(id, IMAGES), NAMES, strict=True))
    return [names[id(image)] for image in chosen(IMAGES, pattern, filters, platforms)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param([], NAMES, id="none"),
        pytest.param(["dangling=true"], ["old"], id="dangling"),
        pytest.param(["dangling=false"], NAMES[:-1], id="not-dangling"),
        pytest.param(["label=stage"], NAMES[:-1], id="label"),
        pytest.param(["label=stage=app"], ["app:1.0", "app:1.1"], id="label-value"),
        pytest.param(["label=stage=app", "label=team"], ["app:1.0"], id="both-labels"),
        pytest.param(["reference=alpine"], ["alpine", "alpine/arm64"], id="name"),
        pytest.param(["reference=docker.io/library/alpine:3"], ["alpine", "alpine/arm64"], id="whole-name"),
        pytest.param(["reference=app"], [], id="no-part-of-a-name"),
        pytest.param(["reference=*/app"], ["app:1.0"], id="a-star-stops-at-a-slash"),
        pytest.param(["reference=*/*/app:1.?"], ["app:1.1"], id="question-mark"),
        pytest.param(["reference=user/app:[01].[^1-9]"], ["app:1.0"], id="sets"),
        pytest.param(["reference=al*", "reference=*/app"], ["alpine", "alpine/arm64", "app:1.0"], id="either-name"),
        pytest.param(["before=user/app:1.0"], ["alpine", "alpine/arm64"], id="before"),
        pytest.param(["since=alpine:3"], ["app:1.0", "app:1.1"], id="since"),
        pytest.param(["since=alpine:3", "label=team"], ["app:1.0"], id="two-keys"),
    ],
)
def test_filters(filters: list[str], expected: list[str]) -> None:
    assert found(*filters) == expected


def test_a_name_and_platforms() -> None:
    assert found(pattern="alpine", platform="linux/arm64") == ["alpine/arm64"]
    assert found(platform="linux/arm64,linux/riscv64") == ["alpine/arm64"]
    assert found(pattern="alpine:4") == []


def test_an_image_by_its_id() -> None:
    assert found(f"before={IMAGES[3].id[7:60]}") == ["alpine", "alpine/arm64", "app:1.0"]


@pytest.mark.parametrize("text", ["nothing=x", "dangling", "dangling=perhaps", "label=", "reference=[z-a]", "x"])
def test_words_that_are_no_filter(text: str) -> None:
    with pytest.raises(UsageError):
        found(text)


def test_an_image_that_is_not_there() -> None:
    with pytest.raises(NotFoundError):
        found("before=nobody:1")


def test_an_engine_that_tells_no_labels() -> None:
    with pytest.raises(UsageError, match="labels"):
        chosen([listed("a", "", labels=None)], "", ["label=x"])


def test_what_is_shared_counts_once() -> None:
    assert total_size(IMAGES) == 100 + 7 * len(IMAGES)
    assert total_size([*IMAGES, listed("a", "", blobs=None)]) is None
    assert isinstance(IMAGES[0].reference, Reference)
