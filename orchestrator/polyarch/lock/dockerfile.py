"""The images of a Dockerfile: those of FROM, and of `COPY --from` where that is no stage.

Sources: Dockerfile reference, "FROM", "ARG", "Understand how ARG and FROM interact", "Here-Documents", "escape";
moby/buildkit, frontend/dockerfile/parser/parser.go (continued lines) and dockerfile2llb/convert.go (stages, `scratch`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from polyarch.lock.interpolation import Unreadable, expand
from polyarch.lock.named import Fault, NamedImage, named_image
from polyarch_platforms.lazy_dataclass import dataclass

_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z]+)[ \t]*=[ \t]*(\S.*)")
_HERE_DOCUMENT = re.compile(r"(?:^|(?<=\s))\d*<<(-?)([\"']?)([A-Za-z0-9_.-]+)\2")
_WORD = re.compile(r"(?:\"[^\"]*\"|'[^']*'|\S)+")
_FIRST = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*(?:from|arg)[ \t]+[^\s:]", re.IGNORECASE)
_BUILDERS = frozenset(
    f"{whose}{what}" for whose in ("TARGET", "BUILD") for what in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
)
_ANY = "*"
_NONE: Mapping[str, str] = {}
_MAX_ARGUMENTS = 1 << 22  # characters of all values, variables in them filled in


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Instruction:
    name: str
    words: tuple[_Word, ...]
    line: int


def is_dockerfile(text: str) -> bool:
    """True if the first instruction is FROM or ARG."""
    return _FIRST.match(text) is not None


def dockerfile_images(text: str, given: Mapping[str, str] = _NONE) -> Iterator[NamedImage]:
    """The images, each with the platform that `--platform` asks for; `scratch` and stages are none. Raises Fault.

    `given` are the arguments of a build, those of its platforms (TARGETPLATFORM …) among them.
    """
    variables: dict[str, str | None] = {}
    stages: set[str] = set()
    built = filled_size = 0
    for instruction in _instructions(text):
        if instruction.name == "ARG" and not built:
            for word in instruction.words:
                name, equals, value = word.text.partition("=")
                filled = _filled_in(_unquoted(value), variables, instruction.line) if equals else None
                filled_size += len(filled or "")
                if filled_size > _MAX_ARGUMENTS:
                    raise Fault(instruction.line, f"the arguments have more than {_MAX_ARGUMENTS} characters")
                variables.setdefault(name, None)
                variables[name] = given.get(name, filled if equals else variables[name])
        elif instruction.name == "FROM":
            built += 1
            found, alias = _from(instruction, variables, stages, given)
            if found:
                yield found
            if alias:
                stages.add(alias.lower())
        elif instruction.name == "COPY":
            source = _copied_from(instruction)
            if source and source.text.lower() not in stages and not source.text.isdigit():
                if "$" in source.text:
                    hint = "name a stage for it: FROM ... AS NAME"
                    raise Fault(instruction.line, "COPY --from takes no variables", hint)
                yield named_image(source.text, "", instruction.line, source.start, source.end)


def _from(
    instruction: _Instruction, variables: dict[str, str | None], stages: set[str], given: Mapping[str, str]
) -> tuple[NamedImage | None, str]:
    """The image of a FROM, None for a stage or nothing, and the name of the new stage."""
    platform, words = "", list(instruction.words)
    while words and words[0].text.startswith("--"):
        flag, _, value = words.pop(0).text.partition("=")
        if flag == "--platform":
            platform = _filled_in(_unquoted(value), variables, instruction.line, given)
    if not words or (len(words) > 1 and (len(words) != 3 or words[1].text.lower() != "as")):
        raise Fault(instruction.line, "FROM takes an image, and perhaps AS NAME behind it")
    image = words[0]
    alias = words[2].text if len(words) == 3 else ""
    name = _filled_in(_unquoted(image.text), variables, instruction.line, given)
    if _ANY in name:
        if any(fnmatchcase(stage, name.lower()) for stage in stages):
            return None, alias
        hint = "name what is built upon by stages, one for each platform: FROM ... AS base-amd64"
        raise Fault(instruction.line, f"which image {image.text} is depends on the platform that is built for", hint)
    if name == "scratch" or name.lower() in stages:
        return None, alias
    quote = image.text[0] if image.text[0] in "\"'" else ""
    wanted = "" if _ANY in platform else platform
    return named_image(name, wanted, instruction.line, image.start, image.end, quote), alias


def _copied_from(instruction: _Instruction) -> _Word | None:
    for word in instruction.words:
        if not word.text.startswith("--"):
            return None
        if word.text.startswith("--from="):
            skip = len("--from=")
            return _Word(word.text[skip:], word.start + skip, word.end)
    return None


def _filled_in(text: str, variables: dict[str, str | None], line: int, given: Mapping[str, str] = _NONE) -> str:
    """Variables filled in; what the builder sets for each platform becomes `*`, where it is not `given`."""

    def lookup(name: str) -> str | None:
        if name in _BUILDERS and variables.get(name) is None:
            return given.get(name, _ANY)
        return variables.get(name)

    try:
        return expand(text, lookup, "\\")
    except Unreadable as error:
        raise Fault(line, str(error), "give it a default, before the first FROM: ARG NAME=VALUE") from error


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] in "\"'" and text[-1] == text[0] else text


def _instructions(text: str) -> Iterator[_Instruction]:
    lines = _lines(text)
    escape = _escape(text, lines)
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    at = 0
    while at < len(lines):
        number, more = at + 1, True
        parts: list[tuple[int, int]] = []
        while more and at < len(lines):
            start, end = lines[at]
            line = text[start:end]
            at += 1
            if not line.strip() or line.lstrip().startswith("#"):
                more = bool(parts)  # within an instruction it is passed over
                continue
            match = continued.search(line)
            more = match is not None
            parts.append((start, start + match.start() if match else end))
        words = [word for part in parts for word in _words(text, *part)]
        if not words:
            continue
        name = words[0].text.upper()
        if name in ("RUN", "COPY", "ADD"):
            at = _behind_here_documents(text, lines, at, " ".join(text[start:end] for start, end in parts))
        yield _Instruction(name, tuple(words[1:]), number)


def _lines(text: str) -> list[tuple[int, int]]:
    """Start and end of each line, without what ends it."""
    found, start = [], 0
    for line in text.split("\n"):
        found.append((start, start + len(line.removesuffix("\r"))))
        start += len(line) + 1
    return found


def _words(text: str, start: int, end: int) -> Iterator[_Word]:
    for match in _WORD.finditer(text, start, end):
        yield _Word(match[0], match.start(), match.end())


def _escape(text: str, lines: Sequence[tuple[int, int]]) -> str:
    """The character that continues a line: a directive at the very top may name the backtick."""
    for start, end in lines:
        match = _DIRECTIVE.match(text, start, end)
        if match is None:
            break
        if match[1].lower() == "escape" and (character := match[2].rstrip(" \t")) in ("`", "\\"):
            return character
    return "\\"


def _behind_here_documents(text: str, lines: Sequence[tuple[int, int]], at: int, instruction: str) -> int:
    """The line behind the here-documents that an instruction opens."""
    for tabs, _, name in _HERE_DOCUMENT.findall(instruction):
        while at < len(lines):
            start, end = lines[at]
            at += 1
            line = text[start:end]
            if (line.lstrip("\t") if tabs else line) == name:
                break
    return at
