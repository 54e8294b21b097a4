"""Defines what a backtest reports: its trades, its equity and everything that it took for granted."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.identity import Broker
from shared.domain.strategy.decision import ExitReason
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.symbol import Symbol
from shared.domain.value_class import value_class


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


@value_class
class EquityPoint:
    """The equity and the price at the close of a candle. No model: a run makes as many as it has candles."""

    at: Instant
    equity: Amount
    price: Amount


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
    def price_share(self) -> Decimal:
        """The change of the price in the same time, as a fraction: what holding the coin would have brought."""
        return (self.equity[-1].price - self.equity[0].price) / self.equity[0].price

    @property
    def winners(self) -> int:
        return sum(trade.net_profit > 0 for trade in self.trades)

    @property
    def profit_factor(self) -> Decimal | None:
        """All profits of winning trades / all losses of the others; None without a loss."""
        lost = -sum((trade.net_profit for trade in self.trades if trade.net_profit < 0), ZERO)
        won = sum((trade.net_profit for trade in self.trades if trade.net_profit > 0), ZERO)
        return won / lost if lost else None

    @property
    def time_in_market(self) -> float:
        """The fraction of the time in which a closed trade was open."""
        held = sum((trade.closed_at - trade.opened_at for trade in self.trades), timedelta(0))
        return held / (self.ends_at - self.starts_at)

    @property
    def candles_per_second(self) -> float:
        return self.candles / self.seconds if self.seconds else 0.0


class MonthlyReturn(NamedTuple):
    """The change of equity within a month of the calendar, UTC."""

    month: date
    """Its first day."""
    share: Decimal
    """As a fraction of the equity at its beginning."""
    equity: Decimal
    """At its end, or at the end of the run."""
    trades: int
    """Those that were closed in it."""


def monthly_returns(result: BacktestResult) -> list[MonthlyReturn]:
    """Return the months of a run, in their order. The first and the last one may be parts of a month."""
    closed = Counter(_month_of(trade.closed_at) for trade in result.trades)
    ends: dict[date, Decimal] = {}
    for point in result.equity:
        # A candle that closes at midnight belongs to the day before.
        ends[_month_of(point.at - timedelta(microseconds=1))] = point.equity
    months, before = [], result.equity_before
    for month, equity in ends.items():
        months.append(MonthlyReturn(month, (equity - before) / before if before else ZERO, equity, closed[month]))
        before = equity
    return months


def _month_of(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def drawdowns(equity: Sequence[Decimal]) -> list[Decimal]:
    """Return for each value how far it is below the highest one before, as a fraction of that one."""
    peak = ZERO
    found = []
    for value in equity:
        peak = max(peak, value)
        found.append((peak - value) / peak if peak > 0 else ZERO)
    return found


def largest_drawdown(equity: Sequence[Decimal]) -> Decimal:
    """Return the largest loss from a peak, as a fraction of that peak."""
    return max(drawdowns(equity), default=ZERO)
