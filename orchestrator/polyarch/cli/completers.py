"""What the shell may offer behind a command. Whatever goes wrong here, a person who presses Tab sees nothing of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.invocation import Invocation

if TYPE_CHECKING:
    from polyarch.session import Session


def stored_images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the images at hand."""
    return _asked(ctx, incomplete, lambda session: (image.reference.familiar for image in session.images()))


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the containers."""
    return _asked(ctx, incomplete, lambda session: (record.name for record in session.containers.all()))


def storages(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the storages."""
    return _asked(
        ctx,
        incomplete,
        lambda session: (each.plugin.name for each in session.plugins.registrations if each.kind == "storages"),
    )


def builders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the builders."""
    return _asked(
        ctx,
        incomplete,
        lambda session: (each.plugin.name for each in session.plugins.registrations if each.kind == "builders"),
    )


def plugins(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The plugins, and what they register, by name."""

    def names(session: Session) -> Iterator[str]:
        for each in session.plugins.registrations:
            yield from (each.entry_point, each.plugin.name)
        for problem in session.plugins.problems:
            yield problem.entry_point

    return _asked(ctx, incomplete, names)


def capabilities(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The kernel's capabilities, without `CAP_`, and `ALL`."""
    from polyarch.container.security import KNOWN_CAPABILITIES

    names = ("ALL", *(name.removeprefix("CAP_") for name in KNOWN_CAPABILITIES))
    return [name for name in names if name.startswith(incomplete.upper())]


def security_options(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The beginnings of what `--security-opt` knows."""
    words = ("no-new-privileges=false", "no-new-privileges=true", "seccomp=", "seccomp=unconfined")
    return [word for word in words if word.startswith(incomplete)]


def _asked(ctx: click.Context, incomplete: str, names: Callable[[Session], Iterable[str]]) -> list[str]:
    """What a session has that starts like this; nothing is told of broken plugins and the like."""
    found: set[str] = set()
    with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
        invocation = ctx.find_object(Invocation) or Invocation()
        with invocation.session() as session:
            found.update(names(session))
    return sorted(name for name in found if name.startswith(incomplete))


def devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The devices known by name, and files."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        from polyarch_platforms.named import names

        found += [name for name in names() if name.startswith(incomplete)]
        folder, _, start = incomplete.rpartition("/")
        where = Path(folder or (incomplete[:1] == "/" and "/") or ".")
        found += [
            f"{folder}/{path.name}" if "/" in incomplete else path.name
            for path in where.iterdir()
            if path.name.startswith(start) and incomplete
        ]
    return found


def platforms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The platforms that polyarch knows, behind what stands before the last comma."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        from polyarch_platforms import architecture
        from polyarch_platforms.platform import Platform

        before, comma, start = incomplete.rpartition(",")
        for known in architecture.load().values():
            variants = dict.fromkeys((known.default_variant, *known.variants))
            for variant in variants:
                name = str(Platform("linux", known.name, variant))
                if name.startswith(start):
                    found.append(f"{before}{comma}{name}")
    return found


def architectures(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The architectures that polyarch knows."""
    with contextlib.suppress(Exception):
        from polyarch_platforms import architecture

        return [name for name in architecture.load() if name.startswith(incomplete)]
    return []
