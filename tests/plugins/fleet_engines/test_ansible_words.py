"""What Ansible and ssh say, as tables: no program is run."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_plugins.fleet_engines.ansible.events import AnsibleEvent, parse_line
from polyarch_plugins.fleet_engines.ansible.statuses import failed_status, unreachable_status
from polyarch_plugins.fleet_engines.shell import assignments, quoted

# Messages of OpenSSH 9.2 and 10.0, and of what stands in the way.
SSH = [
    ("ssh: connect to host 10.0.0.1 port 22: Connection refused", "offline"),
    ("ssh: connect to host 10.0.0.1 port 22: No route to host", "offline"),
    ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", "offline"),
    ("ssh: connect to host 10.0.0.1 port 22: Network is unreachable", "offline"),
    ("ssh: Could not resolve hostname pi1: Name or service not known", "offline"),
    ("Connection timed out during banner exchange\r\nConnection to 10.0.0.1 port 22 timed out", "offline"),
    ("No ED25519 host key is known for pi1 and you have requested strict checking.\r\n", "host-key"),
    ("Host key verification failed.", "host-key"),
    ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key verification failed.", "host-key"),
    ("root@10.0.0.1: Permission denied (publickey,password).", "unauthorized"),
    ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", "unauthorized"),
    ("Error: remote port forwarding failed for listen port 40123", "no-forwarding"),
    ("Connection closed by 10.0.0.1 port 22", "unreachable"),
    ("Connection reset by 10.0.0.1 port 22", "unreachable"),
    ("kex_exchange_identification: Connection closed by remote host", "unreachable"),
    ("Connection to 10.0.0.1 closed by remote host.", "unreachable"),
    ("client_loop: send disconnect: Broken pipe", "unreachable"),
    ("Timeout, server 10.0.0.1 not responding.", "unreachable"),
    ("Read from remote host 10.0.0.1: Connection timed out", "unreachable"),
    ("Unable to negotiate with 10.0.0.1 port 22: no matching host key type found", "unreachable"),
]


@pytest.mark.parametrize(("log", "status"), SSH)
def test_what_ssh_says(log: str, status: str) -> None:
    assert unreachable_status(log, f"Failed to connect to the host via ssh: {log}") == status
    assert unreachable_status("", f"Failed to connect to the host via ssh: {log}") == status


CLOSED = "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("nc: connect to 10.77.0.31 port 22 (tcp) failed: No route to host", "offline"),
        ("ssh: connect to host jump port 22: Connection refused", "offline"),
        ("channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed", "offline"),
        ("admin@jump: Permission denied (publickey).", "unauthorized"),
        ("Host key verification failed.", "host-key"),
        ("something else", "unreachable"),
    ],
)
def test_what_is_said_on_the_way_to_the_device(said: str, status: str) -> None:
    assert unreachable_status(CLOSED, f"{said}\n{CLOSED}") == status


def test_what_a_device_says_is_not_taken_for_what_ssh_says() -> None:
    lies = "Host key verification failed.\nPermission denied (publickey).\nssh: connect to host x port 22: No"
    assert unreachable_status("Connection to pi1 closed by remote host.", lies) == "unreachable"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Missing sudo password", "unauthorized"),
        ("Task failed: Incorrect su password", "unauthorized"),
        ("Invalid/incorrect username/password. Skipping remaining 3 retries", "unauthorized"),
        ("Using a SSH password instead of a key is not possible because Host Key checking is enabled.", "host-key"),
        ("to use the 'ssh' connection type with passwords, you must install the sshpass program", "failed"),
        ("'user_of' is undefined", "failed"),
    ],
)
def test_what_ansible_says_of_a_device_that_it_reached(message: str, status: str) -> None:
    assert failed_status(message) == status


RESULT = {"rc": 3, "stdout": "a\nb: [x] => {}", "stderr": "", "msg": "non-zero return code"}


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (" [started TASK: polyarch on pi1]", AnsibleEvent("started", "pi1")),
        (f"changed: [pi1] => {json.dumps(RESULT)}", AnsibleEvent("ended", "pi1", RESULT)),
        ("ok: [2001:db8::1] => {}", AnsibleEvent("ended", "2001:db8::1")),
        (f"fatal: [pi1]: FAILED! => {json.dumps(RESULT)}", AnsibleEvent("failed", "pi1", RESULT)),
        ('fatal: [pi1]: UNREACHABLE! => {"msg": "x"}', AnsibleEvent("unreachable", "pi1", {"msg": "x"})),
        ('skipping: [pi1] => {"skip_reason": "x"}', AnsibleEvent("skipped", "pi1", {"skip_reason": "x"})),
        ("skipping: [pi1]", AnsibleEvent("skipped", "pi1")),
        ("fatal: [pi1]: FAILED! => {broken", None),
        ("PLAY RECAP *****", None),
        ("pi1 : ok=1 changed=1", None),
        ("changed: [pi1] => (item=x) => {}", None),
        ("", None),
    ],
)
def test_a_line(line: str, event: AnsibleEvent | None) -> None:
    assert parse_line(line.encode()) == event


@given(st.binary())
def test_any_line_is_an_event_or_none(line: bytes) -> None:
    event = parse_line(line)
    assert event is None or event.host


@given(st.text(), st.text())
def test_a_device_cannot_tell_of_another_one(output: str, other: str) -> None:
    """Whatever it writes stays in its own result."""
    line = f"changed: [pi1] => {json.dumps({'stdout': output, 'stderr': other}, ensure_ascii=False)}"
    assert "\n" not in line
    event = parse_line(line.encode("utf-8", "surrogatepass"))
    assert event is not None
    assert event.host == "pi1"


@given(st.lists(st.text()))
def test_quoted_words(words: list[str]) -> None:
    assert shlex.split(" ".join(map(quoted, words))) == words
    assert shlex.split("".join(map(quoted, ["x", *words]))) == ["".join(["x", *words])]


@pytest.mark.parametrize("text", ["", "a b", "it's", "\n\n", '$x `y` \\ "z" é 🦆', "-n", "'", "''"])
def test_variables(text: str) -> None:
    script = assignments({"first": "1", "Text_2": text}) + 'printf %s "$Text_2"'
    assert subprocess.run(["/bin/sh", "-c", script], capture_output=True).stdout.decode() == text


@pytest.mark.parametrize("values", [{"a-b": ""}, {"1a": ""}, {"": ""}, {"a b": ""}, {"a": "\0"}, {"é": ""}])
def test_what_is_no_variable(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a shell variable cannot"):
        assignments(values)
