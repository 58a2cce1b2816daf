"""The words that `run` and `container create` share: what to make a container of, and how."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from polyarch.cli.completers import capabilities, security_options, stored_images
from polyarch.cli.options import FilePath, emulation_option, platform_option
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyarch.container.request import RunRequest
    from polyarch.selection.types import EmulationPolicy

_PATH = FilePath()
_PULL = ["missing", "always", "never"]


@dataclass(frozen=True, slots=True)
class ContainerWords:
    """What was written: `reference` and the four below it choose the image, the rest is RunRequest's."""

    reference: str
    platform: str | None
    emulation: EmulationPolicy | None
    pull: str
    allow_mislabelled: bool
    arguments: tuple[str, ...]
    interactive: bool
    tty: bool
    rm: bool
    name: str
    env: tuple[str, ...]
    env_files: tuple[Path, ...]
    volumes: tuple[str, ...]
    workdir: str
    user: str
    entrypoint: str | None
    hostname: str
    read_only: bool
    network: Literal["host", "none"]
    memory: str
    memory_swap: str
    cpus: str
    pids_limit: str
    cap_add: tuple[str, ...]
    cap_drop: tuple[str, ...]
    security_opts: tuple[str, ...]

    def request(self, environ: Mapping[str, str], *, detach: bool = False) -> RunRequest:
        """The words as a container takes them. Raises UsageError."""
        from polyarch.container.request import RunRequest

        return RunRequest(
            argv=self.arguments,
            env=self.env,
            env_files=self.env_files,
            environ=environ,
            volumes=self.volumes,
            workdir=self.workdir,
            user=self.user,
            entrypoint=self.entrypoint,
            hostname=self.hostname,
            read_only=self.read_only,
            network=self.network,
            memory=self.memory,
            memory_swap=self.memory_swap,
            cpus=self.cpus,
            pids_limit=self.pids_limit,
            cap_add=self.cap_add,
            cap_drop=self.cap_drop,
            security_opts=self.security_opts,
            tty=self.tty,
            interactive=self.interactive,
            detach=detach,
            rm=self.rm,
            name=self.name,
        )


_NAMES: tuple[str, ...] = ContainerWords.__match_args__


def container_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options of a command that makes a container; it gets them as `words`."""

    @functools.wraps(function)
    def with_words(*args: Any, **kwargs: Any) -> Any:
        return function(*args, words=ContainerWords(**{name: kwargs.pop(name) for name in _NAMES}), **kwargs)

    for option in reversed(_OPTIONS):
        with_words = option(with_words)
    return with_words


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.argument("reference", metavar="REF", shell_complete=stored_images),
    click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED),
    click.option("-i", "--interactive", is_flag=True, help="pass stdin on"),
    click.option("-t", "--tty", is_flag=True, help="give the program a terminal"),
    click.option("--rm", is_flag=True, help="remove the container when it ends"),
    click.option("--name", metavar="NAME", default="", help="what to call the container"),
    click.option("-e", "--env", metavar="NAME[=VALUE]", multiple=True, help="set a variable, or pass it on"),
    click.option("--env-file", "env_files", metavar="FILE", multiple=True, type=_PATH, help="variables, one a line"),
    click.option("-v", "--volume", "volumes", metavar="SOURCE:TARGET[:ro]", multiple=True, help="a file or folder"),
    click.option("-w", "--workdir", metavar="DIR", default="", help="start in this folder"),
    click.option("-u", "--user", metavar="USER[:GROUP]", default="", help="run as, by name or number"),
    click.option("--entrypoint", metavar="PROGRAM", help="in place of the image's; '' for none"),
    click.option("--hostname", metavar="NAME", default="", help="the machine's name inside"),
    click.option("--read-only", is_flag=True, help="write nothing to the root file system"),
    click.option(
        "--network",
        metavar="host|none",
        type=click.Choice(["host", "none"]),
        default="host",
        help="else: host, ports and all",
    ),
    click.option("-m", "--memory", metavar="SIZE", default="", help="no more memory than this: 512m, 2g"),
    click.option("--memory-swap", metavar="SIZE|-1", default="", help="memory and swap; else: twice --memory"),
    click.option("--cpus", metavar="NUMBER", default="", help="no more processor time than of so many: 1.5"),
    click.option("--pids-limit", metavar="NUMBER", default="", help="no more processes and threads than this"),
    click.option(
        "--cap-add", metavar="CAP", multiple=True, shell_complete=capabilities, help="one more capability, or ALL"
    ),
    click.option("--cap-drop", metavar="CAP", multiple=True, shell_complete=capabilities, help="one less, or ALL"),
    click.option(
        "--security-opt",
        "security_opts",
        metavar="OPTION",
        multiple=True,
        shell_complete=security_options,
        help="seccomp=FILE, no-new-privileges=false, …",
    ),
    platform_option("the platform asked for by name"),
    emulation_option,
    click.option(
        "--pull", metavar="missing|always|never", type=click.Choice(_PULL), default="missing", help="else: missing"
    ),
    click.option("--allow-mislabelled", is_flag=True, help="take an image as what its programs are"),
)
