"""Reads the words in which brokers answered orders whose outcome was unknown then."""

from datetime import UTC, datetime, timedelta
from typing import Final

from shared.domain.identity import Broker
from shared.persistence.reports.unknown_texts import UnknownText as UnknownText
from shared.persistence.reports.unknown_texts import unknown_texts
from shared.queries.connections import Connections

COUNTED: Final = timedelta(days=7)


def read_unknown_texts(connections: Connections, broker: Broker | None = None) -> list[UnknownText]:
    """The texts of the last seven days, the most frequent first. Blocks. Raises DatabaseUnavailable."""
    return unknown_texts(connections.engine, datetime.now(UTC) - COUNTED, broker)
