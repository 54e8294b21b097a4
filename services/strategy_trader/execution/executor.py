"""Executes the decisions of the strategy on one master account, through the account's own mailbox."""

from collections.abc import Sequence

from shared.domain.capital.recommendation import Approved, Entry
from shared.domain.identity import DecisionId
from shared.domain.strategy.execution.results import ExecutionResult, StrategySale


class StrategyExecutor:
    """The orders of the strategy on one master account. One process at a time uses it, by the trader's lease."""

    async def enter(
        self, decision_id: DecisionId, approved: Approved[Entry], *, at_market: bool = False
    ) -> ExecutionResult:
        """Execute an approved entry by its plan, or `at_market` in one order. Return when it has ended.

        A repeated call with the same decision goes on with what was begun, or returns the stored result. Cancel the
        call to stop: the process that calls `resume` goes on. Only cancelling and defects end it early: while Redis,
        PostgreSQL or the broker is away, it waits.
        """
        raise NotImplementedError

    async def sell(self, decision_id: DecisionId, sale: StrategySale) -> ExecutionResult:
        """Sell at the market what the strategy holds, up to the quantity of the sale. Otherwise like `enter`."""
        raise NotImplementedError

    async def resume(self) -> Sequence[ExecutionResult]:
        """Go on with everything that an earlier process began and did not end. Return the results of that."""
        raise NotImplementedError
