"""An order that was sent is found after a restore although the loss took the decision to send it."""

from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.persistence.reports.reports import Reports
from tests.integration.bookkeeper.restore.losses import NAMES, SMALL, assert_sound
from tests.support.running.restore_world import KEYS, RestoreWorld


@pytest.mark.parametrize("changed", ["paused", "disabled", "policy", "account"])
async def test_an_order_that_was_sent_is_not_called_skipped_when_its_decision_was_lost(
    world: RestoreWorld, engine: Engine, changed: str
) -> None:
    """Redis is emptied before the ledger has the decision, and now the follower would be skipped."""
    world.trade(quantity="0.01")
    await world.publish()
    await world.deliver()
    for name in NAMES[1:4]:
        await world.serve(name)
    assert len(world.executed()) == 3
    await world.redis.flushall()
    change = {
        "paused": "UPDATE followers SET status = 'paused' WHERE follower_id = :id",
        "disabled": "UPDATE followers SET status = 'disabled', status_changed_at = now() WHERE follower_id = :id",
        "policy": """UPDATE followers SET policy = '{"minimum_notional": "1000000"}' WHERE follower_id = :id""",
        "account": "INSERT INTO account_snapshots SELECT broker, follower_id, now(), 0, 0, 0, 0, unpriced, stale"
        " FROM account_snapshots WHERE follower_id = :id",
    }[changed]
    with engine.begin() as connection:
        for name in (NAMES[1], NAMES[5]):  # One follower whose order was sent, and one whose order was not sent.
            connection.execute(text(change), {"id": name})
    await world.until_in_line()
    await world.publish()
    await world.deliver()
    await world.book()
    await world.redis.flushall()  # once more, with the new decisions in the ledger
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    skipped = world._rows("SELECT follower_id FROM order_events WHERE reason = 'not_repeated' ORDER BY follower_id")
    assert skipped == [(SMALL,), (NAMES[5],)]


@pytest.mark.parametrize("losses", [1, 2])
async def test_what_was_bought_is_not_owed_as_well_when_its_decision_was_lost(
    world: RestoreWorld, engine: Engine, losses: int
) -> None:
    """Planned again with a smaller account the open is below the minimum. Its order is found nevertheless."""
    world.trade()
    account = await world.redis.hget(KEYS.account_summaries, SMALL)
    assert account is not None
    await world.redis.hset(KEYS.account_summaries, SMALL, account.replace(b'"equity":"3"', b'"equity":"6"'))
    await world.publish()
    await world.deliver()
    await world.serve(SMALL)
    assert len(world.executed()) == 1
    for _ in range(losses):
        await world.redis.flushall()
        await world.until_in_line()
        await world.publish()
        await world.deliver()
        await world.book()
    world.trade()
    await world.go_on()
    await assert_sound(world)
    copies = {each.sequence: each for each in Reports(engine).copies(Broker.KRAKEN) if each.follower_id == SMALL}
    assert [copies[n].carried_after for n in (1, 2)] == [Decimal("0.00003"), 0]
    position, to_sell = world.ledger_positions()[SMALL]
    assert (position, position - to_sell) == (Decimal("0.00012"), Decimal("0.00006") + Decimal("0.00003"))


async def test_an_exit_that_was_sent_is_found_also_for_a_follower_that_was_disabled_since(
    world: RestoreWorld, engine: Engine
) -> None:
    """The sold coins leave the ledger too, and nothing more is sold for a disabled follower."""
    world.trade(quantity="1")
    await world.go_on()
    world.trade(Side.SELL, "0.5")
    await world.publish()
    await world.deliver()
    await world.serve(NAMES[1])
    await world.redis.flushall()
    with engine.begin() as connection:
        for name in (NAMES[1], NAMES[5]):
            change = "UPDATE followers SET status = 'disabled', status_changed_at = now() WHERE follower_id = :id"
            connection.execute(text(change), {"id": name})
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    held = await world.redis_positions()
    assert [held[name][0] for name in (NAMES[1], NAMES[2], NAMES[5])] == [
        Decimal(each) for each in ("0.005", "0.005", "0.01")
    ]


async def test_nobody_looks_for_orders_of_who_was_disabled_before_the_fill(world: RestoreWorld, engine: Engine) -> None:
    """No order can exist, and a key that was refused earlier must not keep the fill pending."""
    with engine.begin() as connection:
        change = "UPDATE followers SET status = 'disabled', status_changed_at = now() - interval '1 min' WHERE follower_id = :id"
        connection.execute(text(change), {"id": NAMES[1]})
    world.trade(quantity="1")
    await world.publish()
    await world.redis.flushall()
    await world.until_in_line()
    await world.go_on()
    await assert_sound(world)
    assert world._rows("SELECT follower_id FROM decisions WHERE skip_reason = 'disabled'") == [(NAMES[1],)]
