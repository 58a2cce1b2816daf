"""Reading what a device answered to the script that pulls, and what the words of engines mean."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.fleet.device_pull import first_line, last_line
from polyarch.fleet.pull_answer import ImageAnswer, PullAnswer, parse_pull_answer, reason_of
from polyarch.fleet.reasons import REASON_CODES, FactsFault

NONCE = "0123456789abcdef"
ONE, TWO = f"sha256:{1:064}", f"sha256:{2:064}"


def answer(*lines: str, end: bool = True) -> str:
    return "\n".join([first_line(NONCE), *lines, *([last_line(NONCE)] if end else []), ""])


def parse(text: str) -> PullAnswer:
    return parse_pull_answer("device", text, NONCE)


def test_all_that_is_told() -> None:
    told = parse(
        answer(
            f"image 0 pulled {ONE}",
            f"image 1 up-to-date {TWO}",
            f"image 2 differs {ONE}",
            "image 3 failed",
            "error 3 it is",
            "error 3 broken",
            "check all\tis",
            "check well",
            "check 0",
        )
    )
    assert told == PullAnswer(
        images={
            0: ImageAnswer("pulled", ONE),
            1: ImageAnswer("up-to-date", TWO),
            2: ImageAnswer("differs", ONE),
            3: ImageAnswer("failed", None, ("it is", "broken")),
        },
        check=(0, ("all\\tis", "well")),
        whole=True,
    )


def test_greetings_and_line_ends_are_passed_over() -> None:
    text = f"Welcome!\n{answer(f'image 0 pulled {ONE}')}logout\n".replace("\n", "\r\n")
    assert parse(text) == PullAnswer({0: ImageAnswer("pulled", ONE)}, whole=True)


def test_an_answer_that_was_cut_keeps_what_came() -> None:
    told = parse(answer(f"image 0 pulled {ONE}", "image 1 pul", end=False))
    assert (told.images, told.whole) == ({0: ImageAnswer("pulled", ONE)}, False)


@pytest.mark.parametrize(
    "line",
    [
        "image",
        "image x pulled",
        "image -1 pulled",
        "image 10001 failed",
        "image 0 exploded",
        "image ² failed",
        "check twelve",
        "blob 5 xyz",
        f"blob 99999999999999999999 {1:064}",
        "sum ../../etc",
        "",
    ],
)
def test_a_line_that_means_nothing(line: str) -> None:
    assert parse(answer(line)) == PullAnswer(whole=True)


def test_what_is_said_twice_counts_once() -> None:
    told = parse(answer("image 0 failed", f"image 0 pulled {ONE}", "held first", "held second"))
    assert told.images == {0: ImageAnswer("failed")}
    assert told.held == "first"


def test_a_digest_that_is_none() -> None:
    assert parse(answer("image 0 pulled sha256:12")).images == {0: ImageAnswer("pulled", None)}


def test_a_layout() -> None:
    told = parse(answer(f"sum {3:064}", 'index {"manifests": []}', f"blob 17 {1:064}")).layout
    assert (told.sum, told.index, told.blobs) == (f"{3:064}", '{"manifests": []}', {ONE: 17})


@pytest.mark.parametrize("text", ["", "Permission denied\n", answer().replace(NONCE, "f" * 16), "x" * 1_000_000])
def test_no_answer(text: str) -> None:
    with pytest.raises(FactsFault) as caught:
        parse(text)
    assert caught.value.reason_code == "integrity"
    assert caught.value.message.isprintable()


def test_escapes_are_not_passed_on() -> None:
    told = parse(answer("image 0 failed", "error 0 \x1b[31mred\x07", "held \x1b]0;x\x07"))
    assert told.images[0].words[0].isprintable()
    assert told.held
    assert told.held.isprintable()


LINES = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            lambda key, rest: f"{key} {rest}",
            st.sampled_from(["image", "error", "check", "held", "ended", "sum", "index", "blob", "refused"]),
            st.text(max_size=60),
        ),
        st.builds(
            lambda number, status, digest: f"image {number} {status} {digest}",
            st.integers(-3, 20_000),
            st.sampled_from(["pulled", "failed", "differs", "up-to-date", "?"]),
            st.sampled_from([ONE, "", "sha256:"]),
        ),
    )
)


@given(LINES, st.booleans())
def test_any_lines_give_an_answer(lines: list[str], end: bool) -> None:
    told = parse(answer(*lines, end=end))
    assert all(0 <= number <= 10_000 for number in told.images)
    assert all(word.isprintable() for image in told.images.values() for word in image.words)


@given(st.text())
def test_any_text_gives_an_answer_or_a_fault(text: str) -> None:
    with contextlib.suppress(FactsFault):
        parse(text)


# Genuine sentences: docker 20.10 and 28, podman 4.3, containerd 1.6, GNU tar, busybox, dash, bash, sudo.
SAID = [
    ("no-space", "write /var/lib/docker/tmp/GetImageBlob1: no space left on device"),
    ("no-space", "tar: blobs/0: Cannot write: No space left on device"),
    ("no-space", "Error: writing blob: adding layer with blob: Disk quota exceeded"),
    ("disk", "tar: blobs/0: Cannot open: Input/output error"),
    ("disk", "mkdir: cannot create directory '/var/lib/polyarch/oci': Read-only file system"),
    ("no-engine", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"),
    (
        "no-engine",
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
    ),
    ("no-engine", 'ctr: failed to dial "/run/containerd/containerd.sock": context deadline exceeded'),
    ("no-engine", "/bin/sh: 12: /no/such/docker: not found"),
    ("no-engine", "sh: docker: not found"),
    ("no-engine", "/bin/sh: line 14: docker: command not found"),
    ("no-engine", "bash: line 14: /usr/bin/docker: No such file or directory"),
    ("no-engine", "sudo: a password is required"),
    ("held", "polyarch: index.json was changed by another meanwhile"),
    ("no-variant", "ctr: no match for platform in manifest sha256:1: not found"),
    ("no-variant", "no matching manifest for linux/arm/v6 in the manifest list entries"),
    ("integrity", "filesystem layer verification failed for digest sha256:1"),
    ("integrity", "Error: writing blob: Digest did not match, expected sha256:1, got sha256:2"),
    ("integrity", "ctr: failed to copy: failed commit on ref: unexpected commit digest sha256:1, expected sha256:2"),
    ("integrity", "ctr: failed to get reader from content store: content digest sha256:c9: not found"),
    ("integrity", "sha256:1 came as sha256:2"),
    ("not-found", "manifest unknown: manifest unknown"),
    ("integrity", "invalid diffID for layer 0: expected sha256:1, got sha256:2"),
    ("unauthorized", "Error response from daemon: Head https://r.example/v2/x: unauthorized: authentication required"),
    ("unauthorized", "pull access denied for x, repository does not exist or may require 'docker login'"),
    ("unauthorized", "ctr: pulling from host r.example failed with status code [manifests sha256:1]: 401 Unauthorized"),
    ("unauthorized", "Error: reading manifest: denied: requested access to the resource is denied"),
    ("unreachable", 'Get "http://127.0.0.1:40001/v2/": dial tcp 127.0.0.1:40001: connect: connection refused'),
    ("unreachable", "Error: reading blob: Get http://127.0.0.1:1/: read tcp: connection reset by peer"),
    ("unreachable", "dial tcp: lookup r.example: Temporary failure in name resolution"),
    ("unreachable", "error pulling image configuration: unexpected EOF"),
    ("unreachable", "received unexpected HTTP status: 503 Service Unavailable"),
    ("unreachable", "toomanyrequests: You have reached your pull rate limit"),
    ("internal", "the moon is full"),
    ("internal", "polyarch: /tmp/run-503/404-files/429 holds files, but is no OCI image layout"),
    ("unauthorized", "error: 401"),
    ("internal", ""),
]


@pytest.mark.parametrize(("code", "said"), SAID, ids=range(len(SAID)))
def test_what_words_mean(code: str, said: str) -> None:
    assert reason_of(said) == code
    assert reason_of(f"time=now level=warning msg=whatever\n{said}") == code


@given(st.text())
def test_any_words_mean_something(said: str) -> None:
    assert reason_of(said) in REASON_CODES
