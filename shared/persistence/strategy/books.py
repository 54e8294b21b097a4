"""Reads and stores what the strategy has ordered and filled on one master account, from tables of its own."""

from collections.abc import Mapping

from sqlalchemy import Engine

from shared.domain.fill import AccountFill
from shared.domain.identity import Broker, DecisionId, MasterAccount
from shared.domain.strategy.execution.results import ExecutionResult, ExecutionUnderWay, StrategyHolding
from shared.domain.symbol import Symbol


class StrategyBooks:
    """The strategy's own orders on one master account. Methods block, and raise DatabaseUnavailable."""

    def __init__(self, engine: Engine, broker: Broker, master_account: MasterAccount) -> None:
        self._engine = engine
        self._broker = broker
        self._master_account = master_account

    def fills(self, symbol: Symbol | None = None) -> list[AccountFill]:
        """What the strategy's orders have filled, oldest first: one fill for each order, with the sums of the order.

        `fill_id` is the client order id.
        """
        raise NotImplementedError

    def holdings(self) -> Mapping[Symbol, StrategyHolding]:
        """What the strategy holds by its own fills."""
        raise NotImplementedError

    def under_way(self) -> list[ExecutionUnderWay]:
        """The executions that have begun and have not ended, oldest first."""
        raise NotImplementedError

    def result(self, decision_id: DecisionId) -> ExecutionResult | None:
        """The result of an execution; None: it has not ended, or was never begun."""
        raise NotImplementedError
