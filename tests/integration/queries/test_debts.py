"""Exits that followers owe are found in a real ledger, by the minimums and prices in a real Redis."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine

from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.domain.fill import Side
from shared.domain.identity import Broker, FollowerId
from shared.domain.instrument import Instrument
from shared.messaging.keys import BrokerKeys
from shared.messaging.price_list import LISTED_AT_FIELD
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.ledger import Ledger
from shared.queries.connections import Connections
from shared.queries.debts import UNLISTED, read_debts
from shared.queries.ledger import read_positions
from shared.queries.system import system_status
from tests.support.examples import NOW, an_instrument
from tests.support.ledger_examples import a_filled_event

KRAKEN = Broker.KRAKEN
KEYS = BrokerKeys(KRAKEN)
ALICE = FollowerId("alice")


@pytest.fixture
def system(connections: Connections, fresh_redis_url: str) -> Iterator[Connections]:
    """Kraken lists BTC and ETH against dollars. The ledger has no carried exit yet."""
    with Redis.from_url(fresh_redis_url, decode_responses=True) as redis:
        redis.hset(KEYS.prices, mapping={LISTED_AT_FIELD: NOW.isoformat(), "BTC/USD": "50000", "ETH/USD": "2000"})
        list_pairs(redis, an_instrument(), an_instrument(symbol="ETH/USD", base="ETH"))
        yield replace(connections, redis={KRAKEN: redis})


def list_pairs(redis: Redis, *pairs: Instrument) -> None:
    """Replace the list of the broker."""
    redis.delete(KEYS.instruments)
    for each in pairs:
        redis.hset(KEYS.instruments, each.symbol, each.model_dump_json())


def a_failed_exit(sequence: int, carried: str, **changes: Any) -> OrderEvent:
    """Alice sold nothing of 1 BTC for a fill. It was refused in the given second after NOW."""
    fields: dict[str, Any] = {
        "side": Side.SELL,
        "state": OrderState.REJECTED,
        "outcome": Outcome.FAILED,
        "filled_quantity": "0",
        "cost": "0",
        "fee": "0",
        "position_after": "1",
        "carried_exit_after": carried,
        "reason": "rejected",
        "message": "market is closed",
        "occurred_at": NOW + timedelta(seconds=sequence),
    }
    return a_filled_event(changes.pop("follower_id", "alice"), sequence, **{**fields, **changes})


def test_a_refused_exit_is_owed_since_its_order_ended(system: Connections, engine: Engine) -> None:
    """It is in the findings and in the positions, although the master never sells again."""
    Ledger(engine).write([a_failed_exit(5, "0.25")])
    [debt] = read_debts(system, KRAKEN)
    assert (debt.follower_id, debt.asset, debt.owed, debt.sequence) == ("alice", "BTC", Decimal("0.25"), 5)
    assert (debt.since, debt.why) == (NOW + timedelta(seconds=5), "rejected: market is closed")
    [line] = read_positions(system, KRAKEN)
    assert (line.owed, line.owed_since, line.owed_because) == (debt.owed, debt.since, debt.why)
    status = system_status(system, [KRAKEN], home="", run=None, processes=())
    [found] = [each for each in status.findings() if each.kind == "exit_owed"]
    assert found.message.startswith("alice owes an exit of 0.25 BTC since ")


def test_more_refused_exits_do_not_make_the_debt_younger(system: Connections, engine: Engine) -> None:
    """It counts from the first of them that left enough for an order. What is paid in between begins it again."""
    Ledger(engine).write([a_failed_exit(5, "0.00001"), a_failed_exit(6, "0.1"), a_failed_exit(7, "0.2")])
    [debt] = read_debts(system, KRAKEN)
    assert (debt.since, debt.owed) == (NOW + timedelta(seconds=6), Decimal("0.2"))
    Ledger(engine).write([a_failed_exit(8, "0"), a_failed_exit(9, "0.1")])
    [debt] = read_debts(system, KRAKEN)
    assert debt.since == NOW + timedelta(seconds=9)


def test_what_is_too_small_for_an_order_is_no_debt(system: Connections, engine: Engine) -> None:
    """0.00009 BTC is worth 4.50 dollars, and is sold with the next exit. A higher price makes it a debt."""
    list_pairs(system.redis_of(KRAKEN), an_instrument(minimum_cost="5"))
    Ledger(engine).write([a_failed_exit(5, "0.00009", reason="below_minimum", outcome=Outcome.SKIPPED)])
    assert read_debts(system, KRAKEN) == ()
    [line] = read_positions(system, KRAKEN)
    assert (line.owed, line.carried_exit) == (0, Decimal("0.00009"))
    system.redis_of(KRAKEN).hset(KEYS.prices, "BTC/USD", "60000")
    assert [debt.owed for debt in read_debts(system, KRAKEN)] == [Decimal("0.00009")]


def test_a_pair_without_a_price_counts_by_the_masters_price(system: Connections, engine: Engine) -> None:
    """Fill 1 was at 50,000 dollars, so 0.00009 BTC is below the minimum cost."""
    system.redis_of(KRAKEN).delete(KEYS.prices)
    list_pairs(system.redis_of(KRAKEN), an_instrument(minimum_cost="5"))
    Ledger(engine).write([a_failed_exit(1, "0.00009", follower_id="dave")])
    assert read_debts(system, KRAKEN) == ()
    Ledger(engine).write([a_failed_exit(1, "0.0001", follower_id="erin")])
    assert [debt.follower_id for debt in read_debts(system, KRAKEN)] == ["erin"]


def test_a_coin_that_should_have_been_spent_is_owed_in_its_own_pair(system: Connections, engine: Engine) -> None:
    """A purchase of ETH with BTC is an exit of BTC. An order in BTC/USD can pay it."""
    swap = {"symbol": "ETH/BTC", "asset": "BTC", "side": Side.BUY, "outcome": Outcome.SKIPPED, "reason": "price_limit"}
    Ledger(engine).write([a_failed_exit(5, "0.25", **swap, message="")])
    assert [(debt.asset, debt.owed, debt.why) for debt in read_debts(system, KRAKEN)] == [
        ("BTC", Decimal("0.25"), "price_limit")
    ]


def test_what_an_open_carries_is_not_owed(system: Connections, engine: Engine) -> None:
    """The next open buys it again (ADR 5), so selling it would leave the follower with too little."""
    opened = a_filled_event("alice", 5, position_after="1", carried_exit_after="0.25")
    Ledger(engine).write([a_failed_exit(4, "0"), opened])
    assert read_debts(system, KRAKEN) == ()
    ether = {"ETH": CopiedPosition(quantity=Decimal(2), carried_exit=Decimal(1))}
    Ledger(engine).write([a_filled_event("alice", 6, position_after="1", other_positions=ether)])
    assert read_debts(system, KRAKEN) == ()


def test_a_pair_that_is_not_listed_any_more_is_named_as_the_reason(system: Connections, engine: Engine) -> None:
    """No order can pay it, and a person has to know. Before the broker has listed anything, there is no debt."""
    Ledger(engine).write([a_failed_exit(5, "0.25")])
    list_pairs(system.redis_of(KRAKEN), an_instrument(symbol="ETH/USD", base="ETH"))
    [debt] = read_debts(system, KRAKEN)
    assert (debt.owed, debt.why) == (Decimal("0.25"), f"rejected: market is closed; {UNLISTED}")
    list_pairs(system.redis_of(KRAKEN))
    assert read_debts(system, KRAKEN) == ()


def test_only_the_followers_that_were_asked_for_are_read(system: Connections, engine: Engine) -> None:
    """A removed follower owes nothing: nija has no key any more to sell with."""
    Ledger(engine).write([a_failed_exit(5, "0.25"), a_failed_exit(5, "0.5", follower_id="dave")])
    assert [debt.follower_id for debt in read_debts(system, KRAKEN)] == ["alice", "dave"]
    assert [debt.follower_id for debt in read_debts(system, KRAKEN, [ALICE])] == ["alice"]
    FollowerStore(engine).remove(KRAKEN, ALICE, actor="test")
    assert [debt.follower_id for debt in read_debts(system, KRAKEN)] == ["dave"]


def test_without_redis_it_is_not_known_what_is_owed(system: Connections, engine: Engine) -> None:
    """The position is shown. Nothing is owed of one without a carried exit."""
    Ledger(engine).write([a_failed_exit(5, "0.25"), a_filled_event("bob", 5)])
    lines = {line.follower_id: line.owed for line in read_positions(replace(system, redis={}), KRAKEN)}
    assert lines == {"alice": None, "bob": 0}
