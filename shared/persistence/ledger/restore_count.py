"""Counts the restores of each broker's Redis, so that what was read before a restore is not written after it.

A bookkeeper may stand still with events in hand while Redis forgets them and another one restores it. Written then,
they would say what the restored Redis does not know: decisions whose orders are in no mailbox, ends that no position
has.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from shared.domain.identity import Broker
from shared.persistence.errors import EventsOutdated

_FIRST = text("INSERT INTO restores (broker, restores) VALUES (:broker, 0) ON CONFLICT DO NOTHING")
_LAST = text("SELECT restores FROM restores WHERE broker = :broker")
_HELD = text("SELECT restores FROM restores WHERE broker = :broker FOR SHARE")
_NEXT = text("""
    INSERT INTO restores (broker, restores) VALUES (:broker, 1)
    ON CONFLICT (broker) DO UPDATE SET restores = restores.restores + 1
""")


@dataclass(frozen=True, slots=True)
class ReadAfter:
    """The last restore of a broker's Redis before events were read from it."""

    broker: Broker
    restores: int


def last_restore(connection: Connection, broker: Broker) -> ReadAfter:
    """What holds for events that are read after this transaction."""
    connection.execute(_FIRST, {"broker": broker.value})
    return ReadAfter(broker, connection.scalar(_LAST, {"broker": broker.value}) or 0)


def begin_restore(connection: Connection, broker: Broker) -> None:
    """Refuse whatever was read before this transaction; waits for the transactions that write such events now."""
    connection.execute(_NEXT, {"broker": broker.value})


def require_last(connection: Connection, read_after: ReadAfter) -> None:
    """Keep a restore from beginning until this transaction ends. Raises EventsOutdated when one has begun since."""
    if connection.scalar(_HELD, {"broker": read_after.broker.value}) != read_after.restores:
        raise EventsOutdated(f"{read_after.broker.value}: redis was restored since these events were read from it")
