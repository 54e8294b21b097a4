"""Locks the numbering of a broker's fills, so that followers join between two fills and never during one.

A follower copies from the first fill after it joined. So no fill may be recorded between two steps of joining: reading
the newest number, and announcing the new list of followers to the engines. Joining therefore holds the same lock as
recording. The announcement comes before the commit, and an engine waits for the end of that transaction before it reads
the list.
"""

from typing import Final
from zlib import crc32

from sqlalchemy import Connection, func, select, text
from sqlmodel import col

from shared.domain.identity import Broker
from shared.persistence.tables.ledger import MasterFillRow

LONGEST_WAIT_SECONDS: Final = 3.0
"""The longest wait for the transaction of another process.

A process that is paused inside a transaction must not delay a process that has to stop in time.
"""


def last_sequence(connection: Connection, broker: Broker) -> int:
    """The number of the broker's newest recorded fill; 0 when there is none."""
    newest = select(func.max(col(MasterFillRow.sequence))).where(col(MasterFillRow.broker) == broker.value)
    return connection.scalar(newest) or 0


def lock_sequence(connection: Connection, *brokers: Broker) -> None:
    """Hold the numbering of these brokers until the transaction ends."""
    # The order is always the same. Otherwise two transactions could each hold a lock that the other one waits for.
    for lock in sorted({_lock(broker) for broker in brokers}):
        connection.execute(select(func.pg_advisory_xact_lock(lock)))


def await_sequence(connection: Connection, broker: Broker) -> None:
    """Wait until no transaction holds the broker's numbering. Raises DatabaseUnavailable when that takes too long."""
    connection.execute(text(f"SET LOCAL lock_timeout = {int(LONGEST_WAIT_SECONDS * 1000)}"))
    connection.execute(select(func.pg_advisory_xact_lock_shared(_lock(broker))))


def _lock(broker: Broker) -> int:
    # "nija" in the upper bytes keeps the lock apart from those of other programs in the same database. The lower bytes
    # are the CRC-32 of the broker's name, so a broker has the same lock in every version of nija.
    return (0x6E696A61 << 32) | crc32(broker.value.encode())
