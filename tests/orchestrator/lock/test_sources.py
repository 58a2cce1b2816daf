"""The files that name images: which names, for which platforms, in which lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.errors import UsageError
from polyarch.lock.compose import env_file
from polyarch.lock.sources import images_named_in, platforms_named_in, read_source

COMPOSE = """\
x-common: &common
  image: common:1
services:
  web:
    image: "nginx:${NGINX:-1.25}"
    platform: linux/arm64
  copy: {image: nginx:1.25, platform: linux/arm/v7}
  base:
    <<: *common
  built:
    build: .
    image: own:1
  nothing: {}
"""

KUBERNETES = """\
apiVersion: v1
kind: Pod
spec:
  initContainers:
  - image: init:1
  containers:
  - {name: a, image: 'ghcr.io/o/a:1'}
  - name: none
  ephemeralContainers:
  - image: debug:1
---
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate: {spec: {template: {spec: {containers: [{image: cron:1}, {image: ""}]}}}}
---
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  spec: {template: {spec: {containers: [{image: listed:1}]}}}
---
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def written(folder: Path, text: str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_compose(folder: Path) -> None:
    path = written(folder, COMPOSE)
    assert platforms_named_in(path, {}) == {"nginx:1.25": ("linux/arm64", "linux/arm/v7"), "common:1": ()}
    assert images_named_in(path, {"NGINX": "2"}) == ("nginx:2", "nginx:1.25", "common:1")
    source = read_source(path, {})
    assert source.kind == "compose"
    assert [(image.name, image.line) for image in source.images] == [
        ("nginx:1.25", 5),
        ("nginx:1.25", 7),
        ("common:1", 2),
    ]


def test_the_environment_goes_before_the_env_file(folder: Path) -> None:
    path = written(folder, COMPOSE)
    written(folder, "NGINX=3\n", ".env")
    assert images_named_in(path)[0] == "nginx:3"
    assert images_named_in(path, {"NGINX": "2"})[0] == "nginx:2"


def test_an_env_file() -> None:
    text = "# no\nA=1\nexport B = two # said\nC='x # y' z\nD=\"d\"\nE=\nnothing\n#F=1\nG='open\n"
    assert env_file(text) == {"A": "1", "B": "two", "C": "x # y", "D": "d", "E": "", "G": "'open"}


def test_kubernetes(folder: Path) -> None:
    path = written(folder, KUBERNETES)
    assert images_named_in(path) == ("init:1", "ghcr.io/o/a:1", "debug:1", "cron:1", "listed:1")
    assert read_source(path, {}).kind == "kubernetes"
    json = '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "json:1"}]}}'
    assert images_named_in(written(folder, json)) == ("json:1",)


DOCKERFILES = [
    pytest.param("FROM alpine\n", ["alpine"], id="plain"),
    pytest.param("\n# a comment\n  from alpine:3\n", ["alpine:3"], id="lower-case"),
    pytest.param("FROM alpine AS base\nFROM base\nFROM BASE as two\nFROM debian\n", ["alpine", "debian"], id="stages"),
    pytest.param("FROM scratch\nCOPY --from=busybox:1 /bin /bin\n", ["busybox:1"], id="scratch-and-copy"),
    pytest.param("FROM a AS b\nCOPY --chown=1 --from=b x y\nCOPY --from=0 x y\nCOPY x y\n", ["a"], id="copy-of-stages"),
    pytest.param("ARG V=1\nARG N=app V2=$V.2\nFROM ${N}:${V2}\nARG V=9\nFROM x:$V\n", ["app:1.2", "x:1"], id="arg"),
    pytest.param(
        "ARG V=\"1\"\nFROM 'app:1'\nFROM app:${V:-2}\nFROM app:${W:-2}\n", ["app:1", "app:1", "app:2"], id="quotes"
    ),
    pytest.param("FROM \\\n  # why\n\n  alpine \\\n AS x\nFROM x\n", ["alpine"], id="continued"),
    pytest.param("# escape=`\nFROM `\n alpine\nRUN a \\\nFROM b\n", ["alpine", "b"], id="escape"),
    pytest.param("FROM a\nRUN <<EOF\nFROM no\nEOF\nFROM b\n", ["a", "b"], id="here-document"),
    pytest.param("FROM a\nRUN cat <<-'X' <<Y > z\n\tX\nFROM n\nY\nFROM b\n", ["a", "b"], id="here-documents"),
    pytest.param("FROM a\nRUN echo 1 \\\n&& echo FROM x\n", ["a"], id="from-as-a-word"),
    pytest.param("FROM a\nRUN x \\\\\nFROM b\n", ["a", "b"], id="escaped-escape"),
    pytest.param("FROM a\r\nFROM b\r\n", ["a", "b"], id="crlf"),
    pytest.param("FROM x AS b-amd64\nFROM y AS b-arm64\nFROM b-${TARGETARCH}\n", ["x", "y"], id="stage-by-platform"),
    pytest.param("FROM a\nLABEL version=1\nRUN <<E\nversion = 1\nE\n", ["a"], id="not-a-lock"),
]


@pytest.mark.parametrize(("text", "names"), DOCKERFILES)
def test_dockerfiles(text: str, names: list[str], folder: Path) -> None:
    path = written(folder, text)
    source = read_source(path, {})
    assert [image.name for image in source.images] == names
    assert source.kind == "dockerfile"
    assert images_named_in(path) == tuple(dict.fromkeys(names))
    for image in source.images:
        assert text.split("\n")[image.line - 1].strip().upper().startswith(("FROM", "COPY", "# WHY"))


def test_the_platforms_of_a_dockerfile(folder: Path) -> None:
    text = (
        "ARG P=arm64\nARG TARGETPLATFORM\nFROM --platform=linux/$P a\nFROM --platform=$BUILDPLATFORM b\n"
        "FROM --platform=$TARGETPLATFORM c\nFROM --platform=aarch64 a\n"
    )
    assert platforms_named_in(written(folder, text), {}) == {"a": ("linux/arm64",), "b": (), "c": ()}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param("services:\n  a:\n    image: A B\n", 3, "'A B' is not an image reference", id="reference"),
        pytest.param("services:\n  a:\n    image: [x]\n", 3, "is a text", id="list"),
        pytest.param("services:\n  a: {image: 'x:$T'}\n", 2, "the variable T is not set", id="unset"),
        pytest.param("services:\n  a: {image: x, platform: vax}\n", 2, "'vax'", id="platform"),
        pytest.param("services:\n  a: {image: ''}\n", 2, "an empty text", id="empty"),
        pytest.param("services:\n  a: {\n", 3, "no YAML", id="yaml"),
        pytest.param("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: {a: b}\n", 5, "is a text", id="pod"),
        pytest.param("FROM\n\nFROM a b\n", None, "names no images", id="from-alone"),
        pytest.param("FROM a\nFROM a b\n", 2, "FROM takes an image", id="words"),
        pytest.param("FROM a\nFROM --platform=linux/arm64\n", 2, "FROM takes an image", id="no-image"),
        pytest.param("ARG A\nFROM x:$A\n", 2, "the variable A is not set", id="arg-without-default"),
        pytest.param("FROM x-$TARGETARCH\n", 1, "depends on the platform", id="by-platform"),
        pytest.param("FROM a\nCOPY --from=$X a b\n", 2, "takes no variables", id="copy"),
        pytest.param("FROM A/B\n", 1, "is not an image reference", id="upper-case"),
        pytest.param("version = 1\n[[image]]\n", 2, "there is no reference", id="lock"),
        pytest.param("hello", None, "names no images", id="nothing"),
        pytest.param("", None, "names no images", id="empty-file"),
        pytest.param("services: []\n", None, "names no images", id="no-services"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, line: int | None, said: str, folder: Path) -> None:
    path = written(folder, text)
    with pytest.raises(UsageError) as caught:
        images_named_in(path)
    assert said in caught.value.message
    if line is not None:
        assert caught.value.message.startswith(f"{path}, line {line}: ")
    assert caught.value.hint or "no YAML" not in said


def test_files_that_cannot_be_read(folder: Path) -> None:
    for path in (folder / "none", folder):
        with pytest.raises(UsageError) as caught:
            images_named_in(path)
        assert "Compose file" in (caught.value.hint or "")
    (folder / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no UTF-8"):
        images_named_in(folder / "bytes")
    (folder / ".env").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="env: this is no UTF-8"):
        images_named_in(written(folder, COMPOSE))
