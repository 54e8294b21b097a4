"""Lists the instruments and the prices of a broker for all its stages, whether or not it has a master account.

One process lists, by a lease. It reads the whole price list every two seconds by one set of requests, however many
accounts hold however many assets.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.master_trader.judge import judge
from services.master_trader.list_instruments import list_instruments
from shared.brokers.errors import BrokerError
from shared.brokers.port.connection import BrokerConnection
from shared.domain.request_limits import Priority
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease, LeaseLost, work_while_held
from shared.messaging.price_list import PriceListWriter
from shared.running import wait

PRICES_SECONDS: Final = 2.0
INSTRUMENTS_SECONDS: Final = 3_600.0
INSTRUMENTS_RETRY_SECONDS: Final = 60.0
_REDIS_AWAY_SECONDS: Final = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class Lister:
    """Lists for one broker."""

    connect: Callable[[], BrokerConnection]
    """Returns a connection that is not open yet."""
    redis: Redis
    keys: BrokerKeys
    _connection: BrokerConnection | None = None
    _writer: PriceListWriter | None = None
    _instruments_due_seconds: float = 0.0
    _errors: int = 0
    _reported: str | None = None
    """None: nothing yet. An earlier process may have stored a reason that is over."""

    async def serve(self, lease: Lease, stopping: asyncio.Event) -> None:
        """List whenever this process holds the lease, until `stopping`. No failure ends it; only cancelling does."""
        try:
            while not stopping.is_set():
                asked_at_seconds = monotonic()
                try:
                    if await lease.acquire():
                        await work_while_held(lease, asked_at_seconds, lambda: self._keep_listing(stopping))
                    else:
                        await wait(stopping, lease.seconds / 10)
                except LeaseLost as lost:
                    log.warning("stopped listing prices", reason=str(lost))
                except (RedisError, OSError) as error:
                    log.debug("no lease for the price list while Redis is away", error=str(error))
                    await wait(stopping, _REDIS_AWAY_SECONDS)
        finally:
            await self._close()
            await _give_back(lease)

    async def list_once(self) -> None:
        """Read the prices, and the instruments if they are due, and write them. Raises BrokerError and RedisError."""
        connection = self._connection or await self._open()
        writer = self._writer = self._writer or PriceListWriter(self.redis, self.keys)
        listed_at = datetime.now(UTC)
        await writer.write(await connection.price_list(await writer.needed(), Priority.WATCH), listed_at)
        if monotonic() >= self._instruments_due_seconds:
            self._instruments_due_seconds = monotonic() + INSTRUMENTS_RETRY_SECONDS
            await connection.reload()
            await self._list_instruments(connection)

    async def _open(self) -> BrokerConnection:
        connection = self.connect()
        await connection.open()
        self._connection = connection
        await self._list_instruments(connection)
        # Alpaca shows its whole list only to a key. If the key was refused a moment ago, the list is short.
        self._instruments_due_seconds = monotonic() + INSTRUMENTS_RETRY_SECONDS
        return connection

    async def _list_instruments(self, connection: BrokerConnection) -> None:
        await list_instruments(self.redis, self.keys, connection.instruments())
        self._instruments_due_seconds = monotonic() + INSTRUMENTS_SECONDS

    async def _keep_listing(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            started_seconds = monotonic()
            pause_seconds = PRICES_SECONDS
            try:
                await self.list_once()
                await self._report("")
                self._errors = 0
            except (BrokerError, RedisError, OSError) as error:
                self._errors += 1
                pause_seconds = judge(error, self._errors).wait_seconds
                await self._report(f"{type(error).__name__}: {error}")
            except Exception as error:
                self._errors += 1
                pause_seconds = judge(error, self._errors).wait_seconds
                log.exception("prices not listed")
                await self._report(f"{type(error).__name__}: {error}")
            await wait(stopping, started_seconds + pause_seconds - monotonic())

    async def _report(self, error: str) -> None:
        """Store why nothing is listed, for `nija status`; empty: the list is written."""
        if error == self._reported:
            return
        if error:
            log.warning("prices not listed", error=error, consecutive_errors=self._errors)
        try:
            await self.redis.hset(self.keys.lister, mapping={"error": error, "at": datetime.now(UTC).isoformat()})
            self._reported = error
        except (RedisError, OSError) as unreported:
            log.debug("state of the price list not reported", error=str(unreported))

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _give_back(lease: Lease) -> None:
    try:
        await lease.release()
    except (RedisError, OSError) as error:
        log.warning("lease of the price list not given back; it expires", error=str(error))
