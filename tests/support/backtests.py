"""Runs a small backtest with one trade, for tests of what is made of it."""

from decimal import Decimal
from typing import Any, Final

from services.backtest.candle_file import CandleHistory, Gap
from services.backtest.costs import venue_of
from services.backtest.result import BacktestResult
from services.backtest.run import Backtest
from shared.domain.identity import Broker
from tests.support.strategy import BTC_USD, FIVE_MINUTES, STARTS_AT, Zigzag, candle_at

SHAPES: Final = (("3152", "3153", "3151", "3152"), ("3160", "3300", "3160", "3290"), ("3290", "3291", "3289", "3290"))
"""Open, high, low and close of the candles after the warm-up: all three targets are reached in the second one."""


def one_trade(**options: Any) -> BacktestResult:
    """The report of a run that buys, sells at three targets, and has a gap in its file."""
    after = [
        candle_at(300 + number, **dict(zip(("opening", "high", "low", "close"), map(Decimal, shape), strict=True)))
        for number, shape in enumerate(SHAPES)
    ]
    history = CandleHistory((*Zigzag().candles(), *after), (Gap(STARTS_AT - FIVE_MINUTES, STARTS_AT),), 299)
    venue = venue_of(Broker.KRAKEN, BTC_USD, slippage=Decimal(0))
    return Backtest(history, venue, atr=lambda _: Decimal(2), **options).run()
