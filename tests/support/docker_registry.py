"""The real registry of the tests: Debian's docker-registry on a loopback port, with its storage in a folder."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from support.layout_files import Layout
from support.processes import Server, answers, await_true, free_port

# The access log has Apache's combined format: host - user [time] "METHOD PATH PROTOCOL" status size "referer" "agent".
_ACCESS = re.compile(r'^\S+ \S+ \S+ \[[^]]*] "(\S+) (\S+) [^"]*" (\d{3}) (\d+) "[^"]*" "([^"]*)"', re.MULTILINE)
_MARK = "/v2/?read-log="


@dataclass(frozen=True, slots=True)
class Access:
    """A request as the registry logged it. A `status` of 206 tells of a Range; `size` is the answer's body in bytes."""

    method: str
    path: str
    status: int
    size: int
    agent: str

    @property
    def blob(self) -> str:
        """The digest of the blob that this was a download of, whole or in part; "" for any other request."""
        _, found, digest = self.path.partition("?")[0].partition("/blobs/")
        return digest if found and self.method == "GET" and self.status in (200, 206) else ""


class DockerRegistry:
    """A running registry.

    `settings` are added to its configuration (keys `auth` and `http`). `storage` is the folder with its content, if
    another one's is to be offered again. `context` is what to ask it with, where it speaks HTTPS. `host` is an address
    of this machine.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        storage: Path | None = None,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip("the program docker-registry is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = storage or folder / "storage"
        self.address = f"{host}:{free_port(host)}"
        self._context = context
        self._marks = 0
        configuration = folder / "config.yml"  # YAML contains JSON
        configuration.write_text(json.dumps(self._configuration(settings or {})))
        self._server = Server([program, "serve", str(configuration)], folder / "log", lambda: answers(self.address))

    def _configuration(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
            },
            **settings,
            "http": {"addr": self.address, "secret": "for tests only", **settings.get("http", {})},
        }

    def ref(self, name: str) -> str:
        """The full reference of a name in this registry: `127.0.0.1:PORT/busybox:1.36`."""
        return f"{self.address}/{name}"

    def access_log(self) -> list[Access]:
        """All requests so far, in the order in which they ended; those since an earlier call are [len(earlier):]."""
        self._marks += 1
        mark = f"{_MARK}{self._marks}"
        connection = (
            HTTPSConnection(self.address, timeout=10, context=self._context)
            if self._context
            else HTTPConnection(self.address, timeout=10)
        )
        connection.request("GET", mark)
        connection.getresponse().read()
        connection.close()
        await_true(lambda: f"{mark} " in self._server.log.read_text(), "the registry's log is written")
        logged = [
            Access(method, path, int(status), int(size), agent)
            for method, path, status, size, agent in _ACCESS.findall(self._server.log.read_text())
        ]
        return [access for access in logged if not access.path.startswith(_MARK)][1:]  # [0]: the start's own probe

    def fill(self, layout: Layout, names: Iterable[str] | None = None) -> None:
        """Copies the layout's names here: with skopeo what it reads from a layout, the rest over the API."""
        for name in layout.names if names is None else names:
            if layout.plain(name):
                skopeo_copy(f"oci:{layout.directory}:{name}", f"docker://{self.ref(name)}")
            else:
                layout.push(name, self.address)

    def stop(self) -> None:
        self._server.stop()


def skopeo_copy(source: str, target: str, *options: str) -> None:
    """`skopeo copy` of all platforms with unchanged digests, over plain HTTP."""
    skopeo(
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        *options,
        source,
        target,
    )


def skopeo(*arguments: str) -> str:
    """Runs skopeo with an accept-anything policy and no credentials of the user; its standard output."""
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("the program skopeo is not installed")
    run = subprocess.run(
        [program, "--insecure-policy", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, f"skopeo {' '.join(arguments)}: {run.stderr}"
    return run.stdout
