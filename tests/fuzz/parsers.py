"""Every reader of what others wrote, as a function of bytes, with the errors that it promises.

What is true of every answer is asserted: a text that was written again is read as the same, two readers agree.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fuzz import disk_parsers
from polyarch.auth import files, helpers
from polyarch.errors import HostError, IntegrityError, PolyarchError, UsageError
from polyarch.fleet import device_pull
from polyarch.fleet.answer import parse_answer
from polyarch.fleet.device_script import first_line, last_line
from polyarch.fleet.facts_json import facts_from_json, facts_to_json
from polyarch.fleet.plan_json import read_plan
from polyarch.fleet.pull_answer import parse_pull_answer
from polyarch.fleet.reasons import FactsFault
from polyarch.lock.lock_file import format_lock, parse_lock
from polyarch.oci.config import parse_config
from polyarch.oci.document import check_document, parse_document
from polyarch.oci.json import parse_json
from polyarch.reference import parse_reference, parse_registry
from polyarch.registry import pages
from polyarch.registry.challenge import parse_challenges
from polyarch.registry.hosts_toml import parse_hosts
from polyarch.registry.origin import join_url, split_url
from polyarch.registry.rate_limits import parse_limit
from polyarch.registry.registries_conf import parse_aliases, parse_registries_conf
from polyarch.registry.retry import retry_after
from polyarch.registry.statuses import error_codes, words
from polyarch.registry.tokens import read_token
from polyarch.serve.ranges import RangeNotSatisfiable, parse_range
from polyarch_platforms import arm_attributes, binfmt, device, elf, facts, host, platform, qemu_cpu
from polyarch_platforms.errors import BinfmtError, DeviceError, ElfError, FactsError, PlatformError, QemuError
from polyarch_plugins.fleet_engines.ansible import events, inventory
from polyarch_plugins.verifiers.containers_policy import certificates, log, payload, policy, strict

_CONF = Path("/etc/file")
_NONCE = "0123456789abcdef0123456789abcdef"
_NOW = datetime(2026, 1, 31, tzinfo=UTC)


@dataclass(frozen=True)
class Parser:
    """`read` may raise what is `promised`, and nothing else; inputs have at most `most` bytes."""

    read: Callable[[bytes], object]
    promised: tuple[type[Exception], ...]
    most: int = 1 << 16


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _reference(data: bytes) -> None:
    text = _text(data)
    with contextlib.suppress(UsageError):
        parse_registry(text)
    for schemes in ((), ("docker", "oci", "oci-archive")):
        found = parse_reference(text, schemes)
        if not found.scheme:
            assert parse_reference(str(found)) == found
            assert parse_reference(found.familiar) == found


def _platform(data: bytes) -> None:
    found = platform.parse(_text(data))
    assert platform.parse(str(found)) == found
    assert platform.from_oci(platform.to_oci(found)) == found


def _auth(data: bytes) -> None:
    for each in files.read_auth_files(disk_parsers.auth_settings(data)):
        names = [*each.entries, *each.helpers, "docker.io", "ghcr.io/a/b"]
        for name in names:
            assert files.normal_name(files.normal_name(name)) == files.normal_name(name)


def _helper(data: bytes) -> None:
    """The first byte is the exit code."""
    answer = data[:1] == b"1", data[1:]
    old = helpers._run
    helpers._run = lambda name, *_: (f"docker-credential-{name}", *answer)
    try:
        helpers.get("x", "https://index.docker.io/v1/")
        helpers.servers("x")
    finally:
        helpers._run = old


def _document(data: bytes) -> None:
    """The first line is the media type that the server gave."""
    media_type, _, raw = data.partition(b"\n")
    found = parse_document(raw, _text(media_type))
    check_document(found, found.descriptor, "it")
    for each in (found.descriptor, *getattr(found, "manifests", ()), *getattr(found, "layers", ())):
        json.dumps(each.to_json())


def _registry_answers(data: bytes) -> None:
    error_codes(data)
    words(data).encode()
    words(data, "text/html").encode()
    read_token(data, "the token server")


def _header(data: bytes) -> None:
    """A field's value, as each of the fields that are read."""
    text = data.decode("latin-1")
    parse_challenges(text)
    following = pages.next_page(text, "registry.example", "/v2/a/tags/list?n=1000")
    assert following is None or following.startswith("/")
    seconds = retry_after(text, _NOW)
    assert seconds is None or seconds >= 0
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "docker-ratelimit-source")
    if (limit := parse_limit(dict(zip(names, text.split("\n"), strict=False)))) is not None:
        str(limit), limit.until(_NOW)
    try:
        found = parse_range(text, 1000)
        assert found is None or (found[0] >= 0 and found[1] > 0 and sum(found) <= 1000)
    except RangeNotSatisfiable:
        pass
    try:
        origin, path = split_url(join_url("https://registry.example/v2/", text))
    except ValueError:
        return
    assert split_url(f"{origin}{path}") == (origin, path)


def _elf(data: bytes) -> None:
    for order in ("little", "big"):
        with contextlib.suppress(ValueError):
            arm_attributes.parse(data, order)
    found = elf.read_elf(data)
    elf.known_platform(found)
    elf.contradiction(found, platform.parse("linux/arm/v6"), 4096)
    elf.platform_of(found)


def _binfmt(data: bytes) -> None:
    qemu_cpu.parse_help(_text(data))
    entry = binfmt.parse_entry("qemu-arm", _text(data))
    if entry is not None:
        entry.matches(b"\x7fELF" + bytes(60))
    entry = binfmt.parse_line(data)
    entry.matches(data)
    assert binfmt.parse_line(binfmt.line(entry)).same_as(entry)


def _registries_conf(data: bytes) -> None:
    with contextlib.suppress(UsageError):
        parse_aliases(data, _CONF)
    conf = parse_registries_conf(data, _CONF)
    for name in ("docker.io/library/busybox:1.36", "ghcr.io/a/b"):
        conf.rule_for(parse_reference(name))
    conf.merged(conf)


def _policy(data: bytes) -> None:
    for kind in ("atomic container signature", payload.COSIGN):
        with contextlib.suppress(ValueError):
            payload.parse_payload(data, kind)
    policy.policy_of(strict.parse(data))


class _AnyKey:
    def verify(self, signature: bytes, message: bytes) -> None:
        """Holds for all, so that what lies behind the signature of a log is read, too."""


def _attached(data: bytes) -> None:
    """What is attached to a signature, and so comes from whoever could push to the registry."""
    with contextlib.suppress(ValueError):
        log.logged(data, [_AnyKey()], b"signature", b"payload")  # type: ignore[list-item]
    with contextlib.suppress(ValueError):
        certificates.load_chain(data.decode())
    certificates.check_issuer(certificates.load_signer(data.decode()), "https://login.example.com")


def _lock(data: bytes) -> None:
    text = data.decode()
    lock = parse_lock(text, "polyarch.lock")
    assert parse_lock(format_lock(lock), "polyarch.lock") == lock


def _facts(data: bytes) -> None:
    device_ = host.detect(facts.parse_facts(_text(data)))
    assert device.from_json(device_.to_json()) == device_


def _device_answer(data: bytes) -> None:
    """An answer without the lines around it, which nobody guesses."""
    text = f"{first_line(_NONCE)}\n{_text(data)}\n{last_line(_NONCE)}\n"
    found = parse_answer("pi", text, _NONCE, asked=1e9, received=1e9 + 1)
    assert facts_from_json(facts_to_json(found)) == found


def _pull_answer(data: bytes) -> None:
    text = f"{device_pull.first_line(_NONCE)}\n{_text(data)}\n{device_pull.last_line(_NONCE)}\n"
    parse_pull_answer("pi", text, _NONCE)


def _kept_facts(data: bytes) -> None:
    with contextlib.suppress(DeviceError):
        device.from_json(_text(data))
    found = facts_from_json(_text(data))
    assert facts_from_json(facts_to_json(found)) == found


def _inventory(data: bytes) -> None:
    events.parse_line(data)
    inventory.parse_inventory(data)


PARSERS: dict[str, Parser] = {
    "reference": Parser(_reference, (UsageError,)),
    "platform": Parser(_platform, (PlatformError,)),
    "auth": Parser(_auth, (UsageError,)),
    "credential-helper": Parser(_helper, (HostError,)),
    "document": Parser(_document, (IntegrityError,)),
    "config": Parser(lambda data: parse_config(data), (IntegrityError,)),
    "json": Parser(lambda data: parse_json(data, "it"), (IntegrityError,), 1 << 18),
    "registry-answers": Parser(_registry_answers, (IntegrityError,), 1 << 18),
    "header": Parser(_header, ()),
    "elf": Parser(_elf, (ElfError,)),
    "binfmt": Parser(_binfmt, (BinfmtError,)),
    "registries-conf": Parser(_registries_conf, (UsageError,)),
    "hosts-toml": Parser(lambda data: parse_hosts(data, _CONF), (UsageError,)),
    "policy": Parser(_policy, (ValueError,)),
    "attached": Parser(_attached, (ValueError,)),
    "lock": Parser(_lock, (UsageError, UnicodeDecodeError)),
    "facts": Parser(_facts, (FactsError,)),
    "device-answer": Parser(_device_answer, (FactsFault,)),
    "pull-answer": Parser(_pull_answer, (FactsFault,)),
    "kept-facts": Parser(_kept_facts, (IntegrityError,)),
    "plan": Parser(lambda data: read_plan(_text(data).splitlines()), (UsageError,)),
    "inventory": Parser(_inventory, (UsageError,)),
    "sources": Parser(disk_parsers.sources, (UsageError,)),
    "registries-d": Parser(disk_parsers.registries_d, (UsageError,)),
    "tar": Parser(disk_parsers.tar, (IntegrityError,)),
    "chunked": Parser(disk_parsers.chunked, (IntegrityError,)),
    "erofs": Parser(disk_parsers.erofs, (PolyarchError,)),
    "listing": Parser(disk_parsers.listing, (ValueError,)),
    "container": Parser(disk_parsers.container, (PolyarchError,)),
    "emulators": Parser(disk_parsers.emulators, (QemuError,)),
    "settings": Parser(disk_parsers.settings, (UsageError,)),
}
