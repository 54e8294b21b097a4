"""Holds what one cycle knows, and derives what the strategy and the capital gate have to know of the account."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.strategy_trader.dealer import Dealer
from services.strategy_trader.venue import VenueAccount, with_positions
from shared.domain.amounts import ZERO
from shared.domain.capital.facts import ClosedTrade, HeldPosition
from shared.domain.instrument import AssetClass, Instrument
from shared.domain.stop import StopMode
from shared.domain.strategy.candle_window import WindowProblem
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.decision import StrategyDecision
from shared.domain.strategy.trader_account import TraderAccount
from shared.domain.symbol import Symbol


@dataclass(slots=True)
class CycleFacts:
    """One cycle. The dealer changes its positions meanwhile."""

    number: int
    account: VenueAccount
    stop: StopMode | None
    opens_stopped: str
    trades: Sequence[ClosedTrade]
    decided: Mapping[Symbol, datetime]
    """The newest candle of each pair for which an entry was decided."""
    dealer: Dealer
    market_time: Callable[[datetime], datetime]
    """Returns the time of the market's candles at a moment."""
    prices: dict[Symbol, Decimal] = field(default_factory=dict)
    scores: dict[Symbol, int] = field(default_factory=dict)
    """The present score of each position."""
    doubts: list[str] = field(default_factory=list)
    """What is wrong, and kept the cycle from no other work."""

    def trader_account(
        self, now: datetime, instrument: Instrument, bid: Decimal | None = None, *, atr_pct: Decimal | None = None
    ) -> TraderAccount:
        """Return what a decision on an instrument has to know of the account."""
        own = self.own_positions()
        mine = sum((each.value for each in own if each.instrument.base == instrument.base), ZERO)
        streak = LossStreak()
        for trade in self.trades:
            streak = streak.after_close(trade.profit, self.market_time(trade.closed_at))
        return TraderAccount(
            at=now,
            instrument=instrument,
            fees=self.account.fees_of(instrument),
            route=self.account.route_of(instrument),
            equity_usd=self.account.facts.equity,
            exposure_usd=sum((each.value for each in own), ZERO),
            # The account may have been read before the strategy bought.
            held_usd=max(self.account.held_usd(instrument), mine),
            losses=streak,
            best_bid=bid,
            decided_candle=self.decided.get(instrument.symbol),
            four_hour_atr_pct=atr_pct,
            opens_stopped=self.opens_stopped,
            order_under_way=self.dealer.is_under_way(instrument.symbol),
        )

    def gate_account(self) -> VenueAccount:
        """Return what the capital gate has to know: the account with all positions and purchases of the strategy."""
        return with_positions(self.account, self.own_positions(), spent=self._spent())

    def own_positions(self) -> list[HeldPosition]:
        """Return what the strategy holds, and what it is buying, at the newest known prices."""
        found = [
            HeldPosition(
                instrument=each.position.instrument,
                quantity=each.position.quantity,
                price=self.prices.get(symbol, each.position.average_price),
                entry_price=each.position.average_price,
                opened_by_nija=True,
                score=Decimal(self.scores[symbol]) if symbol in self.scores else None,
            )
            for symbol, each in self.dealer.positions.items()
        ]
        return found + [
            HeldPosition(
                instrument=each.position.instrument,
                quantity=each.quantity,
                price=each.price,
                entry_price=each.price,
                opened_by_nija=True,
            )
            for symbol, each in self.dealer.pending.items()
            if symbol not in self.dealer.positions
        ]

    def note_faults(self, instrument: Instrument, decision: StrategyDecision) -> None:
        """Note why the candles of an instrument cannot be used."""
        problems = {fault.problem for fault in decision.inputs.faults}
        if instrument.asset_class is AssetClass.STOCK:
            # A closed market has no newer candle.
            problems -= {WindowProblem.STALE}
        if problems:
            self.doubts.append(f"{instrument.symbol}: {', '.join(sorted(problems))}")

    def _spent(self) -> Decimal:
        """Cash that the strategy has spent since the account was read, or is about to spend."""
        pending = sum((each.size for each in self.dealer.pending.values()), ZERO)
        read_at = self.account.facts.read_at
        held = [each.position for each in self.dealer.positions.values()]
        return pending + sum((each.cost for each in held if each.opened_at and each.opened_at > read_at), ZERO)
