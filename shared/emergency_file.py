"""Stops trading everywhere while a file EMERGENCY_STOP exists, from every process of a stage that can see the file.

An operator makes the file in the working folder of a stage or in NIJA_HOME. Each process looks for it once a second and
writes the stop as `nija stop` does: into PostgreSQL, and into the Redis of each broker that it serves. Removing the file
resumes nothing. While it exists, a stop that was ended elsewhere is written again.
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
from shared.messaging.stops import mirror_command
from shared.persistence.database import open_engine
from shared.persistence.errors import PersistenceError
from shared.persistence.stops import StandingStops, StopStore
from shared.running import wait

EMERGENCY_FILE: Final = "EMERGENCY_STOP"
EVERY_SECONDS: Final = 1.0
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
    """Look for the file every second until `ended`, and stop trading while it exists."""
    engine = open_engine(database_url, pool_size=1)
    seen: Path | None = None
    try:
        while not ended.is_set():
            found = emergency_file(folders)
            if found is not None:
                if found != seen:
                    log.critical("trading is stopped by a file", file=str(found))
                try:
                    standing = await asyncio.to_thread(_hold, StopStore(engine), found)
                    await asyncio.gather(*(_mirror(standing, broker, url) for broker, url in redis_urls.items()))
                except PersistenceError as error:
                    log.warning("the stop by a file is not stored yet", file=str(found), error=str(error))
            seen = found
            await wait(ended, EVERY_SECONDS)
    finally:
        engine.dispose()


def _hold(stops: StopStore, found: Path) -> StandingStops:
    return stops.hold(StopScope(), StopMode.HALT, actor=EMERGENCY_FILE, reason=f"the file {found} exists")


async def _mirror(standing: StandingStops, broker: Broker, url: str) -> None:
    """Write the stop into the Redis of a broker. A bookkeeper does it too, for a Redis that does not answer now."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS), open_redis(url) as redis:
            command = mirror_command(BrokerKeys(broker), standing.at(broker))
            await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        log.warning("the stop by a file is not mirrored", broker=broker.value, error=str(error) or type(error).__name__)
