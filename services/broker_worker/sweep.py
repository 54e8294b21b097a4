"""Finds once a second what crashes left behind, and replaces hints that were lost.

The sweep runs in a thread of the worker's main process, next to Celery.
"""

import asyncio
import math
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from services.broker_worker.health import WorkerHealth
from shared.domain.identity import Broker
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys, queue_name
from shared.messaging.mailboxes import Mailboxes, Swept
from shared.messaging.scripts import ScriptRunner
from shared.presence import signs_of_life

EVERY_SECONDS = 1.0
EXPIRED_AT_ONCE = 500
ACCOUNT_READS_AT_ONCE = 100
"""Per second and worker. Reading accounts must leave most of the places to orders."""
READ_AGAIN_MS = 60_000
"""When an account is due again if the worker that was to read it died, or had orders to carry out first."""
OVERDUE_MS = 500

log = structlog.get_logger()


class Sweeper:
    """Sweeps one broker until it is stopped."""

    def __init__(
        self,
        broker: Broker,
        redis_url: str,
        *,
        claim_seconds: float,
        places: int,
        children: int,
        publish_hints: Callable[[int], None],
        is_busy: Callable[[], bool],
        health: WorkerHealth,
        database_url: str,
        emergency_folders: Sequence[Path] = (),
    ) -> None:
        self._keys = BrokerKeys(broker)
        self._redis_url = redis_url
        self._claim_ms = int(claim_seconds * 1000)
        self._places = places
        self._children = children
        self._publish_hints = publish_hints
        self._is_busy = is_busy
        self._health = health
        self._database_url = database_url
        self._emergency_folders = emergency_folders
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="sweep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)

    async def _run(self) -> None:
        urls = {self._keys.broker: self._redis_url}
        folders = self._emergency_folders
        async with signs_of_life(self._health, urls, self._database_url, emergency_folders=folders):
            await self._keep_sweeping()

    async def _keep_sweeping(self) -> None:
        redis = guarded_redis(self._redis_url, self._keys)
        mailboxes = Mailboxes(ScriptRunner(redis), self._keys, self._claim_ms)
        queue = queue_name(self._keys.broker)
        while not self._stopping.is_set():
            try:
                swept = await mailboxes.sweep(
                    limit=EXPIRED_AT_ONCE,
                    account_reads=ACCOUNT_READS_AT_ONCE,
                    account_read_again_ms=READ_AGAIN_MS,
                    overdue_ms=OVERDUE_MS,
                )
                if swept.expired:
                    log.warning("claims expired", followers=swept.expired)
                self._health.consumer.saw(await redis.llen(queue), is_busy=self._is_busy())
                # In a thread, because a Redis that hangs would delay the heartbeat.
                await asyncio.to_thread(self._publish_hints, self.hints(swept))
                self._health.swept()
            except (RedisError, OSError) as error:
                self._health.without_redis(error)
                log.warning("redis is away", error=str(error))
            except (OperationalError, BatchPublishError) as error:
                # The followers are overdue until a worker claims them, so the next sweep sends hints again.
                self._health.without_redis(error)
                log.warning("hints not sent", error=str(error))
            except Exception:
                # A defect. The next sweep comes nevertheless, because only a sweep finds what crashes leave behind.
                log.exception("sweep failed")
            # Spread over time, so that the workers do not all sweep at once.
            await asyncio.sleep(EVERY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
        await redis.aclose()

    def hints(self, swept: Swept) -> int:
        """How many drains would find work, at most one for each child."""
        return min(self._children, math.ceil((swept.expired + swept.accounts_due + swept.overdue) / self._places))
