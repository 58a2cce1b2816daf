"""Which containerd is meant, and which of its namespaces."""

from __future__ import annotations

import re
from collections.abc import Mapping

from polyarch.contract import UsageError, printable

_HINT = 'known are: command = ["k3s", "ctr"], address = "/run/containerd/containerd.sock", namespace = "default"'
# containerd, pkg/identifiers/validate.go
_NAMESPACE = re.compile(r"(?=.{1,76}$)[A-Za-z0-9]+(?:[-._][A-Za-z0-9]+)*", re.ASCII)


def words_of(location: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """The words in front of what `ctr` is to do: the option `command`, where it dials, the namespace.

    `location` is a namespace. What is not said is left to `ctr`, which reads CONTAINERD_ADDRESS and
    CONTAINERD_NAMESPACE and knows its own defaults: those of `k3s ctr` are others. Raises UsageError.
    """
    if unknown := sorted(set(options) - {"command", "address", "namespace"}):
        raise UsageError(f"containerd has no option '{printable(unknown[0], 100)}'", _HINT)
    command = options.get("command", ["ctr"])
    if not (isinstance(command, list) and command and all(isinstance(word, str) for word in command)):
        raise UsageError("containerd's option command is no list of words", _HINT)
    # By itself it waits 10 s for a socket that is not there.
    words = [*command, "--connect-timeout", "3s"]
    address = _text(options, "address").removeprefix("unix://")
    if address:
        words += ["--address", address]
    namespace = location or _text(options, "namespace")
    if namespace:
        if not _NAMESPACE.fullmatch(namespace):
            raise UsageError(
                f"'{printable(namespace, 100)}' is no namespace of containerd's",
                "it has letters and digits, and single dots, dashes and underscores between them",
            )
        words += ["--namespace", namespace]
    return tuple(words)


def _text(options: Mapping[str, object], name: str) -> str:
    value = options.get(name, "")
    if not isinstance(value, str):
        raise UsageError(f"containerd's option {name} is no text", _HINT)
    return value
