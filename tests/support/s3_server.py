"""An S3 server of the tests: moto's (docs.getmoto.org, "Server Mode"), in a process of its own on a loopback port."""

from __future__ import annotations

import re
import sys
import uuid
from http.client import HTTPConnection
from pathlib import Path

from support.processes import Server, answers, free_port


class S3Server:
    """A running server, which forgets everything when it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        host, _, port = self.address.partition(":")
        self._log = folder / "log"
        argv = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
        self._server = Server(argv, self._log, lambda: answers(self.address))

    @property
    def environ(self) -> dict[str, str]:
        """What clients need."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "AWS_REGION": "us-east-1",
        }

    def bucket(self) -> str:
        """The name of a new and empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self._request("PUT", f"/{name}")
        return name

    def get(self, path: str) -> bytes:
        """An object: `/BUCKET/KEY`."""
        return self._request("GET", path)

    def put(self, path: str, data: bytes) -> None:
        """Write an object: `/BUCKET/KEY`."""
        self._request("PUT", path, data)

    def delete(self, path: str) -> None:
        """Remove an object: `/BUCKET/KEY`."""
        self._request("DELETE", path)

    def keys(self, bucket: str) -> list[str]:
        """The keys in a bucket."""
        return re.findall(r"<Key>([^<]*)</Key>", self._request("GET", f"/{bucket}?list-type=2").decode())

    def check_signatures(self, wanted: bool = True) -> None:
        """From here on nobody is let in, since no account exists; or everybody is again."""
        self._request("POST", "/moto-api/reset-auth", b"0" if wanted else b"inf")

    def requests(self) -> list[str]:
        """`METHOD PATH` of every request so far, as the server logged it."""
        return re.findall(r'"(?:\x1b\[[0-9;]*m)*((?:GET|PUT|POST|HEAD|DELETE) \S+) HTTP', self._log.read_text())

    def copy(self, bucket: str, prefix: str, folder: Path) -> Path:
        """Everything below a prefix, as files in `folder`."""
        for key in self.keys(bucket):
            if key.startswith(f"{prefix}/"):
                path = folder / key.removeprefix(f"{prefix}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.get(f"/{bucket}/{key}"))
        return folder

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def _request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        host, _, port = self.address.partition(":")
        connection = HTTPConnection(host, int(port), timeout=60)
        try:
            connection.request(method, path, data, {"Host": self.address, "Authorization": _CREDENTIAL})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status < 300, f"{method} {path}: {answer.status} {body[:300]!r}"
            return body
        finally:
            connection.close()


# moto looks at the service in it and checks no signature, unless it is told to.
_CREDENTIAL = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
