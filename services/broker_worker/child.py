"""Runs the drains of one child process of a worker, with all its traffic on one event loop in a thread.

The loop serves all HTTP and Redis connections of the child. It is built after the fork, so that nothing is shared with
the parent or with other children.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import uvloop
from redis.exceptions import RedisError

from services.broker_worker.drain import Drain
from services.broker_worker.key_ring import KeyRing, LoadCredentials
from services.broker_worker.listing import Listing
from services.broker_worker.read_account import AccountReader
from services.broker_worker.serve import Serving
from services.broker_worker.stop_gate import StopGate
from shared.brokers.errors import BrokerError
from shared.brokers.limits import RateLimits, address_of
from shared.brokers.port.connection import BrokerConnection
from shared.config import Settings
from shared.domain.identity import Broker
from shared.messaging.alerts import Alerts
from shared.messaging.cancellation import end_tasks
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lent_keys import is_lent_key
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.price_list import present_prices
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.refused_keys import RefusedKeys
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stops import StopReader

OPEN_RETRY_SECONDS = 2.0
STOP_CHECK_SECONDS = 0.5
STOP_SECONDS = 2.0
"""After the signal to stop, a drain ends at once, unless it waits for the broker's first answers."""
FINISH_SECONDS = 25.0
"""A request and the look-up after it may each take their time limit of 10 s. Followers that take longer are given back.
"""

log = structlog.get_logger()


class Child:
    """Runs drains for one broker. Create it in the child process. `stop` ends it."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        connect: Callable[[ScriptRunner, RateLimits | None], BrokerConnection],
        load_credentials: LoadCredentials,
        is_stopping: Callable[[], bool],
        beat: Callable[[], None],
    ) -> None:
        """`is_stopping` returns whether the main process is to stop, because a child gets no signal of its own. The
        event loop calls `beat` regularly.
        """
        self._settings = settings
        self._broker = broker
        self._connect = connect
        self._load_credentials = load_credentials
        self._is_stopping = is_stopping
        self._beat = beat
        self._stopping = asyncio.Event()
        self._drain: Drain | None = None
        self._limits: RedisRateLimits | None = None
        self._draining: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker-traffic", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._finish_when_stopping(), self._loop)

    def drain(self) -> None:
        """Serve ready followers. Return when none is left, the time box is over or the process is to stop."""
        self._call(self._run_drain())

    def stop(self) -> None:
        """Let the followers in progress finish, give back those that hang, then end the loop."""
        self._call(self._finish_once())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _call(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _run_drain(self) -> None:
        if self._stopping.is_set():
            return
        self._draining = asyncio.create_task(self._open_and_drain())
        with contextlib.suppress(asyncio.CancelledError):
            await self._draining

    async def _open_and_drain(self) -> None:
        try:
            if self._drain is None:
                self._drain = await self._build()
            await self._drain.run()
            if self._limits is not None:
                await self._limits.release()
        except (RedisError, OSError) as error:
            log.warning("redis is away", error=str(error))
        except BrokerError as error:
            # The followers stay ready, and the sweep sends the next hint.
            log.warning("broker cannot be reached", error=str(error))
            await asyncio.sleep(OPEN_RETRY_SECONDS)

    async def _build(self) -> Drain:
        settings, keys = self._settings, BrokerKeys(self._broker)
        redis = guarded_redis(settings.redis_url_for(self._broker), keys)
        scripts = ScriptRunner(redis)
        mailboxes = Mailboxes(scripts, keys, int(settings.claim_seconds * 1000), Alerts(redis, keys))
        self._limits = RedisRateLimits(scripts, keys) if settings.rate_limits else None
        connection = self._connect(scripts, self._limits)
        await connection.open()
        prices = present_prices(redis, keys)
        accounts = AccountReader(redis, keys, self._broker, prices, settings.snapshot_refresh_seconds)
        listing = Listing(connection.instruments, connection.reload)
        refused_keys = RefusedKeys(redis, keys, address_of(settings.proxy(self._broker)))
        serving = Serving(
            redis,
            keys,
            mailboxes,
            connection,
            accounts,
            listing,
            refused_keys,
            StopGate(StopReader(redis, keys)),
            self._stopping,
            limits=settings.open_limits,
            broker_clock=connection.clock.now,
        )
        drain = Drain(
            serving,
            mailboxes,
            KeyRing(self._load_credentials, partial(is_lent_key, redis, keys)),
            places=settings.drain_places,
            time_box_seconds=settings.drain_time_box_seconds,
        )
        self._connection = connection
        self._redis = redis
        self._renewing = asyncio.create_task(drain.renew_claims(settings.claim_seconds / 3))
        self._listing = asyncio.create_task(listing.keep_fresh())
        return drain

    async def _finish_when_stopping(self) -> None:
        # Celery would be too late: before it ends its children, it says goodbye to a Redis that may hang.
        while not self._is_stopping():
            self._beat()
            await asyncio.sleep(STOP_CHECK_SECONDS)
        await self._finish_once()

    async def _finish_once(self) -> None:
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._finish())
        await asyncio.shield(self._finishing)

    async def _finish(self) -> None:
        started = time.monotonic()
        self._stopping.set()
        if self._draining is not None:
            await asyncio.wait({self._draining}, timeout=STOP_SECONDS)
            self._draining.cancel()
            # The drain gives back the followers that it has just claimed.
            await asyncio.wait({self._draining}, timeout=STOP_SECONDS)
        if self._drain is None:
            return
        try:
            await self._drain.finish(FINISH_SECONDS)
        except (RedisError, OSError) as error:
            log.warning("redis is away; claims run out by themselves", error=str(error))
        await end_tasks(self._renewing, self._listing)
        if self._limits is not None:
            await self._limits.release()
        await self._connection.close()
        await self._redis.aclose()
        log.info("child stopped", seconds=round(time.monotonic() - started, 1))
