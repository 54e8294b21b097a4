"""Stops trading everywhere while a file EMERGENCY_STOP exists, from every process of a stage that can see the file.

An operator makes the file in the working folder of a stage or in NIJA_HOME. Each process looks for it once a second and
writes the stop as `nija stop` does: into PostgreSQL, and into the Redis of each broker that it serves. Removing the file
resumes nothing. While it exists, a stop that was ended elsewhere is written again.

While PostgreSQL does not answer, the stop is in Redis only. There it ends a stop of no other scope. Any bookkeeper that
reaches PostgreSQL replaces it by what PostgreSQL has, until a process that saw the file has stored the stop.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
from redis.exceptions import RedisError

from shared.domain.identity import Broker
from shared.domain.stop import StopMode, StopScope
from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import mirror_command, parse_stop_state
from shared.persistence.database import first_line, open_engine
from shared.persistence.errors import PersistenceError
from shared.persistence.stops import StandingStops, StopStore
from shared.running import wait

EMERGENCY_FILE: Final = "EMERGENCY_STOP"
EVERY_SECONDS: Final = 1.0
STORE_SECONDS: Final = 0.5
"""After this time, the stop is written into Redis without waiting for PostgreSQL."""
ANSWER_SECONDS: Final = 2.0

log = structlog.get_logger()


def emergency_file(folders: Iterable[Path]) -> Path | None:
    """Return the file, if one of the folders has it. A folder that cannot be read has none."""
    for folder in folders:
        path = folder / EMERGENCY_FILE
        try:
            if path.exists():
                return path
        except OSError:
            continue
    return None


async def keep_stopped_by_file(
    folders: Sequence[Path], redis_urls: Mapping[Broker, str], database_url: str, ended: asyncio.Event
) -> None:
    """Look for the file every second until `ended`, and stop trading while it exists. No failure ends this."""
    engine = open_engine(database_url, pool_size=1)
    ledger = _Ledger(StopStore(engine))
    seen: Path | None = None
    unstored: Path | None = None
    try:
        while not ended.is_set():
            try:
                found = emergency_file(folders)
                if found is not None and found != seen:
                    log.critical("trading is stopped by a file", file=str(found))
                seen = found
                # A stop that is not stored yet is stored also after the file was removed.
                unstored = found or unstored
                if unstored is not None:
                    standing = await ledger.hold(unstored)
                    await asyncio.gather(*(_mirror(standing, broker, url) for broker, url in redis_urls.items()))
                    unstored = None if standing is not None else unstored
            except Exception:
                log.exception("the file EMERGENCY_STOP was not acted on")
            await wait(ended, EVERY_SECONDS)
    finally:
        engine.dispose()


class _Ledger:
    """Stores the stop in PostgreSQL, which may hang."""

    def __init__(self, stops: StopStore) -> None:
        self._stops = stops
        self._storing: asyncio.Task[StandingStops] | None = None

    async def hold(self, found: Path) -> StandingStops | None:
        """Store the stop and return all stops. None, after a line in the log: it is not stored yet."""
        if self._storing is None:
            self._storing = asyncio.create_task(asyncio.to_thread(self._hold, found))
        await asyncio.wait({self._storing}, timeout=STORE_SECONDS)
        try:
            if not self._storing.done():
                # It is waited for again in a second. A second statement would hang, too.
                raise TimeoutError("PostgreSQL does not answer")
            storing, self._storing = self._storing, None
            return storing.result()
        except Exception as error:
            # Also a table that is missing, because the process started before the migration.
            log.warning(
                "the stop by a file is not stored yet",
                file=str(found),
                error=first_line(error),
                exc_info=not isinstance(error, PersistenceError | TimeoutError),
            )
            return None

    def _hold(self, found: Path) -> StandingStops:
        reason = f"the file {found} exists"
        return self._stops.hold(StopScope(), StopMode.HALT, actor=EMERGENCY_FILE, reason=reason)


async def _mirror(standing: StandingStops | None, broker: Broker, url: str) -> None:
    """Write the stop into the Redis of a broker. A bookkeeper does it too, for a Redis that does not answer now.

    `standing` is None while PostgreSQL does not answer. Then the state in Redis becomes a halt and keeps its revision, so
    that PostgreSQL replaces it later. A Redis without a state is left alone, because no process sends anything then.
    """
    keys = BrokerKeys(broker)
    try:
        async with asyncio.timeout(ANSWER_SECONDS), open_redis(url) as redis:
            if standing is not None:
                state = standing.at(broker)
            else:
                present = parse_stop_state(await redis.get(keys.stop))
                state = present.model_copy(update={"broker_mode": StopMode.HALT})
            await redis.execute_command(*mirror_command(keys, state))  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        log.warning("the stop by a file is not mirrored", broker=broker.value, error=str(error) or type(error).__name__)
