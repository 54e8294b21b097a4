"""While trading is stopped, an engine decides to skip opens, and delivers exits as always."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from shared.domain.copying.follower import Follower
from shared.domain.copying.reasons import SkipReason
from shared.domain.stop import StopMode
from shared.messaging.stops import StopStateUnknown
from tests.integration.copy_engine.engines import KEYS, NAMES, Engine, decisions, publish, sequences
from tests.support.examples import a_fill, a_sale
from tests.support.running.stops import nothing_stopped, stop

SEEN_SECONDS = 2.0


@pytest.mark.parametrize(
    ("mode", "reason"), [(StopMode.HALT, SkipReason.STOPPED), (StopMode.CLOSE_ONLY, SkipReason.CLOSE_ONLY)]
)
async def test_opens_are_skipped_and_exits_delivered(
    redis: Redis, everybody: list[Follower], mode: StopMode, reason: SkipReason
) -> None:
    """The worker decides whether an exit may be sent now."""
    await stop(redis, KEYS, mode)
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill(), a_sale("0.5"))
    await engine.catch_up(2)
    assert {tuple(await sequences(redis, name)) for name in NAMES} == {(2,)}
    assert {(sequence, why) for sequence, _, why in await decisions(redis)} == {(1, reason), (2, None)}


async def test_a_stop_of_one_follower_skips_no_open_of_another(redis: Redis, everybody: list[Follower]) -> None:
    """One of thirty followers is halted, and another may only close."""
    await stop(redis, KEYS, followers={NAMES[0]: StopMode.HALT, NAMES[1]: StopMode.CLOSE_ONLY})
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill())
    await engine.catch_up(1)
    skipped = {name: why for _, name, why in await decisions(redis) if why is not None}
    assert skipped == {NAMES[0]: SkipReason.STOPPED, NAMES[1]: SkipReason.CLOSE_ONLY}


async def test_a_running_engine_sees_a_stop_within_two_seconds(redis: Redis, everybody: list[Follower]) -> None:
    """It has read the state for the fill before."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill())
    await engine.catch_up(1)
    await stop(redis, KEYS, StopMode.HALT)
    stopped_at = time.monotonic()
    for sequence in range(2, 100):
        await publish(redis, a_fill())
        await engine.catch_up(sequence)
        if SkipReason.STOPPED in {why for number, _, why in await decisions(redis) if number == sequence}:
            break
        await asyncio.sleep(0.05)
    assert time.monotonic() - stopped_at < SEEN_SECONDS
    # That fill may have been delivered in part before. The next one is skipped for every follower.
    await publish(redis, a_fill())
    await engine.catch_up(sequence + 1)
    last = {why for number, _, why in await decisions(redis) if number == sequence + 1}
    assert last == {SkipReason.STOPPED}


async def test_a_fill_waits_while_the_state_is_not_known(redis: Redis, everybody: list[Follower]) -> None:
    """Redis lost it. Nothing is decided, and the engine goes on when it is known again."""
    await redis.delete(KEYS.stop)
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill())
    with pytest.raises(StopStateUnknown, match="waiting for a bookkeeper"):
        await engine.step()
    assert await decisions(redis) == []
    await nothing_stopped(redis, KEYS)
    await engine.catch_up(1)
    assert {tuple(await sequences(redis, name)) for name in NAMES} == {(1,)}
