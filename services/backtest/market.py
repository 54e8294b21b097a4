"""Shows a backtest the market that its candle file does not hold: an order book, and candles of four hours.

The order book is the one that a paper broker shows at the same price. Candles of four hours are made of those of the
file, and only of complete ones.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.capital.facts import MarketFacts
from shared.domain.capital.volatility import atr_pct
from shared.domain.market_data import Candle, Interval, OrderBook
from shared.exchange.book import book_around
from shared.exchange.instruments import PaperInstrument

AtrAt = Callable[[datetime], Decimal | None]
"""Returns the ATR of 4-hour candles in percent of the price, as known at a moment; None: too few candles."""

ATR_CANDLES: Final = 100
"""What a live trader reads too. Wilder's average depends on all candles before, and hardly on older ones."""
_FOUR_HOURS: Final = Interval.FOUR_HOURS
_TOO_OLD: Final = 2 * _FOUR_HOURS.length
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PaperMarket:
    """The market of one symbol at the moments of a backtest."""

    def __init__(self, instrument: PaperInstrument, atr: AtrAt) -> None:
        self._instrument = instrument
        self.atr_pct = atr

    def facts(self, price: Decimal, at: datetime) -> MarketFacts:
        """Return what the capital gate needs to know when the price is `price`."""
        return MarketFacts(book=self._book(price, at), atr_pct=self.atr_pct(at))

    def _book(self, price: Decimal, at: datetime) -> OrderBook:
        tick = self._instrument.price_tick
        book = book_around(self._instrument, max(tick, price.quantize(tick)))
        # The exchange builds ordered levels, so they are not validated once more: it takes longer than the gate.
        return OrderBook.model_construct(symbol=self._instrument.symbol, bids=book.bids, asks=book.asks, at=at)


class FourHourAtr:
    """ATR14 of the 4-hour candles that the candles of a file make up."""

    def __init__(self, candles: Sequence[Candle]) -> None:
        self._known_from: list[datetime] = []
        self._values: list[Decimal | None] = []
        run: list[Candle] = []
        for candle in four_hour_candles(candles):
            if run and candle.opened_at != run[-1].closes_at:
                run.clear()
            run = [*run, candle][-ATR_CANDLES:]
            self._known_from.append(candle.closes_at)
            self._values.append(atr_pct(run))

    def at(self, moment: datetime) -> Decimal | None:
        """Return the value by the last candle that is over; None after a gap until there are 15 candles in a row."""
        place = bisect_right(self._known_from, moment) - 1
        if place < 0 or moment - self._known_from[place] >= _TOO_OLD:
            return None
        return self._values[place]


def four_hour_candles(candles: Sequence[Candle]) -> Iterator[Candle]:
    """Yield the candles of four hours of the clock, UTC, of which no part is missing. `candles`: oldest first."""
    index = 0
    while index < len(candles):
        first = candles[index]
        count = _FOUR_HOURS.length // first.interval.length
        last = index + count - 1
        if (
            (first.opened_at - _EPOCH) % _FOUR_HOURS.length
            or last >= len(candles)
            or candles[last].opened_at - first.opened_at != _FOUR_HOURS.length - first.interval.length
        ):
            index += 1
        else:
            yield joined(candles[index : last + 1], _FOUR_HOURS)
            index = last + 1


def joined(candles: Sequence[Candle], interval: Interval) -> Candle:
    """Return successive candles as one."""
    return Candle(
        opened_at=candles[0].opened_at,
        interval=interval,
        open=candles[0].open,
        high=max(candle.high for candle in candles),
        low=min(candle.low for candle in candles),
        close=candles[-1].close,
        base_volume=sum((candle.base_volume for candle in candles), ZERO),
        is_closed=True,
    )
