"""Runs the Celery worker of one broker: `celery -A services.broker_worker.app worker -Q broker.kraken -c 2`.

The queue determines the broker. Each child of the pool runs drains. The main process sweeps.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from billiard import current_process
from celery import Celery, signals
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from services.broker_worker.child import Child
from services.broker_worker.children import Children
from services.broker_worker.health import ConsumerWatch, WorkerHealth
from services.broker_worker.sweep import Sweeper
from shared.brokers.limits import RateLimits
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.config import (
    ConfigurationError,
    Settings,
    database_is_usable,
    redis_is_usable,
    set_up_log,
    settings_of_stage,
)
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, FollowerId, master_of_mailbox
from shared.messaging.celery_app import HintPublisher, configure_celery
from shared.messaging.circuit import RedisCircuit
from shared.messaging.keys import DRAIN_TASK, BrokerKeys, queue_name
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stage_signs import Stage, StageRecord, StageState, leave_sign
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import start_of
from shared.observability.vitals import Vitals
from shared.persistence.database import open_engine
from shared.persistence.errors import BadSecretKey, DatabaseUnavailable
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.strategy.keys import MasterKeys
from shared.presence import StartWait
from shared.running import stop_by_signal

END_SECONDS: Final = 40.0
"""Seconds from SIGTERM until the main process ends, whatever Celery still waits for. The children finish long before.
"""

_LINES_FOR_EACH_HINT = ("celery.worker.strategy", "celery.app.trace")
"""Celery's loggers that report each hint twice. A hint carries no data, and the line `drained` reports the work."""

log = structlog.get_logger()

app = Celery("nija.broker_worker")


class Worker:
    """The parts of this process. They are set after Celery has read its options."""

    settings: Settings
    broker: Broker
    record: StageRecord
    children: Children
    consumer = ConsumerWatch()
    child: Child | None = None
    sweeper: Sweeper | None = None


def broker_of_queues(queues: Any) -> Broker:
    """The broker whose queue the worker was started with. Raises ConfigurationError."""
    names = queues.split(",") if isinstance(queues, str) else list(queues or ())
    by_queue = {queue_name(broker): broker for broker in Broker}
    if len(names) != 1 or names[0] not in by_queue:
        raise ConfigurationError(
            f"a worker serves one broker: start it with -Q and one of {', '.join(by_queue)} (it was {names or 'none'})"
        )
    return by_queue[names[0]]


def configure(options: Any = None, **_: Any) -> None:
    """Read the settings and wait for the servers, before Celery connects to anything."""
    with start_of("broker_worker") as start:
        Worker.broker = broker_of_queues((options or {}).get("queues"))
        Worker.record = StageRecord.of_this_process(Stage.BROKER_WORKER)
        Worker.settings = settings_of_stage(start, Worker.broker, record=Worker.record)
        redis_url = Worker.settings.redis_url_for(Worker.broker)
        Worker.settings.required_database_url()
        Worker.settings.secret_key.get_secret_value()
        # Celery may end the process before the sweeper runs. This start must be counted nevertheless.
        _sign(redis_url, Worker.record)
        if not asyncio.run(_servers_are_usable(Worker.settings, Worker.broker)):
            _sign(redis_url, Worker.record.now(StageState.STOPPED))
            raise SystemExit(0)
        Worker.children = Children()
        configure_celery(app, Worker.broker, redis_url)
        for name in _LINES_FOR_EACH_HINT:
            logging.getLogger(name).setLevel(logging.WARNING)
        # Load the transport now, so that a missing library fails here and not after Celery has begun.
        _ = app.connection_for_write().transport_cls


async def _servers_are_usable(settings: Settings, broker: Broker) -> bool:
    """Wait for both servers. Return False when the process is to end instead. Raises NijaError.

    This comes before Celery begins. Celery would wait for Redis only, and each child would notice a missing PostgreSQL
    by itself.
    """
    stopping = stop_by_signal()
    database_url = settings.required_database_url()
    vitals = Vitals(Heartbeat(settings.heartbeat_file), [broker])
    away = StartWait(Worker.record, vitals, broker, settings.redis_url_for(broker), database_url)
    engine = open_engine(database_url, pool_size=1)
    await database_is_usable(engine, stopping, away)
    await redis_is_usable(settings, broker, stopping, away)
    # The children create their own engines after the fork.
    engine.dispose()
    return not stopping.is_set()


def _sign(redis_url: str, record: StageRecord) -> None:
    """Leave a sign of life while Celery does not run. If Redis does not answer, do nothing: `redis_is_usable` waits for
    it.
    """
    with contextlib.suppress(RedisError, OSError, ValueError):
        leave_sign(redis_url, BrokerKeys(Worker.broker), record)


def build_child(**_: Any) -> None:
    """In a new child: create its event loop and its connections."""
    settings, broker = Worker.settings, Worker.broker
    set_up_log("broker_worker", settings, broker=broker)
    engine, box = open_engine(settings.required_database_url(), pool_size=2), SecretBox(settings.secret_key)
    followers, masters = FollowerStore(engine, box), MasterKeys(engine, box)
    slot = Worker.children.slot(getattr(current_process(), "index", 0))

    def connect_broker(scripts: ScriptRunner, limits: RateLimits | None) -> BrokerConnection:
        keys = BrokerKeys(broker)
        return connect(
            broker,
            base_url=settings.base_url(broker),
            nonces=RedisNonceSource(scripts, keys, settings.nonce_above(broker)),
            proxy=settings.proxy(broker),
            request_timeout_seconds=settings.request_timeout_seconds,
            limits=limits,
            circuit=RedisCircuit(scripts, keys),
        )

    def is_stopping() -> bool:
        return Worker.children.is_stopping

    def load_credentials(ids: Sequence[FollowerId]) -> Mapping[FollowerId, Credentials | BadSecretKey]:
        own = [each for each in ids if master_of_mailbox(each) is None]
        try:
            found = followers.credentials_or_errors(broker, own) if own else {}
            return {**found, **masters.of_mailboxes(broker, ids)}
        except DatabaseUnavailable:
            slot.ledger_failed()
            raise

    slot.begin()
    Worker.child = Child(settings, broker, connect_broker, load_credentials, is_stopping, slot.beat)


def stop_child(**_: Any) -> None:
    if Worker.child is not None:
        Worker.child.stop()


def start_sweeper(sender: Any = None, **_: Any) -> None:
    """In the main process: start to sweep, for as long as the worker runs."""
    settings, broker = Worker.settings, Worker.broker
    redis_url = settings.redis_url_for(broker)
    children = sender.controller.concurrency if sender else settings.worker_children
    vitals = Vitals(Heartbeat(settings.heartbeat_file), [broker])
    Worker.sweeper = Sweeper(
        broker,
        redis_url,
        claim_seconds=settings.claim_seconds,
        places=settings.drain_places,
        children=children,
        publish_hints=HintPublisher(broker, redis_url).publish,
        is_busy=lambda: len(worker_state.reserved_requests) >= children,
        health=WorkerHealth(Worker.record, broker, Worker.children, Worker.consumer, vitals),
        database_url=settings.required_database_url(),
        emergency_folders=settings.emergency_folders,
    )
    Worker.sweeper.start()


def begin_stop(**_: Any) -> None:
    """In the main process, inside the handler of SIGTERM: nothing here may block."""
    Worker.children.stop()
    ending = threading.Timer(END_SECONDS, end_now)
    ending.daemon = True
    ending.start()


def end_now() -> None:
    """End the process although Celery still waits for a Redis that hangs."""
    log.warning("ended while Celery still waited for Redis", after_seconds=END_SECONDS)
    os._exit(0)


def note_hint(**_: Any) -> None:
    """In the main process: note that the consumer has taken a hint from the queue."""
    Worker.consumer.received()


def stop_sweeper(**_: Any) -> None:
    if Worker.sweeper is not None:
        Worker.sweeper.stop()


@app.task(name=DRAIN_TASK)  # type: ignore[untyped-decorator]
def drain() -> None:
    """Serve the followers of this broker that have mail. The task carries no data, because the mailboxes decide."""
    if Worker.child is not None:
        Worker.child.drain()


signals.celeryd_init.connect(configure)
signals.worker_process_init.connect(build_child)
signals.worker_process_shutdown.connect(stop_child)
signals.worker_ready.connect(start_sweeper)
signals.task_received.connect(note_hint)
signals.worker_shutting_down.connect(begin_stop)
signals.worker_shutdown.connect(stop_sweeper)
