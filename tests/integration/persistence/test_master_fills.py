"""Master fills in PostgreSQL are numbered once and without gaps, and carry the traded position."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.domain.errors import ImpossibleFill
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import Checkpoint, ExecutedCopy, MasterFills, ObservedFill
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_filled_event, an_order_event

KRAKEN = Broker.KRAKEN
BTC = Symbol.parse("BTC/USD")


def observed(fill_id: str, **changes: Any) -> ObservedFill:
    return ObservedFill(an_account_fill(fill_id=fill_id, **changes), Decimal("100000.123456789012345678"))


def test_known_fills_are_dropped_and_new_ones_numbered_in_order(fills: MasterFills) -> None:
    """A fill that is read repeatedly, as with an overlap, gets one number."""
    first = fills.record(KRAKEN, "main", [observed("a"), observed("b"), observed("a")], NOW)
    second = fills.record(KRAKEN, "main", [observed("b"), observed("c")], NOW)
    assert [(fill.fill_id, fill.sequence) for fill in first + second] == [("a", 1), ("b", 2), ("c", 3)]
    assert fills.record(KRAKEN, "main", [observed("c")], NOW) == []
    assert fills.last_sequence(KRAKEN) == 3


def test_a_fill_comes_back_exactly_as_it_was_recorded(fills: MasterFills) -> None:
    """Every digit and microsecond is stored."""
    change = {"quantity": "0.123456789012345678", "price": "50000.10", "fee": "0.000000000000000001"}
    recorded = fills.record(KRAKEN, "main", [observed("a", **change)], NOW)
    assert fills.after(KRAKEN, 0) == recorded
    assert fills.after(KRAKEN, 0)[0].model_dump_json() == recorded[0].model_dump_json()


def position(fills: MasterFills) -> Decimal:
    return next(iter(fills.traded_positions(KRAKEN, "main", {"BTC"}).values()))


def test_a_fee_that_is_known_later_corrects_fill_and_position_once(fills: MasterFills) -> None:
    """The fee was taken in the coin. The next full sale then closes the whole position."""
    fills.record(KRAKEN, "main", [observed("a", quantity="1", fee="130", fee_currency="USD")], NOW)
    shown = an_account_fill(fill_id="a", quantity="1", fee="0.0026", fee_currency="BTC")
    assert [fills.correct_fee(KRAKEN, "main", shown) for _ in range(3)] == [True, False, False]
    assert position(fills) == Decimal("0.9974")
    (sale,) = fills.record(KRAKEN, "main", [observed("b", side=Side.SELL, quantity="0.9974")], NOW)
    assert sale.fraction_closed == 1


def test_a_corrected_fee_moves_the_position_after_later_fills(fills: MasterFills) -> None:
    """A part was sold meanwhile. After a full close there is nothing left that could be corrected."""
    bought = an_account_fill(fill_id="a", quantity="1", fee="0.0026", fee_currency="BTC")
    first = observed("a", quantity="1", fee="130", fee_currency="USD")
    fills.record(KRAKEN, "main", [first, observed("b", side=Side.SELL, quantity="0.5")], NOW)
    assert fills.correct_fee(KRAKEN, "main", bought)
    assert position(fills) == Decimal("0.4974")
    second = observed("c", quantity="1", fee="130", fee_currency="USD")
    close = [second, observed("d", side=Side.SELL, quantity="9"), observed("e", quantity="2", fee="0")]
    fills.record(KRAKEN, "main", close, NOW)
    assert fills.correct_fee(KRAKEN, "main", bought.model_copy(update={"fill_id": "c"}))
    assert position(fills) == Decimal(2)


def test_a_fee_of_a_fill_that_is_not_recorded_changes_nothing(fills: MasterFills) -> None:
    """It is held back. When it is recorded, it already has the right fee."""
    assert not fills.correct_fee(KRAKEN, "main", an_account_fill(fill_id="a"))


@pytest.mark.parametrize("shown_first", [("0", ""), ("0.01", "FOO")], ids=["no fee", "another fee"])
def test_a_fee_is_corrected_once_for_a_fill_whose_pair_was_listed_later(
    fills: MasterFills, shown_first: tuple[str, str]
) -> None:
    """The fill was recorded under a name that shows no quote currency. The position stays under that name."""
    unlisted, (fee, currency) = Symbol("FOOBAR", ""), shown_first
    bought = {"fill_id": "a", "quantity": "1"}
    fills.record(KRAKEN, "main", [observed(**bought, symbol=unlisted, fee=fee, fee_currency=currency)], NOW)
    shown = an_account_fill(**bought, symbol="FOO/BAR", fee="0.02", fee_currency="FOO")
    assert [fills.correct_fee(KRAKEN, "main", shown) for _ in range(3)] == [True, False, False]
    assert fills.traded_positions(KRAKEN, "main", {"FOOBAR", "FOO"}) == {"FOOBAR": Decimal("0.98")}


def test_one_fill_moves_the_positions_of_two_assets(fills: MasterFills) -> None:
    """BTC that was bought with dollars pays for ETH, and the rest is sold for USDT."""
    spent = observed("b", symbol="ETH/BTC", quantity="5", price="0.05", cost="0.25", fee="0.001", fee_currency="BNB")
    fills.record(KRAKEN, "main", [observed("a", quantity="1")], NOW)
    (purchase,) = fills.record(KRAKEN, "main", [spent], NOW)
    assert (purchase.asset, purchase.traded_position_before, purchase.fraction_closed) == ("BTC", 1, Decimal("0.25"))
    (sale,) = fills.record(KRAKEN, "main", [observed("c", side=Side.SELL, symbol="BTC/USDT", quantity="0.75")], NOW)
    assert (sale.traded_position_before, sale.fraction_closed) == (Decimal("0.75"), 1)
    assert fills.traded_positions(KRAKEN, "main", {"BTC", "ETH", "BNB"}) == {"BTC": 0, "ETH": Decimal(5)}
    assert fills.after(KRAKEN, 1)[0] == purchase


def test_a_fee_that_turns_out_to_be_of_a_third_asset_moves_both_assets(fills: MasterFills) -> None:
    """It was shown as BTC, and BNB has paid it."""
    fills.record(KRAKEN, "main", [observed("a", symbol="BNB/USD", quantity="3", fee="0")], NOW)
    fills.record(KRAKEN, "main", [observed("b", quantity="1", fee="0.01", fee_currency="BTC")], NOW)
    assert fills.correct_fee(KRAKEN, "main", an_account_fill(fill_id="b", quantity="1", fee="0.5", fee_currency="BNB"))
    assert fills.traded_positions(KRAKEN, "main", {"BTC", "BNB"}) == {"BTC": 1, "BNB": Decimal(3)}


def test_traded_positions_follow_fills_per_asset_over_calls(fills: MasterFills) -> None:
    """Buys raise the position, a sale closes its share, a fee in the coin counts, and each asset is separate."""
    fills.record(KRAKEN, "main", [observed("a", quantity="1", fee="0.01", fee_currency="BTC")], NOW)
    fills.record(KRAKEN, "main", [observed("b", symbol="ETH/USD", quantity="5", fee_currency="USD")], NOW)
    half, rest, beyond = fills.record(
        KRAKEN,
        "main",
        [
            observed("c", side=Side.SELL, quantity="0.495"),
            observed("d", side=Side.SELL, quantity="2"),
            observed("e", side=Side.SELL, quantity="2"),
        ],
        NOW,
    )
    assert (half.traded_position_before, half.fraction_closed) == (Decimal("0.99"), Decimal("0.5"))
    assert (rest.traded_position_before, rest.fraction_closed) == (Decimal("0.495"), Decimal(1))
    assert (beyond.traded_position_before, beyond.fraction_closed) == (Decimal(0), Decimal(0))


def test_masters_recording_at_once_leave_no_gap_and_no_double(fills: MasterFills) -> None:
    """Four processes that read the same fills give each fill one number."""
    ids = [f"T{n}" for n in range(40)]

    def record(start: int) -> int:
        seen = ids[start:] + ids[:start]
        return sum(len(fills.record(KRAKEN, "main", [observed(fill_id)], NOW)) for fill_id in seen)

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(record, (0, 10, 20, 30))) == len(ids)
    stored = fills.after(KRAKEN, 0)
    assert [fill.sequence for fill in stored] == list(range(1, len(ids) + 1))
    assert {fill.fill_id for fill in stored} == set(ids)
    assert stored[-1].traded_position_before == Decimal("3.9")


def test_an_impossible_fill_stores_nothing_of_its_batch(fills: MasterFills) -> None:
    """A fill without a quantity stops its batch before any fill is numbered."""
    with pytest.raises(ImpossibleFill):
        fills.record(KRAKEN, "main", [observed("a"), observed("b", quantity="0")], NOW)
    assert fills.last_sequence(KRAKEN) == 0


def test_unpublished_are_those_above_the_mark_and_the_mark_never_moves_back(fills: MasterFills) -> None:
    """After a crash the next process publishes the missing fills, oldest first."""
    fills.record(KRAKEN, "main", [observed(name) for name in "abc"], NOW)
    fills.mark_published(KRAKEN, 2)
    fills.mark_published(KRAKEN, 1)
    assert [fill.sequence for fill in fills.unpublished(KRAKEN)] == [3]
    assert fills.unpublished(Broker.OKX) == []


def test_checkpoint_begins_once_and_moves_forward_only(fills: MasterFills) -> None:
    """After a restart, reading continues at the checkpoint instead of the present."""
    begun = fills.watch(KRAKEN, "main", NOW)
    assert begun == Checkpoint(NOW, NOW)
    fills.advance(KRAKEN, "main", NOW + timedelta(minutes=5))
    fills.advance(KRAKEN, "main", NOW + timedelta(minutes=1))
    later = fills.watch(KRAKEN, "main", NOW + timedelta(days=1))
    assert later == Checkpoint(NOW, NOW + timedelta(minutes=5))


def test_known_ids_reach_back_to_the_overlap_only(fills: MasterFills) -> None:
    """The known ids are those of executions since a moment, including that moment."""
    older = NOW - timedelta(hours=1)
    fills.record(KRAKEN, "main", [observed("old", executed_at=older), observed("new")], NOW)
    assert fills.known_fill_ids(KRAKEN, "main", NOW) == {"new"}
    assert fills.known_fill_ids(KRAKEN, "main", older) == {"old", "new"}


def test_executions_of_copy_orders_are_found_by_broker_order_and_symbol(fills: MasterFills, engine: Engine) -> None:
    """An order number counts only with its symbol and broker, because Binance uses the same number in two symbols."""
    later = NOW + timedelta(seconds=9)
    Ledger(engine).write(
        [
            an_order_event("alice", 1, broker_order_id="7"),
            a_filled_event("alice", 1, broker_order_id="7", occurred_at=later),
            an_order_event("bob", 1),
            a_filled_event("carol", 1, broker=Broker.BINANCE, broker_order_id="8"),
        ]
    )
    seen = [
        an_account_fill(fill_id="a", order_id="7"),
        an_account_fill(fill_id="b", order_id="7"),
        an_account_fill(fill_id="c", order_id="7", symbol="ETH/USD"),
        an_account_fill(fill_id="d", order_id="8"),
    ]
    alices = ExecutedCopy("alice", later)
    assert fills.copies_among(KRAKEN, seen) == {"a": alices, "b": alices}
    assert fills.copies_among(KRAKEN, seen[2:]) == {}
    long_after = [fill.model_copy(update={"executed_at": later + timedelta(hours=2)}) for fill in seen]
    assert fills.copies_among(KRAKEN, long_after) == {}  # a test network that was reset starts its numbers again


def test_broker_orders_are_found_through_their_index(engine: Engine) -> None:
    """The master trader waits for this query, and order events are many."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.scalars(
            text("EXPLAIN SELECT symbol FROM order_events WHERE broker = 'kraken' AND broker_order_id IN ('7', '8')")
        ).all()
    assert "order_events_by_broker_order" in "\n".join(plan)
