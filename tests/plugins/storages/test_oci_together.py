"""Several threads and processes at one storage."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polyarch.contract import Layout, StorageError
from polyarch.reference import parse_reference
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import MadeImage, index_document, made_image
from support.storages import Opener, blobs_in, descriptor_of, partials_in, store, write

SHARED = b"shared" * 1000
ARM64 = made_image("linux/arm64", b"arm64", SHARED)
AMD64 = made_image("linux/amd64", b"amd64", SHARED)

# Reads one command a line, does it with a storage of its own, and answers one line.
WORKER = """
import json, sys
from pathlib import Path
from polyarch.contract import Descriptor, PolyarchError
from polyarch_plugins.storages.oci.storage import OciStorage
from polyarch.reference import parse_reference

storage = OciStorage(Path(sys.argv[1]), lock_timeout=30)
writers = []
for line in sys.stdin:
    verb, *words = json.loads(line)
    try:
        if verb == "has":
            answer = storage.has_blob(Descriptor("x", *words))
        elif verb == "open":
            writers.append(storage.write_blob(Descriptor("x", *words)))
            writer = writers[-1].__enter__()
            answer = None if writer is None else writer.offset
        elif verb == "write":
            writer.write(words[0].encode())
            answer = writer.offset
        elif verb == "finish":
            writer.finish()
            writers.pop().__exit__(None, None, None)
            answer = None
        elif verb == "remove":
            answer = storage.remove(parse_reference(words[0]))
        elif verb == "prune":
            answer = storage.prune()
        elif verb == "close":
            answer = storage.close()
    except PolyarchError as error:
        answer = [error.code, error.message]
    print(json.dumps(answer), flush=True)
"""


class Worker:
    """A process with the storage open."""

    def __init__(self, place: Path) -> None:
        argv = [sys.executable, "-c", WORKER, str(place)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, *words: object) -> None:
        """Send a command without waiting for the answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def answer(self) -> object:
        """The answer to a command that was begun."""
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def do(self, *words: object) -> object:
        """Send a command; its answer."""
        self.begin(*words)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def _worker(place: Path) -> Iterator[Worker]:
    worker = Worker(place)
    try:
        yield worker
    finally:
        worker.kill()
        for pipe in (worker.process.stdin, worker.process.stdout):
            assert pipe
            pipe.close()


def test_the_second_writer_waits_and_then_finds_the_blob(open_at: Opener, place: Path) -> None:
    blob = descriptor_of(b"whole")
    with _worker(place) as first, _worker(place) as second:
        assert first.do("open", blob.digest, blob.size) == 0
        second.begin("open", blob.digest, blob.size)
        assert first.do("write", "who") == 3
        assert first.do("write", "le") == 5
        assert first.do("finish") is None
        assert second.answer() is None
    assert blobs_in(place) == {blob.digest}
    assert partials_in(place) == {}


def test_the_second_writer_goes_on_where_a_killed_one_stopped(place: Path) -> None:
    blob = descriptor_of(b"whole")
    with _worker(place) as first, _worker(place) as second:
        assert first.do("open", blob.digest, blob.size) == 0
        second.begin("open", blob.digest, blob.size)
        assert first.do("write", "who") == 3
        first.kill()
        assert second.answer() == 3
        second.do("write", "le")
        second.do("finish")
    assert blobs_in(place) == {blob.digest}


def test_a_writer_that_hangs_is_named(open_at: Opener, place: Path) -> None:
    blob = descriptor_of(b"whole")
    with _worker(place) as other:
        other.do("open", blob.digest, blob.size)
        with pytest.raises(StorageError) as caught, open_at(lock_timeout=0).write_blob(blob):
            raise AssertionError
        assert caught.value.message.startswith(f"blob {blob.digest} is locked by process {other.process.pid} (")


def test_a_storage_that_is_locked_too_long_is_told(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    with (place / ".polyarch" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for use in (
            lambda: open_at(lock_timeout=0).commit(ARM64.stored_as("b")),
            lambda: open_at(lock_timeout=0).remove(parse_reference("a")),
            lambda: open_at(lock_timeout=0.01).prune(),
        ):
            with pytest.raises(StorageError, match=rf"locked by process {os.getpid()} .* for more than 0") as caught:
                use()
            assert str(place) in caught.value.message
            assert "lock_timeout" in (caught.value.hint or "")
        assert open_at(lock_timeout=0).find(parse_reference("a"))  # readers wait for nobody


def test_a_blob_that_a_pull_counts_on_is_not_removed(open_at: Opener, place: Path) -> None:
    """It has been told that the shared layer is here; until it has a name for it, nobody takes it away."""
    store(open_at(), ARM64, "a")
    shared = descriptor_of(SHARED)
    with _worker(place) as pull:
        assert pull.do("has", shared.digest, shared.size) is True
        gone = open_at().remove(parse_reference("a"))
        assert shared.digest not in gone
        assert len(gone) == 3
        assert open_at().prune() == ()
        assert pull.do("close") is None
        assert open_at().prune() == ((shared.digest, shared.size),)


def test_a_blob_that_was_just_finished_is_not_pruned(open_at: Opener, place: Path) -> None:
    blob = descriptor_of(b"new")
    with _worker(place) as pull:
        pull.do("open", blob.digest, blob.size)
        pull.do("write", "new")
        assert open_at().prune() == ()  # it is being written
        pull.do("finish")
        assert open_at().prune() == ()  # it has no name yet
        pull.kill()
        assert open_at().prune() == ((blob.digest, 3),)
    assert list((place / ".polyarch" / "leases").iterdir()) == []


def test_what_was_committed_is_counted_on_no_longer(open_at: Opener, place: Path) -> None:
    pull = open_at()
    store(pull, ARM64, "a")
    assert pull.has_blob(descriptor_of(SHARED))  # a second pull, which finds all here and commits nothing
    assert descriptor_of(SHARED).digest not in open_at().remove(parse_reference("a"))
    assert pull.prune() == ((descriptor_of(SHARED).digest, len(SHARED)),)


def test_a_thread_that_removes_has_ended_its_own_pulls(storage: OciStorage, place: Path) -> None:
    store(storage, ARM64, "a")
    assert storage.has_blob(descriptor_of(SHARED))
    storage.remove(parse_reference("a"))
    assert blobs_in(place) == set()


def test_another_threads_pull_is_respected(storage: OciStorage, place: Path) -> None:
    store(storage, ARM64, "a")
    with ThreadPoolExecutor(1) as other:
        assert other.submit(storage.has_blob, descriptor_of(SHARED)).result()
        storage.remove(parse_reference("a"))
    assert blobs_in(place) == {descriptor_of(SHARED).digest}


def test_many_threads_commit_under_one_name(open_at: Opener, place: Path) -> None:
    platforms = ["amd64", "arm64", "arm/v7", "arm/v6", "386", "s390x", "ppc64le", "riscv64"]
    images = [
        made_image(platform, platform.encode(), SHARED, docker=i % 2 == 0) for i, platform in enumerate(platforms)
    ]
    root = index_document([image.manifest.descriptor for image in images])
    shared = open_at()
    start = threading.Barrier(len(images))

    def pull(number: int, image: MadeImage) -> None:
        start.wait()
        store(shared if number % 2 else open_at(), image, "a", root)

    with ThreadPoolExecutor(len(images)) as pool:
        list(pool.map(pull, range(len(images)), images))
    assert len(open_at().find(parse_reference("a"))) == len(images)
    assert len(Layout(place).entries()) == 1
    blobs_in(place)


STORE = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from polyarch.reference import parse_reference
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import made_image
from support.storages import store, write

number = int(sys.argv[3])
storage = OciStorage(Path(sys.argv[1]))
for turn in range(int(sys.argv[4])):
    image = made_image("arm64", b"shared" * 1000, f"{number} {turn}".encode())
    store(storage, image, f"image{number}:{turn}")
    if turn:
        storage.remove(parse_reference(f"image{number}:{turn - 1}"))
    storage.prune()
    print(turn, flush=True)
"""


def test_processes_that_store_remove_and_prune_do_not_hurt_each_other(open_at: Opener, place: Path) -> None:
    support = str(Path(__file__).parents[2])
    argv = [sys.executable, "-c", STORE, str(place), support]
    processes = [
        subprocess.Popen([*argv, str(number), "12"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for number in range(4)
    ]
    errors = [process.communicate()[1].decode() for process in processes]
    assert errors == [""] * 4
    images = list(open_at().images())
    assert {str(image.reference) for image in images} == {f"docker.io/library/image{n}:11" for n in range(4)}
    open_at().prune()
    assert len(blobs_in(place)) == 1 + 4 * 3


@pytest.mark.soak
@pytest.mark.parametrize("sync", [False, True])
def test_killed_at_any_moment_the_storage_is_whole(
    open_at: Opener, place: Path, sync: bool, count: Callable[[int, int], int]
) -> None:
    argv = [sys.executable, "-c", STORE, str(place), str(Path(__file__).parents[2]), "0", "100000"]
    for _ in range(count(8, 500)):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0, 0.1))
            process.kill()
            assert process.stderr.read() == b""
        storage = open_at(lock_timeout=0, sync=sync)
        list(storage.images())  # every document that a name needs verifies
        blobs_in(place)  # every blob, named or not, has the digest that it is named after
        write(storage, b"and it goes on")
        storage.prune()
        storage.close()


def test_a_lease_does_not_grow_with_what_is_past(storage: OciStorage, place: Path, open_at: Opener) -> None:
    """A session that lives for years pulls what is here again and again."""
    store(storage, ARM64, "a")
    store(storage, AMD64, "b")
    shared, own = descriptor_of(SHARED), ARM64.manifest.layers[0]
    assert storage.has_blob(shared)  # counted on to the end
    for _ in range(400):
        assert storage.has_blob(shared)
        assert storage.has_blob(own)
        storage.commit(ARM64.stored_as("a"))
    (lease,) = (place / ".polyarch" / "leases").iterdir()
    assert lease.stat().st_size <= 66 << 10
    open_at().remove(parse_reference("a"))
    assert shared.digest not in open_at().remove(parse_reference("b"))
    storage.close()
    assert open_at().prune() == ((shared.digest, len(SHARED)),)
