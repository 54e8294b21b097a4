"""Simulates the person of the demo, which trades the master account through the broker's API with its own key."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from services.demo.own_limits import OwnLimits
from services.demo.scenario import ScenarioStep
from shared.brokers.errors import BrokerError, OutcomeUnknown, RateLimited, Throttled
from shared.brokers.limits import PatientLimits
from shared.brokers.port.orders import MarketOrder, OrderReport, OrderStatus
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.amounts import ONE, ZERO
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId

_AWAY_SECONDS = 0.3
_LONGEST_WAIT_SECONDS = 120.0
"""The longest wait for the rate limits before a request."""
_LOOK_UP_STARTS_BEFORE = timedelta(minutes=1)
_Answer = TypeVar("_Answer")


class Placed(NamedTuple):
    """An order that the person placed, and its executions."""

    order_id: str
    fill_ids: tuple[str, ...]


class OwnNonces:
    """Nonces of a key that no other process uses."""

    def __init__(self) -> None:
        self._last = 0

    async def reserve(self, key_hash: str, count: int) -> int:  # noqa: ARG002  the port has it; there is one key
        first = max(self._last + 1, time.time_ns() // 1000)
        self._last = first + count - 1
        return first


class Person:
    """`async with Person(…)`. Trades, and knows nothing of followers."""

    def __init__(self, broker: Broker, base_url: str, credentials: Credentials, dollars: Decimal) -> None:
        self._connection = connect(
            broker, base_url=base_url, nonces=OwnNonces(), limits=PatientLimits(OwnLimits(), _LONGEST_WAIT_SECONDS)
        )
        self._credentials = credentials
        self._dollars = dollars

    async def __aenter__(self) -> Self:
        await self._patiently(self._connection.open)
        self._account = self._connection.account(self._credentials)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def trade(self, step: ScenarioStep) -> Placed:
        """Place the step's market order and wait until it is executed."""
        instrument = self._connection.instruments()[step.symbol]
        if step.side is Side.BUY:
            prices = await self._patiently(self._connection.prices, [instrument.base])
            quantity = self._dollars * step.share / prices[instrument.base]
        else:
            balances = await self._patiently(self._account.balances)
            held = balances[instrument.base].free if instrument.base in balances else ZERO
            quantity = held * min(step.share, ONE)
        began_at = datetime.now(UTC)
        done = await self._place(step, instrument.rounded(quantity))
        executed: list[str] = []
        bought = ZERO
        while bought < done.filled_quantity:
            fills = await self._patiently(self._account.fills_since, began_at - _LOOK_UP_STARTS_BEFORE)
            of_order = [fill for fill in fills if fill.order_id == done.broker_order_id]
            executed, bought = [fill.fill_id for fill in of_order], sum((fill.quantity for fill in of_order), ZERO)
        return Placed(done.broker_order_id, tuple(executed))

    async def _place(self, step: ScenarioStep, quantity: Decimal) -> OrderReport:
        """Place an order. After an error, look up whether it was executed, and only then try again."""
        while True:
            name = CopyOrderId(uuid.uuid4().hex)
            began_at = datetime.now(UTC)
            valid_until = began_at + timedelta(seconds=self._connection.request_validity_seconds)
            last_look_up = valid_until + timedelta(seconds=self._connection.lookup_margin_seconds)
            try:
                order = MarketOrder(
                    client_order_id=name,
                    symbol=step.symbol,
                    side=step.side,
                    quantity=quantity,
                    valid_until=valid_until,
                )
                order_id = await self._account.place(order)
                # One reading of the order costs less of the limits than a search for its client order id.
                return await self._final(order_id, step)
            except OutcomeUnknown:
                pass
            except (Throttled, RateLimited) as error:
                await asyncio.sleep(error.retry_after_seconds)
                last_look_up = began_at
            except BrokerError:
                last_look_up = began_at
            while True:
                asked_at = datetime.now(UTC)
                found = await self._patiently(
                    self._account.look_up, name, step.symbol, began_at - _LOOK_UP_STARTS_BEFORE
                )
                if found is not None and found.status is OrderStatus.DONE:
                    return found
                if found is None and asked_at >= last_look_up:
                    break
                await asyncio.sleep(_AWAY_SECONDS)

    async def _final(self, order_id: BrokerOrderId, step: ScenarioStep) -> OrderReport:
        while True:
            report = await self._patiently(self._account.order, order_id, step.symbol)
            if report.status is OrderStatus.DONE:
                return report
            await asyncio.sleep(_AWAY_SECONDS)

    async def _patiently(self, call: Callable[..., Awaitable[_Answer]], *arguments: Any) -> _Answer:
        """Retry until the broker answers: it may have been killed, and comes back."""
        while True:
            try:
                return await call(*arguments)
            except (Throttled, RateLimited) as error:
                await asyncio.sleep(error.retry_after_seconds)
            except BrokerError:
                await asyncio.sleep(_AWAY_SECONDS)
