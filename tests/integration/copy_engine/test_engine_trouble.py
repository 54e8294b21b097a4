"""What an engine cannot read or must wait for holds up no more than necessary, and is reported."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from shared.domain.copying.follower import Follower
from shared.domain.copying.reasons import SkipReason
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.keys import LAST_POLL_FIELD
from tests.integration.copy_engine.engines import (
    KEYS,
    NAMES,
    SHARDS,
    Engine,
    decisions,
    mail,
    publish,
    sequences,
)
from tests.support.examples import a_fill, a_sale, an_account, an_instrument
from tests.support.prices import store_accounts


async def test_an_engine_says_what_keeps_it_from_copying(redis: Redis, everybody: list[Follower]) -> None:
    """Before Redis was compared with the ledger the engine waits, and its trouble names the reason."""
    engine = Engine(redis, everybody)
    await redis.delete(KEYS.roster)
    stopping = asyncio.Event()
    running = asyncio.create_task(engine.reader.run(stopping))
    async with asyncio.timeout(30):
        while engine.duty.trouble is None:
            await asyncio.sleep(0.02)
    stopping.set()
    await running
    assert engine.duty.trouble.text == (
        "Redis: Redis has no follower list; waiting for the bookkeeper to compare it with the ledger"
    )


@pytest.mark.parametrize("listing", ["{", '{"broker":"kraken","symbol":"XYZ/USD","lots":["1"]}', "\udcff"])
async def test_a_listing_that_cannot_be_read_holds_up_nothing_but_opens_in_its_symbol(
    redis: Redis, everybody: list[Follower], listing: str
) -> None:
    """An open is skipped with an alert, while exits and other symbols continue.

    When the instrument is readable again, opens in its symbol continue.
    """
    await redis.hset(KEYS.instruments, "XYZ/USD", listing.encode(errors="surrogateescape"))
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill(symbol="XYZ/USD"), a_fill(), a_sale("0.5", symbol="XYZ/USD"))
    await engine.catch_up(3)
    assert {reason for sequence, _, reason in await decisions(redis) if sequence == 1} == {
        SkipReason.INSTRUMENT_UNREADABLE
    }
    assert {tuple(await sequences(redis, name)) for name in NAMES} == {(2, 3)}

    await engine.reader.alert()
    (alert,) = current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert (alert.kind, alert.follower_id) == (AlertKind.UNREADABLE_LISTING, "XYZ/USD")
    assert "its listing cannot be read" in alert.message
    await redis.hset(KEYS.instruments, "XYZ/USD", an_instrument(symbol="XYZ/USD").model_dump_json())
    await engine.reader.alert()
    assert not await redis.hlen(KEYS.alerts)
    await publish(redis, a_fill(symbol="XYZ/USD"))
    await engine.catch_up(4)
    assert {tuple(await sequences(redis, name)) for name in NAMES} == {(2, 3, 4)}


@pytest.mark.parametrize(
    "entry",
    [{"fill": "{}"}, {"something": "else"}, {"fill": b"\xff\xfe"}, {"fill": a_fill(sequence=9).model_dump_json()}],
)
async def test_an_unreadable_fill_halts_and_nothing_is_delivered_past_it(
    redis: Redis, everybody: list[Follower], entry: dict[str, str | bytes]
) -> None:
    """The fill is kept once as a dead letter and reported. Once it is deleted, later fills are delivered."""
    await publish(redis, a_fill())
    await redis.xadd(KEYS.fills, entry, id="2-0")
    good = a_fill(sequence=3, fill_id="T3")
    await redis.xadd(KEYS.fills, {"fill": good.model_dump_json()}, id="3-0")
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    for _ in range(3):
        await engine.step()
    assert await sequences(redis, NAMES[0]) == [1]
    halted = await redis.hget(KEYS.halted, "*")
    assert halted is not None
    assert json.loads(halted)["entry"] == "2-0"
    ((dead_id, dead),) = await redis.xrange(KEYS.dead_letters)
    assert dead_id == b"2-0"
    assert dead[b"error"]
    await redis.xdel(KEYS.fills, "2-0")
    # Another engine continues: the halted one may be gone, and its report must not stay.
    other = Engine(redis, everybody, "other")
    await other.shards.reload(set(range(SHARDS)))
    await other.catch_up(3)
    assert {tuple(await sequences(redis, name)) for name in NAMES} == {(1, 3)}
    assert await redis.hget(KEYS.halted, "*") is None


async def test_what_is_unreadable_of_one_follower_holds_up_nobody_else(redis: Redis, everybody: list[Follower]) -> None:
    """An account and a policy of unknown versions lead to two skips and two alerts.

    All other followers get their orders.
    """
    await redis.hset(KEYS.accounts, NAMES[0], '{"version": 7}')
    everybody[1] = everybody[1].model_copy(update={"policy_error": "its policy cannot be read: maximum"})
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill())
    await engine.catch_up(1)
    skipped = {NAMES[0]: SkipReason.ACCOUNT_UNKNOWN, NAMES[1]: SkipReason.POLICY_UNREADABLE}
    assert sorted(await decisions(redis), key=lambda each: each[1]) == sorted(
        ((1, name, skipped.get(name)) for name in NAMES), key=lambda each: each[1]
    )
    assert [name for name in NAMES if not await mail(redis, name)] == NAMES[:2]

    await engine.reader.alert()
    alerts = {each.follower_id: each for each in current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC))}
    assert alerts.keys() == set(NAMES[:2])
    assert {each.kind for each in alerts.values()} == {AlertKind.UNREADABLE_FOLLOWER}
    assert "its account cannot be read: equity" in alerts[NAMES[0]].message

    await store_accounts(redis, KEYS, {NAMES[0]: an_account("1000", datetime.now(UTC))})
    await engine.reader.alert()
    alerts = {each.follower_id: each for each in current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC))}
    assert alerts.keys() == {NAMES[1]}

    everybody.pop(1)
    await redis.incr(KEYS.roster)
    await engine.step()
    await engine.reader.alert()
    assert not await redis.hlen(KEYS.alerts)


async def test_an_engine_at_work_raises_its_alerts(redis: Redis, everybody: list[Follower]) -> None:
    """An engine without a fill raises its alerts regularly."""
    everybody[1] = everybody[1].model_copy(update={"policy_error": "its policy cannot be read: maximum"})
    engine = Engine(redis, everybody)
    stopping = asyncio.Event()
    await engine.step()
    running = asyncio.create_task(engine.reader.run(stopping))
    try:
        async with asyncio.timeout(10):
            while not await redis.hlen(KEYS.alerts):
                await asyncio.sleep(0.02)
    finally:
        stopping.set()
        await running


async def test_a_fill_waits_until_an_emptied_redis_has_the_instruments_again(
    redis: Redis, everybody: list[Follower]
) -> None:
    """The ledger cannot restore the instrument of a symbol without any fill.

    The fill waits and is not called unsupported.
    """
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await redis.delete(KEYS.instruments, KEYS.master)
    await publish(redis, a_fill())
    stopping = asyncio.Event()
    running = asyncio.create_task(engine.reader.run(stopping))
    try:
        await asyncio.sleep(0.3)
        assert not running.done()
        assert await decisions(redis) == []
        await redis.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
        await redis.hset(KEYS.master, LAST_POLL_FIELD, "now")
        async with asyncio.timeout(10):
            while len(await decisions(redis)) < len(everybody):
                await asyncio.sleep(0.02)
    finally:
        stopping.set()
        await running
    assert {reason for _, _, reason in await decisions(redis)} == {None}
