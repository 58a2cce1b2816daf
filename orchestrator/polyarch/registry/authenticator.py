"""Answers a registry's question who we are: which challenge is taken, and what is shown to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from polyarch.auth.credentials import Credentials
from polyarch.errors import IntegrityError, PolyarchError, UnauthorizedError, UnreachableError, printable
from polyarch.events import Emit, Warned
from polyarch.registry.challenge import Challenge, parse_challenges
from polyarch.registry.origin import Origin, is_loopback, join_url, same_site, split_url
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import login_hint, words
from polyarch.registry.tokens import TokenQuery, TokenRequest, Tokens, read_token, token_request
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """On whose behalf a request goes: the registry as users write it, its key in auth files, and the repository.

    `writes` says that the repository is to be written to, `reads` that this other one there is to be read, too.
    """

    registry: str
    key: str
    repository: str = ""
    writes: bool = False
    reads: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """An Authorization header's value, and the query of the token in it."""

    value: str
    query: TokenQuery | None = None


class Authenticator:
    """Remembers what each registry has asked, so that later requests bring their answer along. For many threads."""

    def __init__(
        self,
        find: Callable[[Account], Credentials | None],
        ask: Callable[[Origin, TokenRequest], Answer],
        emit: Emit,
        login_words: Callable[[str], str],
        token_servers: Mapping[str, str] | None = None,
    ) -> None:
        """`find` knows credentials; `ask` sends a token request on behalf of a registry at that origin.

        `login_words` says how one gets credentials of a registry, "" if nobody knows. `token_servers` are those that
        the user trusts with a registry's credentials though they are none of its own hosts.
        """
        self._token_servers = token_servers or {}
        self._find = find
        self._ask = ask
        self._emit = emit
        self._login_words = login_words
        self._lock = threading.Lock()
        self._given: dict[str, Credentials] = {}
        self._known: dict[tuple[Origin, Account], Challenge] = {}
        self._found: dict[Account, Credentials | None] = {}
        self._tokens = Tokens()

    def use(self, key: str, credentials: Credentials | None) -> None:
        """From now on these are the credentials of a key, whatever the files say; None: the files' again."""
        with self._lock:
            if credentials is None:
                self._given.pop(key, None)
            else:
                self._given[key] = credentials
            self._known.clear()
            self._found.clear()
            self._tokens = Tokens()

    def grant(self, home: Origin, account: Account) -> Grant | None:
        """What goes with a request; None while the registry has not asked. Raises as the token server's answer does."""
        with self._lock:
            challenge = self._known.get((home, account))
        if challenge is None:
            return None
        credentials = self._credentials(account)
        if challenge.scheme == "basic":
            return Grant(credentials.basic()) if credentials is not None else None
        query = self._query(home, account, challenge, credentials)
        token = self._tokens.get(query, lambda query: self._new_token(home, account, query))
        return Grant(f"Bearer {token}", query)

    def challenged(self, home: Origin, account: Account, field: str, sent: Grant | None) -> bool:
        """A 401 came with this WWW-Authenticate, to a request with `sent`: is there something new to show?"""
        challenges = parse_challenges(field)
        chosen = next((each for each in challenges if each.scheme == "bearer" and each.parameters.get("realm")), None)
        if chosen is None:
            credentials = self._credentials(account)
            chosen = next((each for each in challenges if each.scheme == "basic"), None)
            if chosen is None or credentials is None or credentials.is_identity_token:
                return False
        with self._lock:
            known = self._known.get((home, account))
            self._known[home, account] = chosen
        if sent is None or known != chosen:
            return True
        if sent.query is not None:
            self._tokens.drop(sent.query, sent.value.removeprefix("Bearer "))
            return True
        return False

    def _credentials(self, account: Account) -> Credentials | None:
        with self._lock:
            if account.key in self._given:
                return self._given[account.key]
            if account in self._found:
                return self._found[account]
        found = self._find(account)
        with self._lock:
            return self._found.setdefault(account, found)

    def _query(
        self, home: Origin, account: Account, challenge: Challenge, credentials: Credentials | None
    ) -> TokenQuery:
        try:
            realm = join_url(str(home), challenge.parameters["realm"])
            origin, _ = split_url(realm)
        except ValueError as error:
            raise UnreachableError(f"{home.authority} names a token server that is none: {error}") from error
        if home.scheme == "https" and origin.scheme == "http":
            raise UnreachableError(
                f"{home.authority} names the token server {origin}, which has no TLS", "tell the registry's operator"
            )
        if credentials is not None and not may_show(home, origin, self._token_servers.get(account.registry, "")):
            self._emit(
                Warned(
                    f"the credentials of {account.registry} are not shown to {origin}, which is none of its own hosts"
                    " (the setting token_servers may name it)"
                )
            )
            credentials = None
        scope = _scope(challenge.parameters.get("scope", ""), account)
        return TokenQuery(realm, challenge.parameters.get("service", ""), scope, credentials)

    def _new_token(self, home: Origin, account: Account, query: TokenQuery) -> tuple[str, float]:
        answer = self._ask(home, token_request(query))
        where = f"token server {split_url(query.realm)[0].authority}"
        if answer.status != 200:
            raise _refusal(where, answer, account, query.credentials, self._login_words(account.registry))
        try:
            return read_token(answer.body, where)
        except IntegrityError as error:
            raise UnreachableError(error.message, "the registry's login is out of order") from error


def _scope(asked: str, account: Account) -> str:
    """What a token is to allow (distribution, docs/spec/auth/scope.md): what was asked for, and all of the account's.

    Who writes reads, too: with one token for both, a token for one does not push the other's out.
    """
    wanted = asked.split()
    if account.repository and (account.writes or not wanted):
        own, both = f"repository:{account.repository}:", {"pull", "push"}
        wanted = [each for each in wanted if not (each.startswith(own) and {*each[len(own) :].split(",")} <= both)]
        wanted.append(own + ("pull,push" if account.writes else "pull"))
    if account.reads:
        wanted.append(f"repository:{account.reads}:pull")
    return " ".join(dict.fromkeys(wanted))


def may_show(home: Origin, realm: Origin, trusted: str = "") -> bool:
    """True if the credentials of a registry may be shown to the token server that it names.

    It is at the same place, or on the same host and no less protected, or on loopback like the registry itself, or
    speaks TLS on a host of the registry's own domain, or on the host (or host:port) that is `trusted`.
    """
    if realm == home or (is_loopback(home.host) and is_loopback(realm.host)):
        return True
    if realm.scheme == "http":
        return home.scheme == "http" and realm.host == home.host
    return same_site(home.host, realm.host) or trusted.lower() in (realm.host, f"{realm.host}:{realm.port}")


def _refusal(
    where: str, answer: Answer, account: Account, credentials: Credentials | None, login: str
) -> PolyarchError:
    said = words(answer.body, answer.headers.get("content-type", ""))
    because = f": {said}" if said else ""
    if answer.status in (400, 401, 403):
        whom = "a request without credentials"
        if credentials is not None:
            whom = f"the credentials of {printable(credentials.username, 80) or 'an identity token'}"
        return UnauthorizedError(f"{where} refuses {whom}{because}", login_hint(account.registry, login))
    return UnreachableError(f"{where} answered {answer.status}{because}")
