"""Whatever happens to the engines, every follower gets every fill once and in order. Redis is real."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway

from services.copy_engine import read_fills
from services.copy_engine.fan_out import FanOut
from services.copy_engine.inputs import PlanningInputs
from services.copy_engine.read_fills import FillReader
from services.copy_engine.roster import Roster
from services.copy_engine.shards import ShardCountChanged, Shards
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import EVENT, DecisionBatch
from shared.domain.identity import Broker, shard_of
from shared.domain.instrument import Instrument
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.connection.epoch import RedisNotRestored
from shared.messaging.fills import publish_fill
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys
from shared.messaging.lease import Lease
from shared.messaging.mailboxes import AlreadyDelivered, Mailboxes
from shared.messaging.scripts import ScriptRunner
from shared.messaging.shard_position import ShardPosition
from shared.observability.vitals import Duty
from tests.support.examples import FIRST_ROSTER, a_fill, a_follower, a_sale, an_account, an_instrument

KEYS = BrokerKeys(Broker.KRAKEN)
SHARDS = 4
NAMES = [f"follower-{number}" for number in range(30)]

Hook = Callable[[], Awaitable[None]]


class WatchedFanOut(FanOut):
    """A fan-out in which a test can act right before a fill is delivered to a shard."""

    before_delivery: Hook | None = None

    async def deliver_fill(
        self, fill: MasterFill, instrument: Instrument | SkipReason, shard: int, position: bytes, roster: Roster
    ) -> tuple[bytes, int]:
        if self.before_delivery is not None:
            await self.before_delivery()
        return await super().deliver_fill(fill, instrument, shard, position, roster)


@dataclass
class Engine:
    """One engine process."""

    redis: Redis
    followers: list[Follower]
    name: str = "first"
    batch_size: int = 3
    hints: list[int] = field(default_factory=list)
    duty: Duty = field(default_factory=Duty)
    publish_hints: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        inputs = PlanningInputs(self.redis, KEYS)
        mailboxes = Mailboxes(ScriptRunner(self.redis), KEYS, 30_000)
        self.fan_out = WatchedFanOut(
            mailboxes, inputs, lambda *_: set(), batch_size=self.batch_size, snapshot_max_age=timedelta(minutes=5)
        )
        self.shards = Shards(self.redis, KEYS, self.name, SHARDS)
        self.reader = FillReader(
            self.redis,
            KEYS,
            self.shards,
            self.fan_out,
            inputs,
            load_followers=lambda: list(self.followers),
            count_changes=lambda: len(self.followers),
            publish_hints=self.publish_hints or self.hints.append,
            duty=self.duty,
        )

    async def step(self) -> None:
        """Take one step, as `run` does."""
        try:
            await self.reader.step()
        except AlreadyDelivered:
            await self.shards.reload()

    async def catch_up(self, sequence: int) -> None:
        """Step until every owned shard has that fill. Fails after 10 s."""
        async with asyncio.timeout(10):
            while any(ShardPosition.parse(p).done_sequence < sequence for p in self.shards.positions.values()):
                await self.step()


@pytest.fixture
async def redis(fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    """A client of a database with one instrument, all accounts and a version of the roster."""
    monkeypatch.setattr(read_fills, "BLOCK_MS", 5)
    monkeypatch.setattr(read_fills, "HALTED_RETRY_SECONDS", 0.0)
    async with Redis.from_url(fresh_redis_url) as client:
        await client.set(KEYS.roster, FIRST_ROSTER)
        await client.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
        await client.hset(KEYS.master, LAST_POLL_FIELD, "now")
        account = an_account("1000", datetime.now(UTC)).model_dump_json()
        await client.hset(KEYS.accounts, mapping=dict.fromkeys([*NAMES, "newcomer"], account))
        yield client


@pytest.fixture
def everybody() -> list[Follower]:
    """The followers that the follower store lists now."""
    return [a_follower(name) for name in NAMES]


async def publish(redis: Redis, *fills: MasterFill) -> None:
    """Publish the fills with the next sequences."""
    length = await redis.xlen(KEYS.fills)
    for sequence, fill in enumerate(fills, start=length + 1):
        await publish_fill(redis, KEYS, fill.model_copy(update={"sequence": sequence, "fill_id": f"T{sequence}"}))


async def mail(redis: Redis, follower_id: str) -> list[CopyOrder]:
    """The orders of a mailbox, head first."""
    return [CopyOrder.model_validate_json(text) for text in await redis.lrange(KEYS.mailbox(follower_id), 0, -1)]


async def sequences(redis: Redis, follower_id: str) -> list[int]:
    """The sequences of the orders of a follower, in mailbox order."""
    return [order.sequence for order in await mail(redis, follower_id)]


async def decisions(redis: Redis) -> list[tuple[int, str, SkipReason | None]]:
    """Every decision in the event stream."""
    batches = [EVENT.validate_json(fields[b"event"]) for _, fields in await redis.xrange(KEYS.events)]
    return [
        (batch.sequence, decision.follower_id, decision.skip_reason)
        for batch in batches
        if isinstance(batch, DecisionBatch)
        for decision in batch.decisions
    ]


async def assert_everybody_has(redis: Redis, count: int, names: list[str] = NAMES) -> None:
    """Check that each of `names` has the fills 1 to `count` once and in order, and one decision for each."""
    expected = list(range(1, count + 1))
    assert {name: await sequences(redis, name) for name in names} == dict.fromkeys(names, expected)
    told = [(sequence, name) for sequence, name, _ in await decisions(redis) if name in names]
    assert sorted(told) == sorted((sequence, name) for sequence in expected for name in names)


async def test_every_follower_gets_every_fill_once_and_in_order(redis: Redis, everybody: list[Follower]) -> None:
    """One engine owns all shards and works in chunks of three followers."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    assert sorted(engine.shards.positions) == list(range(SHARDS))
    await publish(redis, *[a_fill()] * 20, a_sale("1"))
    await engine.catch_up(21)
    await assert_everybody_has(redis, 21)
    assert {order.fraction for name in NAMES for order in await mail(redis, name) if order.sequence == 21} == {1}
    assert sum(engine.hints) >= 1
    assert await redis.zcard(KEYS.ready) == len(NAMES)


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


async def test_two_engines_share_the_shards(redis: Redis, everybody: list[Follower]) -> None:
    """Two engines own half of the shards each, and the result is the same as with one engine."""
    first, second = Engine(redis, everybody), Engine(redis, everybody, "second")
    await first.shards.balance()
    await second.shards.balance()
    await first.shards.balance()
    await second.shards.balance()
    assert len(first.shards.positions) == len(second.shards.positions) == SHARDS // 2
    assert not first.shards.positions.keys() & second.shards.positions.keys()
    await publish(redis, *[a_fill()] * 12)
    await asyncio.gather(first.catch_up(12), second.catch_up(12))
    await assert_everybody_has(redis, 12)


async def test_two_engines_with_the_same_shards_double_nothing(redis: Redis, everybody: list[Follower]) -> None:
    """One engine was paused beyond its lease without noticing it.

    The position of the shard prevents a double delivery.
    """
    first, second = Engine(redis, everybody), Engine(redis, everybody, "second")
    await first.shards.balance()
    await second.shards.reload(set(range(SHARDS)))
    await publish(redis, *[a_fill()] * 12)
    await asyncio.gather(first.catch_up(12), second.catch_up(12))
    await assert_everybody_has(redis, 12)


async def test_an_engine_that_dies_inside_a_fill_is_taken_over(redis: Redis, everybody: list[Follower]) -> None:
    """An engine dies at every chunk boundary of three fills. The next one continues after the last served follower."""
    await publish(redis, *[a_fill()] * 3)
    for life in range(60):
        engine = Engine(redis, everybody, f"engine-{life}", batch_size=1)
        await engine.shards.reload(set(range(SHARDS)))
        stepping = asyncio.create_task(engine.step())
        written = await redis.xlen(KEYS.events)
        while not stepping.done() and await redis.xlen(KEYS.events) < written + 3:
            await asyncio.sleep(0)
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)
    last = Engine(redis, everybody, "last")
    await last.shards.reload(set(range(SHARDS)))
    await last.catch_up(3)
    await assert_everybody_has(redis, 3)


async def test_a_shard_that_is_lost_and_comes_back_inside_a_batch_skips_nothing(
    redis: Redis, everybody: list[Follower]
) -> None:
    """The engine loses two shards for a moment, no other engine takes them, and they return two fills later."""
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, *[a_fill()] * 10)
    calls = 0

    async def lose_and_find() -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            lost = {shard_of(NAMES[0], SHARDS), (shard_of(NAMES[0], SHARDS) + 1) % SHARDS}
            engine.shards.positions = {s: p for s, p in engine.shards.positions.items() if s not in lost}
        if calls == 9:
            await engine.shards.reload(set(range(SHARDS)))

    engine.fan_out.before_delivery = lose_and_find
    await engine.step()
    assert calls >= 9
    engine.fan_out.before_delivery = None
    await engine.shards.reload(set(range(SHARDS)))
    await engine.catch_up(10)
    await assert_everybody_has(redis, 10)


async def test_a_shard_acquired_inside_a_batch_waits_for_the_next_step(redis: Redis, everybody: list[Follower]) -> None:
    """The position of the new shard may be before the entries of the present batch."""
    engine = Engine(redis, everybody)
    await engine.shards.reload({0, 1})
    await publish(redis, *[a_fill()] * 10)

    async def acquire() -> None:
        engine.fan_out.before_delivery = None
        await engine.shards.reload({2, 3})

    engine.fan_out.before_delivery = acquire
    await engine.catch_up(10)
    assert sorted(engine.shards.positions) == [0, 1, 2, 3]
    await assert_everybody_has(redis, 10)


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


async def test_followers_that_may_not_open_still_close(redis: Redis, everybody: list[Follower]) -> None:
    """A paused follower gets only exits and a disabled one gets nothing. Each fill has a decision for both."""
    everybody[0] = a_follower(NAMES[0], status=FollowerStatus.PAUSED)
    everybody[1] = a_follower(NAMES[1], status=FollowerStatus.DISABLED)
    engine = Engine(redis, everybody)
    await engine.shards.balance()
    await publish(redis, a_fill(), a_sale("0.5"))
    await engine.catch_up(2)
    assert [await sequences(redis, name) for name in NAMES[:3]] == [[2], [], [1, 2]]
    told = [d for d in await decisions(redis) if d[1] in NAMES[:2]]
    assert sorted(told) == sorted(
        [
            (1, NAMES[0], SkipReason.PAUSED),
            (2, NAMES[0], None),
            (1, NAMES[1], SkipReason.DISABLED),
            (2, NAMES[1], SkipReason.DISABLED),
        ],
        key=lambda told: told[:2],
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
    told = [d for d in await decisions(redis) if d[1] == NAMES[0]]
    assert told == [(1, NAMES[0], SkipReason.BELOW_MINIMUM), (2, NAMES[0], None)]


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


async def test_an_engine_gives_its_shards_up_when_it_stops(redis: Redis, everybody: list[Follower]) -> None:
    """The next engine gets the shards without waiting for a lease to expire."""
    engine = Engine(redis, everybody)
    stopping = asyncio.Event()
    running = asyncio.create_task(engine.reader.run(stopping))
    await publish(redis, a_fill())
    async with asyncio.timeout(10):
        while await redis.zcard(KEYS.ready) < len(NAMES):
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    second = Engine(redis, everybody, "second")
    await second.shards.balance()
    assert len(second.shards.positions) == SHARDS


async def test_an_engine_with_another_number_of_shards_refuses_to_work(redis: Redis, everybody: list[Follower]) -> None:
    """Followers would be in other shards than their positions. The engine ends and names the right setting."""
    await Engine(redis, everybody).shards.balance()
    await publish(redis, a_fill())
    other = Engine(redis, everybody, "other")
    other.shards.count = SHARDS + 1
    async with asyncio.timeout(5):
        with pytest.raises(ShardCountChanged, match="set it back to 4"):
            await other.reader.run(asyncio.Event())
    assert await redis.xlen(KEYS.events) == 0


async def test_an_engine_outlives_a_redis_that_is_away(
    redis: Redis, everybody: list[Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery fails without an answer. The engine continues, and each fill is delivered once."""
    monkeypatch.setattr(read_fills, "AWAY_RETRY_SECONDS", 0.01)
    engine = Engine(redis, everybody)
    failures = 5

    async def fail() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise RedisAway("connection refused")

    engine.fan_out.before_delivery = fail
    await publish(redis, *[a_fill()] * 3)
    stopping = asyncio.Event()
    running = asyncio.create_task(engine.reader.run(stopping))
    async with asyncio.timeout(10):
        while min([await redis.llen(KEYS.mailbox(name)) for name in NAMES]) < 3:
            await asyncio.sleep(0.01)
    stopping.set()
    await running
    assert failures == 0
    await assert_everybody_has(redis, 3)


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


async def test_told_to_stop_an_engine_finishes_one_fill_and_gives_up_its_shards(
    redis: Redis, everybody: list[Follower]
) -> None:
    """Later fills are left to another engine, which gets the shards without delay."""
    engine = Engine(redis, everybody)
    stopping = asyncio.Event()
    await publish(redis, *[a_fill() for _ in range(5)])
    await engine.shards.balance()
    engine.reader._publish_hints = lambda _hints: stopping.set()
    async with asyncio.timeout(10):
        await engine.reader.run(stopping)
    assert [len(await mail(redis, name)) for name in NAMES] == [1] * len(NAMES)
    other = Engine(redis, everybody, name="second")
    await other.shards.balance()
    assert len(other.shards.positions) == SHARDS


async def test_shards_taken_by_an_interrupted_balance_are_given_up_too(redis: Redis, everybody: list[Follower]) -> None:
    """The lease is in Redis although its reply was lost. A shard of another engine is left alone."""
    engine = Engine(redis, everybody)
    await redis.set(KEYS.shard_lease(0), "first")
    await redis.set(KEYS.shard_lease(1), "second")
    await engine.shards.give_up()
    assert [await redis.exists(KEYS.shard_lease(shard)) for shard in (0, 1)] == [0, 1]


async def test_an_engine_that_was_paused_leaves_the_leases_of_its_successor_alone(
    redis: Redis, everybody: list[Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shards change hands after the engine has read their holders. It neither renews nor ends the new leases."""
    paused = Engine(redis, everybody)
    await paused.shards.balance()
    renew = Lease.renew

    async def renew_too_late(lease: Lease, seconds: float | None = None) -> bool:
        await redis.set(lease._key, "second", px=60_000)
        return await renew(lease, seconds)

    monkeypatch.setattr(Lease, "renew", renew_too_late)
    await paused.shards.balance()
    assert paused.shards.positions == {}
    await paused.shards.give_up()
    assert [await redis.get(KEYS.shard_lease(shard)) for shard in range(SHARDS)] == [b"second"] * SHARDS
    assert [await redis.pttl(KEYS.shard_lease(shard)) > 50_000 for shard in range(SHARDS)] == [True] * SHARDS


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

    await redis.hset(KEYS.accounts, NAMES[0], an_account("1000", datetime.now(UTC)).model_dump_json())
    await engine.reader.alert()
    alerts = {each.follower_id: each for each in current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC))}
    assert alerts.keys() == {NAMES[1]}

    everybody.pop(1)
    await redis.incr(KEYS.roster)
    await engine.step()
    await engine.reader.alert()
    assert not await redis.hlen(KEYS.alerts)


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


async def test_no_fill_is_left_out_when_redis_is_emptied_in_the_middle_of_a_step(
    redis: Redis, fresh_redis_url: str, everybody: list[Follower]
) -> None:
    """The positions of the shards are lost too. A second fill that was already read must not be delivered."""

    def empty_redis(_hints: int) -> None:
        with SyncRedis.from_url(fresh_redis_url) as client:
            client.flushdb()

    engine = Engine(redis, everybody, publish_hints=empty_redis)
    await redis.set(KEYS.roster, 5)
    await engine.shards.balance()
    await publish(redis, a_fill(), a_fill())
    with pytest.raises(RedisNotRestored):
        await engine.step()
    assert await redis.get(KEYS.roster) is None
    assert await decisions(redis) == []


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
