"""Runs the bookkeeper, which writes events into the ledger: `python -m services.bookkeeper.app [--broker kraken …]`.

Each broker has its own loop and Redis connection, and a loop that fails is started again. Several bookkeepers may run
at the same time and share the events. At intervals, one of them also compares the accounts of a broker with the ledger
(`reconcile_rounds`). Each of them mirrors the stops into Redis (`mirror_stops`), and reports fills whose copies have
ended (`report_fills`).

The process ends by SIGTERM or SIGINT. A wrong setting ends it at the start, with exit code 2 and a text that names the
setting.
"""

import asyncio
import functools
import os
import socket
from typing import Final

import structlog
import uvloop
from sqlalchemy import Engine

from services.bookkeeper.keep_books import Bookkeeper
from services.bookkeeper.mirror_stops import StopMirror
from services.bookkeeper.reconcile_rounds import ReconciliationRounds
from services.bookkeeper.report_fills import FillReporter
from services.bookkeeper.restore import Restore
from shared.config import (
    ConfigurationError,
    Settings,
    database_is_usable,
    parse_broker,
    redis_is_usable,
    refuse_unusable_redis,
    settings_of_stage,
)
from shared.domain.identity import Broker
from shared.messaging.cancellation import end_tasks
from shared.messaging.connection.connect import open_redis
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.event_stream import EventStream
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage, StageRecord
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import StageParser, Start, start_of
from shared.observability.vitals import Vitals
from shared.persistence.database import open_engine
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.fill_lines import FillLines
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.ledger.targets import Targets
from shared.persistence.stops import StopStore
from shared.persistence.strategy.pending import StrategyOrders
from shared.presence import LoopLife, signs_of_life
from shared.running import run_each, stop_by_signal

NICENESS: Final = 10

log = structlog.get_logger()


async def run(settings: Settings, brokers: tuple[Broker, ...], name: str, record: StageRecord, start: Start) -> None:
    """Write the events of `brokers` until SIGTERM or SIGINT. Raises NijaError at the start."""
    stopping = stop_by_signal()
    database_url = settings.required_database_url()
    engine = open_engine(database_url, pool_size=len(brokers))
    vitals = Vitals(Heartbeat(settings.heartbeat_file), brokers)
    redis_urls = {broker: settings.redis_url_for(broker) for broker in brokers}
    mirrors: list[asyncio.Task[None]] = []
    reports: list[asyncio.Task[None]] = []
    rounds: list[asyncio.Task[None]] = []
    try:
        async with signs_of_life(
            LoopLife(record, vitals), redis_urls, database_url, emergency_folders=settings.emergency_folders
        ):
            await database_is_usable(engine, stopping, vitals.without_server)
            await refuse_unusable_redis(settings, brokers, stopping)
            start.succeeded()
            log.info("bookkeeper started", brokers=[broker.value for broker in brokers])
            mirrors = [asyncio.create_task(_mirror_stops(settings, broker, engine)) for broker in brokers]
            reports = [asyncio.create_task(FillReporter(broker, FillLines(engine, broker)).run()) for broker in brokers]
            if settings.reconcile_every_seconds:
                rounds += [asyncio.create_task(_reconcile(settings, broker, engine)) for broker in brokers]
            work = functools.partial(_keep_books, settings, engine, vitals, stopping, name)
            await run_each(brokers, work, stopping, vitals)
        log.info("bookkeeper stopped")
    finally:
        await end_tasks(*mirrors, *reports, *rounds)
        engine.dispose()


async def _keep_books(
    settings: Settings, engine: Engine, vitals: Vitals, stopping: asyncio.Event, name: str, broker: Broker
) -> None:
    consumer = f"bookkeeper@{name}"
    keys, duty = BrokerKeys(broker), vitals.duty(broker)
    await redis_is_usable(settings, broker, stopping, duty.without_server)
    async with open_redis(settings.redis_url_for(broker)) as redis:
        restore = Restore(
            redis,
            keys,
            consumer,
            Copies(engine, broker),
            StrategyOrders(engine, broker),
            MasterFills(engine),
            FollowerStore(engine),
            StopStore(engine),
            settings.follower_shards,
        )
        await Bookkeeper(broker, EventStream(redis, keys, consumer), Ledger(engine), restore, duty).run(stopping)


async def _mirror_stops(settings: Settings, broker: Broker, engine: Engine) -> None:
    # Not guarded: a restore must not have to wait for the mirror, nor the mirror for a restore.
    async with open_redis(settings.redis_url_for(broker)) as redis:
        await StopMirror(redis, BrokerKeys(broker), StopStore(engine)).run()


async def _reconcile(settings: Settings, broker: Broker, engine: Engine) -> None:
    keys = BrokerKeys(broker)
    # Guarded: a Redis that is not in line with the ledger yet would show drift that does not exist.
    async with guarded_redis(settings.redis_url_for(broker), keys) as redis:
        await ReconciliationRounds(
            redis,
            keys,
            Targets(engine),
            every_seconds=settings.reconcile_every_seconds,
            repair=settings.reconcile_repair,
            name=f"bookkeeper@{socket.gethostname()}:{os.getpid()}",
        ).run()


def main() -> None:
    parser = StageParser(prog="bookkeeper", description="Write events into the ledger.")
    parser.add_argument("--broker", action="append", default=[], help="only this broker (may be repeated)")
    # The default is the name of the machine. A restarted process then finds the events of its predecessor at once.
    parser.add_argument(
        "--name", default=socket.gethostname(), help="for a second one on a machine; by default its name"
    )
    arguments = parser.parse_args()
    with start_of("bookkeeper", debug=arguments.debug) as start:
        record = StageRecord.of_this_process(Stage.BOOKKEEPER)
        named = tuple(parse_broker(name, "--broker") for name in arguments.broker)
        settings = settings_of_stage(start, *named, record=record)
        brokers = named or settings.enabled_brokers()
        if not brokers:
            raise ConfigurationError("no broker is enabled: set a master's credentials, or NIJA_BROKERS")
        for broker in brokers:
            settings.redis_url_for(broker)
        open_engine(settings.required_database_url()).dispose()
        # Events in the stream are durable, so the ledger may lag behind. Orders have priority.
        os.nice(NICENESS)
        uvloop.run(run(settings, brokers, arguments.name, record, start))


if __name__ == "__main__":
    main()
