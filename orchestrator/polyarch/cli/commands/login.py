"""`polyarch login` and `polyarch logout`."""

from __future__ import annotations

import sys

import click

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.errors import UsageError

_DEFAULT = "docker.io"
_LONGEST_PASSWORD = 64 * 1024


@click.command(
    "login",
    cls=Command,
    help="Try credentials at a registry (docker.io if none is named) and keep them where docker or podman do.\n"
    "The password is asked for, or read from stdin; it is never a word of the command.",
    examples=("polyarch login ghcr.io", "polyarch login -u me --password-stdin ghcr.io < token"),
    exits=(0, 2, 5, 6, 8),
)
@click.argument("registry", metavar="[REGISTRY]", default=_DEFAULT)
@click.option("-u", "--username", metavar="NAME", help="asked for if not given")
@click.option("--password-stdin", is_flag=True, help="read the password from stdin")
@pass_invocation
def command(invocation: Invocation, registry: str, username: str | None, password_stdin: bool) -> None:
    """Ask for what is missing, and log in."""
    if password_stdin:
        if not username:
            raise UsageError("--password-stdin needs a username", "add --username NAME")
        password = sys.stdin.read(_LONGEST_PASSWORD).rstrip("\r\n")
        if not password:
            raise UsageError("stdin holds no password", "write: polyarch login -u NAME --password-stdin < FILE")
    elif not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the password on", "give it with --password-stdin")
    else:
        username = username or click.prompt("Username", err=True)
        password = click.prompt("Password", hide_input=True, err=True)
    with invocation.session() as session:
        where = session.login(registry, str(username), password)
    invocation.show(
        json=[{"registry": registry, "username": username, "stored": where}],
        quiet=[registry],
        lines=["Login Succeeded", f"The credentials are kept in {where}"],
    )


@click.command(
    "logout",
    cls=Command,
    help="Forget the credentials of a registry (docker.io if none is named).",
    examples=("polyarch logout", "polyarch logout ghcr.io"),
    exits=(0, 2, 8),
)
@click.argument("registry", metavar="[REGISTRY]", default=_DEFAULT)
@pass_invocation
def logout(invocation: Invocation, registry: str) -> None:
    """Forget, and say whether there was something to forget."""
    with invocation.session() as session:
        removed = session.logout(registry)
    invocation.show(
        json=[{"registry": registry, "removed": removed}],
        quiet=[registry] if removed else [],
        lines=[f"Removing login credentials for {registry}" if removed else f"Not logged in to {registry}"],
    )
