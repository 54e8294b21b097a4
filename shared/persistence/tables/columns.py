"""Defines how the domain's types are stored: exact NUMERIC, aware TIMESTAMPTZ, TEXT."""

from typing import Any

from sqlalchemy import DateTime, Dialect, Numeric, Table, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from shared.domain.symbol import Symbol


class Moment(DateTime):
    """TIMESTAMPTZ; the time zone of each transaction is UTC, so what comes back is aware UTC."""

    def __init__(self) -> None:
        super().__init__(timezone=True)


class SymbolText(TypeDecorator[Symbol]):
    """TEXT that is read as a Symbol."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Symbol | None:  # noqa: ARG002  # the base class's
        """Turn what the database returns into a Symbol."""
        return None if value is None else Symbol.parse(value)


def symbol(*, key: bool = False) -> Any:
    return Field(sa_type=SymbolText, primary_key=key)


def text(*, key: bool = False) -> Any:
    return Field(sa_type=Text, primary_key=key)


def optional_text() -> Any:
    return Field(default=None, sa_type=Text, nullable=True)


def amount() -> Any:
    """NUMERIC without precision: keeps every digit that it is given."""
    return Field(sa_type=Numeric)


def optional_amount() -> Any:
    return Field(default=None, sa_type=Numeric, nullable=True)


def moment(*, key: bool = False) -> Any:
    return Field(sa_type=Moment, primary_key=key)


def optional_moment() -> Any:
    return Field(default=None, sa_type=Moment, nullable=True)


def document() -> Any:
    return Field(sa_type=JSONB)


def table_of(row: type[SQLModel]) -> Table:
    """The SQLAlchemy table behind a row class."""
    return SQLModel.metadata.tables[str(row.__tablename__)]
