"""Tests a market in the past: it stands until it is waited for, and shows the candles of its file at their own times."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from shared.domain.fill import Side
from shared.domain.market_data import Interval
from shared.domain.symbol import Symbol
from shared.exchange.candles import Bar, Candles
from shared.exchange.clock import MarketClock, SimulatedClock, microseconds
from shared.exchange.exchange import Exchange
from shared.exchange.instruments import INSTRUMENTS
from shared.exchange.market import Market
from shared.exchange.orders import NewOrder, OrderType
from shared.exchange.prices import CandleReplay, SeededWalk
from shared.exchange.simulated import simulated_exchange

D = Decimal
BTC, ETH = Symbol("BTC", "USD"), Symbol("ETH", "USD")
PAST = datetime(2022, 1, 4, tzinfo=UTC)
TODAY = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MINUTES = 60
"""In the file. The market begins after half of them."""
BEGINS = PAST + MINUTES // 2 * MINUTE


def file_candles() -> Candles:
    """Each minute has another price, and a volume of 1,000 dollars."""
    prices = [D(40_000) + 10 * minute for minute in range(MINUTES)]
    return Candles(PAST, tuple(Bar(price, price + 5, price - 5, price, D(1_000)) for price in prices))


def market_in_the_past() -> tuple[Exchange, MarketClock]:
    """A market that begins half an hour into the file, while the machine's clock shows another year."""
    clock = MarketClock(microseconds(BEGINS), microseconds(PAST + MINUTES * MINUTE))
    clock.released = 0
    return simulated_exchange(clock=SimulatedClock(TODAY), candles={BTC: file_candles()}, market=clock), clock


def test_it_stands_until_it_is_waited_for_and_then_moves_there_at_once() -> None:
    """It never moves back, and never beyond its end."""
    clock = MarketClock(100, until=500)
    assert not clock.wait_for(200, orders=0)
    clock.released = 0
    assert clock() == 100
    assert clock.wait_for(200, orders=0)
    assert clock() == 200
    assert not clock.wait_for(150, orders=0)
    assert clock() == 200
    assert clock.wait_for(900, orders=0)
    assert (clock(), clock.waits_for) == (500, 900)


def test_it_stands_as_long_as_an_order_is_not_released() -> None:
    """The orders of followers count as well: their prices must not be those of later hours."""
    clock = MarketClock(100, until=500)
    clock.released = 0
    assert not clock.wait_for(200, orders=1)
    clock.released = 1
    assert not clock.wait_for(200, orders=2)
    assert clock() == 100
    clock.released = 2
    assert clock.wait_for(200, orders=2)


def test_candles_have_the_times_and_prices_of_the_file() -> None:
    """The volume of a longer candle is the sum of its minutes' volumes, each at the close of its own minute."""
    exchange, clock = market_in_the_past()
    clock.wait_for(microseconds(BEGINS + 7 * MINUTE), orders=0)
    found = exchange.candles(BTC, Interval.FIVE_MINUTES, limit=8)
    assert [candle.opened_at for candle in found] == [PAST + 5 * number * MINUTE for number in range(8)]
    assert [candle.is_closed for candle in found] == [True] * 7 + [False]
    rows = file_candles().rows
    for number, candle in enumerate(found[:7]):
        part = rows[5 * number : 5 * number + 5]
        assert (candle.open, candle.close) == (part[0].open, part[-1].close)
        assert (candle.high, candle.low) == (part[-1].high, part[0].low)
        assert candle.base_volume == sum(D(1_000) / bar.close for bar in part).quantize(D("1e-8"))


def test_a_candle_that_was_asked_for_before_its_end_is_whole_later() -> None:
    """Only what is over is remembered."""
    exchange, clock = market_in_the_past()
    clock.wait_for(microseconds(BEGINS + 2 * MINUTE), orders=0)
    before = exchange.candles(BTC, Interval.FIVE_MINUTES, limit=2)[-1]
    clock.wait_for(microseconds(BEGINS + 6 * MINUTE), orders=0)
    after = exchange.candles(BTC, Interval.FIVE_MINUTES, limit=2)[0]
    fresh, other_clock = market_in_the_past()
    other_clock.wait_for(microseconds(BEGINS + 6 * MINUTE), orders=0)
    assert (before.opened_at, before.is_closed, after.is_closed) == (BEGINS, False, True)
    assert after.close > before.close
    assert after == fresh.candles(BTC, Interval.FIVE_MINUTES, limit=2)[0]


def test_remembered_bars_are_those_of_a_market_that_remembers_nothing() -> None:
    """With prices that move with the machine's clock too, for every period and at every minute of two hours."""
    instrument = INSTRUMENTS[BTC]
    anchor = microseconds(TODAY) + 17_000_000
    known = Market({BTC: SeededWalk(instrument, 3)}, anchor, 1_000_000)
    for minute in range(0, 120, 7):
        now = anchor + minute * 60_000_000 + 5_000_000
        for period in (60, 300, 3_600):
            new = Market({BTC: SeededWalk(instrument, 3)}, anchor, 1_000_000)
            first = now // 1_000_000 - 10 * period
            assert known.bars(BTC, period, first, now) == new.bars(BTC, period, first, now)


def test_orders_have_the_time_of_the_machine_and_the_price_of_the_market() -> None:
    """Ages and deadlines of orders do not follow the market."""
    exchange, _ = market_in_the_past()
    exchange.state.add_account("alice", {"USD": D(1_000)}, [("key", "secret")], frozenset())
    order = exchange.place(exchange.state.keys["key"], NewOrder(BTC, Side.BUY, OrderType.MARKET, D("0.01")))
    assert order.accepted_at == microseconds(TODAY)
    assert exchange.state.fills[0].executed_at == microseconds(TODAY)
    assert abs(exchange.state.fills[0].price - exchange.price(BTC)) < 10
    assert exchange.price(BTC) == file_candles().rows[30].open


def test_a_pair_without_a_file_stands() -> None:
    """Its price is that of the start at every moment, and it has volume."""
    exchange, clock = market_in_the_past()
    start = exchange.price(ETH)
    clock.wait_for(microseconds(BEGINS + 20 * MINUTE), orders=0)
    found = exchange.candles(ETH, Interval.FIVE_MINUTES, limit=4)
    assert {candle.close for candle in found} == {exchange.price(ETH)} == {start}
    assert all(candle.base_volume > 0 for candle in found)


def test_where_the_market_stands_is_an_event_of_the_journal() -> None:
    """A paper broker that was killed goes on where its market stood."""
    exchange, clock = market_in_the_past()
    assert exchange.state.market_moved_to is None
    clock.wait_for(microseconds(BEGINS + MINUTE), orders=0)
    exchange.state.move_market(clock())
    other, _ = market_in_the_past()
    other.state.replay(["market", clock()])
    assert other.state.market_moved_to == exchange.state.market_moved_to == microseconds(BEGINS + MINUTE)


def test_the_history_before_the_beginning_is_that_of_the_file() -> None:
    """Candle number 0 is the one at the beginning, and the one before it has number −1."""
    replay = CandleReplay(INSTRUMENTS[BTC], file_candles(), history=30)
    rows = file_candles().rows
    for number in (-30, -1, 0, 29):
        candle = replay.candle(number)
        assert candle is not None
        assert candle.open == rows[number + 30].open
    assert replay.candle(-31) is None
