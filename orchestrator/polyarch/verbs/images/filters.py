"""Which images a list shows: `--filter`, a name or a pattern, platforms. Pure; what the words mean is docker's.

docker/cli, docs/reference/commandline/image_ls.md, "Filtering"; moby, daemon/images/images.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from polyarch.errors import NotFoundError, UsageError
from polyarch.oci.digest import hex_of

if TYPE_CHECKING:
    from polyarch.verbs.images.listing import ListedImage
    from polyarch_platforms.platform import Platform

Test: TypeAlias = "Callable[[ListedImage], bool]"

_WORDS = "dangling=true|false, reference=PATTERN, label=KEY[=VALUE], before=REF, since=REF"
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})", re.ASCII)
_ENDLESS = 200
"""Characters of a pattern that are read."""


def chosen(
    images: Sequence[ListedImage], pattern: str = "", filters: Iterable[str] = (), platforms: Sequence[Platform] = ()
) -> tuple[ListedImage, ...]:
    """The images of these platforms that pass all filters; of one key, any value will do, but every label is wanted.

    `pattern` is a name as `reference=` takes it. Raises UsageError: no such filter, no such value; NotFoundError: an
    image that others are to be older or younger than is not in the list.
    """
    tests: dict[str, list[Test]] = {}
    for text in (*filters, *([f"reference={pattern}"] if pattern else [])):
        key, equals, value = text.partition("=")
        if key not in _MAKERS or not equals or not value:
            raise UsageError(f"there is no filter {text!r}", f"write one of: {_WORDS}")
        tests.setdefault(text if key == "label" else key, []).append(_MAKERS[key](value, images))
    return tuple(
        image
        for image in images
        if (not platforms or image.platform in platforms)
        and all(any(test(image) for test in group) for group in tests.values())
    )


def _dangling(value: str, images: Sequence[ListedImage]) -> Test:
    wanted = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    if wanted is None:
        raise UsageError(f"dangling={value}: neither true nor false", f"write one of: {_WORDS}")
    return lambda image: image.dangling is wanted


def _reference(value: str, images: Sequence[ListedImage]) -> Test:
    """A pattern of a name, with or without its tag, as people write it or whole (reference.FamiliarMatch)."""
    if len(value) > _ENDLESS:
        raise UsageError(f"a pattern of {len(value)} characters is too long")
    matches = _matcher(value)

    def test(image: ListedImage) -> bool:
        name = image.reference
        return value in (str(name), name.name) or matches(name.familiar) or matches(name.familiar_name)

    return test


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Go's path.Match: `*` and `?` stop at a slash, `[…]` is a set, a backslash takes the next character as it is."""
    parts = re.findall(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|.", pattern, re.DOTALL)
    known = {"*": "[^/]*", "?": "[^/]"}
    made = (
        known.get(part) or (_set(part) if part[0] == "[" and len(part) > 1 else re.escape(part[-1])) for part in parts
    )
    try:
        whole = re.compile("".join(made))
    except re.error as error:
        raise UsageError(f"reference={pattern}: not a pattern ({error})") from error
    return lambda text: whole.fullmatch(text) is not None


def _set(part: str) -> str:
    inner = part[1:-1]
    negated = inner.startswith("^")
    body = re.sub(r"([\[&~|])", r"\\\1", inner[negated:])
    return f"[{'^' if negated else ''}{body}]"


def _label(value: str, images: Sequence[ListedImage]) -> Test:
    key, equals, wanted = value.partition("=")
    if any(image.labels is None for image in images):
        raise UsageError("this storage does not tell the labels of its images", "leave out --filter label=…")

    def test(image: ListedImage) -> bool:
        labels = image.labels or {}
        return key in labels and (not equals or labels[key] == wanted)

    return test


def _before(value: str, images: Sequence[ListedImage]) -> Test:
    limit = _made(_image(value, images))
    return lambda image: (made := _made(image)) is not None and limit is not None and made < limit


def _since(value: str, images: Sequence[ListedImage]) -> Test:
    limit = _made(_image(value, images))
    return lambda image: (made := _made(image)) is not None and limit is not None and made > limit


def _image(text: str, images: Sequence[ListedImage]) -> ListedImage:
    """The image of that name (`latest` goes without saying), or with an ID that starts so."""
    match = _ID.fullmatch(text)
    for image in images:
        name = image.reference
        names = (name.familiar, str(name))
        if text in names or f"{text}:latest" in names or (match and hex_of(image.id).startswith(match[1])):
            return image
    raise NotFoundError(f"{text} is not in the list", "see: polyarch image ls")


def _made(image: ListedImage) -> datetime | None:
    try:
        made = datetime.fromisoformat(image.created)
    except ValueError:
        return None
    return made if made.tzinfo else made.replace(tzinfo=UTC)


_MAKERS: dict[str, Callable[[str, Sequence[ListedImage]], Test]] = {
    "dangling": _dangling,
    "reference": _reference,
    "label": _label,
    "before": _before,
    "since": _since,
}
