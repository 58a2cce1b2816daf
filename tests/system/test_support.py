"""The test's own ground: registries that ask who is there, the ordinary user, the small file system."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.layout_files import Layout
from support.registry_auth import PASSWORD, USERNAME, TokenServer, basic_header, write_auth_file
from support.users import OrdinaryUser

pytestmark = pytest.mark.system


def inspect(registry: DockerRegistry, name: str, auth_file: Path, *options: str) -> str:
    reference = f"docker://{registry.ref(name)}"
    return skopeo("inspect", "--raw", "--tls-verify=false", f"--authfile={auth_file}", *options, reference)


def test_access_log_tells_of_each_request(registry: DockerRegistry, sample_layout: Path) -> None:
    before = registry.access_log()
    digest = Layout(sample_layout).names["single:1.0"]["digest"]
    path = f"/v2/single/manifests/{digest}"
    with urllib.request.urlopen(f"http://{registry.address}{path}") as answer:
        size = len(answer.read())
    (access,) = registry.access_log()[len(before) :]
    assert (access.method, access.path, access.status, access.size) == ("GET", path, 200, size)


@pytest.mark.parametrize("name", ["authed_registry", "token_registry"])
def test_credentials_are_needed(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> None:
    registry: DockerRegistry = request.getfixturevalue(name)
    nobody = tmp_path / "nobody.json"
    nobody.write_text("{}")
    stranger = write_auth_file(tmp_path / "stranger.json", registry.address, USERNAME, "wrong")
    for auth_file in (nobody, stranger):
        with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
            inspect(registry, "single:1.0", auth_file)
    known = write_auth_file(tmp_path / "known.json", registry.address)
    assert json.loads(inspect(registry, "single:1.0", known))["schemaVersion"] == 2


def test_token_server(token_registry: DockerRegistry, token_server: TokenServer, tmp_path: Path) -> None:
    nobody = tmp_path / "nobody.json"
    nobody.write_text("{}")
    before = len(token_server.requests)
    assert "manifests" in inspect(token_registry, "busybox:1.36", nobody)
    (asked,) = token_server.requests[before:]
    assert (asked.method, asked.authorization) == ("GET", None)
    assert asked.fields == {"service": [token_server.service], "scope": ["repository:busybox:pull"]}

    form = f"grant_type=password&username={USERNAME}&password={PASSWORD.replace(' ', '+')}&access_type=offline"
    scope = "&service=registry.test&client_id=tests&scope=repository:single:pull"
    refresh = json.load(urllib.request.urlopen(token_server.realm, (form + scope).encode()))["refresh_token"]
    form = f"grant_type=refresh_token&refresh_token={refresh}"
    token = json.load(urllib.request.urlopen(token_server.realm, (form + scope).encode()))["access_token"]
    url = f"http://{token_registry.address}/v2/single/tags/list"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": basic_header()}))
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})) as answer:
        assert json.load(answer)["tags"] == ["1.0"]


def test_tls_registry_wants_a_client_certificate(tls_registry: DockerRegistry, tmp_path: Path) -> None:
    files = tls_registry.storage.parent
    nobody = tmp_path / "nobody.json"
    nobody.write_text("{}")
    before = len(tls_registry.access_log())
    reference = f"docker://{tls_registry.ref('single:1.0')}"
    assert skopeo("inspect", "--raw", f"--cert-dir={files}", f"--authfile={nobody}", reference)
    (tmp_path / "certs").mkdir()
    shutil.copy(files / "ca.crt", tmp_path / "certs")
    with pytest.raises(AssertionError, match="certificate"):
        skopeo("inspect", "--raw", f"--cert-dir={tmp_path / 'certs'}", f"--authfile={nobody}", reference)
    asked = [access.status for access in tls_registry.access_log()[before:] if "/manifests/" in access.path]
    assert asked == [200]


def test_ordinary_user_has_no_privilege(unprivileged_user: OrdinaryUser, tmp_path: Path) -> None:
    told = unprivileged_user.run(["sh", "-c", "id -u; grep CapEff /proc/self/status; pwd"]).stdout.split()
    assert told == [str(unprivileged_user.uid), "CapEff:", "0000000000000000", str(unprivileged_user.home)]
    assert unprivileged_user.uid != 0
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho given\n")
    program.chmod(0o755)
    assert unprivileged_user.run([unprivileged_user.give(program)]).stdout == "given\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="whether an ordinary user has subordinate IDs is the machine's matter")
def test_ordinary_user_has_subordinate_ids(unprivileged_user: OrdinaryUser) -> None:
    inside = ["unshare", "--user", "--map-auto", "--map-root-user", "cat", "/proc/self/uid_map"]
    assert len(unprivileged_user.run(inside).stdout.splitlines()) == 2


def test_small_tmpfs_fills_up(small_tmpfs: Callable[[int], Path]) -> None:
    folder = small_tmpfs(64 * 1024)
    with pytest.raises(OSError) as caught:
        (folder / "big").write_bytes(bytes(128 * 1024))
    assert caught.value.errno == errno.ENOSPC


def test_command_runs_as_both_users(polyarch: Polyarch, unprivileged_user: OrdinaryUser) -> None:
    assert polyarch("--help").ok().stdout == polyarch("--help", user=unprivileged_user).ok().stdout != ""
    with pytest.raises(AssertionError, match="ended with 2"):
        polyarch("no-such-command").ok()


def test_command_may_not_print_a_traceback(polyarch: Polyarch) -> None:
    argv = [sys.executable, "-c", "raise ValueError"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    with pytest.raises(AssertionError, match="Traceback"):
        polyarch.finish(process)


def test_command_is_ended_when_its_time_is_over(polyarch: Polyarch) -> None:
    argv = [sys.executable, "-c", "import signal; signal.pause()"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    with pytest.raises(AssertionError, match="not ended"):
        polyarch.finish(process, seconds=0.1)
    assert process.returncode == -signal.SIGKILL


def test_sample_or_whole(count: Callable[[int, int], int], soak: bool) -> None:
    assert count(30, 1000) == (1000 if soak else 30)
