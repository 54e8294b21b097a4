"""Runs the strategy over candles of the past: the same `decide` and the same capital gate as live, candle by candle.

Each candle has three moments. At its open, the order of the last decision is executed. Within it, the low comes before
the high, and stop, emergency and targets are judged there. At its close, the strategy decides on the new window, and
the capital gate answers for an entry.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from time import perf_counter

from services.backtest.account import BacktestAccount
from services.backtest.candle_file import CandleHistory
from services.backtest.capital import PaperCapital
from services.backtest.costs import Venue, assumptions_of
from services.backtest.market import AtrAt, FourHourAtr, PaperMarket
from services.backtest.result import BacktestResult, EquityPoint, MissingMinutes, largest_drawdown
from shared.brokers.registry import profile_of
from shared.domain.amounts import ONE, ZERO
from shared.domain.capital.recommendation import Approved, Entry, Recommendation
from shared.domain.market_data import Candle
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Enter, Exit, HoldReason, StrategyDecision
from shared.domain.strategy.exits import emergency_exit
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.routing import route_of
from shared.domain.strategy.targets import MULTIPLES
from shared.domain.strategy.trader_account import TraderAccount
from shared.exchange.instruments import INSTRUMENTS
from shared.indicators.decide import decide
from shared.indicators.window import WindowSeries

Listener = Callable[[StrategyDecision, Recommendation | None], None]
"""Receives each decision, and the gate's answer to an entry."""
REPORT_EVERY = 256
"""Candles from one report of progress to the next."""


@dataclass(frozen=True, slots=True)
class _ApprovedEntry:
    """An entry that is bought at the next open."""

    entry: Enter
    approved: Approved[Entry]


class Backtest:
    """One run over one symbol. An instance runs once."""

    def __init__(
        self,
        history: CandleHistory,
        venue: Venue,
        *,
        equity: Decimal = Decimal(10_000),
        parameters: ApexParameters = APEX,
        atr: AtrAt | None = None,
        on_decision: Listener | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """`atr`: instead of the ATR of the file's own 4-hour candles. `on_progress` receives a number of candles."""
        self._history = history
        self._venue = venue
        self._parameters = parameters
        self._atr = atr
        self._on_decision = on_decision
        self._on_progress = on_progress
        self._profile = profile_of(venue.instrument.broker)
        self._equity_before = equity
        self._account = BacktestAccount(venue, equity)
        self._pending: _ApprovedEntry | Exit | None = None
        self._last: StrategyDecision | None = None
        offers = (self._profile.offer(connected=True),)
        self._routes = [route_of(self._profile.broker, limit, offers) for limit in (ZERO, self._profile.opens_from_usd)]
        self._settles = timedelta(seconds=parameters.settle_seconds)
        self._equity: list[Decimal] = []
        self._decisions: Counter[tuple[str, ...]] = Counter()
        self._not_bought: Counter[str] = Counter()

    def run(self) -> BacktestResult:
        """Decide on every candle after the warm-up."""
        began = perf_counter()
        candles = self._history.candles
        self._market = PaperMarket(INSTRUMENTS[self._venue.instrument.symbol], self._atr or FourHourAtr(candles).at)
        self._capital = PaperCapital(self._profile, self._market, self._equity_before)
        series = WindowSeries(candles, self._venue.instrument.asset_class)
        first = self._history.first_decided
        for index in range(first, len(candles)):
            candle = candles[index]
            if index > first:
                self._at_open(candle, follows=candle.opened_at == candles[index - 1].closes_at)
                self._within(candle)
            account = self._facts(candle)
            decision = decide(series.ending_at(index), self._account.position, account, self._parameters)
            self._at_close(decision, candle, account.equity_usd)
            if self._on_progress is not None and not (index - first) % REPORT_EVERY:
                self._on_progress(index - first)
        return self._result(began)

    def _at_open(self, candle: Candle, *, follows: bool) -> None:
        """Execute the order of the last decision. After a gap, an entry is dropped, because its price has gone."""
        pending, self._pending = self._pending, None
        if isinstance(pending, Exit):
            self._sell(pending, candle.open, candle.opened_at)
        elif isinstance(pending, _ApprovedEntry):
            if not follows:
                self._not_bought["a gap follows"] += 1
            elif not self._account.buy(pending.entry, pending.approved, candle.open, candle.opened_at):
                self._not_bought["the cash pays less than the broker's minimum"] += 1

    def _within(self, candle: Candle) -> None:
        """Judge the worst order of prices: down to the low first, then up to the high."""
        position = self._account.position
        if position is None:
            return
        emergency = position.average_price * (ONE - self._parameters.emergency)
        for threshold in sorted((position.stop, emergency), reverse=True):
            if candle.low <= threshold:
                self._judge(min(candle.open, threshold), candle)
        for multiple in MULTIPLES:
            if self._account.position is None:
                return
            target = self._account.position.target(multiple)
            if candle.high >= target:
                self._judge(max(candle.open, target), candle)

    def _judge(self, bid: Decimal, candle: Candle) -> None:
        """Decide as a cycle between two closes does: on the last window, at this bid."""
        position = self._account.position
        if position is None or self._last is None:
            return
        account = replace(self._facts(candle), best_bid=bid)
        inputs = replace(self._last.inputs, position=position, account=account)
        if inputs.faults:
            decision: StrategyDecision | None = emergency_exit(position, account, self._parameters)
        else:
            decision = decide_from(inputs)
        if isinstance(decision, Exit):
            self._account.position = decision.position
            self._report(decision, None)
            self._sell(decision, bid, candle.closes_at)

    def _at_close(self, decision: StrategyDecision, candle: Candle, equity: Decimal) -> None:
        answer = None
        self._capital.read(equity, candle.closes_at)
        if isinstance(decision, Enter):
            answer = self._capital.ask(decision, self._account.cash)
            if answer.approved is not None:
                self._pending = _ApprovedEntry(decision, answer.approved)
        else:
            self._account.position = decision.position
            if isinstance(decision, Exit):
                self._pending = decision
        self._last = decision
        self._decisions[_kind_of(decision, answer)] += 1
        self._report(decision, answer)
        self._equity.append(equity)

    def _report(self, decision: StrategyDecision, answer: Recommendation | None) -> None:
        if self._on_decision is not None:
            self._on_decision(decision, answer)

    def _sell(self, sale: Exit, price: Decimal, at: datetime) -> None:
        trade = self._account.sell(sale, price, at)
        if trade is not None:
            self._capital.close(trade.net_profit, at)

    def _facts(self, candle: Candle) -> TraderAccount:
        at = candle.closes_at + self._settles
        held = self._account.held_usd(candle.close)
        equity = self._account.cash + held
        return TraderAccount(
            at=at,
            instrument=self._venue.instrument,
            fees=self._venue.fees,
            route=self._routes[equity >= self._profile.opens_from_usd],
            equity_usd=equity,
            exposure_usd=held,
            held_usd=held,
            losses=self._account.losses,
            four_hour_atr_pct=self._market.atr_pct(at),
        )

    def _result(self, began: float) -> BacktestResult:
        history, candles = self._history, self._history.candles
        decisions = Counter({_name_of(kind): count for kind, count in self._decisions.items()})
        return BacktestResult(
            broker=self._venue.instrument.broker,
            symbol=self._venue.instrument.symbol,
            starts_at=candles[history.first_decided].opened_at,
            ends_at=candles[-1].closes_at,
            candles=len(candles) - history.first_decided,
            equity_before=self._equity_before,
            equity_after=self._equity[-1],
            largest_drawdown=largest_drawdown(self._equity),
            fees=self._account.fees,
            trades=tuple(self._account.trades),
            position_open=self._account.position is not None,
            decisions=dict(decisions.most_common()),
            not_bought=dict(self._not_bought),
            gaps=tuple(MissingMinutes(starts_at=gap.starts_at, ends_at=gap.ends_at) for gap in history.gaps),
            parameters=self._parameters,
            assumptions=assumptions_of(self._venue),
            equity=tuple(
                EquityPoint(at=candle.closes_at, equity=equity, price=candle.close)
                for candle, equity in zip(candles[history.first_decided :], self._equity, strict=True)
            ),
            seconds=perf_counter() - began,
        )


def _kind_of(decision: StrategyDecision, answer: Recommendation | None) -> tuple[str, ...]:
    """Return what is counted together. Joining the words of each decision would take longer than some indicators."""
    if isinstance(decision, Enter):
        if answer is None or answer.approved is not None:
            return ("enter",)
        return ("rejected", *answer.reason_codes)
    if isinstance(decision, Exit):
        return ("exit", decision.reason)
    if HoldReason.WINDOW in decision.reasons:
        return ("no decision", *(fault.problem for fault in decision.inputs.faults))
    return ("hold", *decision.reasons)


def _name_of(kind: tuple[str, ...]) -> str:
    name, *reasons = kind
    return f"{name}: {', '.join(reasons)}" if reasons else name
