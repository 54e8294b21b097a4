"""Adds and revokes tokens of the API."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from shared.actions.context import ActionContext
from shared.actions.errors import ActionRefused
from shared.actions.record_texts import require_recordable
from shared.domain.access import NAME_RULE, Role, TokenId, TokenText, is_token_name, token_digest
from shared.persistence.api.tokens import TokenRecord
from shared.persistence.database import is_storable
from shared.persistence.errors import UnknownToken


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made. Its text cannot be read again."""

    record: TokenRecord
    text: SecretStr


def add_token(context: ActionContext, name: str, role: Role, *, actor: str, reason: str = "") -> NewToken:
    """Make a token. Raises ActionRefused, TokenTaken (the name is in use), DatabaseUnavailable."""
    require_recordable(actor, reason)
    if not is_token_name(name):
        raise ActionRefused(f"the name of a token should be {NAME_RULE}")
    token = TokenText(TokenId(secrets.token_hex(6)), secrets.token_hex(32))
    record = TokenRecord(
        token_id=token.token_id,
        name=name,
        role=role,
        created_at=datetime.now(UTC),
        created_by=actor,
        reason=reason,
    )
    context.tokens.add(record, token_digest(token.text))
    return NewToken(record, SecretStr(token.text))


def revoke_token(context: ActionContext, name_or_id: str, *, actor: str) -> TokenRecord:
    """Let a token open nothing from the next request on. Raises ActionRefused, UnknownToken, DatabaseUnavailable."""
    require_recordable(actor, "")
    if not is_storable(name_or_id):
        raise UnknownToken("no token in use has this name or id; see `nija tokens list`")
    return context.tokens.revoke(name_or_id, actor=actor)
