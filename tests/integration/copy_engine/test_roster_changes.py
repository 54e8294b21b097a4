"""A follower that joins, leaves or returns gets exactly the fills from then on."""

import asyncio

from redis.asyncio import Redis

from shared.domain.copying.follower import Follower, FollowerStatus
from tests.integration.copy_engine.engines import (
    KEYS,
    NAMES,
    SHARDS,
    Engine,
    assert_everybody_has,
    mail,
    publish,
    sequences,
)
from tests.support.examples import a_fill, a_follower


async def test_who_joins_is_in_from_the_next_fill(redis: Redis, everybody: list[Follower]) -> None:
    """The version of the roster changes, and the new follower gets only later fills."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, *[a_fill()] * 2)
    await engine.catch_up(2)
    everybody.append(a_follower("newcomer", joined_sequence=2))
    await redis.incr(KEYS.roster)
    await publish(redis, a_fill())
    await engine.catch_up(3)
    await assert_everybody_has(redis, 3)
    assert await sequences(redis, "newcomer") == [3]
    assert await redis.zscore(KEYS.refresh, "newcomer") == 0


async def test_a_list_that_changes_between_chunks_doubles_and_skips_nobody(
    redis: Redis, everybody: list[Follower]
) -> None:
    """The engine dies inside a fill, one follower leaves and another joins, and a second engine continues."""
    await publish(redis, a_fill())
    engine = Engine(redis, everybody, batch_size=1)
    await engine.shards.reload(set(range(SHARDS)))
    stepping = asyncio.create_task(engine.step())
    while await redis.xlen(KEYS.events) < 8:
        await asyncio.sleep(0)
    stepping.cancel()
    await asyncio.gather(stepping, return_exceptions=True)
    staying = [follower for follower in everybody if follower.follower_id != NAMES[7]]
    second = Engine(redis, [*staying, a_follower("newcomer", joined_sequence=1)], "second")
    await second.shards.reload(set(range(SHARDS)))
    await second.catch_up(1)
    await assert_everybody_has(redis, 1, [name for name in NAMES if name != NAMES[7]])
    assert await sequences(redis, "newcomer") == []


async def test_who_comes_back_with_another_key_is_read_again(redis: Redis, everybody: list[Follower]) -> None:
    """A refused key ends the refresh of an account.

    It begins again with the first roster in which the follower is active.
    """
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    everybody[0] = everybody[0].model_copy(update={"status": FollowerStatus.DISABLED})
    await redis.incr(KEYS.roster)
    await engine.reader.step()
    planned = set(await redis.zrange(KEYS.refresh, 0, -1))
    assert planned == {name.encode() for name in NAMES} - {everybody[0].follower_id.encode()}
    everybody[0] = everybody[0].model_copy(update={"status": FollowerStatus.ACTIVE})
    await redis.incr(KEYS.roster)
    await engine.reader.step()
    assert await redis.zscore(KEYS.refresh, everybody[0].follower_id) == 0


async def test_a_change_that_nobody_announced_is_found(redis: Redis, everybody: list[Follower]) -> None:
    """The process that made the change was killed before its announcement.

    Engines and workers load the roster again.
    """
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await engine.step()
    await engine.reader.announce_changes()
    assert await redis.get(KEYS.roster) == b"0"

    everybody.append(a_follower("newcomer"))
    await engine.reader.announce_changes()
    assert await redis.get(KEYS.roster) == b"1"
    await publish(redis, a_fill())
    await engine.catch_up(1)
    assert await mail(redis, "newcomer")
    await engine.reader.announce_changes()
    assert await redis.get(KEYS.roster) == b"1"
