"""Defines what a backtest reports: its trades, its equity and everything that it took for granted."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.identity import Broker
from shared.domain.strategy.decision import ExitReason
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.symbol import Symbol


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class TradeExit(_Report):
    """One sale of a position."""

    reason: ExitReason
    at: Instant
    price: Amount
    quantity: Amount


class BacktestTrade(_Report):
    """A position from its purchase to its last sale."""

    opened_at: Instant
    closed_at: Instant
    quantity: Amount
    entry_price: Amount
    first_stop: Amount
    exits: tuple[TradeExit, ...]
    net_profit: Amount
    """In US dollars, after all fees."""


class EquityPoint(_Report):
    """The equity at the close of a candle."""

    at: Instant
    equity: Amount


class MissingMinutes(_Report):
    """A gap of the candle file."""

    starts_at: Instant
    ends_at: Instant


class BacktestResult(_Report):
    """The outcome of one run. Amounts are US dollars."""

    broker: Broker
    symbol: Symbol
    starts_at: Instant
    """When the first decided candle began."""
    ends_at: Instant
    candles: int
    """How many candles were decided on."""
    equity_before: Amount
    equity_after: Amount
    """With an open position at the last close."""
    largest_drawdown: Amount
    """The largest loss from a peak, as a fraction of the peak, at the closes of candles."""
    fees: Amount
    trades: tuple[BacktestTrade, ...]
    position_open: bool
    """Whether a position was left at the end. It is no trade yet."""
    decisions: dict[str, int]
    """How often was entered, rejected by the capital gate, exited and held, each with the reasons."""
    not_bought: dict[str, int]
    """How many approved entries were not bought, and why."""
    gaps: tuple[MissingMinutes, ...]
    parameters: ApexParameters
    assumptions: tuple[str, ...]
    equity: tuple[EquityPoint, ...]
    seconds: float
    """How long the run took, with gate and report."""

    @property
    def profit_share(self) -> Decimal:
        """The change of equity as a fraction of the equity before."""
        return (self.equity_after - self.equity_before) / self.equity_before

    @property
    def winners(self) -> int:
        return sum(trade.net_profit > 0 for trade in self.trades)

    @property
    def candles_per_second(self) -> float:
        return self.candles / self.seconds if self.seconds else 0.0


def largest_drawdown(equity: Sequence[tuple[datetime, Decimal]]) -> Decimal:
    """Return the largest loss from a peak, as a fraction of that peak."""
    peak = largest = ZERO
    for _, value in equity:
        peak = max(peak, value)
        if peak > 0:
            largest = max(largest, (peak - value) / peak)
    return largest
