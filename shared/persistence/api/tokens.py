"""Stores the tokens of the API in PostgreSQL, without their secrets.

All methods block, and raise DatabaseUnavailable.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from shared.domain.access import Role, TokenId
from shared.domain.amounts import Instant
from shared.persistence.database import transaction
from shared.persistence.errors import TokenTaken, UnknownToken
from shared.persistence.tables.api import ApiTokenRow
from shared.persistence.tables.columns import table_of


class TokenRecord(BaseModel):
    """A token as an operator may see it."""

    model_config = ConfigDict(frozen=True)

    token_id: TokenId
    name: str
    role: Role
    created_at: Instant
    created_by: str
    reason: str
    revoked_at: Instant | None = None
    revoked_by: str | None = None


class StoredToken(BaseModel):
    """A token that is in use, with the digest that a presented token must have."""

    model_config = ConfigDict(frozen=True)

    record: TokenRecord
    digest: str


class TokenStore:
    """The tokens of the API."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, record: TokenRecord, digest: str) -> None:
        """Store a new token. Raises TokenTaken when another token in use has its name."""
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(ApiTokenRow).values(**record.model_dump(), digest=digest))
        except IntegrityError:
            raise TokenTaken(
                f"there is a token {record.name!r} already: choose another name, or revoke that token first"
            ) from None

    def all(self, *, revoked: bool = False) -> Sequence[TokenRecord]:
        """The tokens in use, by name. `revoked`: the revoked ones too."""
        query = select(table_of(ApiTokenRow)).order_by(col(ApiTokenRow.name), col(ApiTokenRow.created_at))
        if not revoked:
            query = query.where(col(ApiTokenRow.revoked_at).is_(None))
        with transaction(self._engine) as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def in_use(self, token_id: TokenId) -> StoredToken | None:
        """The token of this id, unless it was revoked."""
        query = select(table_of(ApiTokenRow)).where(
            col(ApiTokenRow.token_id) == token_id, col(ApiTokenRow.revoked_at).is_(None)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else StoredToken(record=_record(row), digest=row["digest"])

    def revoke(self, name_or_id: str, *, actor: str) -> TokenRecord:
        """Revoke the token in use that has this name or id. Raises UnknownToken."""
        with transaction(self._engine) as connection:
            row = (
                connection.execute(
                    update(table_of(ApiTokenRow))
                    .where(
                        (col(ApiTokenRow.name) == name_or_id) | (col(ApiTokenRow.token_id) == name_or_id),
                        col(ApiTokenRow.revoked_at).is_(None),
                    )
                    .values(revoked_at=datetime.now(UTC), revoked_by=actor)
                    .returning(*table_of(ApiTokenRow).columns)
                )
                .mappings()
                .one_or_none()
            )
        if row is None:
            raise UnknownToken(f"no token in use has the name or id {name_or_id!r}; see `nija tokens list`")
        return _record(row)


def _record(row: Any) -> TokenRecord:
    return TokenRecord.model_validate({name: row[name] for name in TokenRecord.model_fields})
