"""What polyarch's commands make of the image of a case: everything that is wrong with how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from polyarch.unpack.tree import remove_tree
from support.command import NO_FILES_OF_THE_MACHINE
from support.ended_commands import SECONDS, wrong_end
from support.forked_commands import ForkedCommands, Ran
from support.hostile_layers.case import Case, foreign_attributes
from support.hostile_layers.image import NAME, write_layout
from support.layers import listing

FORMS = ("erofs", "unpack")


class Trial:
    """The commands over one case. `home` is an empty folder; `worst` gathers what was largest: bytes, seconds."""

    def __init__(self, case: Case, commands: ForkedCommands, home: Path) -> None:
        self._case = case
        self._commands = commands
        self._home = home
        self._faults: list[str] = []
        self._layers = 0
        self.memory = 0
        self.seconds = 0.0
        self.cpu = 0.0

    def faults(self) -> list[str]:
        """All that is wrong; [] for a case that ends as it should."""
        case, home = self._case, self._home
        self._layers = write_layout(case, home / "root" / "oci")
        for form in FORMS:
            wanted = "auto" if form == "erofs" else form
            (home / f"{form}.toml").write_text(f'{case.settings}layers = "{wanted}"\nsync = "none"\n')
        self._pull()
        expected = 0 if case.opens else 7
        self._run("image unpack", expected, "image", "unpack", NAME, str(home / "tree"))
        self._look("image unpack", home / "tree")
        for form in FORMS:
            words = ("container", "create", "--pull", "never", "--name", form, NAME, "/none")
            self._run(f"create ({form})", expected, *words, form=form)
            if case.opens and not case.heavy:
                self._run(f"cp ({form})", 0, "cp", "-a", f"{form}:/.", str(home / form), form=form)
                self._look(f"cp ({form})", home / form)
        self._run("run", 127 if case.opens else 125, "run", "--rm", "--pull", "never", NAME, "/none")
        self._files()
        self._run("verify", expected, "verify", NAME)
        self._faults += self._left()
        return self._faults

    def _run(self, what: str, code: int, *words: str, form: str = "unpack", root: str = "root") -> Ran:
        environ = {
            **NO_FILES_OF_THE_MACHINE,
            "POLYARCH_ROOT": str(self._home / root),
            "POLYARCH_CONFIG": str(self._home / f"{form}.toml"),
        }
        ran = self._commands.run(self._home, words, environ, seconds=20 * SECONDS)  # by the clock
        self.memory = max(self.memory, ran.memory)
        self.seconds = max(self.seconds, ran.seconds)
        self.cpu += ran.cpu
        says = self._case.says if code in (7, 125) else ""
        found = wrong_end(ran, code, says, ran.cpu)  # others may be at work here: their time is not counted
        if found:
            self._faults += [f"{what}: {each}" for each in found]
            self._faults.append(f"{what} told: {ran.told[-600:]!r}")
        return ran

    def _pull(self) -> None:
        """Whether a pull refuses it already is open: nothing of an image that starts nothing has to be looked at."""
        words = ("pull", f"oci:{self._home / 'root' / 'oci'}:{NAME}")
        code = self._pull_code(words)
        if code == 7 and not self._case.opens:
            index = self._home / "pulled" / "oci" / "index.json"
            if index.exists() and NAME in index.read_text():
                self._faults.append("pull: a name after a failure")

    def _pull_code(self, words: tuple[str, str]) -> int:
        before = len(self._faults)
        ran = self._run("pull", 0, *words, root="pulled")
        if ran.code == 7 and not self._case.opens and len(self._faults) > before:
            del self._faults[before:]
        return ran.code

    def _files(self) -> None:
        case = self._case
        shown = case.opens or case.files_show
        ran = self._run("image files", 0 if shown else 7, "image", "files", "--format", "json", NAME)
        if shown and case.tree is not None and ran.code == 0:
            seen: set[str] = set()
            for row in map(json.loads, ran.stdout.splitlines()):
                if row["kind"] == "D":
                    seen = {path for path in seen if not f"{path}/".startswith(f"{row['path']}/")}
                elif row["hidden_by"] is None:
                    seen.add(row["path"])
            if len(seen) != len(case.tree):
                self._faults.append(f"image files: shows {sorted(seen)}")

    def _look(self, what: str, tree: Path) -> None:
        case = self._case
        if not case.opens:
            if os.path.lexists(tree):
                self._faults.append(f"{what}: something at the place of what was refused")
            return
        if not tree.is_dir():
            self._faults.append(f"{what}: nothing is there")
            return
        if case.tree is not None and (seen := listing(tree, case.facts)) != case.tree:
            self._faults.append(f"{what}: made {seen}")
        self._faults += [f"{what}: {each}" for each in foreign_attributes(tree)]

    def _left(self) -> Iterator[str]:
        """What a refused image has left behind."""
        root = self._home / "root"
        if self._case.opens:
            return
        for folder in (root / "snapshots").glob("*/*"):
            if folder.parent.name != "locks" and not self._case.name.endswith("-lower"):
                yield from self._snapshot(folder)
        for record in (root / "containers").glob("*/*"):
            yield f"a container: {record}"

    def _snapshot(self, folder: Path) -> Iterator[str]:
        """Sound layers below the refused one may stay; the topmost of the image may not."""
        if len(list(folder.parent.iterdir())) >= self._layers:
            yield f"a layer that was refused is in {folder.parent.name}"

    def clean(self) -> None:
        """Take it all away, however deep."""
        for name in ("tree", "root", "pulled", *FORMS):
            remove_tree(self._home / name)
