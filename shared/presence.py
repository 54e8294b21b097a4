"""Where the process of a stage says that it is there, and what keeps it from its work or from starting.

It says so in the Redis of each of its brokers. A process that cannot reach Redis writes into PostgreSQL instead, so
that `nija status` can still show its error. A process that can reach neither has its log, and `nija up` reads that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from shared.domain.errors import NijaError
from shared.domain.identity import Broker
from shared.emergency_file import keep_stopped_by_file
from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import SIGN_SECONDS, StageRecord, StageSigns, StageState, leave_sign
from shared.observability.vitals import Vitals
from shared.persistence.reports.stages import write_stage_report
from shared.running import wait

HEARTBEAT_SECONDS: Final = 1.0
ELSEWHERE_AFTER_SECONDS: Final = 10.0
"""A Redis that is away is reported in PostgreSQL after so long: a reconnect is shorter."""
ELSEWHERE_EVERY_SECONDS: Final = 30.0
LAST_SIGN_SECONDS: Final = 1.0
"""The end of a process is not held up longer than this by a Redis that hangs."""

log = structlog.get_logger()


class Life(Protocol):
    """A process as it sees itself: loops of its own, or a Celery worker."""

    record: StageRecord

    def beat(self) -> None:
        """Write the heartbeat file. Raises OSError."""
        ...

    def present(self, broker: Broker) -> StageRecord:
        """The process as it is now, for this broker."""
        ...


class LoopLife:
    """The life of a process with one loop per broker."""

    def __init__(self, record: StageRecord, vitals: Vitals) -> None:
        self.record = record
        self._vitals = vitals

    def beat(self) -> None:
        """Write the heartbeat file. Raises OSError."""
        self._vitals.beat()

    def present(self, broker: Broker) -> StageRecord:
        """The process as it is now, for this broker."""
        duty = self._vitals.duty(broker)
        return self.record.now(StageState.RUNNING if duty.has_worked else StageState.STARTING, duty.trouble)


@asynccontextmanager
async def signs_of_life(
    life: Life, redis_urls: Mapping[Broker, str], database_url: str, *, emergency_folders: Sequence[Path] = ()
) -> AsyncIterator[None]:
    """Write the heartbeat file and the signs of life as long as the block runs.

    Meanwhile, a file EMERGENCY_STOP in one of the `emergency_folders` stops trading.
    A block that ends without an error is an end in good order, and is recorded as one.
    """
    ended = asyncio.Event()
    tasks = [asyncio.create_task(_keep_beating(life, ended))]
    if emergency_folders:
        looking = keep_stopped_by_file(emergency_folders, redis_urls, database_url, ended)
        tasks.append(asyncio.create_task(looking))
    for broker, url in redis_urls.items():
        tasks.append(asyncio.create_task(_keep_signing(life, broker, url, database_url, ended)))
    try:
        yield
    finally:
        # An event, because redis-py loses a cancellation that comes while it checks a connection for data.
        ended.set()
        _, hanging = await asyncio.wait(tasks, timeout=LAST_SIGN_SECONDS)
        for task in hanging:
            task.cancel()
    await asyncio.gather(*(_sign_off(life.record, broker, url) for broker, url in redis_urls.items()))


async def _keep_beating(life: Life, ended: asyncio.Event) -> None:
    """Write the heartbeat file for as long as the event loop runs. A loop of the stage may wait for longer."""
    while not ended.is_set():
        try:
            life.beat()
        except OSError as error:
            # The health check acts on the missing beat; the work goes on until then.
            log.warning("no heartbeat written", error=str(error))
        await wait(ended, HEARTBEAT_SECONDS)


async def _keep_signing(life: Life, broker: Broker, redis_url: str, database_url: str, ended: asyncio.Event) -> None:
    """Write the present record into the broker's Redis every two seconds."""
    # Not a guarded client: a process that waits for Redis to be restored is there, and says what it waits for.
    async with open_redis(redis_url) as redis:
        signs = StageSigns(redis, BrokerKeys(broker))
        elsewhere_at = monotonic() + ELSEWHERE_AFTER_SECONDS
        while not ended.is_set():
            record = life.present(broker)
            try:
                await signs.write(record)
                elsewhere_at = monotonic() + ELSEWHERE_AFTER_SECONDS
            except (RedisError, OSError) as error:
                if monotonic() >= elsewhere_at:
                    elsewhere_at = monotonic() + ELSEWHERE_EVERY_SECONDS
                    text = record.trouble or f"Redis does not answer: {error or type(error).__name__}"
                    try:
                        await asyncio.to_thread(_report_elsewhere, database_url, record, broker, text)
                    except (NijaError, SQLAlchemyError) as unwritten:
                        log.warning("no sign of life in PostgreSQL either", error=str(unwritten))
            await wait(ended, SIGN_SECONDS)


async def _sign_off(record: StageRecord, broker: Broker, redis_url: str) -> None:
    """Record that the process ends in good order. A Redis that does not answer is not waited for."""
    with contextlib.suppress(RedisError, OSError):
        async with asyncio.timeout(LAST_SIGN_SECONDS), open_redis(redis_url) as redis:
            await StageSigns(redis, BrokerKeys(broker)).write(record.now(StageState.STOPPED))


def leave_failure(record: StageRecord, why: str, redis_urls: Mapping[Broker, str], database_url: str | None) -> None:
    """Record that the process cannot start: in each broker's Redis, or where none answers in PostgreSQL.

    `redis_urls` is empty when the process does not know its brokers. Raises nothing: the process ends anyway.
    """
    _leave(record.failed(why), redis_urls, database_url)


class StartWait:
    """Called while a process that has no loop yet waits for a server: it beats, and leaves its record now and then."""

    def __init__(self, record: StageRecord, vitals: Vitals, broker: Broker, redis_url: str, database_url: str) -> None:
        self._life = LoopLife(record, vitals)
        self._duty = vitals.duty(broker)
        self._broker = broker
        self._redis_url = redis_url
        self._database_url = database_url
        self._leave_at = monotonic() + ELSEWHERE_AFTER_SECONDS

    def __call__(self, why: str) -> None:
        """`why`: what the process waits for."""
        self._duty.without_server(why)
        with contextlib.suppress(OSError):  # the health check acts on the missing beat
            self._life.beat()
        if monotonic() >= self._leave_at:
            self._leave_at = monotonic() + ELSEWHERE_AFTER_SECONDS
            _leave(self._life.present(self._broker), {self._broker: self._redis_url}, self._database_url)


def _leave(record: StageRecord, redis_urls: Mapping[Broker, str], database_url: str | None) -> None:
    """Write the record where a server answers. Log nothing: the line of a failed start is its only one."""
    unreachable: set[str] = set()
    for broker, url in redis_urls.items():
        if url in unreachable:
            continue
        try:
            leave_sign(url, BrokerKeys(broker), record)
        except (RedisError, OSError, ValueError):
            unreachable.add(url)
    missing = [broker for broker, url in redis_urls.items() if url in unreachable]
    if database_url is None:
        return
    with contextlib.suppress(NijaError, SQLAlchemyError):
        for each in missing if redis_urls else [None]:
            _report_elsewhere(database_url, record, each, record.trouble or "")


def _report_elsewhere(database_url: str, record: StageRecord, broker: Broker | None, text: str) -> None:
    """Write the record into PostgreSQL. Raises NijaError and SQLAlchemyError."""
    write_stage_report(database_url, broker, record.stage.value, record.host, record.state.value, text)
