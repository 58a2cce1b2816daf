"""HTTP over httpx: one request, one answer. The only importer of httpx; with `sockets`, of httpcore, which carries it.

httpx is given a transport of its own, for three reasons that were measured or met:

- It reads 64 KiB at a time and builds its TLS context at once. Blobs come 1.4 × as fast with larger reads, and plain
  HTTP needs no context (17 ms).
- An HTTP/2 connection of httpcore must not be used by two threads at once (encode/httpx 3072, 3566), and loses its flow
  control where a body is left unread (encode/httpcore 943). So each request has a connection for itself, HTTP/2 serves
  documents only (bulk costs twice the processor time there), and is given up if a body was not read to its end.
- A connection to where a server has sent us is looked at before anything is said on it; see `guarded`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from polyarch.errors import UsageError
from polyarch.limits import MAX_HEAD
from polyarch.redaction import keep_secret
from polyarch.registry.certificates import Certificates, TlsContexts
from polyarch.registry.faults import ConnectionFault, os_fault, timeout_fault
from polyarch.registry.origin import Origin
from polyarch.registry.proxies import proxies_of_environment, proxy_for
from polyarch.registry.reply import Reply
from polyarch.registry.sockets import Backend, Sockets, Stream
from polyarch.registry.watch import Watch
from polyarch.version import __version__
from polyarch_platforms.lazy_dataclass import dataclass

DIRECT_SIZE = 8 << 20
"""Bytes of a body from which on it is read past h11, which copies each byte four times: a quarter of the processor time
of a transfer. Its connection cannot be used again, so that a smaller one would lose more than it gains."""

MAX_IDLE = 8
"""Connections to one origin that are kept for the next request."""

_OPTIONS = "polyarch"
_SPEAKS_HTTP2 = ("h2", "hpack", "hyperframe")


@dataclass(frozen=True, slots=True)
class Line:
    """What kind of connection a request needs. Requests of equal lines may take each other's connections.

    `guarded` refuses link-local and metadata addresses; `bulk` is for large bodies. `socket` is the path of a unix
    socket that is asked in place of the origin's host, "" for none.
    """

    origin: Origin
    certificates: Certificates | None = None
    verify: bool = True
    guarded: bool = False
    bulk: bool = False
    socket: str = ""


@dataclass(frozen=True, slots=True)
class _Connection:
    """A pool of one connection."""

    pool: httpcore.ConnectionPool
    watch: Watch


class Transport:
    """Sends single requests; no redirect is followed, nothing is tried again. For any number of threads."""

    def __init__(self, *, connect_timeout: float, read_timeout: float) -> None:
        """The times are in seconds: for a connection with its TLS handshake, and without a byte."""
        self._lines = _Lines()
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._client = httpx.Client(
            transport=self._lines,
            trust_env=False,
            headers={"User-Agent": f"polyarch/{__version__}", "Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    def send(
        self,
        method: str,
        line: Line,
        path: str,
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes | memoryview] | None = None,
        connect_timeout: float | None = None,
    ) -> Reply:
        """One request; the caller discards the reply. Raises ConnectionFault, UsageError (certificates, proxy)."""
        host = line.socket or line.origin.authority
        # Who answers on a unix socket is on this machine: it may think as long as its work takes.
        longest = None if line.socket else self._read_timeout
        timeout = httpx.Timeout(longest, connect=connect_timeout or self._connect_timeout, pool=None)
        try:
            request = self._client.build_request(
                method,
                f"{line.origin}{path}",
                headers=dict(headers),
                content=content,  # type: ignore[arg-type] # h11 takes whatever `join` does
                timeout=timeout,
                extensions={_OPTIONS: line},
            )
            response = self._client.send(request, stream=True)
        except (httpx.InvalidURL, httpx.HTTPError, UnicodeError) as error:
            raise ConnectionFault(host, f"no request can be made of this: {error}", "request") from error
        return Reply(
            host, response.status_code, response.headers, response.http_version, response.iter_raw, response.close
        )

    def close(self) -> None:
        """Close all connections; who waits on one gets a ConnectionFault."""
        self._lines.close()


class _Lines(httpx.BaseTransport):
    """Connections, each leased to one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Line, list[_Connection]] = {}
        self._contexts = TlsContexts()
        self._proxies = proxies_of_environment()
        self._sockets = Sockets()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        line: Line = request.extensions[_OPTIONS]
        proxy = self._proxy(line)
        host = line.socket or line.origin.authority
        host += f" (through the proxy {proxy.url.host})" if proxy else ""
        connection = self._take(line, proxy)
        pool, watch = connection.pool, connection.watch
        watch.begin()
        try:
            with _faults(host):
                answer = pool.handle_request(
                    httpcore.Request(
                        request.method,
                        httpcore.URL(
                            scheme=request.url.raw_scheme,
                            host=request.url.raw_host,
                            port=request.url.port,
                            target=request.url.raw_path,
                        ),
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
            if sum(len(name) + len(value) + len(": \r\n") for name, value in answer.headers) > MAX_HEAD:
                raise ConnectionFault(host, f"the head of its answer has more than {MAX_HEAD} bytes", "request")
        except BaseException:
            pool.close()
            raise
        watch.body()
        longest = request.extensions["timeout"]["read"] if line.bulk else None
        direct = _direct_size(request.method, answer) if line.bulk else 0
        body = _Body(answer, host, watch, lambda reusable: self._give(line, connection, reusable), direct, longest)
        return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)

    def _take(self, line: Line, proxy: httpx.Proxy | None) -> _Connection:
        with self._lock:
            if self._closed:
                raise ConnectionFault(line.origin.authority, "the connection was closed here", "closed")
            idle = self._idle.get(line)
            if idle:
                return idle.pop()
        watch = Watch()
        return _Connection(self._new(line, proxy, watch), watch)

    def _give(self, line: Line, connection: _Connection, reusable: bool) -> None:
        with self._lock:
            idle = self._idle.setdefault(line, [])
            if reusable and not self._closed and len(idle) < MAX_IDLE:
                idle.append(connection)
                return
        connection.pool.close()

    def _proxy(self, line: Line) -> httpx.Proxy | None:
        url = None if line.socket else proxy_for(line.origin, self._proxies)
        if url is None:
            return None
        try:
            proxy = httpx.Proxy(url)
        except (ValueError, httpx.InvalidURL):
            proxy = None
        if proxy is None or not proxy.url.host:  # the URL may hold a password: it is not shown
            raise UsageError(
                f"the proxy for {line.origin.scheme} in the environment is no proxy's URL",
                "look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY",
            )
        if proxy.auth is not None:
            keep_secret(proxy.auth[1], proxy.auth[0])
        return proxy

    def _new(self, line: Line, proxy: httpx.Proxy | None, watch: Watch) -> httpcore.ConnectionPool:
        http2 = line.origin.scheme == "https" and not line.bulk and _has_http2()
        options: dict[str, Any] = {
            "max_connections": 1,
            "keepalive_expiry": 30.0,
            "http2": http2,
            # Behind a proxy it is the proxy that looks names up, and the proxy's own address may be any.
            "network_backend": Backend(line.guarded and proxy is None, self._sockets, watch),
        }
        if line.origin.scheme == "https":
            options["ssl_context"] = self._contexts.get(line.certificates, verify=line.verify, http2=http2)
        if proxy is None:
            return httpcore.ConnectionPool(uds=line.socket or None, **options)
        url = proxy.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        if url.scheme.startswith("socks"):
            try:
                return httpcore.SOCKSProxy(target, proxy_auth=proxy.raw_auth, **options)
            except RuntimeError as error:
                raise UsageError("a SOCKS proxy needs a further library", "pip install 'httpx[socks]'") from error
        if url.scheme == "https":
            options["proxy_ssl_context"] = self._contexts.get(None, verify=True, http2=False)
        return httpcore.HTTPProxy(target, proxy_auth=proxy.raw_auth, **options)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            pools = [connection.pool for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        self._sockets.shut()
        for pool in pools:
            pool.close()


class _Body(httpx.SyncByteStream):
    """A body on its connection; when it is closed the connection is given back."""

    def __init__(
        self,
        answer: httpcore.Response,
        host: str,
        watch: Watch,
        give_back: Callable[[bool], None],
        direct: int = 0,
        longest: float | None = None,
    ) -> None:
        """`direct` is how many bytes come if they may be read past h11, `longest` the seconds that each may take."""
        self._answer = answer
        self._host = host
        self._watch = watch
        self._give_back = give_back
        self._direct = direct
        self._longest = longest
        self._reusable = answer.extensions.get("http_version") != b"HTTP/2"
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        with _faults(self._host):
            stream = iter(self._answer.iter_stream())
            if self._direct:
                first = next(stream, b"")
                yield first
                network: httpcore.NetworkStream = self._answer.extensions["network_stream"]
                if isinstance(network, Stream) and network.gave_last(len(first)):
                    self._reusable = False
                    # httpx passes on what it is given, and `Reply.parts` says that it may be this.
                    yield from network.rest(self._direct - len(first), self._longest)  # type: ignore[misc]
                    return
            for part in stream:
                self._watch.body(len(part))
                yield part
        self._reusable = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self._answer.close()
            self._give_back(self._reusable)


@contextlib.contextmanager
def _faults(host: str) -> Iterator[None]:
    """httpcore's exceptions as ConnectionFault."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise timeout_fault(host, connecting=isinstance(error, httpcore.ConnectTimeout)) from error
    except httpcore.ProxyError as error:
        raise ConnectionFault(host, f"the proxy refused it: {error}", "proxy", "look at HTTPS_PROXY") from error
    except httpcore.LocalProtocolError as error:
        raise ConnectionFault(host, f"the exchange broke the protocol: {error}", "request") from error
    except httpcore.RemoteProtocolError as error:
        raise ConnectionFault(host, f"it broke off or does not speak HTTP here: {error}", "broken") from error
    except httpcore.NetworkError as error:
        # The pool cuts the chain of causes; the first argument is what the system said.
        cause = next(
            (each for each in (*error.args, error.__cause__) if isinstance(each, OSError)), OSError(str(error))
        )
        raise os_fault(host, cause, connecting=isinstance(error, httpcore.ConnectError)) from error
    except (OSError, ValueError) as error:
        raise ConnectionFault(host, f"no HTTP came back: {error}", "broken") from error
    except Exception as error:
        # Of what is wrong behind the head of an answer over HTTP/2, httpcore makes no exception of its own.
        if type(error).__module__.partition(".")[0] not in _SPEAKS_HTTP2:
            raise
        raise ConnectionFault(host, f"it broke off or does not speak HTTP here: {error}", "broken") from error


def _direct_size(method: str, answer: httpcore.Response) -> int:
    """The bytes of a body that may be read from the connection itself; 0 where it has to be read as HTTP says."""
    fields = {name.lower(): value for name, value in answer.headers}
    size = fields.get(b"content-length", b"")
    if method != "GET" or answer.status not in (200, 206) or b"transfer-encoding" in fields or not size.isdigit():
        return 0
    if answer.extensions.get("http_version") != b"HTTP/1.1":
        return 0
    return int(size) if len(size) < 19 and int(size) >= DIRECT_SIZE else 0


def _has_http2() -> bool:
    return importlib.util.find_spec("h2") is not None
