"""What the accounts of all ccxt brokers share: their client, and the budget that counts the client's requests."""

import copy
from typing import Any, Self

from shared.brokers.limits import Budget
from shared.domain.request_limits import Priority


class CcxtAccount:
    """The part of a `BrokerAccount` that concerns rate limits."""

    __slots__ = ("_client",)

    _client: Any

    def at(self, priority: Priority) -> Self:
        """The same account for requests of this priority. It shares nonces, locks and all that was learnt."""
        budget: Budget | None = self._client.budget
        return self._counted_in(budget.at(priority) if budget else None)

    def _counted_in(self, budget: Budget | None) -> Self:
        """The same account, whose requests are counted in `budget`."""
        if budget is None:
            return self
        account = copy.copy(self)
        client = copy.copy(self._client)
        client.budget = budget
        account._client = client  # noqa: SLF001 - it is a copy of this object
        return account
