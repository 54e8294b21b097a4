"""Runs the copy engine, which plans orders for followers: `python -m services.copy_engine.app [--broker kraken …]`.

Any number of engines may run: they share the shards of each broker. One task per broker, with a Redis connection of
its own, so that a broker whose Redis is away does not hold up the others; nor does one whose data cannot be planned.
"""

import asyncio
import functools
from datetime import timedelta

import structlog
import uvloop
from sqlalchemy import Engine

from services.copy_engine.fan_out import FanOut
from services.copy_engine.inputs import PlanningInputs
from services.copy_engine.read_fills import FillReader
from services.copy_engine.shards import Shards
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
from shared.messaging.celery_app import HintPublisher
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import process_token
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.price_list import present_prices
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stage_signs import Stage, StageRecord
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import StageParser, Start, start_of
from shared.observability.vitals import Vitals
from shared.persistence.database import open_engine
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.presence import LoopLife, signs_of_life
from shared.running import run_each, stop_by_signal

log = structlog.get_logger()


async def run_broker(
    settings: Settings, engine: Engine, vitals: Vitals, stopping: asyncio.Event, broker: Broker
) -> None:
    """Wire and run the engine of one broker until `stopping`."""
    duty = vitals.duty(broker)
    await redis_is_usable(settings, broker, stopping, duty.without_server)
    keys = BrokerKeys(broker)
    redis_url = settings.redis_url_for(broker)
    redis = guarded_redis(redis_url, keys)
    hints = HintPublisher(broker, redis_url)
    inputs = PlanningInputs(redis, keys, present_prices(redis, keys))
    store, copies = FollowerStore(engine), Copies(engine, broker)
    fan_out = FanOut(
        Mailboxes(ScriptRunner(redis), keys, int(settings.claim_seconds * 1000)),
        inputs,
        copies.decided,
        batch_size=settings.deliver_batch,
        snapshot_max_age=timedelta(seconds=settings.snapshot_max_age_seconds),
    )
    reader = FillReader(
        redis,
        keys,
        Shards(redis, keys, process_token(), settings.follower_shards),
        fan_out,
        inputs,
        load_followers=lambda: store.roster(broker),
        count_changes=lambda: store.count_changes(broker),
        publish_hints=hints.publish,
        duty=duty,
    )
    try:
        await reader.run(stopping)
    finally:
        hints.close()
        await redis.aclose()


async def run(settings: Settings, brokers: tuple[Broker, ...], record: StageRecord, start: Start) -> None:
    """Run the engines of all `brokers` until SIGTERM or SIGINT. Raises NijaError at the start."""
    stopping = stop_by_signal()
    # Without the secret key: planning needs no follower's key.
    database_url = settings.required_database_url()
    engine = open_engine(database_url, pool_size=len(brokers))
    vitals = Vitals(Heartbeat(settings.heartbeat_file), brokers)
    redis_urls = {broker: settings.redis_url_for(broker) for broker in brokers}
    async with signs_of_life(
        LoopLife(record, vitals), redis_urls, database_url, emergency_folders=settings.emergency_folders
    ):
        await database_is_usable(engine, stopping, vitals.without_server)
        await refuse_unusable_redis(settings, brokers, stopping)
        start.succeeded()
        log.info("copy engine started", brokers=[broker.value for broker in brokers])
        await run_each(brokers, functools.partial(run_broker, settings, engine, vitals, stopping), stopping, vitals)
    log.info("copy engine stopped")


def check(settings: Settings, brokers: tuple[Broker, ...]) -> None:
    """Raise ConfigurationError for what would only show later."""
    if not brokers:
        raise ConfigurationError("no broker is enabled: set a master's credentials, or NIJA_BROKERS")
    settings.required_database_url()
    for broker in brokers:
        settings.redis_url_for(broker)


def main() -> None:
    parser = StageParser(prog="copy_engine", description=__doc__)
    parser.add_argument("--broker", action="append", default=[], help="only this broker (may be repeated)")
    arguments = parser.parse_args()
    with start_of("copy_engine", debug=arguments.debug) as start:
        record = StageRecord.of_this_process(Stage.COPY_ENGINE)
        named = tuple(parse_broker(name, "--broker") for name in arguments.broker)
        settings = settings_of_stage(start, *named, record=record)
        brokers = named or settings.enabled_brokers()
        check(settings, brokers)
        uvloop.run(run(settings, brokers, record, start))


if __name__ == "__main__":
    main()
