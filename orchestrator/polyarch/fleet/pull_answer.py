"""Reading what a device answered to `pull_script`: from an honest one, cut, hostile. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from polyarch.errors import printable
from polyarch.fleet.device_pull import NO_INDEX, first_line, last_line
from polyarch.fleet.framed import framed_lines
from polyarch.fleet.reasons import ReasonCode
from polyarch.oci.digest import Digest, is_digest
from polyarch_platforms.lazy_dataclass import dataclass

ImageAnswerStatus: TypeAlias = Literal["up-to-date", "pulled", "differs", "failed"]
_STATUSES: tuple[ImageAnswerStatus, ...] = ("up-to-date", "pulled", "differs", "failed")

MAX_IMAGES = 10_000
_MAX_WORDS = 500
_MAX_LINES = 5
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """What a device said of one image; `at_hand` is None where the engine told no digest."""

    status: ImageAnswerStatus
    at_hand: Digest | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayoutAnswer:
    """What an OCI layout has: the hexadecimal digest of its index.json (or `NO_INDEX`), its text with line ends taken
    away, and the size of each blob.
    """

    sum: str = NO_INDEX
    index: str = ""
    blobs: Mapping[Digest, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PullAnswer:
    """What a device did.

    images   by number in the plan; those that it did not come to are not there
    held     who holds the device, "" if nobody was named; None where nobody does
    refused  why the device's lock cannot be made
    check    the exit code of the check and what it wrote last; None where there was none, or it did not end
    ended    it was ended in the middle, by its own clock or because nobody listened
    whole    the answer has its last line
    """

    images: Mapping[int, ImageAnswer] = field(default_factory=dict)
    held: str | None = None
    refused: str | None = None
    check: tuple[int, tuple[str, ...]] | None = None
    ended: Literal["timeout", "cut"] | None = None
    layout: LayoutAnswer = LayoutAnswer()
    whole: bool = False


def parse_pull_answer(device: str, text: str, nonce: str) -> PullAnswer:
    """The answer in what a device printed (`text`, decoded however it came) when it was given `nonce`.

    Lines around the answer, and lines that are not known, are passed over; an answer that was cut is not `whole`.
    Raises FactsFault (`integrity`), and nothing else, where there is no answer in it.
    """
    lines, whole = framed_lines(device, text, first_line(nonce), last_line(nonce))
    reader = _Reader()
    for line in lines:
        reader.take(line)
    return reader.answer(whole=whole)


class _Reader:
    """Gathers what the lines say. Of what is said twice the first counts: nothing that came is unsaid."""

    def __init__(self) -> None:
        self._images: dict[int, ImageAnswer] = {}
        self._words: dict[int, list[str]] = {}
        self._check: list[str] = []
        self._one: dict[str, str] = {}
        self._blobs: dict[Digest, int] = {}

    def take(self, line: str) -> None:
        key, _, value = line.partition(" ")
        if key == "image":
            self._image(value.split())
        elif key == "error":
            number, _, words = value.partition(" ")
            known = self._words.setdefault(_number(number, MAX_IMAGES), [])
            if len(known) < _MAX_LINES:
                known.append(printable(words.strip(), _MAX_WORDS))
        elif key == "check":
            self._check = [*self._check[-_MAX_LINES:], value.strip()]
        elif key == "blob":
            size, _, digits = value.partition(" ")
            if _HEX.fullmatch(digits.strip()) and _number(size, 1 << 62) >= 0:
                self._blobs.setdefault(f"sha256:{digits.strip()}", int(size))
        elif key in ("held", "refused", "ended", "sum", "index"):
            self._one.setdefault(key, value)

    def _image(self, words: list[str]) -> None:
        number = _number(words[0], MAX_IMAGES) if words else -1
        status = next((status for status in _STATUSES if words[1:2] == [status]), None)
        if number >= 0 and status is not None:
            at_hand = words[2] if len(words) > 2 and is_digest(words[2]) else None
            self._images.setdefault(number, ImageAnswer(status, at_hand))

    def answer(self, *, whole: bool) -> PullAnswer:
        one = self._one
        sum_ = one.get("sum", "").strip()
        check = None
        if self._check and (code := _number(self._check[-1], 255)) >= 0:
            check = code, tuple(printable(line, _MAX_WORDS) for line in self._check[:-1] if line)
        ended = one.get("ended", "").strip()
        return PullAnswer(
            images={
                number: ImageAnswer(image.status, image.at_hand, tuple(self._words.get(number, ())))
                for number, image in self._images.items()
            },
            held=printable(one["held"].strip(), _MAX_WORDS) if "held" in one else None,
            refused=printable(one["refused"].strip(), _MAX_WORDS) if "refused" in one else None,
            check=check,
            ended="timeout" if ended == "timeout" else "cut" if ended else None,
            layout=LayoutAnswer(sum_ if _HEX.fullmatch(sum_) else NO_INDEX, one.get("index", ""), self._blobs),
            whole=whole,
        )


def _number(text: str, most: int) -> int:
    """A number that is at most that; else -1."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most else -1


_WORDS: tuple[tuple[ReasonCode, str], ...] = (
    ("no-space", r"no space left|disk quota exceeded|not enough (disk )?space|\benospc\b|file system is full"),
    ("disk", r"input/output error|read-only file system|structure needs cleaning|stale file handle"),
    (
        "no-engine",
        r"cannot connect to the docker daemon|is the docker daemon running|trying to connect to the docker daemon"
        r"|failed to dial|containerd\.sock|docker\.sock|podman\.sock|a password is required|a terminal is required"
        r"|not in the sudoers|may not run sudo|^(\S*sh: )?(line )?([0-9]+: )?\S+: not found$|command not found"
        r"|^(\S*sh: )?(line )?([0-9]+: )?\S+: no such file or directory$|failed to run command",
    ),
    ("held", r"polyarch: .* meanwhile"),
    (
        "no-variant",
        r"no match(ing manifest)? for |exec format error|cannot be used on this platform"
        r"|does not match the (specified|expected) platform.*(error|failed)",
    ),
    (
        "integrity",
        r"digest did not match|came (as|with) |verification failed|does not match (its )?digest"
        r"|unexpected commit digest|digest mismatch|mismatched (image|layer|rootfs|digest)"
        r"|don't match image configuration|checksum|invalid (tar header|checksum|diffid|digest)"
        r"|unexpected commit size|commit failed|wrong diff id"
        r"|content digest .*not found|layers from manifest|gzip: invalid|flate: corrupt"
        r"|manifest invalid"
        r"|failed precondition|(parsing|reading) manifest.*(invalid|not found)",
    ),
    ("not-found", r"manifest unknown|name unknown|manifest not found|repository name not known"),
    (
        "unauthorized",
        r"unauthorized|authentication required|pull access denied|access to the resource is denied|no basic auth"
        r"|(?<![\w/-])40[13](?![\w/-])|requested access|denied:|invalid username/password|authorization failed"
        r"|insufficient.?scope",
    ),
    (
        "unreachable",
        r"connection refused|connection reset|broken pipe|no route to host|network is unreachable|i/o timeout"
        r"|handshake timeout|no such host|name resolution|context deadline exceeded|server misbehaving|dial tcp"
        r"|timed? ?out|unexpected (http )?status|(?<![\w/-])(50[0-9]|404|429)(?![\w/-])"
        r"|toomanyrequests|\beof\b|connection closed"
        r"|bad gateway|service unavailable|x509|certificate|server gave http response",
    ),
)
_TABLE = tuple((code, re.compile(words, re.MULTILINE)) for code, words in _WORDS)


def reason_of(words: str) -> ReasonCode:
    """The reason code of what an engine said, by its lines: docker's, podman's, ctr's, tar's, sudo's, a shell's."""
    said = words.lower()
    return next((code for code, pattern in _TABLE if pattern.search(said)), "internal")
