"""Counts from the ledger in which words brokers answered orders whose outcome was unknown then."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text

from shared.domain.amounts import Instant
from shared.domain.identity import Broker
from shared.persistence.database import transaction

MOST_TEXTS: Final = 100

_COUNTS: Final = text("""
    SELECT broker, message AS words, count(*) AS sends, count(DISTINCT copy_order_id) AS orders,
           max(occurred_at) AS last_at
    FROM order_events
    WHERE state = 'unknown' AND occurred_at >= :since AND (CAST(:broker AS text) IS NULL OR broker = :broker)
    GROUP BY broker, message
    ORDER BY count(*) DESC, broker, message
    LIMIT :most
""")


class UnknownText(BaseModel):
    """One text after which an outcome was unknown."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    words: str
    """The broker's words, or those of the connection."""
    sends: int
    orders: int
    last_at: Instant


def unknown_texts(engine: Engine, since: datetime, broker: Broker | None = None) -> list[UnknownText]:
    """The texts since that time, the most frequent first, at most 100. Blocks. Raises DatabaseUnavailable."""
    asked = {"since": since, "broker": None if broker is None else broker.value, "most": MOST_TEXTS}
    with transaction(engine) as connection:
        return [UnknownText.model_validate(dict(row)) for row in connection.execute(_COUNTS, asked).mappings()]
