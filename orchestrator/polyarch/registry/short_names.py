"""What a name without a registry stands for: podman's aliases, then its search registries, else docker's rule."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polyarch.contract.registry import Registry
from polyarch.errors import NotFoundError, PolyarchError, UnauthorizedError, UnreachableError, UsageError, printable
from polyarch.events import Emit, Warned
from polyarch.reference import Reference, names_registry, parse_reference
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.registry.registries_conf import RegistriesConf


@dataclass(frozen=True, slots=True)
class Names:
    """The references that a text may mean, in the order in which they are asked for; at least one.

    `how` says what decided: an alias or the search registries of `file`; None where it was neither.
    """

    references: tuple[Reference, ...]
    how: Literal["alias", "search"] | None = None
    file: Path | None = None


def names_of(text: str, said: Callable[[], RegistriesConf | None], schemes: Collection[str] = ()) -> Names:
    """What `text` means; what podman's files have `said` is asked for where it counts.

    Raises UsageError: no reference, or several registries where podman would have to ask its user.

    Source: containers-registries.conf(5), "Short-Name Aliasing"; the mode `permissive` is what podman does without a
    terminal.
    """
    docker = parse_reference(text, schemes)
    if docker.scheme or names_registry(text):
        return Names((docker,))
    conf = said()
    if conf is None:
        return Names((docker,))
    short = text.partition("@")[0].partition(":")[0]
    alias = conf.aliases.get(short)
    if alias is not None and alias.name:
        return Names((parse_reference(alias.name + text[len(short) :]),), "alias", alias.file)
    registries, file = conf.search or ((), None)
    if not registries:
        return Names((docker,))
    found = tuple(dict.fromkeys(parse_reference(f"{registry}/{text}") for registry in registries))
    if len(found) > 1 and conf.mode == "enforcing":
        raise UsageError(
            f"'{printable(text, 200)}' may be {' or '.join(map(str, found))}, and {file} wants it said",
            "write the full name (short-name-mode = enforcing)",
        )
    return Names(found, "search", file)


def found(text: str, names: Names, registry_of: Callable[[Reference], Registry], emit: Emit) -> Reference:
    """The first of several names that its registry has.

    Raises NotFoundError where none has it; where one could not tell, UnauthorizedError or UnreachableError.
    """
    failures: list[PolyarchError] = []
    for reference in names.references:
        try:
            registry = registry_of(reference)
            if registry.head(reference) is None:
                registry.get(reference)
        except (NotFoundError, UnauthorizedError, UnreachableError) as error:
            failures.append(error)
            if not isinstance(error, NotFoundError) and reference != names.references[-1]:
                emit(Warned(f"{error.message}; asking the next search registry"))
            continue
        return reference
    worst = next((error for error in failures if not isinstance(error, NotFoundError)), failures[-1])
    tried = ", ".join(reference.registry for reference in names.references)
    because = "" if isinstance(worst, NotFoundError) else f": {worst.message}"
    raise type(worst)(
        f"{printable(text, 200)} is in none of the search registries ({tried}){because}",
        worst.hint if because else f"write the full name, or see which registries {names.file} lists",
        reference=text,
        tried=[str(reference) for reference in names.references],
    )


def at_hand(names: Names, text: str, schemes: Collection[str] = ()) -> tuple[Reference, ...]:
    """The names under which an image at hand may be meant: those of `names`, then what docker calls it."""
    return tuple(dict.fromkeys((*names.references, parse_reference(text, schemes))))
