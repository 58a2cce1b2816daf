"""The contract's `Http`: requests that log in, follow redirects, and are tried again after passing faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.auth.credentials import Credentials
from polyarch.errors import IntegrityError, UnreachableError, UsageError
from polyarch.events import Emit
from polyarch.limits import MAX_CHALLENGES, MAX_REDIRECTS, MAX_REFUSAL, MAX_TOKEN_ANSWER
from polyarch.registry.authenticator import Account, Authenticator
from polyarch.registry.certificates import DIRECTORIES, Certificates, find_certificates
from polyarch.registry.faults import ConnectionFault, forbidden
from polyarch.registry.notices import NoticeWatch
from polyarch.registry.origin import (
    Origin,
    is_listed,
    is_loopback,
    is_private_to_machine,
    join_url,
    origin_of,
    split_url,
)
from polyarch.registry.rate_limits import LimitWatch
from polyarch.registry.reply import Answer, Reply
from polyarch.registry.retry import Retries
from polyarch.registry.tokens import TokenRequest
from polyarch.registry.trust import USUAL, Trust
from polyarch.settings import Settings
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.registry.transport import Transport

HANDSHAKE_ON_LOOPBACK = 2.0
"""Seconds that a server on loopback, which did not understand plain HTTP, gets to show that it speaks TLS."""

# What comes of speaking plain HTTP to TLS, TLS to plain HTTP, or either where only the other one listens.
_OTHER_SCHEME = ("tls", "refused", "broken")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a registry. `host` is `host` or `host:port`, `path` begins with a slash and may have a query.

    `schemes` are tried in this order; () leaves it to what the registry speaks. Without `account` nobody logs in.
    `bulk` is for large bodies. `retries` is how often it is tried again, None leaves it to the settings.
    `content` other than bytes gives its bytes anew each time it is iterated, and goes with a Content-Length.
    `sent_to` is where an earlier answer of the registry has sent us for this: treated as a redirect to there.
    `secret` says that the content is for nobody but who is asked: no redirect takes it to another origin.
    """

    method: str
    host: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Iterable[bytes | memoryview] | None = None
    account: Account | None = None
    schemes: tuple[str, ...] = ()
    bulk: bool = False
    trust: Trust = USUAL
    retries: int | None = None
    sent_to: Origin | None = None
    secret: bool = False


def no_words(registry: str) -> str:
    """Of a registry that nobody knows anything about: ""."""
    return ""


class HttpClient:
    """Sends requests for any number of threads. Nothing is loaded or opened before the first one."""

    def __init__(
        self,
        settings: Settings,
        emit: Emit,
        find_credentials: Callable[[Account], Credentials | None],
        certificate_directories: Sequence[Path] = DIRECTORIES,
        login_words: Callable[[str], str] = no_words,
    ) -> None:
        """`login_words` says how one gets credentials of a registry (as users call it), "" if nobody knows."""
        self._settings = settings
        self._closing = threading.Event()
        self._retries = Retries(settings.retries, emit, self._closing)
        self._authenticator = Authenticator(
            find_credentials, self._ask_token_server, emit, login_words, settings.token_servers
        )
        self.login_words = login_words
        self.foreign_layers = settings.foreign_layers
        self.limits = LimitWatch(emit)
        self._notices = NoticeWatch(emit)
        self._directories = certificate_directories
        self._lock = threading.Lock()
        self._opened: Transport | None = None
        self._spoken: dict[tuple[str, Trust], str] = {}
        self._asking = threading.local()

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> Iterator[Reply]:
        """One request to a URL, with the credentials of its host. Raises UsageError for a text that is no URL."""
        as_registry = url.startswith("//")
        try:
            origin, path = split_url(f"https:{url}" if as_registry else url)
        except ValueError as error:
            raise UsageError(f"{url[:200]!r} cannot be asked: {error}") from error
        host = origin.authority
        account = Account(host, host)
        if content is not None and not isinstance(content, bytes):
            content = b"".join(content)  # a login or a redirect may ask for it once more
        schemes = () if as_registry else (origin.scheme,)
        call = Call(method.upper(), host, path, headers or {}, content, account, schemes, bulk=True)
        with self.open(call) as reply:
            yield reply

    @contextmanager
    def open(self, call: Call) -> Iterator[Reply]:
        """The answer with its body still to be read. Raises ConnectionFault, UnauthorizedError, UnreachableError."""
        reply = self._retries.run(call.host, call.method, lambda: self._once(call), Reply.discard, call.retries)
        try:
            yield reply
        finally:
            reply.discard()

    def fetch(self, call: Call, limit: int) -> Answer:
        """The whole answer; of a refusal only its beginning. The tries include the body.

        Raises ConnectionFault, UnauthorizedError, UnreachableError, and IntegrityError for more than `limit` bytes.
        """
        return self._retries.run(
            call.host, call.method, lambda: self._whole(call, limit), lambda answer: None, call.retries
        )

    def persist(self, host: str, operation: Callable[[], Answer]) -> Answer:
        """The first answer of an operation of several requests that is no passing fault, or the last one.

        The requests are to have no tries of their own; the operation knows how to go on where it broke off. Raises
        what it raises.
        """
        return self._retries.run(host, "PUT", operation, lambda answer: None)

    def use_credentials(self, key: str, credentials: Credentials | None) -> None:
        """Take these credentials for a key of auth files from now on; None: those of the files again."""
        self._authenticator.use(key, credentials)

    def close(self) -> None:
        """End everything under way; who waits for an answer gets a ConnectionFault."""
        self._closing.set()
        with self._lock:
            opened = self._opened
        if opened is not None:
            opened.close()

    def _whole(self, call: Call, limit: int) -> Answer:
        reply = self._once(call)
        try:
            body = reply.read(limit) if reply.status < 400 else reply.excerpt(MAX_REFUSAL)
            return Answer(reply.status, reply.headers, body, reply.url)
        finally:
            reply.discard()

    def _once(self, call: Call) -> Reply:
        """One try, with whichever scheme the registry speaks; that is remembered."""
        schemes = call.schemes or self._schemes(call)
        spoken = call.host, call.trust
        if len(schemes) == 1:
            return self._follow(call, schemes[0])
        first, second = schemes
        fault: ConnectionFault | None = None
        try:
            reply = self._follow(call, first)
            # What a server with TLS answers to plain HTTP, where it answers: 400 (Go, nginx).
            if first == "https" or reply.status != 400:
                self._spoken[spoken] = first
                return reply
            reply.discard()
        except ConnectionFault as caught:
            if caught.kind not in _OTHER_SCHEME:
                raise
            fault = caught
        try:
            reply = self._follow(call, second)
        except ConnectionFault as caught:
            if caught.kind not in (*_OTHER_SCHEME, "timeout"):
                raise
            if fault is not None:
                raise fault from None
            self._spoken[spoken] = first
            return self._follow(call, first)
        self._spoken[spoken] = second
        return reply

    def _schemes(self, call: Call) -> tuple[str, ...]:
        """docker's rules: loopback may speak plain HTTP, an insecure registry TLS or else HTTP, the others TLS."""
        if (call.host, call.trust) in self._spoken:
            return (self._spoken[call.host, call.trust],)
        origin = self._origin("https", call.host)
        if self._certificates(origin, call.trust) is not None:
            return ("https",)
        if is_loopback(origin.host):
            return ("http", "https")
        return ("https", "http") if self._is_insecure(origin, call.trust) else ("https",)

    def _certificates(self, origin: Origin, trust: Trust) -> Certificates | None:
        return trust.certificates or find_certificates(self._directories, origin.host, origin.port)

    def _is_insecure(self, origin: Origin, trust: Trust) -> bool:
        listed = self._settings.insecure_registries
        return trust.insecure or not self._settings.tls_verify or is_listed(origin.host, origin.port, listed)

    def _origin(self, scheme: str, host: str) -> Origin:
        try:
            return origin_of(scheme, host)
        except ValueError as error:
            raise UsageError(f"{host[:200]!r} is no registry: {error}") from error

    def _follow(self, call: Call, scheme: str) -> Reply:
        """Sends the call, logs in where it is asked to, and goes where it is sent."""
        home = self._origin(scheme, call.host)
        here = call.sent_to or home
        challenges = redirects = 0
        while True:
            headers = dict(call.headers)
            if here == home:
                headers.update(call.trust.headers)
            grant = None
            if call.account is not None and here == home and self._may_log_in(home, call.trust):
                self._asking.trust = call.trust
                grant = self._authenticator.grant(home, call.account)
                if grant is not None:
                    headers["Authorization"] = grant.value
            trust = call.trust if here.host == home.host else USUAL
            reply = self._send(call, here, headers, trust, guarded=here.host != home.host)
            if reply.status == 401 and call.account is not None and here == home and challenges < MAX_CHALLENGES:
                challenges += 1
                field = reply.headers.get("www-authenticate", "")
                if self._may_log_in(home, call.trust) and self._authenticator.challenged(
                    home, call.account, field, grant
                ):
                    reply.discard()
                    continue
            location = reply.headers.get("location", "")
            if reply.status not in _REDIRECTS or not location:
                reply.url = f"{here}{call.path}"
                if here == home:
                    self._notices.look(call.host, reply.headers)
                return reply
            reply.discard()
            redirects += 1
            if redirects > MAX_REDIRECTS:
                raise ConnectionFault(here.authority, f"more than {MAX_REDIRECTS} redirects", "request")
            target, path = redirected(here, call.path, location, home)
            if call.secret and target != here and reply.status in (307, 308):
                raise ConnectionFault(here.authority, f"it redirects a login to {target}, which is refused", "request")
            call = _call_at(call, path, reply.status, elsewhere=target != here)
            here = target

    def _may_log_in(self, home: Origin, trust: Trust) -> bool:
        """Secrets go over TLS, or on loopback, or where the user has said that there is no TLS."""
        return home.scheme == "https" or is_loopback(home.host) or self._is_insecure(home, trust)

    def _send(self, call: Call, origin: Origin, headers: Mapping[str, str], trust: Trust, *, guarded: bool) -> Reply:
        from polyarch.registry.transport import Line, Transport

        with self._lock:
            if self._opened is None:
                self._opened = Transport(
                    connect_timeout=self._settings.connect_timeout, read_timeout=self._settings.read_timeout
                )
            transport = self._opened
            if self._closing.is_set():
                transport.close()
        certificates, verify, timeout = None, True, trust.connect_timeout
        if origin.scheme == "https":
            certificates = self._certificates(origin, trust)
            loopback = is_loopback(origin.host) and certificates is None
            verify = not (loopback or self._is_insecure(origin, trust))
            if loopback:
                timeout = min(HANDSHAKE_ON_LOOPBACK, timeout or self._settings.connect_timeout)
        line = Line(origin, certificates, verify, guarded, call.bulk)
        return transport.send(call.method, line, call.path, headers, call.content, timeout)

    def _ask_token_server(self, home: Origin, request: TokenRequest) -> Answer:
        origin, path = split_url(request.url)
        if is_private_to_machine(origin.host) and origin.host != home.host:
            raise forbidden(origin.authority)
        # A token server on the registry's own host is spoken with as the registry is.
        trust = self._asking.trust if origin.host == home.host else USUAL
        call = Call(
            request.method,
            origin.authority,
            path,
            request.headers,
            request.content,
            schemes=(origin.scheme,),
            trust=replace(trust, headers=()),
            secret=request.content is not None,
        )
        try:
            return self.fetch(call, MAX_TOKEN_ANSWER)
        except ConnectionFault as fault:  # it has had its tries: the request that needs the token gets no further ones
            raise UnreachableError(f"token server {fault}", fault.hint) from fault
        except IntegrityError as error:
            raise UnreachableError(f"token server {error}", "the registry's login is out of order") from error


def redirected(here: Origin, path: str, location: str, home: Origin, *, same_host: bool = False) -> tuple[Origin, str]:
    """Where a redirect leads. Raises ConnectionFault for a place that nobody may be sent to.

    With `same_host` the scheme of a URL at the same host is passed over: behind a proxy, registries name their own
    wrongly.
    """
    try:
        target, new_path = split_url(join_url(f"{here}{path}", location))
    except ValueError as error:
        raise ConnectionFault(here.authority, f"it redirects to what is no URL: {error}", "request") from error
    if same_host and target.authority == here.authority:
        target = here
    if here.scheme == "https" and target.scheme == "http":
        raise ConnectionFault(here.authority, f"it redirects from https to plain {target}, which is refused", "request")
    if is_private_to_machine(target.host) and target.host != home.host:
        raise forbidden(target.authority)
    return target, new_path


def _call_at(call: Call, path: str, status: int, *, elsewhere: bool) -> Call:
    """The call for where a redirect leads (RFC 9110, section 15.4); secrets stay behind when the origin changes."""
    headers = {
        name: value for name, value in call.headers.items() if not (elsewhere and name.lower() in _SECRET_FIELDS)
    }
    if status == 303 or (status in (301, 302) and call.method == "POST"):
        method = "HEAD" if call.method == "HEAD" else "GET"
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
        return replace(call, method=method, path=path, headers=headers, content=None)
    return replace(call, path=path, headers=headers)
