"""Registries: whether they answer, and whether the files with credentials for them serve.

doctor asks the network without being told to, because "is it me or the registry?" is why people call it. So it is
short: all at once, three seconds, one request each without any credentials; and silence is a warning only, since who
works offline or with a registry of their own lacks nothing. A registry that limits pulls is asked how many are left,
in the name of those whom an auth file names, for theirs are counted; helpers are asked for no secret.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from polyarch.auth import helpers
from polyarch.auth.credentials import Credentials
from polyarch.auth.files import (
    AuthFile,
    auth_paths,
    find_credentials,
    normal_name,
    parse_auth_file,
    read_document,
)
from polyarch.contract.registry import RegistryServices
from polyarch.errors import HostError, PolyarchError, UsageError, foreign, printable
from polyarch.events import ignore
from polyarch.plugin_host.host import PluginHost
from polyarch.reference import DEFAULT_REGISTRY, Reference, parse_reference, parse_registry
from polyarch.registry.authenticator import Account
from polyarch.registry.client import DistributionRegistry
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.http_client import HttpClient
from polyarch.registry.ping import AnswersPing
from polyarch.registry.rate_limits import LimitWatch, RateLimit
from polyarch.settings import Settings
from polyarch.verbs.doctor.check import Check, Mend, apt_install, words

SECONDS = 3.0

_MOST = 8
# Debian's packages of helpers, by the helper's name.
_HELPER_PACKAGES = {
    "pass": "golang-docker-credential-helpers",
    "secretservice": "golang-docker-credential-helpers",
}


def credentials(settings: Settings) -> tuple[list[Check], list[str]]:
    """What is wrong with the files that credentials are kept in; and the registries that they name."""
    checks: list[Check] = []
    names: list[str] = []
    for path in auth_paths(settings):
        try:
            document = read_document(path)
            if document is None:
                continue
            file = parse_auth_file(path, document)
        except UsageError as error:
            checks.append(broken_file(path, error))
            continue
        troubles = list(judge_file(file, path.stat().st_mode, lambda name: shutil.which(name) is not None))
        known = list(dict.fromkeys((*file.entries, *file.helpers)))
        if file.store and not troubles:
            try:
                known += [name for name in map(normal_name, helpers.servers(file.store, SECONDS)) if name not in known]
            except HostError as error:
                troubles.append(Check("credentials", "warning", f"{path}: {error.message}"))
        names += [name.partition("/")[0] for name in known]
        what = f"{path}: {len(known)} logins" + (f", kept by docker-credential-{file.store}" if file.store else "")
        checks += troubles or [Check("credentials", "ok", what)]
    return checks or [Check("credentials", "ok", "no auth file; public images need none")], names


def broken_file(path: Path, error: UsageError) -> Check:
    """The check of an auth file that cannot be read: nothing can be pulled then."""
    mend = Mend(words("mv", path, f"{path}.broken"))
    if os.path.lexists(path) and not os.access(path, os.R_OK):
        mend = Mend(words("chown", os.geteuid(), path), as_root=True)
    return Check("credentials", "failed", error.message, mend, essential=True)


def judge_file(file: AuthFile, mode: int, has: Callable[[str], bool]) -> Iterator[Check]:
    """What is wrong with an auth file of this mode; `has` says whether there is a program of a name.

    Without the helper of all registries (`credsStore`) nothing can be pulled, without another one nothing from there.
    """
    name = "credentials"
    if file.entries and mode & (stat.S_IRWXG | stat.S_IRWXO):
        mend = Mend(words("chmod", "600", file.path))
        yield Check(name, "warning", f"{file.path} holds passwords, and others may read it", mend)
    named = {file.store: "all registries"} if file.store else {}
    for registry, helper in file.helpers.items():
        if helper:
            named.setdefault(helper, registry)
    for helper, of in named.items():
        program = f"docker-credential-{helper}"
        if has(program):
            continue
        package = _HELPER_PACKAGES.get(helper)
        mend = apt_install(package) if package else Mend(words("mv", file.path, f"{file.path}.without-{helper}"))
        fact = f"{file.path} leaves {of} to {program}, which is not on PATH"
        yield Check(name, "failed", fact, mend, essential=helper == file.store)


def registries(settings: Settings, plugins: PluginHost, names: Iterable[str]) -> Iterator[Check]:
    """Ask the default registry and those of `names`, all at once, and wait three seconds for them altogether."""
    asked = list(dict.fromkeys((DEFAULT_REGISTRY, *names)))
    quick = replace(
        settings,
        retries=0,
        connect_timeout=min(settings.connect_timeout, SECONDS),
        read_timeout=min(settings.read_timeout, SECONDS),
    )
    files = tuple(_without_helpers(settings))

    def find(account: Account) -> Credentials | None:
        return find_credentials(files, account.key, account.repository)

    client = HttpClient(quick, ignore, find)
    services = RegistryServices(client, lambda locate: DistributionRegistry(client, locate))
    said: dict[str, Check] = {}
    # Threads that nobody has to wait for: looking up a name cannot be broken off.
    threads = [
        threading.Thread(target=_ask, args=(name, plugins, services, client.limits, said), daemon=True)
        for name in asked[:_MOST]
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    answered = dict(said)  # closing lets those that are late say that it was closed
    client.close()
    for name in asked[:_MOST]:
        late = Check("registry", "warning", f"{name} did not answer within {SECONDS:.0f} seconds")
        yield answered.get(name, late)


def _without_helpers(settings: Settings) -> Iterator[AuthFile]:
    for path in auth_paths(settings):
        with contextlib.suppress(UsageError):  # told already
            document = read_document(path)
            if document is not None:
                yield replace(parse_auth_file(path, document), helpers={}, store="")


def judge_limit(name: str, limit: RateLimit, now: datetime) -> Check:
    """The check of a registry that answers, and limits pulls."""
    fact = f"{name} answers; {limit}"
    if not limit.few:
        return Check("registry", "ok", fact)
    mend = Mend(words("polyarch", "login", name)) if limit.of_nobody else None
    return Check("registry", "warning", "; ".join(filter(None, (fact, limit.until(now)))), mend)


def _ask(
    name: str, plugins: PluginHost, services: RegistryServices, limits: LimitWatch, said: dict[str, Check]
) -> None:
    try:
        reference = Reference(parse_registry(name), "polyarch/doctor")
        plugin = plugins.registry_for(reference)
        registry = plugin.factory(services)
        if not isinstance(registry, AnswersPing):
            said[name] = Check("registry", "ok", f"{name}: its plugin cannot tell whether it answers")
            return
        registry.ping(reference)
        said[name] = Check("registry", "ok", f"{name} answers")
        if plugin.limited:
            with contextlib.suppress(PolyarchError):  # that it answers is the main thing
                registry.head(parse_reference(plugin.limited))
            if limit := limits.last(reference.registry):
                said[name] = judge_limit(name, limit, datetime.now(UTC))
    except PolyarchError as error:
        # Of most hints one is no wiser here: who asks a doctor knows how a registry is spelt.
        mendable = isinstance(error, ConnectionFault) and error.kind in ("certificate", "tls", "proxy")
        hint = f" ({error.hint})" if mendable and error.hint else ""
        said[name] = Check("registry", "warning", f"{name}: {error.message.removeprefix(f'{name}: ')}{hint}")
    except Exception as error:  # a stranger's plugin
        said[name] = Check("registry", "warning", f"{name}: {printable(foreign(error))}")
