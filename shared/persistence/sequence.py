"""The numbering of a broker's fills: who may give numbers, who may join between two of them.

A follower that joins is in from the next fill. So nobody may record a fill between reading the newest number
and telling the engines that the list of followers changed: joining holds the same lock as recording.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select
from sqlmodel import col

from shared.domain.identity import Broker
from shared.persistence.database import unavailable_as_one_error
from shared.persistence.ledger_tables import MasterFillRow


def last_sequence(connection: Connection, broker: Broker) -> int:
    """The number of the broker's newest recorded fill; 0 when there is none."""
    newest = select(func.max(col(MasterFillRow.sequence))).where(col(MasterFillRow.broker) == broker.value)
    return connection.scalar(newest) or 0


def lock_sequence(connection: Connection, broker: Broker) -> None:
    """Hold the broker's numbering until the transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(_lock(broker))))


@contextmanager
def hold_sequences(engine: Engine, brokers: Iterable[Broker]) -> Iterator[Connection]:
    """Hold the numbering of brokers over several transactions of the connection that is handed out.

    Raises DatabaseUnavailable. When the process or the connection dies, PostgreSQL lets the locks go.
    """
    # Always in the same order: two that hold one each and wait for the other would wait for ever.
    locks = sorted({_lock(broker) for broker in brokers})
    with unavailable_as_one_error(), engine.connect() as connection:
        try:
            for lock in locks:
                connection.execute(select(func.pg_advisory_lock(lock)))
            connection.commit()
            yield connection
            connection.rollback()
            connection.execute(select(func.pg_advisory_unlock_all()))
            connection.commit()
        except BaseException:
            # Closes the real connection, and with it the locks: the pool must not keep them.
            connection.invalidate()
            raise


def _lock(broker: Broker) -> int:
    # "nija" in the upper bytes keeps the lock apart from those of other programs in the same database.
    return (0x6E696A61 << 32) | list(Broker).index(broker)
