"""Transfers over HTTP from a server that fails as it is told, and transfers that a signal ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from polyarch.contract import Endpoint, Manifest, Reference, Registry
from polyarch.errors import IntegrityError, PolyarchError, UnauthorizedError, UnreachableError
from polyarch.events import ignore
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.registry.services import registry_services
from polyarch.settings import Settings
from polyarch.transfer.fetch import BlobResult, fetch
from polyarch_plugins.storages.oci.storage import OciStorage
from support import faults
from support.faulty_registry import FaultyRegistry
from support.storages import blobs_in, partials_in


class Client:
    """Fetches the image `busybox:1.36` for arm64 from the faulty registry; `big` is its largest layer."""

    def __init__(self, server: FaultyRegistry, registry: Registry, storage: OciStorage) -> None:
        self._registry, self._storage = registry, storage
        digest = server.layout.manifest("busybox:1.36", "arm64")
        self.reference = parse_reference(server.ref(f"busybox:1.36@{digest}"))
        manifest = registry.get(self.reference)
        assert isinstance(manifest, Manifest)
        self.manifest = manifest
        self.big = max(manifest.layers, key=lambda layer: layer.size)
        self.path = f"/blobs/{self.big.digest}"

    def fetch(self, retries: int = 3) -> BlobResult:
        """The result for the largest layer."""
        results = fetch(self._registry, self.reference, self.manifest, self._storage, retries=retries)
        return next(result for result in results if result.descriptor == self.big)


@pytest.fixture
def client(faulty_registry: FaultyRegistry, storage: OciStorage, tmp_path: Path) -> Iterator[Client]:
    settings = Settings(root=tmp_path, retries=1, read_timeout=0.5, home=tmp_path)

    def locate(reference: Reference) -> Endpoint:
        return Endpoint(reference.registry, reference.repository, reference.registry)

    with ExitStack() as stack:
        services = stack.enter_context(registry_services(settings, ignore))
        yield Client(faulty_registry, services.distribution(locate), storage)


def _whole(client: Client, storage: OciStorage) -> bool:
    return blobs_in(storage.directory) == {blob.digest for blob in client.manifest.blobs}


def test_an_honest_server(client: Client, storage: OciStorage) -> None:
    assert client.fetch().status == "downloaded"
    assert _whole(client, storage)


def test_a_cut_is_resumed_by_range(client: Client, storage: OciStorage, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", client.path, faults.cut_after(200_000), faults.cut_after(1), faults.cut_after(99_999))
    assert client.fetch().fetched == client.big.size
    starts = [request.byte_range for request in faulty_registry.asked("GET", client.path)]
    assert starts == [None, (200_000, None), (200_001, None), (300_000, None)]
    assert _whole(client, storage)


def test_a_stall_is_resumed(client: Client, storage: OciStorage, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", client.path, faults.stall_after(100_000))
    assert client.fetch().fetched == client.big.size
    assert _whole(client, storage)


@pytest.mark.parametrize(
    "fault",
    [
        faults.ignore_range,
        faults.wrong_range(1000),
        faults.status(416),
        faults.status(503),
        faults.html_error(),
        faults.too_many_requests("0"),
        faults.headers(Content_Range="bytes 7-8/9"),
        faults.headers(Content_Range=None),
    ],
    ids=lambda fault: fault.__qualname__.partition(".")[0],
)
def test_a_strange_answer_to_the_range_does_not_end_it(
    client: Client, storage: OciStorage, faulty_registry: FaultyRegistry, fault: faults.Fault
) -> None:
    faulty_registry.script("GET", client.path, faults.cut_after(100_000), fault)
    client.fetch()
    assert _whole(client, storage)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.wrong_bytes, IntegrityError),
        (faults.more_bytes(100), IntegrityError),
        (faults.fewer_bytes(100), UnreachableError),
        (faults.cut_after(0), UnreachableError),
        (faults.status(503), UnreachableError),
        (faults.html_error(502), UnreachableError),
        (faults.unauthorized('Basic realm="x"'), UnauthorizedError),
        (faults.status(403), UnauthorizedError),
    ],
)
def test_a_fault_that_stays_is_one_clear_error(
    client: Client, storage: OciStorage, faulty_registry: FaultyRegistry, fault: faults.Fault, kind: type[PolyarchError]
) -> None:
    faulty_registry.script("GET", client.path, fault, forever=True)
    with pytest.raises(kind) as caught:
        client.fetch(retries=1)
    assert "busybox" in caught.value.message
    assert client.big.digest not in blobs_in(storage.directory)
    assert len(faulty_registry.asked("GET", client.path)) < 12


def test_a_blob_from_another_host(client: Client, storage: OciStorage, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", client.path, faults.redirect_to_host(faulty_registry.elsewhere), forever=False)
    client.fetch()
    assert _whole(client, storage)


INTERRUPTED = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from polyarch.contract import BlobStream
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.transfer.fetch import fetch
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import MemoryRegistry, made_image

data = bytes(50_000)
image = made_image("arm64", data)

def silent(whole, offset):
    def chunks():
        yield whole[:30_000]
        print("silent", flush=True)
        threading.Event().wait()
    return BlobStream(0, chunks())

registry = MemoryRegistry([image])
registry.fail(digest_of(data), silent)
try:
    fetch(registry, parse_reference("a"), image.manifest, OciStorage(Path(sys.argv[1])))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_even_a_silent_transfer_and_keeps_its_bytes(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "storage"), str(Path(__file__).parents[2])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "silent\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    assert partials_in(tmp_path / "storage")[digest_of(bytes(50_000))] == 30_000
