"""Measures how fast an engine delivers one fill to all followers, compared with one `task.delay()` per follower.

Redis is real, with `appendfsync always`. In a round, the engine does what its process does in production: it reads the
fill from the stream, plans for every follower, delivers to the mailboxes and sends the hints. A round of the baseline
sends orders of the same form as Celery tasks, without planning them.
"""

import time
from datetime import timedelta

from celery import Celery

from benchmarks.made_up import BROKER, INSTRUMENT, account, fill, followers, store_accounts
from benchmarks.rounds import Announce, Comparison, compare
from services.copy_engine.decide import decide
from services.copy_engine.fan_out import FanOut
from services.copy_engine.inputs import PlanningInputs
from services.copy_engine.read_fills import FillReader
from services.copy_engine.shards import Shards
from shared.domain.stop import StopState
from shared.messaging.celery_app import HintPublisher, configure_celery
from shared.messaging.connection.connect import open_redis
from shared.messaging.fills import publish_fill
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.price_list import present_prices
from shared.messaging.scripts import ScriptRunner
from shared.observability.vitals import Duty

SHARDS = 16
BASELINE_FOLLOWERS = 2_000
"""Enough to measure a rate. 10,000 would only take longer."""
SNAPSHOT_MAX_AGE = timedelta(hours=1)


async def fanout(redis_url: str, follower_count: int, rounds: int, announce: Announce) -> Comparison:
    """Measure followers a second, of nija and of the baseline. Empties this Redis."""
    redis = open_redis(redis_url)
    await redis.flushall()
    keys = BrokerKeys(BROKER)
    await redis.mset({keys.roster: 0, keys.stop: StopState(revision=0).model_dump_json()})
    await store_accounts(redis, keys, follower_count)
    await redis.hset(keys.instruments, INSTRUMENT.symbol, INSTRUMENT.model_dump_json())
    inputs = PlanningInputs(redis, keys, present_prices(redis, keys))
    hints = HintPublisher(BROKER, redis_url)
    shards = Shards(redis, keys, "benchmark", SHARDS)
    fan_out = FanOut(
        Mailboxes(ScriptRunner(redis), keys, 30_000),
        inputs,
        lambda *_: set(),
        batch_size=500,
        snapshot_max_age=SNAPSHOT_MAX_AGE,
    )
    engine = FillReader(
        redis,
        keys,
        shards,
        fan_out,
        inputs,
        load_followers=lambda: followers(follower_count),
        count_changes=lambda: 0,
        publish_hints=hints.publish,
        duty=Duty(),
    )
    await shards.balance()
    sequence = 0

    async def engine_round() -> float:
        nonlocal sequence
        sequence += 1
        # As after a quiet time, all mailboxes are empty, so every follower becomes ready.
        await redis.delete(keys.ready, *(keys.mailbox(f.follower_id) for f in followers(follower_count)))
        await publish_fill(redis, keys, fill(sequence))
        started = time.perf_counter()
        await engine.step()
        elapsed_seconds = time.perf_counter() - started
        delivered = await redis.zcard(keys.ready)
        if delivered != follower_count:
            raise RuntimeError(f"{delivered} of {follower_count} followers got the fill")
        return follower_count / elapsed_seconds

    app = Celery("benchmark", set_as_current=False)
    configure_celery(app, BROKER, redis_url)
    app.conf.task_default_queue = f"broker.{BROKER.value}"

    @app.task(name="copy")  # type: ignore[untyped-decorator]
    def copy(order: str) -> None:
        """This task never runs, because only the cost of sending is measured."""

    orders = _baseline_orders()

    async def delay_round() -> float:
        started = time.perf_counter()
        for order in orders:
            copy.delay(order)
        elapsed_seconds = time.perf_counter() - started
        await redis.delete(f"broker.{BROKER.value}")
        return len(orders) / elapsed_seconds

    try:
        return await compare(engine_round, delay_round, rounds, announce)
    finally:
        hints.close()
        app.close()
        await redis.aclose()


def _baseline_orders() -> list[str]:
    some = followers(BASELINE_FOLLOWERS)
    snapshot = account(0)
    return decide(
        fill(1),
        0,
        some,
        [snapshot] * len(some),
        [None] * len(some),
        INSTRUMENT,
        StopState(revision=0),
        now=snapshot.taken_at,
        snapshot_max_age=SNAPSHOT_MAX_AGE,
    ).orders[1::2]
