"""Keeps the order events of a broker in the order of their ids, so that readers can follow them and miss none.

PostgreSQL gives out an id before the transaction commits. Without a lock, a reader could see the id 8 before the 7, and
would never return to the 7. So each writer holds a lock of its broker from before the first id until the commit.
"""

from collections.abc import Iterable
from typing import Any, Final
from zlib import crc32

import psycopg
from psycopg import sql

from shared.persistence.sequence import LONGEST_WAIT_SECONDS

_LOCK: Final = sql.SQL("SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(%s)")
_NO_LIMIT: Final = sql.SQL("SET LOCAL lock_timeout TO DEFAULT")


def lock_event_order(driver: psycopg.Connection[Any], brokers: Iterable[str]) -> None:
    """Hold the order of these brokers' events until the transaction ends.

    Raises psycopg.OperationalError, which the caller's transaction turns into DatabaseUnavailable, when another writer
    holds one of them for too long.
    """
    # Always in the same order. Otherwise two transactions could each hold a lock that the other one waits for.
    for lock in sorted(map(_lock, set(brokers))):
        driver.execute(_LOCK, [str(int(LONGEST_WAIT_SECONDS * 1000)), lock])
    driver.execute(_NO_LIMIT)


def _lock(broker: str) -> int:
    # "nijb" in the upper bytes: another lock than that of the broker's numbering.
    return (0x6E696A62 << 32) | crc32(broker.encode())
