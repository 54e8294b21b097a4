"""Tests the simulated exchange as a library: no server, no settings, and a time that the caller moves."""

import doctest
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

import shared.exchange
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.domain.market_data import Interval
from shared.exchange.candles import Bar, Candles
from shared.exchange.clock import SimulatedClock
from shared.exchange.orders import AT_ONCE, ExchangeOrderState, ExecutionTerms, NewOrder, OrderType
from shared.exchange.refusals import UnknownSymbol
from shared.exchange.simulated import simulated_exchange

MINUTE = timedelta(minutes=1)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
SYMBOL = "BTC/USD"


def test_the_example_of_the_package_works() -> None:
    """The docstring is what a reader tries first."""
    results = doctest.testmod(shared.exchange)
    assert (results.attempted > 10, results.failed) == (True, 0)


def test_a_limit_order_is_executed_when_a_candle_file_reaches_its_price() -> None:
    """A backtest in small: candles of a file are the prices, the caller moves the clock, the order waits for them."""
    rows = tuple(Bar(*map(Decimal, (price, price, price, price, 60_000))) for price in (100, 101, 98, 95, 99, 103))
    clock = SimulatedClock(NOON)
    exchange = simulated_exchange(clock=clock, candles={SYMBOL: Candles(NOON, rows)})
    account = exchange.state.add_account("alice", {"USD": Decimal(1_000)}, [("key", "secret")], frozenset())
    key = exchange.state.keys["key"]
    order = exchange.place(key, NewOrder(SYMBOL, Side.BUY, OrderType.LIMIT, Decimal(1), limit_price=Decimal("95.5")))
    seen = []
    for _ in rows:
        seen.append((exchange.price(SYMBOL), order.state))
        clock.advance(MINUTE)
        exchange.advance()
    assert seen == [
        (Decimal(100), ExchangeOrderState.OPEN),
        (Decimal(101), ExchangeOrderState.OPEN),
        (Decimal(98), ExchangeOrderState.OPEN),
        (Decimal(95), ExchangeOrderState.FILLED),
        (Decimal(99), ExchangeOrderState.FILLED),
        (Decimal(103), ExchangeOrderState.FILLED),
    ]
    assert (order.cost, account.holdings["BTC"].total) == (Decimal("95.50000"), Decimal(1))
    closes = [candle.close for candle in exchange.candles(SYMBOL, Interval.ONE_MINUTE, limit=7) if candle.is_closed]
    assert closes == [row.close for row in rows]


@pytest.mark.parametrize("interval", [Interval.ONE_MINUTE, Interval.FIVE_MINUTES, Interval.ONE_HOUR])
def test_candles_are_oldest_first_without_a_gap_and_only_the_last_is_not_closed(interval: Interval) -> None:
    """They open on the clock's own intervals, before the exchange began as well."""
    clock = SimulatedClock(NOON + timedelta(seconds=90))
    candles = simulated_exchange(clock=clock).candles(SYMBOL, interval, limit=20)
    assert [candle.is_closed for candle in candles] == [True] * 19 + [False]
    assert candles[-1].opened_at <= NOON + timedelta(seconds=90) < candles[-1].closes_at
    assert all(later.opened_at == earlier.closes_at for earlier, later in pairwise(candles))
    assert all(candle.base_volume > 0 for candle in candles)


def test_a_quiet_minute_keeps_the_price_and_has_no_volume() -> None:
    """Also where several of them follow each other; brokers that leave such candles out get none."""
    clock = SimulatedClock(NOON)
    exchange = simulated_exchange(clock=clock)
    clock.advance(10 * MINUTE)
    noon = int(NOON.timestamp()) // 60
    exchange.market.silence(SYMBOL, noon + 2, noon + 4)
    candles = exchange.candles(SYMBOL, Interval.ONE_MINUTE, limit=11)
    before, quiet = candles[1], candles[2:5]
    for candle in quiet:
        assert candle.open == candle.high == candle.low == candle.close == before.close
        assert candle.base_volume == 0
    traded = exchange.market.bars(SYMBOL, 60, noon * 60, clock(), with_quiet=False)
    assert [bar.starts_at // 60 - noon for bar in traded] == [0, 1, 5, 6, 7, 8, 9, 10]
    only_quiet = exchange.candles(SYMBOL, Interval.ONE_MINUTE, limit=8)
    assert only_quiet[0].close == before.close


@pytest.mark.parametrize(
    "execution",
    [AT_ONCE, ExecutionTerms(fraction=Decimal(0), rest_after_microseconds=1_000_000)],
    ids=["at once", "late"],
)
def test_what_an_immediate_order_leaves_is_canceled(execution: ExecutionTerms) -> None:
    """It never rests, whenever its first part is executed."""
    clock = SimulatedClock(NOON)
    exchange = simulated_exchange(clock=clock)
    exchange.pin_price(SYMBOL, Decimal(50_000))
    exchange.state.add_account("alice", {"USD": Decimal(10**9)}, [("key", "secret")], frozenset())
    best = exchange.book(SYMBOL).asks[0]
    new = NewOrder(
        SYMBOL,
        Side.BUY,
        OrderType.LIMIT,
        best.quantity * 2,
        limit_price=best.price,
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
    )
    order = exchange.place(exchange.state.keys["key"], new, execution)
    clock.advance(timedelta(seconds=2))
    exchange.advance()
    assert (order.state, order.filled) == (ExchangeOrderState.CANCELED, best.quantity)


def test_a_symbol_that_is_not_listed_has_no_candles() -> None:
    """An error, and not an empty list."""
    with pytest.raises(UnknownSymbol):
        simulated_exchange(clock=SimulatedClock(NOON)).candles("NOT/LISTED", Interval.ONE_MINUTE, limit=1)


def test_a_clock_that_is_moved_does_not_go_back() -> None:
    """Times of orders and fills stay in order."""
    clock = SimulatedClock(NOON)
    with pytest.raises(ValueError, match="go back"):
        clock.advance(-MINUTE)
