"""Tests that a sound run breaks no invariant, and that each planted fault shows under its name."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from services.chaos.invariants import Evidence, check
from services.chaos.plan import REDIS_LOST, Kind, injections
from services.demo.audit import BrokerOrder
from services.demo.right_copies import SpecialResult
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.persistence.reports.reports import CopyLine, PositionLine

SYMBOL = "BTC/USD"


def copy(sequence: int, **changes: Any) -> CopyLine:
    """A copied order of anna for 1 BTC."""
    values: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "sequence": sequence,
        "follower_id": "anna",
        "copy_order_id": f"order-{sequence}",
        "symbol": SYMBOL,
        "side": "buy",
        "skip_reason": None,
        "quantity": Decimal(1),
        "fraction": None,
        "equity": Decimal(1000),
        "carried_after": Decimal(0),
        "outcome": "copied",
        "filled_quantity": Decimal(1),
        "position_after": Decimal(0),
        "carried_exit_after": Decimal(0),
    }
    return CopyLine(**{**values, **changes})


def order(name: str, filled: str = "1", limit_price: str | None = "50250") -> BrokerOrder:
    """A purchase in the broker's log."""
    return BrokerOrder(
        account="anna",
        client_order_id=name,
        symbol=SYMBOL,
        side="buy",
        filled=Decimal(filled),
        cost=Decimal(filled) * 50_000,
        limit_price=None if limit_price is None else Decimal(limit_price),
    )


def a_sound_run(**changes: Any) -> Evidence:
    """Two fills, one follower, both copied; positions as if they had been let go."""
    values: dict[str, Any] = {
        "followers": {"anna": 0},
        "master_fills": frozenset({"T1", "T2"}),
        "ledger_fills": {"T1": 1, "T2": 2},
        "copies": [copy(1), copy(2)],
        "finals": {"order-1": 1, "order-2": 1},
        "orders": [order("order-1"), order("order-2")],
        "positions": [_position("2")],
        "redis_positions": {("anna", "BTC"): Decimal(2)},
        "mailboxes": {},
        "dead_letters": 0,
        "nonces": {"key": [1, 2, 3]},
        "lots": {"BTC": Decimal("0.001")},
        "highest_prices": {1: Decimal(50_250), 2: Decimal(50_250)},
    }
    return Evidence(**{**values, **changes})


def _position(quantity: str) -> Any:
    return PositionLine(
        broker=Broker.KRAKEN,
        follower_id="anna",
        asset="BTC",
        quantity=Decimal(quantity),
        carried_exit=Decimal(0),
        sequence=2,
        occurred_at=datetime(2026, 1, 5, tzinfo=UTC),
    )


def broken(seen: Evidence) -> set[str]:
    return {name for name, (number, _) in check(seen).violations.items() if number}


def test_a_sound_run_breaks_nothing() -> None:
    """Nothing to report where nothing is wrong."""
    assert broken(a_sound_run()) == set()
    assert broken(a_sound_run(followers={"anna": 0, "ben": 2})) == set(), "who joined after the last fill misses none"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (
            {"orders": [order("order-1"), order("order-1"), order("order-2")]},
            "at most one broker order per fill and follower",
        ),
        (
            {"orders": [order("order-1"), order("order-2"), order("x")]},
            "at most one broker order per fill and follower",
        ),
        ({"master_fills": frozenset({"T1", "T2", "T3"})}, "every master fill and every follower of it is decided"),
        ({"followers": {"anna": 0, "ben": 1}}, "every master fill and every follower of it is decided"),
        ({"orders": [order("order-1")]}, "every master fill and every follower of it is decided"),
        ({"copies": [copy(1), copy(2, outcome=None)]}, "no order is left without a final state"),
        ({"finals": {"order-1": 2}}, "exactly one final state each"),
        ({"orders": [order("order-2"), order("order-1")]}, "orders per follower in the order of the fills"),
        (
            {"orders": [order("order-1"), order("order-2", limit_price="50250.1")]},
            "no open is sent without its price limit",
        ),
        ({"orders": [order("order-1"), order("order-2", limit_price=None)]}, "no open is sent without its price limit"),
        (
            {"copies": [copy(1), copy(2, outcome="failed", reason="rejected")]},
            "no open is refused for its price or size",
        ),
        ({"orders": [order("order-1"), order("order-2", "0.5")]}, "executed quantities as the ledger says"),
        ({"positions": [_position("1")]}, "positions as the ledger says"),
        ({"redis_positions": {}}, "positions as the ledger says"),
        ({"mailboxes": {"anna": 1}}, "mailboxes are empty"),
        ({"asleep": ("anna",)}, "no wake-up lost"),
        ({"special": {"anna": SpecialResult(wrong=["fill 1"])}}, "followers as they are: each copy is right"),
        ({"own_coins_sold": {"anna": "it holds 0 BTC"}}, "own coins are never sold"),
        ({"dead_letters": 1}, "nothing in a dead-letter stream"),
        ({"nonces": {"key": [1, 3, 3]}}, "nonces only grow"),
    ],
)
def test_each_fault_shows_under_its_name(changes: dict[str, Any], name: str) -> None:
    """One thing is wrong, and the report says which promise it breaks."""
    assert name in broken(a_sound_run(**changes))


def test_a_seed_repeats_its_faults_and_each_kind_comes_equally_often() -> None:
    """5,000 orders: 20 injections of every kind, in the same order for the same seed and another for another."""
    brokers = [Broker.KRAKEN, Broker.OKX]
    planned = injections(1, 5000, brokers)
    assert planned == injections(1, 5000, brokers)
    assert planned != injections(2, 5000, brokers)
    assert all(sum(each.kind is kind for each in planned) == 20 for kind in Kind)
    assert {each.broker for each in planned} == set(brokers)


def test_losses_of_redis_come_in_bursts_that_are_spread_over_the_run() -> None:
    """One of each kind right after another, then time for what the other faults do."""
    planned = [each.kind for each in injections(3, 5000, [Broker.KRAKEN])]
    places = [place for place, kind in enumerate(planned) if kind in REDIS_LOST]
    bursts = [places[first : first + 3] for first in range(0, len(places), 3)]
    assert len(bursts) == 20
    assert all({planned[place] for place in burst} == set(REDIS_LOST) for burst in bursts)
    assert all(burst[2] == burst[0] + 2 for burst in bursts)
    assert min(later[0] - earlier[2] for earlier, later in pairwise(bursts)) > 20


@pytest.mark.parametrize(("spent", "is_right"), [("0.4", True), ("0.5", False), ("2.1", False)])
def test_a_purchase_with_a_coin_lowers_the_position_in_it(spent: str, is_right: bool) -> None:
    """The ledger says that the ether was paid with 0.4 of the 2 BTC that were copied. The broker's log decides."""
    swap = order("order-3", "8", "0.0501").model_copy(update={"symbol": Symbol("ETH", "BTC"), "cost": Decimal(spent)})
    run = a_sound_run(
        copies=[copy(1), copy(2), copy(3, symbol="ETH/BTC", filled_quantity=Decimal(8))],
        finals={"order-1": 1, "order-2": 1, "order-3": 1},
        orders=[order("order-1"), order("order-2"), swap],
        master_fills=frozenset({"T1", "T2", "T3"}),
        ledger_fills={"T1": 1, "T2": 2, "T3": 3},
        positions=[_position("1.6"), _position("8").model_copy(update={"asset": "ETH"})],
        redis_positions={("anna", "BTC"): Decimal("1.6"), ("anna", "ETH"): Decimal(8)},
        lots={"BTC": Decimal("0.001"), "ETH": Decimal("0.001")},
        highest_prices={1: Decimal(50_250), 2: Decimal(50_250), 3: Decimal("0.0501")},
    )
    assert broken(run) == (set() if is_right else {"positions as the ledger says"})
