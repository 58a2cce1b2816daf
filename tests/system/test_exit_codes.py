"""Every exit code, provoked through the real command, with its line on stderr and its JSON on stdout."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.faults import slow, status, wrong_bytes
from support.faulty_registry import FaultyRegistry
from support.plugin_packages import install
from support.processes import await_true
from support.registry_auth import write_auth_file

pytestmark = pytest.mark.system

Words = Sequence[str | Path]


def check(result: Result, code: int, name: str) -> dict[str, Any]:
    """The error object of a command that had to fail so, once with JSON; its line is on stderr, once."""
    assert result.code == code, f"{result.arguments}\n{result.stdout}{result.stderr}"
    error = json.loads(result.stdout.splitlines()[-1])["error"]
    assert set(error) == {"code", "message", "hint", "details"}
    assert error["code"] == name
    told = f"error: {error['message']}\n" + (f"hint: {error['hint']}\n" if error["hint"] else "")
    assert result.stderr.endswith(told)
    return error


def fails(
    polyarch: Polyarch, words: Words, code: int, name: str, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Runs the command for people and for scripts: both fail so. The error object."""
    plain = polyarch(*words, env=env)
    assert plain.code == code, f"{plain.arguments}\n{plain.stdout}{plain.stderr}"
    assert sum(line.startswith("error: ") for line in plain.stderr.splitlines()) == 1
    assert '"error"' not in plain.stdout
    return check(polyarch("--format", "json", *words, env=env), code, name)


@pytest.fixture
def few_retries(tmp_path: Path) -> Path:
    """Settings for registries that will not answer anyhow."""
    path = tmp_path / "few-retries.toml"
    path.write_text("retries = 1\nconnect_timeout = 2\nread_timeout = 2\nlock_timeout = 1\n")
    return path


BAD_WORDS: list[tuple[list[str], str]] = [
    (["bogus"], "bogus"),
    (["image", "bogus"], "bogus"),
    (["pull"], "REF"),
    (["pull", "--bogus", "x"], "--bogus"),
    (["pull", "--max-connections", "0", "x"], "--max-connections"),
    (["pull", "--format", "xml", "x"], "xml"),
    (["pull", "UPPER/Case"], "UPPER/Case"),
    (["pull", "x@sha256:12"], "sha256:12"),
    (["pull", "--into", "nowhere", "x"], "nowhere"),
    (["resolve", "--platform", "linux/", "x"], "linux/"),
    (["resolve", "--platform", "linux/z80", "x"], "z80"),
    (["resolve", "--device", "pi-zeroo", "x"], "pi-zeroo"),
    (["resolve", "--device", "pi-5-32bit", "x"], "Pi 5 has no 32-bit kernel"),
    (["resolve", "--device", "./gone.json", "x"], "gone.json"),
    (["resolve", "--device", "pi-1", "--platform", "linux/arm64", "x"], "platform"),
    (["resolve", "--emulation", "maybe", "x"], "maybe"),
    (["--config", "/nonexistent", "image", "ls"], "/nonexistent"),
    (["device", "--facts", "/nonexistent"], "/nonexistent"),
    (["device", "--facts", "/etc/passwd"], "probe"),
    (["device", "--print-probe", "ls"], "--print-probe"),
    (["completion", "tcsh"], "tcsh"),
    (["login", "--password-stdin"], "username"),
    (["login"], "terminal"),
    (["serve", "--listen", "here"], "here"),
    (["emulator", "status", "vax"], "vax"),
    (["--root", "", "image", "ls"], "--root"),
    (["pull", "--platform", "", "x"], "--platform"),
    (["pull", "--platform", "linux/amd64,", "x"], "linux/amd64,"),
    (["container", "start", "-t", "x"], "-t"),
    (["image", "tag", "x", "y@sha256:" + "0" * 64], "sha256:0000"),
]


@pytest.mark.parametrize(("words", "named"), BAD_WORDS, ids=[" ".join(words) for words, _ in BAD_WORDS])
def test_2_bad_words(polyarch: Polyarch, words: list[str], named: str) -> None:
    assert named in fails(polyarch, words, 2, "usage")["message"]


def test_2_nothing_is_told_of_a_pull_before_the_words_are_right(polyarch: Polyarch) -> None:
    for words in (["--into", "nowhere"], ["--device", "pi-zeroo"], ["--platform", "linux/amd64,linux/"]):
        assert polyarch("pull", *words, "busybox").stdout == ""


def test_2_a_bad_name_of_the_emulators_image(polyarch: Polyarch, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('qemu_image = "UPPER:"')
    assert "UPPER:" in fails(polyarch, ["--config", path, "image", "ls"], 2, "usage")["message"]


def test_2_a_working_directory_that_was_removed(polyarch: Polyarch, tmp_path: Path) -> None:
    for code, words in (
        (2, ["plugin", "new", "abc"]),
        (2, ["fleet", "plan", "-i", "local:", "x"]),
        (2, ["image", "ls", "--storage", "oci:x"]),
        (125, ["run", "-v", "./x:/x", "busybox"]),
    ):
        (tmp_path / "gone").mkdir()
        prefix = ("sh", "-c", 'rmdir ../gone && exec "$@"', "sh")
        result = polyarch.finish(polyarch.start(*words, cwd=tmp_path / "gone", prefix=prefix))
        assert (result.code, result.stderr.splitlines()[0]) == (code, "error: the working directory was removed")


def test_2_a_folder_above_that_is_missing(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", "-q", name).ok()
    for words in (["image", "save", "-o", tmp_path / "no/a.tar", name], ["image", "unpack", name, tmp_path / "no/a"]):
        assert fails(polyarch, words, 2, "usage")["hint"] == f"mkdir -p {tmp_path / 'no'}"


@pytest.mark.parametrize("text", ["retries = ", "bogus = 1", "retries = 'x'", "retries = -1", "\xff"])
def test_2_bad_settings(polyarch: Polyarch, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="latin-1")
    error = fails(polyarch, ["--config", path, "image", "ls"], 2, "usage")
    assert "bad.toml" in error["message"] or "retries" in error["message"]


def test_2_a_bad_auth_file(polyarch: Polyarch, authed_registry: DockerRegistry, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text("{")
    words = ["resolve", authed_registry.ref("busybox:1.36")]
    assert "auth.json" in fails(polyarch, words, 2, "usage", {"REGISTRY_AUTH_FILE": str(path)})["message"]


@pytest.mark.parametrize("text", ["", "{}", '{"native": ["linux/"], "platform": "x"}', "[]"])
def test_2_a_bad_device_file(polyarch: Polyarch, tmp_path: Path, text: str) -> None:
    path = tmp_path / "device.json"
    path.write_text(text)
    fails(polyarch, ["resolve", "--device", path, "x"], 2, "usage")


def test_2_a_format_that_was_not_reached(polyarch: Polyarch) -> None:
    for words in (["pull", "--bogus", "--format=json"], ["pull", "--bogus", "--format", "json"]):
        check(polyarch(*words), 2, "usage")


def test_3_the_registry_does_not_have_it(polyarch: Polyarch, registry: DockerRegistry) -> None:
    for words in (
        ["pull", registry.ref("busybox:none")],
        ["resolve", registry.ref("none")],
        ["tags", registry.ref("none")],
    ):
        assert "none" in fails(polyarch, words, 3, "not-found")["message"]


def test_3_a_layout_that_is_not_there(polyarch: Polyarch, tmp_path: Path) -> None:
    for words in (["image", "ls", "--storage", f"oci:{tmp_path}/no"], ["pull", f"oci:{tmp_path}/no"]):
        assert "no" in fails(polyarch, words, 3, "not-found")["message"]
    assert polyarch("image", "ls", root=tmp_path / "new").ok().stdout.count("\n") == 1


@pytest.mark.parametrize("verb", ["verify", "image inspect", "image history", "image rm", "image unpack", "image tag"])
def test_3_the_storage_does_not_have_it(polyarch: Polyarch, verb: str, tmp_path: Path) -> None:
    further: list[str | Path] = {"image unpack": [tmp_path / "new"], "image tag": ["y"]}.get(verb, [])  # type: ignore[assignment]
    assert "busybox" in fails(polyarch, [*verb.split(), "busybox", *further], 3, "not-found")["message"]
    assert not (tmp_path / "new").exists()


def test_4_no_variant(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("arm64-only:1.0")
    for verb in ("resolve", "pull"):
        error = fails(polyarch, [verb, "--device", "pi-1", name], 4, "no-variant")
        assert "linux/arm64" in error["message"]
        assert error["details"]["candidates"][0]["platform"] == "linux/arm64"


def test_4_emulation_not_allowed(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    device = tmp_path / "emulating.json"
    emulated = [{"platform": "linux/arm64", "emulator": "/usr/bin/qemu-aarch64", "how": "registered"}]
    device.write_text(json.dumps({"platform": "linux/amd64", "native": ["linux/amd64"], "emulated": emulated}))
    words = ["resolve", "--device", device, registry.ref("arm64-only:1.0")]
    polyarch(*words).ok()
    assert "--emulation auto" in fails(polyarch, [*words, "--emulation", "never"], 4, "no-variant")["hint"]


def test_5_credentials(polyarch: Polyarch, authed_registry: DockerRegistry, tmp_path: Path) -> None:
    words = ["pull", authed_registry.ref("busybox:1.36")]
    assert "login" in fails(polyarch, words, 5, "unauthorized")["hint"]
    wrong = write_auth_file(tmp_path / "auth.json", authed_registry.address, password="sesame, closed")
    error = fails(polyarch, words, 5, "unauthorized", {"REGISTRY_AUTH_FILE": str(wrong)})
    assert "sesame" not in json.dumps(error)


def test_5_login(polyarch: Polyarch, authed_registry: DockerRegistry) -> None:
    result = polyarch(
        "login", "--format", "json", "-u", "ali", "--password-stdin", authed_registry.address, stdin="wrong\n"
    )
    check(result, 5, "unauthorized")


def test_6_nobody_listens(polyarch: Polyarch, few_retries: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    error = fails(polyarch, ["--config", few_retries, "pull", f"{address}/busybox:1"], 6, "unreachable")
    assert address in error["message"]


def test_6_a_registry_out_of_order(polyarch: Polyarch, faulty_registry: FaultyRegistry, few_retries: Path) -> None:
    faulty_registry.script("GET", "/blobs/", status(503), forever=True)
    error = fails(polyarch, ["--config", few_retries, "pull", faulty_registry.ref("busybox:1.36")], 6, "unreachable")
    assert "503" in error["message"]


def test_7_wrong_bytes(polyarch: Polyarch, faulty_registry: FaultyRegistry, few_retries: Path) -> None:
    faulty_registry.script("GET", "/blobs/", wrong_bytes, forever=True)
    fails(polyarch, ["--config", few_retries, "pull", faulty_registry.ref("busybox:1.36")], 7, "integrity")
    assert polyarch("image", "ls", "-q").ok().stdout == ""


def test_7_mislabelled(polyarch: Polyarch, registry: DockerRegistry) -> None:
    error = fails(polyarch, ["pull", "--platform", "linux/arm64", registry.ref("liar:1.0")], 7, "integrity")
    assert error["details"]["promised"] == "linux/arm64"
    assert error["details"]["actual"] == "linux/amd64"
    assert "--allow-mislabelled" in error["hint"]


def test_7_a_stored_blob_that_changed(polyarch: Polyarch, registry: DockerRegistry) -> None:
    [pulled] = polyarch("pull", "--format", "json", registry.ref("busybox:1.36")).ok().json_lines
    blob = polyarch.root / "oci/blobs/sha256" / pulled["layers"][1]["digest"].removeprefix("sha256:")
    data = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    error = fails(polyarch, ["verify", registry.ref("busybox:1.36")], 7, "integrity")
    assert error["details"]["problems"]


def test_7_a_folder_in_place_of_an_archive(polyarch: Polyarch, tmp_path: Path) -> None:
    for kind in ("docker-archive", "oci-archive"):
        assert str(tmp_path) in fails(polyarch, ["pull", f"{kind}:{tmp_path}"], 7, "integrity")["message"]


def test_8_a_port_in_use(polyarch: Polyarch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in fails(polyarch, ["serve", "--listen", address], 8, "host")["message"]


def test_8_doctor(polyarch: Polyarch, tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    error = fails(polyarch, ["--root", no_folder / "root", "doctor"], 8, "host")
    assert error["details"]["checks"] == ["storage"]


def test_9_disk_full(polyarch: Polyarch, registry: DockerRegistry, small_tmpfs: Callable[[int], Path]) -> None:
    root = small_tmpfs(256 * 1024)
    error = fails(polyarch, ["--root", root / "polyarch", "pull", registry.ref("busybox:1.36")], 9, "storage")
    assert "space" in error["message"]


def test_9_a_newer_storage(polyarch: Polyarch, registry: DockerRegistry) -> None:
    polyarch("pull", registry.ref("busybox:1.36")).ok()
    marker = polyarch.root / "oci/oci-layout"
    marker.write_text(json.dumps({"imageLayoutVersion": "9.0.0"}))
    assert "9.0.0" in fails(polyarch, ["image", "ls"], 9, "storage")["message"]


def test_9_output_that_cannot_be_written(polyarch: Polyarch) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "polyarch", "device", "ls"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.returncode == 9
    assert run.stderr == "error: the output cannot be written: No space left on device\n"


def test_errors_are_events_beside_events(polyarch: Polyarch, tmp_path: Path) -> None:
    for code, name, words in ((3, "not-found", ["pull", f"oci:{tmp_path}/no"]), (2, "usage", ["pull", "--bogus"])):
        result = polyarch("--progress", "json", *words)
        last = [json.loads(line) for line in result.stderr.splitlines()][-1]
        assert (result.code, last["event"], last["code"]) == (code, "Failed", name)
        assert {"message", "hint", "details"} < set(last)


def test_10_some_did_not(polyarch: Polyarch, registry: DockerRegistry) -> None:
    good, bad = registry.ref("busybox:1.36"), registry.ref("none:1")
    for words in (["pull", bad, good], ["resolve", good, bad], ["verify", bad, good], ["image", "inspect", good, bad]):
        result = polyarch("--format", "json", *words)
        error = check(result, 10, "partial")
        assert error["details"] == {"failed": [bad]}
        first = [line for line in result.json_lines if "error" not in line]
        assert len(first) == 1
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 2


def test_all_failed_alike(polyarch: Polyarch, registry: DockerRegistry) -> None:
    result = polyarch("--format", "json", "pull", registry.ref("none:1"), registry.ref("none:2"))
    assert result.code == 3
    assert [line["error"]["code"] for line in result.json_lines] == ["not-found", "not-found"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_130_interrupted(polyarch: Polyarch, faulty_registry: FaultyRegistry, number: signal.Signals) -> None:
    faulty_registry.script("GET", "/blobs/", slow(100_000), forever=True)
    name = faulty_registry.ref("busybox:1.36")
    process = polyarch.start("pull", "--format", "json", name)
    await_true(lambda: _received(polyarch.root) > 16_384, "bytes of a blob are on the disk")
    process.send_signal(number)
    error = check(polyarch.finish(process, seconds=20), 130, "interrupted")
    assert "kept" in error["hint"]
    kept = _received(polyarch.root)
    assert kept > 16_384
    assert polyarch("image", "ls", "-q").ok().stdout == ""
    faulty_registry.script("GET", "/blobs/", slow(100_000_000), forever=True)


def _received(root: Path) -> int:
    """Bytes of the blob of which most is here; the config comes and is done beside it."""
    partials = (root / "oci" / ".polyarch" / "partial").glob("*")
    return max((path.stat().st_size for path in partials if path.is_file()), default=0)


def test_1_a_defect(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    """A polyarch with a part broken out of it."""
    site, reports = tmp_path / "site", tmp_path / "reports"
    site.mkdir()
    reports.mkdir()
    (site / "sitecustomize.py").write_text("import polyarch.reference\npolyarch.reference.parse_reference = None\n")
    env = {"PYTHONPATH": str(site), "TMPDIR": str(reports)}
    result = polyarch("--format", "json", "pull", registry.ref("busybox:1.36"), env=env)
    error = check(result, 1, "internal")
    assert "TypeError" in error["message"]
    (report,) = reports.iterdir()
    assert str(report) in error["hint"]
    assert "Traceback" in report.read_text()


def test_8_where_a_plugin_breaks_its_contract_while_it_works(
    polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path
) -> None:
    install(
        tmp_path / "site",
        "broken",
        "from polyarch.contract import StoragePlugin, hookimpl\n"
        "class Broken:\n"
        "    def __init__(self, services): ...\n"
        "    def close(self): ...\n"
        "    def find(self, reference): return 1 / 0\n"
        "    has_blob = write_blob = commit = find\n"
        "@hookimpl\n"
        "def polyarch_storages():\n"
        "    yield StoragePlugin('broken', 'divides by zero', Broken)\n",
    )
    words = ["pull", "--into", "broken", registry.ref("busybox:1.36")]
    error = fails(polyarch, words, 8, "host", {"PYTHONPATH": str(tmp_path / "site")})
    assert error["message"].startswith("plugin broken (broken 1.0) cannot be used: ZeroDivisionError")


def test_125_where_a_program_s_code_is_passed_on(polyarch: Polyarch, registry: DockerRegistry) -> None:
    for words, name in (
        (["run", "--platform", "linux/arm64", registry.ref("liar:1.0")], "integrity"),
        (["run", "--emulation", "never", registry.ref("arm64-only:1.0")], "no-variant"),
        (["run", "-v", "/nonexistent:/data", registry.ref("busybox:1.36")], "usage"),
        (["run"], "usage"),
        (["run", "--bogus", "x"], "usage"),
        (["run", "--pull", "never", "x"], "not-found"),
        (["run", registry.ref("none:1")], "not-found"),
        (["emulate"], "usage"),
        (["emulate", "--platform", "linux/", "--", "true"], "usage"),
        (["emulate", "--platform", "linux/z80", "--", "true"], "usage"),
        (["emulate", "--platform", "", "--", "true"], "usage"),
        (["emulate", "--platform", "windows/amd64", "--", "true"], "usage"),
    ):
        fails(polyarch, words, 125, name)


def test_126_and_127(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", "-q", name).ok()
    fails(polyarch, ["run", "--rm", name, "/etc"], 126, "host")
    fails(polyarch, ["run", "--rm", name, "nonesuch"], 127, "not-found")
    fails(polyarch, ["emulate", "--", "/etc"], 126, "host")
    fails(polyarch, ["emulate", "--", "nonesuch"], 127, "not-found")
    fails(polyarch, ["emulate", "--", ""], 127, "not-found")
    fails(polyarch, ["run", "--rm", name, ""], 127, "not-found")


def test_a_program_s_own_code(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    for words in (["run", "--rm", name], ["emulate", "--"]):
        for code in (0, 1, 2, 7, 125, 255):
            result = polyarch("--format", "json", *words, "sh", "-c", f"echo said; exit {code}")
            assert (result.code, result.stdout) == (code, "said\n")
            assert "error:" not in result.stderr


def test_start_keeps_to_polyarchs_codes_unless_it_waits(polyarch: Polyarch) -> None:
    fails(polyarch, ["container", "start", "none"], 3, "not-found")
    fails(polyarch, ["container", "start", "-a", "none"], 125, "not-found")
