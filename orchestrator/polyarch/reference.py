"""References: how a text names an image.

The grammar is distribution's (github.com/distribution/reference, regexp.go and normalize.go), as docker reads it:
`busybox` is `docker.io/library/busybox:latest`. A first path component is a registry if it holds a dot or a colon,
is `localhost`, or has an upper-case letter.

A registry plugin may claim a scheme of its own (`oci:DIR:TAG`); then the middle is that plugin's to understand.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from polyarch.errors import UsageError, printable
from polyarch.oci.digest import Digest, is_digest
from polyarch_platforms.lazy_dataclass import dataclass

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
_DOCKER_HUB = (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")
MAX_NAME_LENGTH = 255
MAX_LENGTH = 4096

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?", re.ASCII)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(?://)?(.+)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """The name of an image. `tag` is "" if only a digest was given; `digest` is "" if only a tag was.

    With a `scheme`, `registry` is "" and `repository` is whatever the plugin of that scheme understands; `tag` is "" if
    none was written, because that means something else at each place.
    """

    registry: str
    repository: str
    tag: str = DEFAULT_TAG
    digest: Digest = ""
    scheme: str = ""

    def __str__(self) -> str:
        """The whole name: `docker.io/library/busybox:latest`."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """The name without tag and digest."""
        return f"{self.scheme}:{self.repository}" if self.scheme else f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as docker shows it: `busybox`, `user/app`, `ghcr.io/a/b`."""
        if self.scheme or self.registry != DEFAULT_REGISTRY:
            return self.name
        namespace, _, rest = self.repository.partition("/")
        if is_host(namespace):  # without the registry in front it would be taken for one
            return self.name
        return rest if namespace == DEFAULT_NAMESPACE and rest and "/" not in rest else self.repository

    @property
    def familiar(self) -> str:
        """The whole reference as docker shows it: `busybox:latest`."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.familiar_name}{tag}{digest}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest where there is one (it is the stricter), else the tag."""
        return self.digest or self.tag

    def with_tag(self, tag: str) -> Reference:
        """The same repository under another tag, without a digest."""
        return replace(self, tag=_checked_tag(tag, tag), digest="")

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository by digest; the tag is kept as the name that was asked for."""
        return replace(self, digest=digest)


def parse_reference(text: str, schemes: Collection[str] = ()) -> Reference:
    """The reference that `text` names; `schemes` are the ones that plugins have claimed.

    Raises UsageError, which points at the fault.
    """
    if not text:
        raise UsageError("an empty text is no image reference", "write a name such as alpine or ghcr.io/owner/app:1.0")
    if len(text) > MAX_LENGTH:
        raise UsageError(f"a reference of {len(text)} characters is too long (at most {MAX_LENGTH})")
    if (match := _SCHEME.fullmatch(text)) and match[1] in schemes:
        return _with_scheme(match[1], match[2], text)
    if "://" in text:
        raise _fault(text, "it starts with a URL scheme", f"leave out {text.partition('://')[0]}://")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _fault(
            text, f"'{printable(digest, 80)}' is not a digest", "a digest is sha256: and 64 lower-case hex digits"
        )
    name, tag = _split_tag(rest)
    if tag is not None:
        _checked_tag(tag, text)
    registry, repository = _split_registry(name, text)
    if not repository:
        raise _fault(text, "there is no repository in it")
    if re.fullmatch(r"[0-9a-f]{64}", name):
        raise _fault(text, "64 hex digits are an image ID, not a name", f"for a digest write NAME@sha256:{name[:12]}…")
    if not _REPOSITORY.fullmatch(repository):
        written = repository if name.endswith(repository) else repository.removeprefix(f"{DEFAULT_NAMESPACE}/")
        lower = name.removesuffix(written) + written.lower() + text[len(name) :]
        raise _fault(text, *_repository_fault(written, lower))
    if len(registry) + 1 + len(repository) > MAX_NAME_LENGTH:
        raise _fault(text, f"the name is longer than {MAX_NAME_LENGTH} characters")
    return Reference(registry, repository, tag if tag is not None else "" if digest else DEFAULT_TAG, digest)


def check_new_name(name: Reference, text: str) -> None:
    """Raises UsageError if no image can be called so; `text` is what was written."""
    if name.digest:
        raise UsageError(f"{text} names a digest, which cannot be given to an image", "name a tag")
    if name.familiar_name == "scratch":
        raise UsageError("no image can be called scratch: that is the name of none", "choose another name")


def parse_registry(text: str) -> str:
    """The registry that `text` names: a host, perhaps with a port; `docker.io` for "" and for Docker Hub's other names.

    Raises UsageError.
    """
    host = text or DEFAULT_REGISTRY
    if not _REGISTRY.fullmatch(host) or _port_fault(host):
        raise UsageError(f"'{printable(text, 100)}' is not a registry", "write HOST or HOST:PORT")
    return DEFAULT_REGISTRY if host in _DOCKER_HUB else host


def _port_fault(host: str) -> str | None:
    port = re.search(r":([0-9]+)$", host)
    return f"port {port[1]} does not exist" if port and not 0 < int(port[1]) < 65536 else None


def names_tag(text: str) -> bool:
    """True if `text`, a valid reference, names a tag or a digest itself, so that `latest` is not added."""
    return "@" in text or _split_tag(text)[1] is not None


def names_registry(text: str) -> bool:
    """True if the first component of `text`, a reference without scheme, is a registry: `quay.io/app`, not `app`."""
    first, slash, _ = text.partition("@")[0].partition("/")
    return bool(slash) and is_host(first)


def _split_tag(text: str) -> tuple[str, str | None]:
    """`text` split at the colon behind its last slash; the tag is None where there is no such colon."""
    head, colon, tail = text.rpartition(":")
    if not colon or "/" in tail or (head.startswith("[") != head.endswith("]") and "/" not in head):
        return text, None
    return head, tail


def is_host(component: str) -> bool:
    """True if the first component of a name is a registry."""
    return any(mark in component for mark in ".:[") or component == "localhost" or component != component.lower()


def _split_registry(name: str, text: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not is_host(first):
        repository = name if slash else f"{DEFAULT_NAMESPACE}/{name}"
        return DEFAULT_REGISTRY, repository if name else ""
    if not _REGISTRY.fullmatch(first):
        raise _fault(text, f"'{printable(first, 80)}' is not a registry host")
    if fault := _port_fault(first):
        raise _fault(text, fault)
    if first in _DOCKER_HUB:
        first = DEFAULT_REGISTRY
    if first == DEFAULT_REGISTRY and rest and "/" not in rest:
        rest = f"{DEFAULT_NAMESPACE}/{rest}"
    return first, rest


def _checked_tag(tag: str, text: str) -> str:
    if _TAG.fullmatch(tag):
        return tag
    raise _fault(text, f"'{printable(tag, 80)}' is not a tag", "a tag has up to 128 letters, digits, '_', '.' or '-'")


def _repository_fault(repository: str, lower: str) -> tuple[str, str | None]:
    """What is wrong with a repository, and what to write instead; `lower` is the reference with it in lower case."""
    if repository != repository.lower():
        return "a repository is written in lower case", f"try {printable(lower, 200)}"
    for i, character in enumerate(repository):
        if not re.fullmatch(r"[a-z0-9._/-]", character, re.ASCII):
            return f"'{printable(character)}' at character {i + 1} of the repository is not allowed", None
    return "each part between slashes starts and ends with a letter or digit, separators do not repeat", None


def _with_scheme(scheme: str, rest: str, text: str) -> Reference:
    """What stands behind the last colon is the tag if it can be one; else all of it is the plugin's to understand."""
    body, at, digest = rest.rpartition("@")
    if not at or not is_digest(digest):
        body, digest = rest, ""
    name, tag = _split_tag(body)
    if tag and not _TAG.fullmatch(tag):
        name, tag = body, None
    if not name or tag == "":
        raise _fault(
            text, f"{scheme}: wants a place and perhaps a tag behind it", f"write {scheme}:PLACE or {scheme}:PLACE:TAG"
        )
    return Reference("", name, tag or "", digest, scheme)


def _fault(text: str, what: str, hint: str | None = None) -> UsageError:
    return UsageError(f"'{printable(text, 200)}' is not an image reference: {what}", hint, reference=text[:200])
