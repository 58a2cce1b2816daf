"""Help: what it says, what it costs, and that its examples can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from polyarch.cli.app import polyarch as group
from polyarch.cli.catalogue import EXIT_CODES, INSTEAD, SHARED_OPTIONS, commands
from polyarch.cli.help_page import help_page
from polyarch.cli.options import Command, Group
from support.command import Polyarch

# What the page of the main job promises: command -> its own options.
PROMISED = {
    "pull": "--into --platform --all-platforms --device --emulation --max-connections --dry-run --allow-mislabelled "
    "--locked",
    "resolve": "--platform --device --emulation",
    "run": "-d -i -t --rm --name -e --env-file -v -w -u --entrypoint --hostname --read-only --network --platform "
    "--pull --emulation --allow-mislabelled",
    "ps": "-a",
    "exec": "-i -t -e --env-file -w -u",
    "logs": "-f --tail",
    "stop": "-t",
    "rm": "-f",
    "diff": "",
    "cp": "-a -L",
    "commit": "-c -a -m --pause",
    "container create": "-i -t --rm --name -e --env-file -v -w -u --entrypoint --hostname --read-only --network "
    "--platform --pull --emulation --allow-mislabelled",
    "container start": "-a",
    "container run": "-d -i -t --rm --name -e --env-file -v -w -u --entrypoint --hostname --read-only --network "
    "--platform --pull --emulation --allow-mislabelled",
    "container ps": "-a",
    "container ls": "-a",
    "container exec": "-i -t -e --env-file -w -u",
    "container cp": "-a -L",
    "container logs": "-f --tail",
    "container diff": "",
    "container commit": "-c -a -m --pause",
    "container stop": "-t",
    "container rm": "-f",
    "build": "-f -t --platform --build-arg --target --push --secret --cache",
    "image ls": "-f --platform --storage --tree",
    "image inspect": "--raw --platform",
    "image history": "--no-trunc --platform",
    "image files": "--layer --tree --platform",
    "image diff": "--platform",
    "image unpack": "--platform",
    "image rm": "--platform -f",
    "image prune": "-a --older-than --keep -n -f",
    "image save": "-o --type --platform --all-platforms",
    "image load": "-i",
    "image tag": "",
    "images": "-f --platform --storage --tree",
    "verify": "",
    "search": "--filter --limit --no-trunc",
    "tags": "",
    "device": "--print-probe --facts",
    "device ls": "",
    "emulator status": "",
    "emulator install": "--script --persistent --fix-binary --credential --preserve-argv0 --qemu-path --qemu-suffix "
    "--force",
    "emulator remove": "",
    "emulator test": "",
    "emulate": "--platform",
    "push": "--platform --max-connections",
    "copy": "--platform --max-connections",
    "index create": "--dry-run --allow-mislabelled",
    "index append": "--dry-run --allow-mislabelled",
    "index remove": "--dry-run",
    "index inspect": "",
    "login": "--username --password-stdin",
    "logout": "",
    "serve": "--listen",
    "lock": "--file --platform --from --check --update --apply --output",
    "fleet plan": "--inventory --limit --compose --locked --into --emulation --forks --timeout --max-age",
    "fleet pull": "--inventory --limit --compose --locked --into --emulation --forks --timeout --batch --retries "
    "--max-fail --check --pause --wait-offline --transport --limit-rate --plan --resume --report",
    "fleet status": "--inventory --limit --compose --locked --into --emulation --forks --timeout --max-age",
    "fleet report": "--report",
    "plugin check": "",
    "plugin ls": "",
    "plugin new": "--kind",
    "plugin show": "",
    "doctor": "",
    "completion": "",
}


def _all_contexts() -> Iterator[tuple[str, click.Context]]:
    """Every command with a context to ask it in."""

    def below(command: click.Command, parent: click.Context, path: str) -> Iterator[tuple[str, click.Context]]:
        context = click.Context(command, parent, path.rpartition(" ")[2])
        yield path, context
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                yield from below(child, context, f"{path} {name}")

    root = click.Context(group, None, "polyarch")
    for name in commands():
        command = group.get_command(root, name)
        assert command is not None
        yield from below(command, root, name)


CONTEXTS = dict(_all_contexts())


def test_every_promised_command_is_there_and_no_other() -> None:
    groups = {path for path, context in CONTEXTS.items() if isinstance(context.command, Group)}
    assert set(CONTEXTS) - (groups - {"device"}) == set(PROMISED)


@pytest.mark.parametrize("word", INSTEAD)
def test_what_stands_in_for_a_command_of_dockers_is_there(word: str, polyarch: Polyarch) -> None:
    assert word not in CONTEXTS
    for instead in INSTEAD[word].split(", "):
        polyarch(*instead.split(), "--help").ok()
    answer = polyarch(*word.split())
    assert answer.code == 2
    assert f"has no command '{word.split()[-1]}' (instead: " in answer.stderr
    assert INSTEAD[word].split(", ")[-1] + ")" in answer.stderr


@pytest.mark.parametrize("path", PROMISED)
def test_every_promised_option_is_there(path: str) -> None:
    flags = {flag for param in CONTEXTS[path].command.params for flag in param.opts}
    assert set(PROMISED[path].split()) <= flags


@pytest.mark.parametrize("path", CONTEXTS)
def test_help_has_all_its_parts(path: str) -> None:
    context = CONTEXTS[path]
    text = context.get_help()
    assert text.startswith(f"Usage: polyarch {path} ")
    assert text.count("\n  polyarch ") >= 2  # examples
    assert "--format table|json" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    command = context.command
    assert isinstance(command, Command)
    if not isinstance(command, Group):
        assert "Exit codes:" in text
        assert command.exits == tuple(sorted(command.exits))
        assert set(command.exits) <= set(EXIT_CODES)


def _examples() -> Iterator[tuple[str, str]]:
    for path, context in CONTEXTS.items():
        command = context.command
        assert isinstance(command, Command)
        for example in command.examples:
            # What a shell would do with it is not polyarch's: only the words up to the first such sign.
            yield path, re.split(r"\s[|<>]\s", example)[0]


@pytest.mark.parametrize(("path", "example"), list(_examples()))
def test_examples_can_be_typed(path: str, example: str) -> None:
    words = shlex.split(example)
    assert words.pop(0) == "polyarch"
    context = click.Context(group, None, "polyarch")
    command: click.Command = group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{path}: {example}"
        command, context = found, click.Context(found, context, name)
    assert command.make_context(command.name, words, context.parent) is not None


def test_the_page_is_the_same_with_and_without_click(polyarch: Polyarch) -> None:
    plain = polyarch("--help").ok().stdout
    assert plain == help_page()
    assert polyarch("-h").ok().stdout == plain
    assert polyarch().ok().stdout == plain
    assert polyarch("--progress", "none", "--help").ok().stdout == plain
    for name, summary in commands().items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", plain, re.MULTILINE)
    assert max(len(line) for line in plain.splitlines()) <= 80


@pytest.mark.parametrize("flag", [flag for _, flags, _, _ in SHARED_OPTIONS for flag in flags])
def test_the_page_names_every_shared_option(flag: str) -> None:
    assert flag.replace("/", " / ") in help_page()


def test_the_page_loads_next_to_nothing() -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "sys.argv = ['polyarch', '--help']\n"
        "from polyarch.cli import main\n"
        "main()\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert {name for name in loaded if name.startswith("polyarch")} == {
        "polyarch",
        "polyarch.cli",
        "polyarch.cli.catalogue",
        "polyarch.cli.help_page",
        "polyarch.version",
    }
    assert not loaded & {"click", "dataclasses", "inspect", "json", "httpx", "plumbum", "rich", "pluggy"}


def test_help_of_a_command_loads_no_session() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['polyarch', 'pull', '--help']\n"
        "from polyarch.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert "click" in loaded
    assert not loaded & {"polyarch.session", "polyarch.settings", "httpx", "plumbum", "rich", "pluggy", "asyncio"}


def test_version(polyarch: Polyarch) -> None:
    from polyarch import __version__

    assert polyarch("--version").ok().stdout == f"polyarch {__version__}\n"
