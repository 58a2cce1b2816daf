"""A package skeleton for a new plugin: it can be installed, works, and passes the conformance kit as it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from string import Template

from polyarch.contract.version import CONTRACT_VERSION
from polyarch.errors import UsageError, printable
from polyarch.files import disk_error
from polyarch.plugin_host.host import PluginHost
from polyarch.plugin_host.kinds import NO_SCHEMES, WORDS
from polyarch_platforms.lazy_dataclass import dataclass

_TEMPLATES = Path(__file__).with_name("skeleton")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_MAX_NAME = 40


@dataclass(frozen=True, slots=True)
class _Part:
    """One kind of plugin: the host's word for it, its module, what its hook needs of the contract, how it is used."""

    kind: str
    module: str
    needs: tuple[str, ...]
    summary: str
    usage: str


_PARTS = {
    "registry": _Part(
        "registries",
        "registry",
        ("Registry", "RegistryPlugin", "RegistryServices"),
        "images out of an image layout in a folder",
        "`polyarch pull $name:FOLDER` pulls the image in the OCI image layout FOLDER.",
    ),
    "storage": _Part(
        "storages",
        "storage",
        ("Storage", "StoragePlugin", "StorageServices"),
        "images in an image layout in a folder",
        "`polyarch pull --into $name:FOLDER alpine` keeps the image in the OCI image layout FOLDER.",
    ),
    "tag-convention": _Part(
        "tag_conventions",
        "convention",
        ("PluginServices", "TagConvention", "TagConventionPlugin"),
        "tags with the architecture behind the version",
        "`polyarch resolve --platform linux/arm64 NAME:1.0` finds `NAME:1.0.for.arm64` where there is no index.",
    ),
    "emulator": _Part(
        "emulators",
        "source",
        ("EmulatorPlugin", "EmulatorServices", "EmulatorSource"),
        "QEMU out of a folder",
        'It looks into the folder that the settings name: `[options.$name]`, `folder = "/opt/$name/bin"`.',
    ),
    "observer": _Part(
        "observers",
        "observer",
        ("Observer", "ObserverPlugin", "PluginServices"),
        "what happens, written into a file",
        'It writes into the file that the settings name: `[options.$name]`, `file = "/var/log/$name.jsonl"`.',
    ),
}
CHOICES = tuple(_PARTS)
"""The kinds that there are skeletons for."""

USUAL = ("registry", "storage")
"""What a skeleton has if nobody says."""


def write_skeleton(
    name: str, directory: Path | None, kinds: Collection[str], host: PluginHost
) -> tuple[Path, tuple[Path, ...]]:
    """Write the package of a plugin `name` into `directory` (`polyarch-NAME`), which is new or empty.

    The folder, and the files in it, relative to that. Raises UsageError, also for a name that a plugin here has, and
    StorageError.
    """
    chosen = [kind for kind in CHOICES if kind in (kinds or USUAL)]
    _check_name(name, chosen, host)
    project = f"polyarch-{name}"
    place = (directory or Path(project)).expanduser().absolute()
    try:
        if place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise UsageError(f"{place} is there already", "name a folder that is new or empty")
        written = []
        for path, text in _files(name, project, chosen):
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise disk_error(error, f"cannot write {place}") from error
    return place, tuple(written)


def _check_name(name: str, kinds: Collection[str], host: PluginHost) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        shown = printable(repr(name), 100)
        raise UsageError(
            f"{shown} is no name for a plugin", f"small letters, digits and single '-', at most {_MAX_NAME} characters"
        )
    if "registry" in kinds and name in NO_SCHEMES:
        raise UsageError(f"{name} is no scheme that a plugin may claim", "choose another name")
    wanted = {_PARTS[kind].kind for kind in kinds}
    for each in host.registrations:
        if each.kind in wanted and each.plugin.name == name:
            raise UsageError(f"there is a {WORDS[each.kind]} {name} already, of {each.point}", "choose another name")
    if "registry" in kinds and name in host.schemes():
        raise UsageError(f"references that begin with {name}: are another plugin's already", "choose another name")


def _files(name: str, project: str, kinds: Collection[str]) -> Iterator[tuple[Path, str]]:
    parts = {kind: _PARTS[kind] for kind in kinds}
    package = project.replace("-", "_")
    words = {
        "name": name,
        "project": project,
        "package": package,
        "class_name": "".join(word.capitalize() for word in name.split("-")),
        "contract": CONTRACT_VERSION,
        "summary": "; ".join(part.summary for part in parts.values()),
    }
    words["usage"] = "\n".join(Template(part.usage).substitute(words) for part in parts.values())
    needs = [*sorted({need for part in parts.values() for need in part.needs}), "hookimpl"]
    words["contract_names"] = _import_list(needs)
    words["hooks"] = "".join(_filled(f"{kind}.hook", words) for kind in kinds).rstrip("\n")
    source = Path("src", package)
    yield Path("pyproject.toml"), _filled("pyproject.toml", words)
    yield Path("README.md"), _filled("README.md", words)
    yield source / "__init__.py", _filled("package.py", words)
    yield source / "plugin.py", _filled("plugin.py", words)
    for kind, part in parts.items():
        yield source / f"{part.module}.py", _filled(f"{kind}.py", words)
        yield Path("tests", f"test_{package}_{part.module}.py"), _filled(f"{kind}.test", words)


def _import_list(names: Collection[str]) -> str:
    """The names behind `import`, on lines of their own where one is too short for them."""
    line = ", ".join(names)
    return line if len(line) < 88 else "(\n" + "".join(f"    {name},\n" for name in names) + ")"


def _filled(template: str, words: dict[str, str]) -> str:
    return Template((_TEMPLATES / f"{template}.in").read_text(encoding="utf-8")).substitute(words)
