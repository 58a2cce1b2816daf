"""`polyarch build`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import builders
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, compression_option, pass_invocation, platform_option
from polyarch.cli.output import short_id
from polyarch.errors import UsageError

if TYPE_CHECKING:
    from polyarch.unpack.recompress import Compression
    from polyarch.verbs.building.result import BuiltVariant


@click.command(
    "build",
    cls=Command,
    help="Make an image from a Dockerfile, for several platforms in one go; steps for foreign ones run in a private "
    "emulation. No root is needed.\n"
    "The base images are pulled first, each for its platform; nothing else is taken. What the builder says goes to "
    "standard error; a step that fails is told in its words, with exit code 2.",
    examples=(
        "polyarch build -t app:1.0 .",
        "polyarch build -t app:1.0 --platform linux/amd64,linux/arm64 .",
        "polyarch build -t ghcr.io/owner/app --push --secret id=token,src=t.txt .",
    ),
    exits=(0, 2, 3, 4, 5, 6, 7, 8, 9, 130),
)
@click.argument("context", metavar="CONTEXT", type=click.Path(path_type=Path))
@click.option("-t", "--tag", "tags", metavar="NAME", multiple=True, help="a name of the image; several may be given")
@click.option(
    "-f", "--file", metavar="FILE", type=click.Path(path_type=Path), help="the Dockerfile  [CONTEXT/Dockerfile]"
)
@platform_option("platforms to build for; else this machine's", plural=True)
@click.option("--build-arg", "arguments", metavar="NAME[=VALUE]", multiple=True, help="a value for an ARG")
@click.option("--target", metavar="STAGE", default="", help="stop at that stage")
@click.option("--secret", "secrets", metavar="id=ID,src=FILE", multiple=True, help="for RUN --mount=type=secret")
@click.option("--cache/--no-cache", default=True, help="whether steps made before are taken again")
@click.option("--pull", is_flag=True, help="ask for newer base images")
@click.option("--push", is_flag=True, help="upload it under each of its names")
@compression_option("how new layers are compressed  [gzip]")
@click.option("--builder", metavar="NAME", default="", shell_complete=builders, help="see: polyarch plugin ls")
@pass_invocation
def command(
    invocation: Invocation,
    context: Path,
    tags: Sequence[str],
    file: Path | None,
    platform: str | None,
    arguments: Sequence[str],
    target: str,
    secrets: Sequence[str],
    cache: bool,
    pull: bool,
    push: bool,
    compression: Compression | None,
    builder: str,
) -> int:
    """Build, push if asked to, and tell what there is now."""
    from polyarch.verbs.building.build import BuildRequest

    with invocation.session(lines_to_stderr=True) as session:
        request = BuildRequest(
            context,
            tags,
            file,
            platform.split(",") if platform else (),
            _arguments(arguments, session.settings.environ),
            target,
            dict(map(_secret, secrets)),
            cache,
            builder,
            pull,
            compression,
        )
        built = session.builds.build(request)
        for name in built[0].names if push else ():
            session.moving.push(str(name))
        invocation.show(
            json=(each.to_json() for each in built),
            quiet=[built[0].root.digest],
            lines=_lines(built),
        )
    return 0


def _lines(built: Sequence[BuiltVariant]) -> Iterator[str]:
    for each in built:
        yield f"{each.platform}: {short_id(each.manifest.config.digest)}"
    yield f"Digest: {built[0].root.digest}"
    yield from (str(name) for name in built[0].names)


def _arguments(words: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`NAME=VALUE`; `NAME` alone has its value from the environment, and is left out where it has none there."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"--build-arg {word!r} has no name", "write --build-arg NAME=VALUE")
        if equals or name in environ:
            found[name] = value if equals else environ[name]
    return found


def _secret(words: str) -> tuple[str, Path]:
    """`id=ID,src=FILE`, as docker has it; `source` is `src`, and the file is called as the ID where it is left out."""
    found = {key: value for key, _, value in (word.partition("=") for word in words.split(","))}
    name, file = found.pop("id", ""), found.pop("src", found.pop("source", ""))
    kind = found.pop("type", "file")
    if not name or found or kind != "file":
        raise UsageError(f"--secret {words!r} cannot be read", "write --secret id=ID,src=FILE")
    path = Path(file or name)
    if not path.is_file():
        raise UsageError(f"the secret {name!r} has no file {path}")
    return name, path
