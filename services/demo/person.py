"""Simulates the person of the demo, which trades the master account through the broker's API with its own key."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import aiohttp

from services.demo.own_limits import OwnLimits
from services.demo.scenario import ScenarioStep
from shared.brokers.errors import BrokerError, OutcomeUnknown, RateLimited, Throttled
from shared.brokers.limits import PatientLimits
from shared.brokers.port.orders import MarketOrder, OrderReport, OrderStatus
from shared.brokers.registry import connect, profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.amounts import ONE, ZERO
from shared.domain.cash import is_paid_with_coin
from shared.domain.fill import Side
from shared.domain.identity import Broker, BrokerOrderId, CopyOrderId
from shared.domain.symbol import Symbol

_AWAY_SECONDS = 0.3
_LONGEST_WAIT_SECONDS = 120.0
"""The longest wait for the rate limits before a request."""
_LOOK_UP_STARTS_BEFORE = timedelta(minutes=1)
_Answer = TypeVar("_Answer")


def trades_coin_pairs(broker: Broker) -> bool:
    """Whether the person exchanges one coin for another at this broker.

    Alpaca reports an average price, rounded to nine decimals. The cost in a coin that follows from it is not exact to
    the lot, so a right copy would look like a wrong one.
    """
    return profile_of(broker).fee_doubt_lots == 1


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
        self._base_url = base_url
        self._ids_per_symbol = profile_of(broker).fill_ids_per_symbol
        self._logged = 0
        self._fills: dict[str, list[str]] = {}
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
            spends_held = step.all_in or is_paid_with_coin(step.symbol, step.side)
            money = await self._free(instrument.quote) if spends_held else self._dollars
            last = await self._patiently(self._connection.market_data.last_price, step.symbol)
            quantity = money * step.share / last.price if last else ZERO
        else:
            quantity = await self._free(instrument.base) * min(step.share, ONE)
        name, done = await self._place(step, instrument.rounded(quantity))
        return Placed(done.broker_order_id, await self._fill_ids(name, step.symbol))

    async def _free(self, currency: str) -> Decimal:
        balances = await self._patiently(self._account.balances)
        return balances[currency].free if currency in balances else ZERO

    async def _fill_ids(self, name: CopyOrderId, symbol: Symbol) -> tuple[str, ...]:
        """The executions of an order, from the paper broker's own log.

        The broker's API would show them, too, but at Binance a list of them costs much, and nija shares the limits.
        """
        while True:
            try:
                async with aiohttp.ClientSession(self._base_url) as session:
                    while rows := await self._read_log(session):
                        self._fills |= {row["client_order_id"]: row["fills"] for row in rows}
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            ids = self._fills[name]
            return tuple(f"{symbol.base}{symbol.quote}-{each}" if self._ids_per_symbol else each for each in ids)

    async def _read_log(self, session: aiohttp.ClientSession) -> list[dict[str, Any]]:
        async with session.get(f"/paper/orders?since_sequence={self._logged}&limit=1000") as reply:
            page = await reply.json()
        self._logged = page["next_since_sequence"]
        found: list[dict[str, Any]] = page["orders"]
        return found

    async def _place(self, step: ScenarioStep, quantity: Decimal) -> tuple[CopyOrderId, OrderReport]:
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
                return name, await self._final(order_id, step)
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
                    return name, found
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
