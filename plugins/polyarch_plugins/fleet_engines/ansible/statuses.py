"""What became of a task, by the words of ssh and of Ansible. Pure."""

from __future__ import annotations

import re

from polyarch.contract import FleetStatus

# The messages of OpenSSH (ssh.c, sshconnect.c, sshconnect2.c, clientloop.c, packet.c), in the order in which they are
# looked for: a connection that was refused for its key says that it was closed, too.
_SSH: tuple[tuple[FleetStatus, str], ...] = (
    (
        "host-key",
        r"host key verification failed|remote host identification has changed|host key for .* has changed"
        r"|no \S+ host key is known for|host key checking is enabled",
    ),
    ("no-forwarding", r"remote port forwarding failed|remote forward failed|remote port forwarding is disabled"),
    (
        "unauthorized",
        r"permission denied \(|permission denied, please try again|too many authentication failures"
        r"|no more authentication methods|no supported authentication methods|invalid/incorrect (username/)?password"
        r"|can't open /dev/tty|waiting for privilege escalation prompt",
    ),
    (
        "offline",
        r"could not resolve hostname|connect to (host|address) .* port \d+: |name or service not known"
        r"|during banner exchange|banner exchange: .*timed out|connection timed out during"
        r"|open failed: connect failed: |stdio forwarding failed",
    ),
)
# Before anybody was let in, only the way there (a jump host, a proxy command) can have written to the standard error.
_EARLY = re.compile(r"kex_exchange_identification|unknown port 65535|banner exchange", re.IGNORECASE)
_WAY = re.compile(
    r"connection refused|no route to host|network is unreachable|host is down|timed out|not known", re.IGNORECASE
)
_PATTERNS = tuple((status, re.compile(pattern, re.IGNORECASE)) for status, pattern in _SSH)
_ESCALATION = re.compile(
    r"(missing|incorrect) \S+ password|waiting for privilege escalation|invalid/incorrect (username/)?password",
    re.IGNORECASE,
)


def unreachable_status(log: str, message: str) -> FleetStatus:
    """Why ssh ended with 255: by its own messages (`log`), and where they do not say it by all that was written."""
    status = _found(log)
    said = log if log.strip() else message
    if status is None:
        if _EARLY.search(said):
            status = _found(message) or ("offline" if _WAY.search(message) else None)
        elif said is message:
            status = _found(message)
    return status or "unreachable"


def failed_status(message: str) -> FleetStatus:
    """What kind of failure it is where Ansible could not run a script at a device that it reached."""
    if re.search(r"host key checking is enabled", message, re.IGNORECASE):
        return "host-key"
    return "unauthorized" if _ESCALATION.search(message) else "failed"


def _found(text: str) -> FleetStatus | None:
    return next((status for status, pattern in _PATTERNS if pattern.search(text)), None)
