"""Who somebody is at a registry."""

from __future__ import annotations

import base64
from dataclasses import field

from polyarch.redaction import keep_secret
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and its secret: a password, or with `is_identity_token` an OAuth2 refresh token.

    The secret is in no repr and in no message: once it is here, nobody else's words tell it either.
    """

    username: str
    secret: str = field(repr=False)
    is_identity_token: bool = False

    def __post_init__(self) -> None:
        keep_secret(self.secret, self.username)

    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return f"Basic {encode(self.username, self.secret)}"


def encode(username: str, secret: str) -> str:
    """`username:secret` as auth files and Basic authentication write it."""
    return base64.b64encode(f"{username}:{secret}".encode()).decode("ascii")
