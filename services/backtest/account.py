"""Keeps the account of a backtest: cash, the position, and the trades that it made."""

from datetime import datetime
from decimal import Decimal

from services.backtest.costs import Venue
from services.backtest.result import BacktestTrade, TradeExit
from shared.domain.amounts import ZERO
from shared.domain.capital.recommendation import Approved, Entry
from shared.domain.fill import Side
from shared.domain.strategy.cooldown import LossStreak
from shared.domain.strategy.decision import Enter, Exit
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.position import StrategyPosition


class BacktestAccount:
    """A spot account that trades one symbol. Amounts are US dollars."""

    def __init__(self, venue: Venue, cash: Decimal) -> None:
        self._venue = venue
        self.cash = cash
        self.fees = ZERO
        self.position: StrategyPosition | None = None
        self.losses = LossStreak()
        self.trades: list[BacktestTrade] = []
        self._exits: list[TradeExit] = []

    def held_usd(self, price: Decimal) -> Decimal:
        """Return the value of the position at this price."""
        return ZERO if self.position is None else self.position.quantity * price

    def buy(self, entry: Enter, approved: Approved[Entry], price: Decimal, at: datetime) -> bool:
        """Execute an approved entry, or what the cash pays of it. False: the broker would refuse an order that small."""
        instrument = self._venue.instrument
        quantity = min(approved.value.quantity, self._venue.affordable(self.cash, price))
        if not instrument.is_orderable(quantity, price):
            return False
        fill = self._venue.execute(Side.BUY, quantity, price, at)
        in_quote = fill.fee if fill.fee_currency == instrument.quote else ZERO
        self.cash -= fill.cost + in_quote
        self.fees += in_quote or fill.fee * fill.price
        self.position = position_of(entry).after_fill(fill)
        return True

    def sell(self, sale: Exit, price: Decimal, at: datetime) -> BacktestTrade | None:
        """Execute a sale. Returns the trade when it closes the position."""
        position = self.position
        if position is None:
            return None
        quantity = min(sale.quantity, self._venue.instrument.rounded(position.quantity))
        if not quantity:
            return None
        fill = self._venue.execute(Side.SELL, quantity, price, at)
        self.cash += fill.cost - fill.fee
        self.fees += fill.fee
        self._exits.append(TradeExit(reason=sale.reason, at=at, price=fill.price, quantity=quantity))
        self.position = position.after_fill(fill)
        return None if self.position.is_open else self._close(self.position, at)

    def _close(self, position: StrategyPosition, at: datetime) -> BacktestTrade:
        trade = BacktestTrade(
            opened_at=position.opened_at or at,
            closed_at=at,
            quantity=position.bought,
            entry_price=position.average_price,
            first_stop=position.first_stop,
            exits=tuple(self._exits),
            net_profit=position.net_profit,
        )
        self.trades.append(trade)
        self.losses = self.losses.after_close(position.net_profit, at)
        self.position, self._exits = None, []
        return trade
