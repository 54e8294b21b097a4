"""Reads the tokens of the API, and finds out which of them a presented text is."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from shared.domain.access import ENVIRONMENT_TOKEN, Role, TokenId, TokenText, token_digest
from shared.persistence.api.tokens import TokenRecord as TokenRecord
from shared.persistence.api.tokens import TokenStore
from shared.queries.connections import Connections

_OF_NO_TOKEN: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a valid token."""

    token_id: TokenId
    name: str
    role: Role

    @property
    def actor(self) -> str:
        """The name under which changes are recorded."""
        return f"api:{self.name}"


def read_tokens(connections: Connections, *, revoked: bool = False) -> Sequence[TokenRecord]:
    """The tokens in use, by name. `revoked`: the revoked ones too. Raises DatabaseUnavailable."""
    return TokenStore(connections.engine).all(revoked=revoked)


def authenticate(connections: Connections, presented: str, environment_token: SecretStr | None) -> Principal | None:
    """Return the owner of the presented token; None when it is no token in use. Raises DatabaseUnavailable.

    `environment_token`: NIJA_API_TOKEN, which needs no database. Digests are compared in constant time, also when there
    is no token of the presented id.
    """
    digest = token_digest(presented)
    if environment_token is not None and hmac.compare_digest(
        digest, token_digest(environment_token.get_secret_value())
    ):
        return Principal(ENVIRONMENT_TOKEN, ENVIRONMENT_TOKEN, Role.ADMIN)
    token = TokenText.parse(presented)
    stored = None if token is None else TokenStore(connections.engine).in_use(token.token_id)
    is_right = hmac.compare_digest(digest, stored.digest if stored else _OF_NO_TOKEN)
    if stored is None or not is_right:
        return None
    return Principal(stored.record.token_id, stored.record.name, stored.record.role)
