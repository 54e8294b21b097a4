"""The numbering of a broker's fills: who may give numbers, who may join between two of them.

A follower that joins is in from the next fill. So nobody may record a fill between reading the newest number
and telling the engines that the list of followers changed: joining holds the same lock as recording. It tells before
it commits, and who was told waits for the end of that transaction before it reads the list.
"""

from typing import Final

from sqlalchemy import Connection, func, select, text
from sqlmodel import col

from shared.brokers.registry import profile_of
from shared.domain.identity import Broker
from shared.persistence.tables.ledger import MasterFillRow

LONGEST_WAIT_SECONDS: Final = 3.0
"""For somebody else's transaction; a process that is paused inside one must not hold up whoever has to stop in time."""


def last_sequence(connection: Connection, broker: Broker) -> int:
    """The number of the broker's newest recorded fill; 0 when there is none."""
    newest = select(func.max(col(MasterFillRow.sequence))).where(col(MasterFillRow.broker) == broker.value)
    return connection.scalar(newest) or 0


def lock_sequence(connection: Connection, *brokers: Broker) -> None:
    """Hold the numbering of these brokers until the transaction ends."""
    # Always in the same order: two that hold one each and wait for the other would wait for ever.
    for lock in sorted({_lock(broker) for broker in brokers}):
        connection.execute(select(func.pg_advisory_xact_lock(lock)))


def await_sequence(connection: Connection, broker: Broker) -> None:
    """Wait until nobody holds the broker's numbering. Raises DatabaseUnavailable when that takes too long."""
    connection.execute(text(f"SET LOCAL lock_timeout = {int(LONGEST_WAIT_SECONDS * 1000)}"))
    connection.execute(select(func.pg_advisory_xact_lock_shared(_lock(broker))))


def _lock(broker: Broker) -> int:
    # "nija" in the upper bytes keeps the lock apart from those of other programs in the same database.
    return (0x6E696A61 << 32) | profile_of(broker).lock_number
