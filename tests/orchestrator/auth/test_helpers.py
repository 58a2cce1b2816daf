"""The docker-credential-* protocol, with real programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.auth import helpers
from polyarch.auth.credentials import Credentials
from polyarch.auth.files import find_credentials, parse_auth_file
from polyarch.errors import HostError
from support.processes import await_true

Helper = Callable[[str, str], Path]
SERVER = "registry.example:5000"


@pytest.mark.parametrize(
    "credentials", [Credentials("me", "päss word"), Credentials("", "refresh", is_identity_token=True)]
)
def test_store_get_erase(keeper: Path, credentials: Credentials) -> None:
    assert helpers.get("keeper", SERVER) is None
    assert helpers.store("keeper", SERVER, credentials) == "docker-credential-keeper"
    assert helpers.get("keeper", SERVER) == credentials
    helpers.erase("keeper", SERVER)
    helpers.erase("keeper", SERVER)
    assert helpers.get("keeper", SERVER) is None
    # The action alone is on the command line.
    assert (keeper.parent / "calls").read_text().split("\n")[:4] == ["get", "store", "get", "erase"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "get for registry.example:5000 failed: it printed nothing"),
        ("echo kaputt >&2; exit 3", "get for registry.example:5000 failed: kaputt"),
        ("echo out; echo err >&2; exit 3", "get for registry.example:5000 failed: out$"),
        ("head -c 5000 /dev/zero | tr '\\0' x >&2; exit 3", "failed: x{199}…$"),
        ("printf 'locked\\033[31m'; exit 1", r"failed: locked\\x1b\[31m"),
        ("echo nonsense", "docker-credential-odd: not JSON"),
        ("echo '{}'", "Username is missing"),
        ('echo \'{"Username":"a"}\'', "Secret is missing"),
        ("head -c 100000 /dev/zero", "more than 65536 bytes"),
        ("kill -9 $$", "failed"),
    ],
)
def test_a_helper_that_fails(helper: Helper, script: str, says: str) -> None:
    helper("odd", f"#!/bin/sh\n{script}\n")
    with pytest.raises(HostError, match=says):
        helpers.get("odd", SERVER)


def test_what_is_nowhere_may_be_told_on_standard_error(helper: Helper) -> None:
    helper("other", "#!/bin/sh\necho credentials not found in native keychain >&2\nexit 1\n")
    assert helpers.get("other", SERVER) is None
    helpers.erase("other", SERVER)


def test_the_list(keeper: Path) -> None:
    assert helpers.servers("keeper") == {}
    _stored(keeper, a_example=Credentials("me", "m"), b_example=Credentials("", "t", is_identity_token=True))
    assert helpers.servers("keeper") == {"a.example": "me", "b.example": "<token>"}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 1", "docker-credential-odd list failed: it printed nothing"),
        ("echo []", "docker-credential-odd: a JSON object is wanted"),
        ("echo '{\"a\": 5}'", "docker-credential-odd: strings are wanted"),
        ("sleep 1000", "docker-credential-odd list did not answer within 0.3 seconds"),
    ],
)
def test_a_list_that_fails(helper: Helper, script: str, says: str) -> None:
    helper("odd", f"#!/bin/sh\n{script}\n")
    with pytest.raises(HostError, match=says):
        helpers.servers("odd", 0.3 if "sleep" in script else None)


def test_a_helper_that_does_not_listen(helper: Helper) -> None:
    helper("deaf", '#!/bin/sh\nexec <&-\necho \'{"Username":"a","Secret":"b"}\'\n')
    assert helpers.get("deaf", SERVER) == Credentials("a", "b")


def test_an_empty_secret_is_none(helper: Helper) -> None:
    helper("empty", '#!/bin/sh\necho \'{"Username":"","Secret":""}\'\n')
    assert helpers.get("empty", SERVER) is None


def test_a_helper_that_hangs_is_ended_with_all_that_it_started(
    helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "TIME_LIMIT", 0.3)
    helper("slow", f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path}/child\nwait\n")
    with pytest.raises(HostError, match="did not answer within"):
        helpers.get("slow", SERVER)
    state = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")

    def ended() -> bool:
        try:
            return state.read_text().rpartition(") ")[2][0] in "ZX"
        except OSError:
            return True

    await_true(ended, "what it started is ended, too")


def test_a_helper_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="docker-credential-no-such-helper is not installed") as caught:
        helpers.get("no-such-helper", SERVER)
    assert "credsStore" in (caught.value.hint or "")


def test_a_program_that_cannot_be_started_is_told(helper: Helper) -> None:
    helper("broken", "#!/no/such/interpreter\n")
    with pytest.raises(HostError, match="cannot be started"):
        helpers.get("broken", SERVER)


@pytest.mark.parametrize("name", ["", "../sh", "a b", "-x", "a/b", "a\n", "é", "a" * 101])
def test_what_is_no_name(name: str) -> None:
    assert not helpers.is_helper_name(name)


@pytest.mark.parametrize("name", ["pass", "ecr-login", "desktop.exe", "gcr_x", "1password"])
def test_what_is_a_name(name: str) -> None:
    assert helpers.is_helper_name(name)


def _stored(keeper: Path, **secrets: Credentials) -> None:
    for server, credentials in secrets.items():
        helpers.store("keeper", server.replace("_", "."), credentials)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"credHelpers": {"a.example": "keeper"}}, Credentials("kept", "k")),
        ({"credsStore": "keeper"}, Credentials("kept", "k")),
        ({"credHelpers": {"a.example": "keeper"}, "credsStore": "no-such-helper"}, Credentials("kept", "k")),
        ({"credHelpers": {"b.example": "keeper"}}, None),
        ({"credHelpers": {"a.example/ns": "keeper"}}, Credentials("kept", "k")),
        ({"credHelpers": {"a.example": ""}}, None),
        ({"credHelpers": {"a.example": ""}, "credsStore": "keeper"}, None),
    ],
)
def test_a_file_that_names_a_helper(keeper: Path, document: dict[str, object], found: Credentials | None) -> None:
    _stored(keeper, a_example=Credentials("kept", "k"))
    file = parse_auth_file(Path("auth.json"), document)
    assert find_credentials([file], "a.example", "ns/app") == found


def test_where_the_helper_has_nothing_the_entry_counts(keeper: Path) -> None:
    file = parse_auth_file(Path("auth.json"), {"credsStore": "keeper", "auths": {"a.example": {"auth": "bTpw"}}})
    assert find_credentials([file], "a.example") == Credentials("m", "p")
    assert (keeper.parent / "calls").read_text() == "get\n"


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (("containers-auth.json",), "file"),
        (("keeper", "containers-auth.json"), "kept"),
        (("containers-auth.json", "keeper"), "file"),
        (("keeper",), "kept"),
        ((), None),
    ],
)
def test_the_order_of_podmans_configuration(keeper: Path, order: tuple[str, ...], found: str | None) -> None:
    """containers-registries.conf(5), `credential-helpers`."""
    _stored(keeper, a_example=Credentials("kept", "k"))
    file = parse_auth_file(Path("auth.json"), {"auths": {"a.example": {"auth": "ZmlsZTpw"}}})
    credentials = find_credentials([file], "a.example", "ns/app", order)
    assert (credentials and credentials.username) == found


def test_the_next_in_the_order_is_asked(keeper: Path) -> None:
    file = parse_auth_file(Path("auth.json"), {"auths": {"b.example": {"auth": "ZmlsZTpw"}}})
    _stored(keeper, a_example=Credentials("kept", "k"))
    order = ("containers-auth.json", "keeper")
    assert find_credentials([file], "a.example", "", order) == Credentials("kept", "k")
    assert find_credentials([file], "b.example", "", order[::-1]) == Credentials("file", "p")


def test_docker_hub_has_its_old_name_in_helpers(keeper: Path) -> None:
    helpers.store("keeper", "https://index.docker.io/v1/", Credentials("hub", "h"))
    file = parse_auth_file(Path("auth.json"), {"credsStore": "keeper"})
    for name in ("docker.io", "https://index.docker.io/v1/"):
        assert find_credentials([file], name, "library/busybox") == Credentials("hub", "h")


def test_secrets_are_on_no_command_line(helper: Helper, tmp_path: Path) -> None:
    helper(
        "spy",
        f"#!/bin/sh\ntr '\\0' ' ' < /proc/$$/cmdline > {tmp_path}/argv\nenv > {tmp_path}/env\ncat > {tmp_path}/said\n",
    )
    helpers.store("spy", SERVER, Credentials("me", "hidden-secret"))
    assert "hidden-secret" not in (tmp_path / "argv").read_text() + (tmp_path / "env").read_text()
    assert json.loads((tmp_path / "said").read_text()) == {
        "ServerURL": SERVER,
        "Username": "me",
        "Secret": "hidden-secret",
    }
    assert "hidden-secret" not in str(os.environ)
