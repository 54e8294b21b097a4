"""Runs the strategy over candles of the past: the same `decide` as live, one candle after the other.

Each candle has three moments. At its open, the order of the last decision is executed. Within it, the low comes before
the high, and stop, emergency and targets are judged there. At its close, the strategy decides on the new window.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from time import perf_counter

from services.backtest.candle_file import CandleHistory
from services.backtest.costs import Venue, assumptions_of
from services.backtest.result import (
    BacktestResult,
    BacktestTrade,
    EquityPoint,
    MissingMinutes,
    TradeExit,
    largest_drawdown,
)
from shared.domain.amounts import ONE, ZERO
from shared.domain.fill import Side
from shared.domain.market_data import Candle
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter, Exit, StrategyDecision
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.exits import emergency_exit
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import OpensHere
from shared.domain.strategy.targets import MULTIPLES
from shared.domain.strategy.trader_account import TraderAccount
from shared.indicators.decide import decide
from shared.indicators.window import WindowSeries

Gate = Callable[[Enter], Decimal]
"""Returns how many US dollars of an entry are approved: at most what was asked for."""
Listener = Callable[[StrategyDecision], None]


def approve_all(entry: Enter) -> Decimal:
    """The gate that lowers nothing."""
    return entry.size_usd


class Backtest:
    """One run over one symbol. An instance runs once."""

    def __init__(
        self,
        history: CandleHistory,
        venue: Venue,
        *,
        equity: Decimal = Decimal(10_000),
        parameters: ApexParameters = APEX,
        gate: Gate = approve_all,
        on_decision: Listener | None = None,
    ) -> None:
        """`gate` sees each entry before it is ordered. `on_decision` receives the decision of each candle."""
        self._history = history
        self._venue = venue
        self._parameters = parameters
        self._gate = gate
        self._on_decision = on_decision
        self._equity_before = self._cash = equity
        self._position: StrategyPosition | None = None
        self._exits: list[TradeExit] = []
        self._pending: Enter | Exit | None = None
        self._last: StrategyDecision | None = None
        self._losses = LossStreak()
        self._fees = ZERO
        self._trades: list[BacktestTrade] = []
        self._equity: list[tuple[datetime, Decimal]] = []
        self._decisions: Counter[str] = Counter()

    def run(self) -> BacktestResult:
        """Decide on every candle after the warm-up."""
        began = perf_counter()
        candles = self._history.candles
        series = WindowSeries(candles, self._venue.instrument.asset_class)
        first = self._history.first_decided
        for index in range(first, len(candles)):
            candle = candles[index]
            if index > first:
                self._at_open(candle, follows=candle.opened_at == candles[index - 1].closes_at)
                self._within(candle)
            decision = decide(series.ending_at(index), self._position, self._facts(candle), self._parameters)
            self._at_close(decision, candle)
        return self._result(perf_counter() - began)

    def _at_open(self, candle: Candle, *, follows: bool) -> None:
        """Execute the order of the last decision. After a gap, an entry is dropped, because its price has gone."""
        pending, self._pending = self._pending, None
        if isinstance(pending, Exit):
            self._sell(pending, candle.open, candle.opened_at)
        elif isinstance(pending, Enter) and follows:
            self._buy(pending, candle)

    def _within(self, candle: Candle) -> None:
        """Judge the worst order of prices: down to the low first, then up to the high."""
        position = self._position
        if position is None:
            return
        emergency = position.average_price * (ONE - self._parameters.emergency)
        for threshold in sorted((position.stop, emergency), reverse=True):
            if candle.low <= threshold:
                self._judge(min(candle.open, threshold), candle)
        for multiple in MULTIPLES:
            if self._position is None:
                return
            target = self._position.target(multiple)
            if candle.high >= target:
                self._judge(max(candle.open, target), candle)

    def _judge(self, bid: Decimal, candle: Candle) -> None:
        """Decide as a cycle between two closes does: on the last window, at this bid."""
        if self._position is None or self._last is None:
            return
        account = replace(self._facts(candle), best_bid=bid)
        inputs = replace(self._last.inputs, position=self._position, account=account)
        if inputs.faults:
            decision: StrategyDecision | None = emergency_exit(self._position, account, self._parameters)
        else:
            decision = decide_from(inputs)
        if isinstance(decision, Exit):
            self._position = decision.position
            self._sell(decision, bid, candle.closes_at)

    def _at_close(self, decision: StrategyDecision, candle: Candle) -> None:
        if isinstance(decision, Enter):
            self._pending = decision
        else:
            self._position = decision.position
            if isinstance(decision, Exit):
                self._pending = decision
        self._last = decision
        self._decisions[_name_of(decision)] += 1
        if self._on_decision is not None:
            self._on_decision(decision)
        self._equity.append((candle.closes_at, self._cash + self._held_usd(candle.close)))

    def _buy(self, entry: Enter, candle: Candle) -> None:
        approved = self._gate(entry)
        if approved > entry.size_usd:
            raise ValueError(f"a gate may only lower a size, and approved {approved} USD of {entry.size_usd} USD")
        instrument = self._venue.instrument
        wanted = instrument.rounded(max(ZERO, approved) / entry.price)
        quantity = min(entry.quantity, wanted, self._venue.affordable(self._cash, candle.open))
        if not instrument.is_orderable(quantity, candle.open):
            self._decisions["not ordered: too small after gate and cash"] += 1
            return
        fill = self._venue.execute(Side.BUY, quantity, candle.open, candle.opened_at)
        in_quote = fill.fee if fill.fee_currency == instrument.quote else ZERO
        self._cash -= fill.cost + in_quote
        self._fees += in_quote or fill.fee * fill.price
        self._position = position_of(entry).after_fill(fill)

    def _sell(self, sale: Exit, price: Decimal, at: datetime) -> None:
        position = self._position
        if position is None:
            return
        quantity = min(sale.quantity, self._venue.instrument.rounded(position.quantity))
        if not quantity:
            return
        fill = self._venue.execute(Side.SELL, quantity, price, at)
        self._cash += fill.cost - fill.fee
        self._fees += fill.fee
        self._exits.append(TradeExit(reason=sale.reason, at=at, price=fill.price, quantity=quantity))
        self._position = position.after_fill(fill)
        if not self._position.is_open:
            self._close(self._position, at)

    def _close(self, position: StrategyPosition, at: datetime) -> None:
        self._trades.append(
            BacktestTrade(
                opened_at=position.opened_at or at,
                closed_at=at,
                quantity=position.bought,
                entry_price=position.average_price,
                first_stop=position.first_stop,
                exits=tuple(self._exits),
                net_profit=position.net_profit,
            )
        )
        self._losses = self._losses.after_close(position.net_profit, at)
        self._position, self._exits = None, []

    def _held_usd(self, price: Decimal) -> Decimal:
        return ZERO if self._position is None else self._position.quantity * price

    def _facts(self, candle: Candle) -> TraderAccount:
        held = self._held_usd(candle.close)
        return TraderAccount(
            at=candle.closes_at + timedelta(seconds=self._parameters.settle_seconds),
            instrument=self._venue.instrument,
            fees=self._venue.fees,
            route=OpensHere(self._venue.fees.smallest_worthwhile_profit),
            equity_usd=self._cash + held,
            exposure_usd=held,
            held_usd=held,
            losses=self._losses,
        )

    def _result(self, seconds: float) -> BacktestResult:
        history, candles = self._history, self._history.candles
        return BacktestResult(
            broker=self._venue.instrument.broker,
            symbol=self._venue.instrument.symbol,
            starts_at=candles[history.first_decided].opened_at,
            ends_at=candles[-1].closes_at,
            candles=len(candles) - history.first_decided,
            equity_before=self._equity_before,
            equity_after=self._equity[-1][1],
            largest_drawdown=largest_drawdown(self._equity),
            fees=self._fees,
            trades=tuple(self._trades),
            position_open=self._position is not None,
            decisions=dict(self._decisions.most_common()),
            gaps=tuple(MissingMinutes(starts_at=gap.starts_at, ends_at=gap.ends_at) for gap in history.gaps),
            parameters=self._parameters,
            assumptions=assumptions_of(self._venue),
            equity=tuple(EquityPoint(at=at, equity=equity) for at, equity in self._equity),
            seconds=seconds,
        )


def _name_of(decision: StrategyDecision) -> str:
    if isinstance(decision, Enter):
        return "enter"
    if isinstance(decision, Exit):
        return f"exit: {decision.reason}"
    return f"hold: {', '.join(decision.reasons)}"
