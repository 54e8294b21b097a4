"""A stop outlives every loss of Redis, and no order leaves before the stages know it again."""

import asyncio
import time

import pytest

from services.bookkeeper.mirror_stops import StopMirror
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import StopMode, StopScope
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import REUSED_SECONDS, StopReader, StopStateUnknown, mirror_command
from shared.persistence.stops import StopStore
from tests.integration.bookkeeper.restore.losses import OwnRedis, assert_sound, lose
from tests.support.running.restore_world import KEYS, RestoreWorld

SEEN_SECONDS = 2.0
ALL = StopScope()


async def change(world: RestoreWorld, mode: StopMode | None, *, is_announced: bool) -> None:
    """Stop or resume as `nija stop` does. Without the announcement, the command was killed after the commit."""
    made = await asyncio.to_thread(StopStore(world.engine).change, ALL, mode, actor="ann", reason="")
    if is_announced:
        await world.redis.execute_command(*mirror_command(KEYS, made.standing.at(Broker.KRAKEN)))


def reasons(world: RestoreWorld) -> set[tuple[int, str]]:
    """The numbers of the fills that were skipped, with the reasons."""
    return set(world._rows("SELECT sequence, skip_reason FROM decisions WHERE skip_reason IS NOT NULL"))


@pytest.mark.parametrize("loss", ["emptied", "restart", "older file"])
async def test_a_stop_is_there_after_every_loss_of_redis(world: RestoreWorld, own_redis: OwnRedis, loss: str) -> None:
    """The older file is from before the stop. An open and an exit of the time of the stop are replayed, then another
    open follows. Only the exits are carried out, and only after `nija resume`.
    """
    world.trade(quantity="10")
    await world.go_on()
    own_redis.remember()
    await change(world, StopMode.HALT, is_announced=True)
    world.trade(quantity="10")
    world.trade(Side.SELL, quantity="5")
    await lose(world, own_redis, loss)
    await world.until_in_line()
    assert (await StopReader(world.redis, KEYS).now()).broker_mode is StopMode.HALT
    world.trade(quantity="10")
    await world.publish()
    await world.deliver()
    before = len(world.bench.account.executed)
    for _ in range(4):  # longer than the window of a look-up
        await world.bench.serve_once()
        await asyncio.sleep(0.1)
    await world.book()
    assert len(world.bench.account.executed) == before
    assert reasons(world) >= {(4, SkipReason.STOPPED)}
    await change(world, None, is_announced=True)
    await asyncio.sleep(REUSED_SECONDS)
    await world.go_on()
    await assert_sound(world)
    assert {each.side for each in world.bench.account.executed[before:]} == {Side.SELL}


async def test_during_a_restore_it_is_not_known_whether_trading_is_stopped(world: RestoreWorld) -> None:
    """Redis may have a state that PostgreSQL does not have. It is deleted first, and written before the epoch."""
    restore = world.restore()
    assert await restore.begin()
    await restore.forget()
    with pytest.raises(StopStateUnknown):
        await StopReader(world.redis, KEYS).now()
    assert await world.redis.get(KEYS.epoch) is None
    await restore.complete()
    assert (await StopReader(world.redis, KEYS).now()).broker_mode is None


@pytest.mark.parametrize("mode", [StopMode.HALT, StopMode.CLOSE_ONLY])
async def test_a_bookkeeper_mirrors_what_a_killed_command_could_not(world: RestoreWorld, mode: StopMode) -> None:
    """A stop and a resumption are seen within two seconds. A lost state is written again as fast."""
    mirror = asyncio.create_task(StopMirror(world.redis, KEYS, StopStore(world.engine)).run())
    reader = StopReader(world.redis, KEYS)

    async def until_seen(expected: StopMode | None) -> float:
        began_at = time.monotonic()
        async with asyncio.timeout(10):
            while True:
                try:
                    if (await reader.now()).mode_of(FollowerId("anyone")) is expected:
                        return time.monotonic() - began_at
                except StopStateUnknown:
                    pass
                await asyncio.sleep(0.01)

    try:
        await until_seen(None)
        await change(world, mode, is_announced=False)
        assert await until_seen(mode) < SEEN_SECONDS
        await world.redis.delete(KEYS.stop)
        await asyncio.sleep(REUSED_SECONDS)
        assert await until_seen(mode) < SEEN_SECONDS
        await change(world, None, is_announced=False)
        assert await until_seen(None) < SEEN_SECONDS
    finally:
        mirror.cancel()
        await asyncio.gather(mirror, return_exceptions=True)


async def test_a_stop_of_one_broker_does_not_touch_another(world: RestoreWorld) -> None:
    """Both brokers share this Redis. Each bookkeeper mirrors what applies at its own broker."""
    okx = BrokerKeys(Broker.OKX)
    store = StopStore(world.engine)
    await asyncio.to_thread(store.change, StopScope(broker=Broker.OKX), StopMode.HALT, actor="ann", reason="")
    for keys in (KEYS, okx):
        await StopMirror(world.redis, keys, store).mirror()
    assert (await StopReader(world.redis, okx).now()).broker_mode is StopMode.HALT
    assert (await StopReader(world.redis, KEYS).now()).broker_mode is None
    world.trade(quantity="10")
    await world.go_on()
    await assert_sound(world)
    assert world.executed()
