"""Random sequences of pull, tag, commit, rm and prune, many of them killed in the midst: what the storage holds then.

A kill is SIGKILL at the n-th change of a file or directory, so that hypothesis can repeat and shrink it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from polyarch import Session
from polyarch.container.commit import CommitRequest
from polyarch.container.record import read_record
from polyarch.container.request import RunRequest
from polyarch.errors import NotFoundError, PolyarchError, UsageError
from polyarch.settings import load_settings
from polyarch.testing.layout_writer import LayoutWriter, regular
from polyarch.verbs.images.prune_choice import PruneRules
from support.seen_layout import SeenLayout, seen_layout

pytestmark = [pytest.mark.system, pytest.mark.soak]

NAMES = [f"docker.io/library/{name}" for name in ("app:1", "app:2", "base:1")]
CONTAINERS = ["one", "two"]
PLATFORMS = ("linux/amd64", "linux/arm64")
CONTENTS = 4
MOST_CHANGES = 25
"""A kill comes at one of so many changes; works that have fewer are not met then."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")

Work = Callable[[Session], object]


@cache
def sources() -> Path:
    """A layout for each content, in which every name stands for that: images of two platforms that share a layer."""
    folder = Path(tempfile.mkdtemp(prefix="polyarch-contents-"))
    for content in range(CONTENTS):
        writer = LayoutWriter(folder / str(content))
        shared = writer.layer([regular("etc/shared", b"shared")], "shared")
        own = writer.layer([regular("etc/own", b"%d" % (content // 2))], "own")
        entries = []
        for platform in PLATFORMS:
            system, _, architecture = platform.partition("/")
            words = {"os": system, "architecture": architecture, "author": str(content)}
            entries.append({**writer.image(words, [shared, own]), "platform": words})
        for name in NAMES:
            writer.name(name, writer.index(entries) if content else entries[0])
        writer.finish()
    return folder


@pytest.fixture(scope="module", autouse=True)
def _sources_go() -> Iterator[None]:
    yield
    shutil.rmtree(sources())
    sources.cache_clear()


@cache
def parts() -> dict[str, object]:
    """What every session would find out anew."""
    with Session(load_settings(Path("/nowhere"))) as session:
        return {"plugins": session.plugins, "device": session.device, "machine": session.machine}


def session_at(root: Path) -> Session:
    """A session as each command has one."""
    session = Session(load_settings(root, sync="none"))
    session.__dict__.update(parts())
    return session


@dataclass(frozen=True)
class Seen:
    """All that is of interest below a root: the storage, and container -> manifest of its image."""

    layout: SeenLayout
    containers: dict[str, str]


def see(root: Path) -> Seen:
    """Reads it as it lies there."""
    folder = root / "containers"
    records = [read_record(path) for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return Seen(seen_layout(root / "oci"), {record.name: record.manifest for record in records if record})


def killed(work: Callable[[], object], change: int) -> int:
    """Does the work in a process that is killed just before that change; its exit code, -9 if it was."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _work_and_die(work, change)


def _work_and_die(work: Callable[[], object], change: int) -> NoReturn:
    left = change

    def count(event: str, words: tuple[object, ...]) -> None:
        nonlocal left
        if event in _CHANGES or (event == "open" and isinstance(words[2], int) and words[2] & _WRITES):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    sys.dont_write_bytecode = True
    try:
        sys.addaudithook(count)
        work()
        code = 0
    except PolyarchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 2
    except BaseException:
        traceback.print_exc()
    os._exit(code)


class Images(RuleBasedStateMachine):
    """After each step the storage is a valid layout, nothing is lost, and nothing else went than what was to go."""

    kills = 0

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="polyarch-states-"))
        self.commits = 0

    def do(self, kill: int | None, work: Work) -> tuple[Seen, Seen, bool, object]:
        """What was there before and is there after, whether the work came to its end, and what it answered."""
        before, answer = see(self.root), None

        def act() -> object:
            with session_at(self.root) as session:
                return work(session)

        if kill is None:
            try:
                answer = act()
            except UsageError as error:
                answer = error
            return before, see(self.root), True, answer
        code = killed(act, kill)
        assert code in (0, 2, -signal.SIGKILL)
        Images.kills += code == -signal.SIGKILL
        after = see(self.root)
        assert (
            before.containers.items() <= after.containers.items()
            or after.containers.items() <= before.containers.items()
        )
        return before, after, False, None

    def check(self, before: Seen, after: Seen, *, name: str = "", going: frozenset[str] = frozenset()) -> None:
        """Other names than `name` lead where they led, and no image is lost but those of `going`."""
        for other in before.layout.names.keys() | after.layout.names.keys():
            if other != name and not going:
                assert before.layout.names.get(other) == after.layout.names.get(other), f"{other} changed"
        assert before.layout.images - going <= after.layout.images, "an image is lost"

    kill = st.none() | st.integers(0, MOST_CHANGES)
    pick = st.integers(0, 99)
    """Which of those that there are: what is drawn must not depend on how a race between threads came out."""

    @staticmethod
    def picked(pick: int, among: Collection[str]) -> str:
        """One of them; "" where there is none."""
        return sorted(among)[pick % len(among)] if among else ""

    @initialize(contents=st.tuples(*[st.integers(0, CONTENTS - 1)] * 2), pick=pick)
    def begin(self, contents: tuple[int, ...], pick: int) -> None:
        """Two images and perhaps a container, so that every rule has something to work on."""
        with session_at(self.root) as session:
            for name, content in zip(NAMES, contents, strict=False):
                session.pull(f"oci:{sources() / str(content)}:{name}", all_platforms=True)
            if pick % 3:
                manifest = self.picked(pick, see(self.root).layout.images)
                session.containers.create(manifest, RunRequest(name=CONTAINERS[0]), pull="never")

    @rule(
        name=st.sampled_from(NAMES),
        content=st.integers(0, CONTENTS - 1),
        platforms=st.sampled_from(["", *PLATFORMS]),
        kill=kill,
    )
    def pull(self, name: str, content: int, platforms: str, kill: int | None) -> None:
        source = f"oci:{sources() / str(content)}:{name}"
        if content == 0:
            platforms = PLATFORMS[0]
        all_platforms = not platforms
        before, after, ended, _ = self.do(
            kill, lambda session: session.pull(source, platform=platforms or None, all_platforms=all_platforms)
        )
        self.check(before, after, name=name)
        new = after.layout.images - before.layout.images
        assert len(new) <= len(PLATFORMS)
        if ended:
            assert new <= after.layout.names[name]
            assert not all_platforms or len(after.layout.names[name]) == len(PLATFORMS)

    @rule(pick=pick, new=st.sampled_from(NAMES), kill=kill)
    def tag(self, pick: int, new: str, kill: int | None) -> None:
        if not (old := self.picked(pick, see(self.root).layout.names)):
            return
        before, after, ended, _ = self.do(kill, lambda session: session.kept.tag(old, new))
        self.check(before, after, name=new)
        assert after.layout.images == before.layout.images
        if ended:
            assert before.layout.names[old] <= after.layout.names[new]

    @rule(pick=pick, container=st.sampled_from(CONTAINERS), kill=kill)
    def create(self, pick: int, container: str, kill: int | None) -> None:
        if not (manifest := self.picked(pick, see(self.root).layout.images)):
            return
        before, after, ended, answer = self.do(
            kill, lambda session: session.containers.create(manifest, RunRequest(name=container), pull="never")
        )
        self.check(before, after)
        assert after.layout.images == before.layout.images
        if container in before.containers:
            assert after.containers == before.containers
        elif ended:
            assert after.containers == {**before.containers, container: manifest}, answer

    @rule(pick=pick, kill=kill)
    def remove_container(self, pick: int, kill: int | None) -> None:
        if not (container := self.picked(pick, see(self.root).containers)):
            return
        before, after, ended, _ = self.do(kill, lambda session: session.containers.remove(container))
        assert after.layout == before.layout
        if ended:
            assert container not in after.containers

    @rule(pick=pick, name=st.sampled_from(NAMES), kill=kill)
    def commit(self, pick: int, name: str, kill: int | None) -> None:
        if not (container := self.picked(pick, see(self.root).containers)):
            return
        self.commits += 1
        request = CommitRequest(changes=(f"LABEL number={self.commits}",), epoch=0)
        before, after, ended, answer = self.do(
            kill, lambda session: session.containers.commit(container, name, request)
        )
        self.check(before, after, name=name)
        assert len(after.layout.images - before.layout.images) <= 1
        if ended:
            assert not isinstance(answer, UsageError)
            assert len(after.layout.names[name]) == 1

    @rule(pick=pick, force=st.booleans(), kill=kill)
    def remove(self, pick: int, force: bool, kill: int | None) -> None:
        seen = see(self.root)
        if not (word := self.picked(pick, {*seen.layout.names, *seen.layout.images})):
            return
        before, after, ended, answer = self.do(kill, lambda session: session.kept.remove(word, force=force))
        targets = before.layout.names.get(word, frozenset({word}))
        elsewhere = [
            found for name, found in before.layout.names.items() if word in before.layout.names and name != word
        ]
        last = targets.difference(*elsewhere)
        used = last & set(before.containers.values())
        for name, found in before.layout.names.items():
            kept = after.layout.names.get(name, frozenset())
            assert found - targets <= kept <= found, "what was not to go is there"
            assert found == kept or name == word or word in found
        assert before.layout.images - after.layout.images <= (frozenset() if used else last)
        if ended and isinstance(answer, UsageError):
            assert after == before
            assert used or len([found for found in before.layout.names.values() if word in found]) > 1
        elif ended:
            assert word not in after.layout.names
            assert used or not last & after.layout.images
            assert not used or force

    @rule(everything=st.booleans(), kill=kill)
    def prune(self, everything: bool, kill: int | None) -> None:
        rules = PruneRules(everything=everything)
        before, after, ended, _ = self.do(kill, lambda session: session.kept.prune(rules))
        used = frozenset(before.containers.values())
        going = before.layout.unnamed - used
        if everything:
            going |= before.layout.images - used.union(
                *(found for found in before.layout.names.values() if found & used)
            )
        assert before.layout.images - going <= after.layout.images, "an image is lost"
        if ended:
            assert after.layout.images == before.layout.images - going
            self.nothing_unneeded(after)

    @invariant()
    def containers_have_their_images(self) -> None:
        """The layout was checked by `see`: what it names is whole."""
        seen = see(self.root)
        assert set(seen.containers.values()) <= seen.layout.images

    def nothing_unneeded(self, seen: Seen) -> None:
        assert seen.layout.blobs == seen.layout.needed
        private = self.root / "oci" / ".polyarch"
        assert not [*private.glob("partial/*"), *private.glob("leases/*")]

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            shutil.rmtree(self.root)

    def end(self) -> None:
        """Containers can still be committed; when they are gone, everything goes."""
        with session_at(self.root) as session:
            session.kept.prune()
            self.nothing_unneeded(see(self.root))
            for container in session.containers.all():
                session.containers.commit(container.id, "left:1", CommitRequest(epoch=0))
                session.containers.remove(container.id)
            session.kept.prune(PruneRules(everything=True))
        seen = see(self.root)
        assert (seen.containers, seen.layout.blobs, seen.layout.images) == ({}, frozenset(), frozenset())
        snapshots = self.root / "snapshots"
        assert not [path for form in ("erofs", "trusted", "user", "fuse") for path in (snapshots / form).glob("*")]


def test_no_sequence_loses_or_leaves_anything(count: Callable[[int, int], int]) -> None:
    Images.kills = 0
    examples = count(12, 1000)
    run_state_machine_as_test(
        Images,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink a sequence takes an hour
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Images.kills > examples, "too few works were met by a kill to say anything"


@pytest.mark.parametrize("seed", range(2))
def test_containers_are_made_while_others_prune(seed: int, tmp_path: Path, count: Callable[[int, int], int]) -> None:
    """A container that was made has its layers and can be committed; one that was too late says that the image went."""
    root, rounds = tmp_path / "root", count(5, 200)
    chance = random.Random(seed)

    def make(number: int) -> None:
        name = NAMES[number]
        for turn in range(rounds):
            with session_at(root) as session:
                session.pull(f"oci:{sources() / str(chance.randrange(1, CONTENTS))}:{name}", platform=PLATFORMS[0])
                try:
                    record = session.containers.create(name, RunRequest(name=f"c{number}"), pull="never")
                except NotFoundError:
                    continue  # pruned since it was pulled
                assert all(list((root / "snapshots").glob(f"*/{layer}/*")) for layer in record.layers)
                request = CommitRequest(changes=(f"LABEL turn={turn}",), epoch=0)
                session.containers.commit(record.id, f"made:{number}", request)
                session.containers.remove(record.id)

    def give_up(number: int) -> None:
        for _ in range(rounds):
            with session_at(root) as session:
                session.kept.prune(PruneRules(everything=True))
                with suppress(NotFoundError, UsageError):
                    session.kept.remove(NAMES[number], force=bool(chance.randrange(2)))

    children = []
    for work in (make, make, give_up):
        number = len(children) % 2
        if not (child := os.fork()):
            _work_and_die(lambda work=work, number=number: work(number), 1 << 40)  # type: ignore[misc]
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0, 0]
    seen = see(root)
    assert seen.containers == {}
    with session_at(root) as session:
        session.kept.prune(PruneRules(everything=True))
    assert see(root).layout.blobs == frozenset()
