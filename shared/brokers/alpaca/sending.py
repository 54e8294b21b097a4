"""Sends one request of an alpaca-py client once, within its time, and turns failures into nija's errors."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient

from shared.brokers.alpaca.errors import classify, shortened
from shared.brokers.alpaca.places import Places
from shared.brokers.alpaca.transport import Transport
from shared.brokers.errors import BrokerError, Expired, OutcomeUnknown, RateLimited
from shared.brokers.limits import Budget

# Less time than this is not worth a connection.
SHORTEST_VALIDITY_SECONDS = 0.2
# What Python raises on a reply of another shape than expected.
WRONG_SHAPE = (TypeError, KeyError, IndexError, AttributeError, ValueError, ArithmeticError)

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `base_url` and `api_version` only where they are others than the client's."""

    method: str
    path: str
    data: Any = None
    base_url: str | None = None
    api_version: str | None = None
    valid_until: datetime | None = None
    """Not to be sent after this moment, nor to be on its way."""

    def send(self, client: TradingClient) -> Any:
        if self.method == "POST":
            return client.post(self.path, self.data)
        if self.method == "DELETE":
            return client.delete(self.path, self.data)
        where = {"base_url": self.base_url, "api_version": self.api_version}
        return client.get(self.path, self.data, **{name: value for name, value in where.items() if value})


class Sender:
    """Shared by all accounts of a process. `timeout_seconds` is for a whole request, once it has a place."""

    def __init__(self, transport: Transport, places: Places, timeout_seconds: float) -> None:
        self._transport = transport
        self._places = places
        self._timeout_seconds = timeout_seconds

    async def send(
        self, client: TradingClient, call: Call, read: Callable[[Any], _Read], budget: Budget | None = None
    ) -> _Read:
        """Send `call` and read its reply, both off the event loop. Raises BrokerError."""
        if budget is None:
            return await self._run(client, call, read)
        charges = budget.charges("private", call.method, call.path, call.data)
        await budget.spend(charges)
        try:
            return await self._run(client, call, read)
        except RateLimited as error:
            await budget.refused(charges, error.retry_after_seconds)
            raise

    async def _run(self, client: TradingClient, call: Call, read: Callable[[Any], _Read]) -> _Read:
        # Twice: once to wait for a place, once for the request itself. An order must be done when its validity is.
        patience_seconds = 2 * self._timeout_seconds
        if call.valid_until is not None:
            patience_seconds = min(patience_seconds, (call.valid_until - datetime.now(UTC)).total_seconds())
        return await self._places.run(lambda: self._in_place(client, call, read), max(patience_seconds, 0.0) + 1)

    def _in_place(self, client: TradingClient, call: Call, read: Callable[[Any], _Read]) -> _Read:
        seconds = self._timeout_seconds
        if call.valid_until is not None:
            # Looked at only now: waiting for a place may have taken its time.
            seconds = min(seconds, (call.valid_until - datetime.now(UTC)).total_seconds())
            if seconds < SHORTEST_VALIDITY_SECONDS:
                raise Expired("not sent: too little is left of the order's validity")
        try:
            with self._transport.within(seconds):
                reply = call.send(client)
            return read(reply)
        except (APIError, requests.RequestException) as error:
            raise classify(error, partial(_masked, client)) from None
        except BrokerError:
            raise
        except (*WRONG_SHAPE, OSError) as error:
            raise OutcomeUnknown(shortened(_masked(client, f"Alpaca's reply cannot be read: {error!r}"))) from None


def _masked(client: TradingClient, text: str) -> str:
    for secret in (client._api_key, client._secret_key):  # noqa: SLF001 - alpaca-py has no other name for them
        if secret:
            text = text.replace(secret, "***")
    return text
