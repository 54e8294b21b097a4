"""Whatever Redis forgets, positions, carries and pending orders come back from the ledger once and only once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy import Engine, text

from shared.domain.fill import Side
from shared.domain.identity import Broker, shard_of
from shared.messaging.alerts import AlertKind, Alerts, current_alerts
from shared.messaging.reconciliation import ReconciliationRequest, ReconciliationRequests, Repair
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.ledger.targets import Targets
from tests.integration.bookkeeper.restore.losses import NAMES, SMALL, OwnRedis, assert_sound, lose, unmarked
from tests.support.faulty_broker import Fate, ProcessDied
from tests.support.running.restore_world import KEYS, SHARDS, RestoreWorld


@pytest.mark.parametrize("loss", ["emptied", "older file", "restart"])
async def test_nobody_is_doubled_or_lost_whatever_redis_forgets(
    world: RestoreWorld, own_redis: OwnRedis, loss: str
) -> None:
    """The loss meets orders in every state, a fill delivered to some shards only, and an unpublished fill."""
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    own_redis.remember()
    await world.book()
    settled, unknown_to_ledger, died, *_ = (name for name in NAMES if name != SMALL)
    await world.serve(settled)
    await world.book()
    await world.serve(unknown_to_ledger)  # settled in Redis, but the ledger does not have it yet
    world.bench.account.dies_after_place = True
    with pytest.raises(ProcessDied):
        await world.serve(died)
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver(frozenset({0, 1}))
    await world.book()
    await world.deliver(frozenset({0, 1, 2}))  # the ledger knows nothing of shard 2
    for name in NAMES:
        if shard_of(name, SHARDS) == 2:
            await world.serve(name)
    world.trade(quantity="0.01")
    before = world.executed()
    assert len(before) >= 3, "the test would prove little"

    await lose(world, own_redis, loss)
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    assert before.items() <= world.executed().items()


async def test_drift_stays_reported_after_a_restart_of_redis(world: RestoreWorld, own_redis: OwnRedis) -> None:
    """Accounts are compared once in an hour. Without the alert, `nija status` would find nothing until then."""
    until = datetime.now(UTC) + timedelta(hours=1)
    await Alerts(world.redis, KEYS).sound(AlertKind.DRIFT, SMALL, "BTC/USD manual sale", until=until)
    await lose(world, own_redis, "restart")
    await world.until_in_line()
    [alert] = current_alerts(await world.redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert (alert.kind, alert.follower_id, alert.message) == (AlertKind.DRIFT, SMALL, "BTC/USD manual sale")


@pytest.mark.parametrize("fills", [1, 3])
async def test_a_master_killed_before_it_marked_its_fills_goes_on_after_a_loss(
    world: RestoreWorld, monkeypatch: pytest.MonkeyPatch, fills: int
) -> None:
    """The ledger has decisions for fills that it does not count as published.

    The master trader publishes them again.
    """
    for _ in range(fills):
        world.trade(quantity="0.01")
    with monkeypatch.context() as killed:
        killed.setattr(MasterFills, "mark_published", unmarked)
        with pytest.raises(ProcessDied):
            await world.publish()
    await world.deliver()
    await world.book()
    assert world.decisions() == Counter(dict.fromkeys(world.expected(), 1))

    await world.redis.flushall()
    await world.until_in_line()
    await world.publish()
    assert MasterFills(world.engine).published_sequence(Broker.KRAKEN) == fills
    world.trade(quantity="0.01")
    await world.go_on()
    await assert_sound(world)


async def test_a_policy_that_cannot_be_read_holds_up_no_restore(world: RestoreWorld, engine: Engine) -> None:
    """One policy was written by a newer version. Redis is restored, and that follower opens nothing.

    A full sale afterwards leaves no position.
    """
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    with engine.begin() as connection:
        newer = """UPDATE followers SET policy = '{"minimum_notional": "1", "maximum": "9"}' WHERE follower_id = :id"""
        connection.execute(text(newer), {"id": NAMES[3]})
    await world.book()
    await world.redis.flushall()
    await world.until_in_line()
    world.trade(quantity="0.01")
    await world.go_on()
    await assert_sound(world)
    with engine.connect() as connection:
        query = "SELECT sequence, follower_id FROM decisions WHERE skip_reason = 'policy_unreadable'"
        assert [tuple(row) for row in connection.execute(text(query))] == [(2, NAMES[3])]
    world.trade(Side.SELL, "0.02")
    await world.go_on()
    await assert_sound(world)
    assert await world.redis_positions() == {}


@pytest.mark.parametrize("loss", ["emptied", "older file"])
async def test_positions_and_what_is_carried_survive(world: RestoreWorld, own_redis: OwnRedis, loss: str) -> None:
    """After the loss a full close sells exactly what was bought, and the carry of a small follower is restored."""
    own_redis.remember()
    world.trade(quantity="0.01")
    await world.go_on()
    carried = await world.redis.hgetall(KEYS.carries)
    held = await world.redis_positions()
    assert carried
    assert len(held) == len(NAMES) - 1
    await lose(world, own_redis, loss)
    await world.until_in_line()
    assert await world.redis.hgetall(KEYS.carries) == carried
    assert await world.redis_positions() == held
    world.trade(Side.SELL, "0.01")
    await world.go_on()
    await assert_sound(world)
    assert await world.redis_positions() == {}


async def test_a_redis_that_is_away_is_no_reason_to_restore(world: RestoreWorld, own_redis: OwnRedis) -> None:
    """An unreachable Redis raises an error and never counts as restored."""
    own_redis.stop()
    await world.redis.connection_pool.disconnect()
    with pytest.raises((RedisAway, OSError)):
        await world.restore().is_needed()


async def test_an_instrument_of_a_newer_version_keeps_nobody_from_being_restored(
    world: RestoreWorld, engine: Engine
) -> None:
    """The restore leaves out an instrument that only a newer version can read. Its master trader lists it again."""
    world.trade(quantity="0.01")
    await world.go_on()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO instruments VALUES ('d', 'kraken', 'XYZ/USD', '{\"lots\": []}')"))
    await world.redis.flushall()
    await world.until_in_line()
    assert await world.redis.hkeys(KEYS.instruments) == [b"BTC/USD"]
    assert await world.redis_positions() == world.ledger_positions()


async def test_a_position_lowered_after_an_order_that_its_request_did_not_know_is_lowered_in_the_ledger(
    world: RestoreWorld,
) -> None:
    """An open fails between the comparison and the repair. The repair still applies to the same position."""
    world.trade(quantity="10")
    await world.go_on()
    (target,) = (each for each in Targets(world.engine).of(Broker.KRAKEN) if each.follower_id == NAMES[1])
    repair = Repair(asset=target.asset, quantity=target.quantity, sequence=target.sequence, reason="sold by hand")
    world.trade(quantity="1")
    world.bench.account.fates = [Fate.REJECTED] * len(NAMES)
    await world.go_on()
    world.bench.account.free["BTC"] = target.quantity / 2
    reconciliation = ReconciliationRequests(world.redis, KEYS)
    until = datetime.now(UTC) + timedelta(minutes=1)
    request = ReconciliationRequest(id="r", follower_id=NAMES[1], actor="test", expires_at=until, repairs=(repair,))
    await reconciliation.ask([request])
    await world.serve(NAMES[1])
    await world.book()
    assert (await reconciliation.answers([request]))[NAMES[1]].adjusted == (target.asset,)
    lowered = await world.redis_positions()
    assert lowered[NAMES[1]] == (target.quantity / 2, 0)
    assert world.ledger_positions() == lowered
    await world.redis.flushall()
    await world.until_in_line()
    assert await world.redis_positions() == lowered
    world.bench.account.free["BTC"] = Decimal(100)
    world.trade(quantity="1")
    await world.go_on()
    assert world.ledger_positions() == await world.redis_positions()
