"""Tests that prices are fixed by seed, move with time, and follow a candle file minute by minute."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest

from shared.exchange.candles import Bar, Candles
from shared.exchange.instruments import INSTRUMENTS
from shared.exchange.market import Market
from shared.exchange.prices import CandleReplay, CrossRate, SeededWalk

BTC = INSTRUMENTS["BTC/USD"]
MINUTE = 60_000_000
ANCHOR = 28_000_000 * MINUTE


def _candle(open_: str, high: str, low: str, close: str) -> Bar:
    return Bar(Decimal(open_), Decimal(high), Decimal(low), Decimal(close), Decimal(100))


def test_the_same_seed_gives_the_same_prices_and_another_seed_others() -> None:
    """Two runs agree candle by candle, forwards and backwards; seeds differ."""
    numbers = range(-50, 50)
    first, again, other = (SeededWalk(BTC, seed) for seed in (7, 7, 8))
    assert [first.candle(n) for n in numbers] == [again.candle(n) for n in reversed(numbers)][::-1]
    assert [first.candle(n) for n in numbers] != [other.candle(n) for n in numbers]


@pytest.mark.parametrize("symbol", list(INSTRUMENTS))
def test_every_pair_moves_in_whole_ticks_and_candles_join(symbol: str) -> None:
    """A candle opens where the last one closed, encloses its prices and lies on the tick."""
    instrument = INSTRUMENTS[symbol]
    walk = SeededWalk(instrument, 3)
    candles = [candle for n in range(-100, 300) if (candle := walk.candle(n)) is not None]
    assert len({candle.close for candle in candles}) > 5
    for candle, following in pairwise(candles):
        assert candle.close == following.open
        assert candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
        assert not candle.high % instrument.price_tick


def test_a_candle_file_passes_one_candle_per_interval() -> None:
    """Inside a rising candle: open, low, high, close; after the last one its close stands."""
    candles = Candles(
        datetime(2022, 1, 1, tzinfo=UTC), (_candle("100", "120", "90", "110"), _candle("110", "111", "80", "85"))
    )
    market = Market({"BTC/USD": CandleReplay(BTC, candles)}, ANCHOR, 2_000_000)
    prices = [market.price("BTC/USD", ANCHOR + quarter * 500_000) for quarter in range(10)]
    assert prices == [Decimal(p) for p in (100, 90, 120, 110, 110, 111, 80, 85, 85, 85)]


def test_minutes_of_the_clock_join_the_candles_that_passed_in_them() -> None:
    """At one candle a second, a minute of the clock is sixty candles, and history comes before the anchor."""
    walk = SeededWalk(BTC, 5)
    market = Market({"BTC/USD": walk}, ANCHOR, 1_000_000)
    minutes = market.minutes("BTC/USD", ANCHOR // MINUTE - 3, ANCHOR + MINUTE)
    passed = [candle for n in range(60) if (candle := walk.candle(n)) is not None]
    assert [minute.starts_at // 60 - ANCHOR // MINUTE for minute in minutes] == [-3, -2, -1, 0, 1]
    assert minutes[3].bar.open == passed[0].open == minutes[2].bar.close
    assert minutes[3].bar.high >= max(candle.high for candle in passed)
    assert minutes[3].bar.low <= min(candle.low for candle in passed)
    assert minutes[3].bar.close == passed[-1].close


def test_a_month_later_prices_and_the_day_are_there_at_once() -> None:
    """A broker that is started again after weeks does not keep its first caller waiting."""
    later = ANCHOR + 30 * 1440 * MINUTE
    markets = [Market({"BTC/USD": SeededWalk(BTC, 5)}, ANCHOR, 1_000_000) for _ in range(2)]
    started = time.process_time()
    day = markets[0].day("BTC/USD", later)
    price = markets[0].price("BTC/USD", later)
    assert time.process_time() - started < 5
    assert day.low <= price <= day.high
    # Whether one looked in between or not, the price is the same.
    for hour in range(0, 720, 100):
        markets[1].price("BTC/USD", ANCHOR + hour * 60 * MINUTE)
    assert markets[1].price("BTC/USD", later) == price


def test_a_pair_of_two_coins_costs_what_both_cost_in_money() -> None:
    """At every moment, and in every candle of the past, ether in bitcoin is the ratio of both prices in dollars.

    A price that is pinned moves it at once.
    """
    feeds = {symbol: SeededWalk(INSTRUMENTS[symbol], 5) for symbol in ("ETH/USD", "BTC/USD")}
    cross = CrossRate(INSTRUMENTS["ETH/BTC"], ("ETH/USD", "BTC/USD"), feeds)
    market = Market({**feeds, "ETH/BTC": cross}, ANCHOR, 1_000_000)
    tick = INSTRUMENTS["ETH/BTC"].price_tick
    seen = []
    for quarter in range(400):
        now = ANCHOR + quarter * 250_000
        price = market.price("ETH/BTC", now)
        assert abs(price - market.price("ETH/USD", now) / market.price("BTC/USD", now)) <= tick / 2
        seen.append(price)
    assert len(set(seen)) > 5
    minutes = market.minutes("ETH/BTC", ANCHOR // MINUTE - 5, ANCHOR + 100_000_000)
    assert minutes[4].bar.close == minutes[5].bar.open == seen[0]
    assert minutes[5].bar.low <= min(seen[:240]) <= max(seen[:240]) <= minutes[5].bar.high
    pinned = {"ETH/USD": Decimal(2_500), "BTC/USD": Decimal(50_000)}
    assert market.price("ETH/BTC", ANCHOR, pinned) == Decimal("0.05")
    assert market.price("ETH/BTC", ANCHOR, pinned | {"ETH/BTC": Decimal("0.06")}) == Decimal("0.06")
