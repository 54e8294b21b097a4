"""Defines what the market readers of the ccxt brokers share: the template client and the reading of replies."""

import copy
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from shared.brokers.ccxt.connection import WRONG_SHAPE
from shared.brokers.ccxt.errors import shortened
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.limits import Budget
from shared.brokers.market_reader import MarketReader
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

_Read = TypeVar("_Read")
ReadRequest = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits a public request of ccxt and raises our errors instead of ccxt's."""


class CcxtMarketReader(MarketReader):
    """Sends public requests of a ccxt client without keys."""

    def __init__(self, client: Any, wire_name: Callable[[Symbol], str | None], read: ReadRequest) -> None:
        self.client = client
        self._wire_name = wire_name
        self._read = read

    def wire_name(self, symbol: Symbol) -> str | None:
        return self._wire_name(symbol)

    def at(self, priority: Priority) -> Self:
        budget: Budget | None = self.client.budget
        if budget is None:
            return self
        reader = copy.copy(self)
        reader.client = copy.copy(self.client)
        reader.client.budget = budget.at(priority)
        return reader

    async def ask(self, request: Awaitable[Any], read: Callable[[Any], _Read]) -> _Read:
        """Await a request and read its reply. Raises OutcomeUnknown for a reply of another shape."""
        reply = await self._read(request)
        try:
            return read(reply)
        except WRONG_SHAPE as error:
            text = f"{self.broker_name}'s market data cannot be read: {error!r}"
            raise OutcomeUnknown(shortened(text)) from error
