"""Images offered on loopback, each time under a path of its own that nobody can guess, for as long as it is wanted.

A rollout has one such server: every device gets a path, and pulls from it by digest through its tunnel, or an engine of
this machine does. Other users of the machine can connect, too; they would have to guess 128 bits.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from types import TracebackType

from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import HostError, PolyarchError
from polyarch.oci.document import Document
from polyarch.serve.address import LOOPBACK
from polyarch.serve.admitted import Admitted
from polyarch.serve.pull_server import Limit, PullServer


class OneTimeServer:
    """A registry on loopback of what was admitted, while the context lasts; leaving it cuts every connection.

    Its methods may be called from any thread; those that take a path raise KeyError for one that was never given.
    """

    def __init__(self, limit: Limit | None = None) -> None:
        self._limit = limit
        self._offers: dict[str, Admitted] = {}

    def __enter__(self) -> OneTimeServer:
        """Listen at a port that the kernel chooses. Raises HostError."""
        try:
            self._server = PullServer(self._offers, self._limit)
        except OSError as error:
            raise HostError(f"cannot listen on {LOOPBACK}: {error.strerror or error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="polyarch-offer", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server.cut_all()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.server_address[1])

    def admit(self, images: Sequence[Image], blobs: HasBlobFiles, *, root: Document | None = None) -> str:
        """A new path (`polyarch/` and 32 hex digits) with the manifests, configs and layers of `images` and no more.

        They can be read below the path, too, as in PATH/anything. `root` is for an engine that asks by tag: what each
        tag stands for. `blobs` is asked for a file when it is wanted, from several threads.
        """
        path = f"polyarch/{secrets.token_hex(16)}"
        self._offers[path] = Admitted(images, blobs, root)
        return path

    def sent(self, path: str) -> int:
        """Bytes of documents and blobs that were handed to the network so far; of partial and cut answers, too."""
        return self._offers[path].sent

    def asked(self, path: str) -> bool:
        """Whether anybody has come for anything there."""
        return self._offers[path].asked

    def fault(self, path: str) -> PolyarchError | None:
        """Why a file could not be given out: the last such fault."""
        return self._offers[path].fault

    def dismiss(self, path: str) -> None:
        """The path is dead from now on, and answers on their way are cut. What was sent can still be asked."""
        self._server.cut(self._offers[path])
