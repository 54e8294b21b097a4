"""Puts the capital gate in front of the entries of a backtest: the same function as live, with the account's own past."""

from datetime import datetime
from decimal import Decimal

from services.backtest.market import PaperMarket
from shared.brokers.profile import BrokerProfile
from shared.domain.amounts import ZERO
from shared.domain.capital.drawdown import DrawdownState, first_record, next_record
from shared.domain.capital.facts import AccountFacts, ClosedTrade
from shared.domain.capital.gate import recommend
from shared.domain.capital.recommendation import GateInputs, Recommendation
from shared.domain.strategy.decision import Enter
from shared.domain.strategy.gate_request import request_of


class PaperCapital:
    """What the gate knows of the account of a backtest: a spot account with one symbol."""

    def __init__(self, profile: BrokerProfile, market: PaperMarket, equity: Decimal) -> None:
        self._profile = profile
        self._market = market
        self._drawdown = first_record(equity)
        self._trades: list[ClosedTrade] = []

    def ask(self, entry: Enter, cash: Decimal) -> Recommendation:
        """Return the gate's answer for an account that holds no position. The moment is that of the decision."""
        account = entry.inputs.account
        inputs = GateInputs(
            request=request_of(entry),
            account=AccountFacts(equity=account.equity_usd, free_cash=cash, read_at=account.at),
            market=self._market.facts(entry.price, account.at),
            drawdown=self._drawdown,
            fees=account.fees,
            trades=tuple(self._trades),
            small_account=self._profile.small_account,
        )
        return recommend(inputs, account.at)

    def read(self, equity: Decimal, at: datetime) -> None:
        """Follow the drawdown. An equity that has not moved changes only a state that is about to recover."""
        record = self._drawdown
        if equity != record.equity or record.state is not DrawdownState.NORMAL:
            self._drawdown = next_record(record, equity, ZERO, at)

    def close(self, profit: Decimal, at: datetime) -> None:
        """Remember a position that was closed, with its result after fees."""
        self._trades.append(ClosedTrade(profit=profit, closed_at=at))
