"""Defines who may use the API: the roles, and the form of the opaque tokens that have them.

A token is `nija_<id>_<secret>`. The id finds the token, and the secret has 256 random bits. So the SHA-256 of the whole
token is enough at rest: no list of likely tokens can be tried against it.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType, Self

TokenId = NewType("TokenId", str)

_TOKEN = re.compile(r"nija_(?P<id>[0-9a-f]{12})_(?P<secret>[0-9a-f]{64})")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_ID = re.compile(r"[0-9a-f]{12}")
ENVIRONMENT_TOKEN: Final = TokenId("environment")
"""The id and the name of the token in NIJA_API_TOKEN."""
NAME_RULE: Final = (
    "1 to 40 lowercase letters, digits, '_', '-' or '.', beginning with a letter or digit, and neither the word "
    "'environment' nor the form of an id (12 hex digits)"
)


class Role(StrEnum):
    """What a token may do. Each role includes those before it."""

    READ = "read"
    """Ask every question."""
    OPERATE = "operate"
    """Pause, resume, reconcile."""
    ADMIN = "admin"
    """See and revoke tokens."""

    def includes(self, other: "Role") -> bool:
        """Whether this role may do all that the other one may do."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class TokenText:
    """The parts of a token as its owner holds it."""

    token_id: TokenId
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The parts, or None for a text that has not the form of a token."""
        found = _TOKEN.fullmatch(text)
        return None if found is None else cls(TokenId(found["id"]), found["secret"])

    @property
    def text(self) -> str:
        """The whole token. Show it once, and store only its digest."""
        return f"nija_{self.token_id}_{self.secret}"


def token_digest(text: str) -> str:
    """SHA-256 of a whole token, in hex."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def is_token_name(name: str) -> bool:
    """Whether a token may have this name, which is the actor of what the token changes."""
    return _NAME.fullmatch(name) is not None and name != ENVIRONMENT_TOKEN and not _ID.fullmatch(name)
