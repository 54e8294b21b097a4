"""Each fill has one decision for each follower: an order, or the reason why there is none."""

from decimal import Decimal

from redis.asyncio import Redis

from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.copying.reasons import SkipReason
from tests.integration.copy_engine.engines import KEYS, NAMES, Engine, decisions, mail, publish, sequences
from tests.support.examples import a_fill, a_follower, a_sale


async def test_followers_that_may_not_open_still_close(redis: Redis, everybody: list[Follower]) -> None:
    """A paused follower gets only exits and a disabled one gets nothing. Each fill has a decision for both."""
    everybody[0] = a_follower(NAMES[0], status=FollowerStatus.PAUSED)
    everybody[1] = a_follower(NAMES[1], status=FollowerStatus.DISABLED)
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill(), a_sale("0.5"))
    await engine.catch_up(2)
    assert [await sequences(redis, name) for name in NAMES[:3]] == [[2], [], [1, 2]]
    reported = [d for d in await decisions(redis) if d[1] in NAMES[:2]]
    assert sorted(reported) == sorted(
        [
            (1, NAMES[0], SkipReason.PAUSED),
            (2, NAMES[0], None),
            (1, NAMES[1], SkipReason.DISABLED),
            (2, NAMES[1], SkipReason.DISABLED),
        ],
        key=lambda reported: reported[:2],
    )


async def test_a_symbol_without_an_instrument_is_decided_for_everybody(redis: Redis, everybody: list[Follower]) -> None:
    """Without an instrument no follower gets an order, each gets a reason, and the next fill is delivered."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill(symbol="XYZ/USD"), a_fill())
    await engine.catch_up(2)
    reasons = {reason for sequence, _, reason in await decisions(redis) if sequence == 1}
    assert reasons == {SkipReason.UNSUPPORTED_SYMBOL}
    assert {tuple(await sequences(redis, name)) for name in NAMES} == {(2,)}


async def test_a_replayed_open_whose_listing_cannot_be_read_is_looked_for(
    redis: Redis, everybody: list[Follower]
) -> None:
    """The order may have been sent while the instrument was readable."""
    await redis.hset(KEYS.instruments, "XYZ/USD", "{")
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill(symbol="XYZ/USD", replayed=True))
    await engine.catch_up(1)
    assert {(order.quantity, order.replayed) for name in NAMES for order in await mail(redis, name)} == {(0, True)}


async def test_carried_remainders_go_into_the_next_open(redis: Redis, everybody: list[Follower]) -> None:
    """A share of 0.00003 is below the minimum of 0.00005. Two of them make one order of 0.00006."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, *[a_fill(quantity="0.003")] * 2)
    await engine.catch_up(2)
    assert [order.quantity for order in await mail(redis, NAMES[0])] == [Decimal("0.00006")]
    assert await redis.hlen(KEYS.carries) == 0
    reported = [d for d in await decisions(redis) if d[1] == NAMES[0]]
    assert reported == [(1, NAMES[0], SkipReason.BELOW_MINIMUM), (2, NAMES[0], None)]
