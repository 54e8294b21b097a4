"""Decides on one candle of a file for an empty account: what the bias checks compare."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

from services.backtest.bias import DecideAt
from services.backtest.costs import Venue, venue_of
from shared.brokers.registry import EXAMPLE_BROKER
from shared.domain.market_data import Candle
from shared.domain.strategy.decision import StrategyDecision
from shared.domain.strategy.parameters import APEX, WINDOW_CANDLES, ApexParameters
from shared.domain.strategy.routing import OpensHere
from shared.domain.strategy.trader_account import TraderAccount
from shared.domain.symbol import Symbol
from shared.indicators.decide import decide
from shared.indicators.window import Window

_EQUITY: Final = Decimal(10_000)


def decide_at_with(parameters: ApexParameters = APEX) -> DecideAt:
    """Return the strategy as the bias checks call it. It reads the window that ends with the candle, and no more."""
    venue = venue_of(EXAMPLE_BROKER, Symbol("BTC", "USD"))

    def decide_at(candles: Sequence[Candle], index: int) -> StrategyDecision:
        read = candles[max(0, index + 1 - WINDOW_CANDLES) : index + 1]
        return decide(Window.of(read), None, empty_account(read[-1], venue, parameters), parameters)

    return decide_at


def empty_account(candle: Candle, venue: Venue, parameters: ApexParameters = APEX) -> TraderAccount:
    """Return an account without positions that decides as soon as a candle counts as complete."""
    return TraderAccount(
        at=candle.closes_at + timedelta(seconds=parameters.settle_seconds),
        instrument=venue.instrument,
        fees=venue.fees,
        route=OpensHere(venue.fees.smallest_worthwhile_profit),
        equity_usd=_EQUITY,
    )
