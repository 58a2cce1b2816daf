"""Names with fields for what a platform is called: `{name}:{tag}-{debian_arch}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from polyarch.contract import (
    Certainty,
    Platform,
    Reference,
    TagProposal,
    TagReading,
    UsageError,
    parse_reference,
    printable,
)
from polyarch_plugins.tag_conventions.words import FIELDS, asked, certainty_of, named, platforms, variants

NAME_FIELDS = ("registry", "name", "owner", "base", "tag")
"""Of the reference: its registry; its repository, whole, up to the last slash, and behind it; its tag."""

_FIELD = re.compile(r"\{([a-z_]*)\}")
_NO_VARIANT = re.compile(r"[-_./]?\{variant\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name with fields. `certainty` is that of what it proposes, None where the words in it are to tell."""

    text: str
    certainty: Certainty | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The fields for what a platform is called."""
        return tuple(dict.fromkeys(field for field in _FIELD.findall(self.text) if field not in NAME_FIELDS))

    def proposals(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """The names that it makes for `platform`; those that no reference may have are left out.

        Names that do not say the system are those of Linux.
        """
        wanted = asked(platform)
        if wanted.os != "linux" and "os" not in self.words:
            return
        for values, certainty in self._spoken(wanted):
            text = _filled(self.text, {**_of(reference), **values})
            registry = "" if self.text.startswith("{registry}/") else f"{reference.registry}/"
            try:
                proposed = parse_reference(registry + text)
            except UsageError:
                continue
            if proposed.name != reference.name or proposed.tag != reference.tag:
                yield TagProposal(proposed, platform, self.certainty or certainty)

    def _spoken(self, platform: Platform) -> Iterator[tuple[dict[str, str], Certainty]]:
        for values in product(*(named(platform, field) for field in self.words)):
            spoken = dict(zip(self.words, values, strict=True))
            texts = [text for field, text in spoken.items() if field not in ("os", "variant")]
            if "arch" in spoken and spoken.get("variant"):
                texts.append(spoken["arch"] + spoken["variant"])
            yield spoken, certainty_of(*texts)

    def frames(self) -> dict[tuple[str, str], tuple[Platform, ...]]:
        """What stands before and behind a tag of this pattern -> the platforms that it is for.

        Empty for one whose variants are not in the repository of the name itself.
        """
        repository, colon, tag = self.text.rpartition(":")
        found: dict[tuple[str, str], tuple[Platform, ...]] = {}
        if repository.removeprefix("{registry}/") not in ("{name}", "{owner}/{base}") or not colon:
            return found
        for platform in variants():
            for values, _ in self._spoken(platform):
                front, _, back = _filled(tag, values).partition("{tag}")
                found[front, back] = (*found.get((front, back), ()), platform)
        return found


def checked(text: object) -> Pattern:
    """The pattern that a user wrote. Raises UsageError, which names it and says what is wrong."""
    if not isinstance(text, str):
        raise UsageError(f"[options.template]: a template is a text, not {printable(repr(text), 100)}")
    pattern = Pattern(text, "sure")
    known = (*NAME_FIELDS, *FIELDS)
    unknown = [field for field in _FIELD.findall(text) if field not in known]
    if unknown:
        raise _broken(text, f"there is no field {{{unknown[0]}}}", f"known: {', '.join(known)}")
    if re.search(r"[{}]", _FIELD.sub("", text)):
        raise _broken(text, "a brace is left over", "fields are written {arch}")
    _, colon, tag = text.rpartition(":")
    if not colon or "{tag}" not in tag or text.count("{tag}") != 1:
        raise _broken(text, "{tag} has to stand behind the colon, once", "as in {name}:{tag}-{arch}")
    if not set(pattern.words) - {"os", "variant"}:
        raise _broken(text, "it has no word for the architecture", f"take one of {', '.join(FIELDS)}")
    sample = Reference("registry.example", "owner/app", "1.0")
    if not any(True for platform in platforms() for _ in pattern.proposals(sample, platform)):
        raise _broken(text, "what it makes is no image reference", "as in {name}:{tag}-{arch}")
    return pattern


def read(frames: dict[tuple[str, str], tuple[Platform, ...]], tag: str) -> TagReading | None:
    """The reading of a tag by the frames of patterns; of several that fit, the one that leaves least."""
    best: TagReading | None = None
    for (front, back), meant in frames.items():
        version = tag[len(front) : len(tag) - len(back)]
        if version and tag == front + version + back and (best is None or len(version) < len(best.version)):
            best = TagReading(version, meant, "sure" if len(meant) == 1 else "likely")
    return best


def repository_proposals(
    pattern: str, reference: Reference, platform: Platform, certainty: Certainty | None = None
) -> Iterator[TagProposal]:
    """The names of other repositories with the same tag that a pattern without a tag makes."""
    for proposal in Pattern(pattern + ":{tag}").proposals(reference, platform):
        yield replace(proposal, certainty=certainty or proposal.certainty)


def _of(reference: Reference) -> dict[str, str]:
    owner, _, base = reference.repository.rpartition("/")
    return {
        "registry": reference.registry,
        "name": reference.repository,
        "owner": owner,
        "base": base,
        "tag": reference.tag,
    }


def _filled(text: str, values: dict[str, str]) -> str:
    """`text` with its fields filled in; an empty one takes the separator with it that joins it to the rest."""
    if values.get("variant") == "":
        text = _NO_VARIANT.sub("", text)
    if values.get("owner") == "":
        text = text.replace("{owner}/", "")
    return _FIELD.sub(lambda field: values.get(field[1], field[0]), text)


def _broken(text: str, why: str, hint: str) -> UsageError:
    return UsageError(f"[options.template]: the template '{printable(text, 100)}' cannot be used: {why}", hint)
