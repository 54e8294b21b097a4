"""Puts a circuit breaker around one broker's connection, so that a broker that hangs gets no more requests.

Only what says that the broker cannot be reached or does not answer counts against it; a refusal of whatever kind is
an answer. While the circuit is open nothing is sent but a probe now and then, and a probe is never an order.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol, TypeVar

from shared.brokers.errors import BrokerError, NotSent, NotVisibleYet, OutcomeUnknown, Throttled
from shared.brokers.port.account import (
    BrokerAccount,
    HasFeeRates,
    HasMargin,
    HasTradingHours,
    KeyPermissions,
    LearnsFees,
    MarginReading,
    SearchesForFills,
)
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.market_data import USUAL_LEVELS, CandleLimits, MarketData
from shared.brokers.port.orders import OrderReport, OrderRequest
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.accounts.equity import Balance
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import Instrument
from shared.domain.market_data import Candle, Interval, LastPrice, OrderBook
from shared.domain.request_limits import Permit, Priority
from shared.domain.symbol import Symbol

PUBLIC = "public"

_Answer = TypeVar("_Answer")


class Circuit(Protocol):
    """One broker's circuit, shared by all processes that trade there."""

    async def enter(self) -> Permit: ...

    async def failed(self, hashed_key: str, error: str) -> None:
        """A request of this account had no answer."""
        ...

    async def answered(self) -> None: ...


class Guard:
    """Stands between one connection's callers and the broker."""

    __slots__ = ("_circuit",)

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    async def call(
        self,
        hashed_key: str,
        request: Callable[[], Awaitable[_Answer]],
        probe: Callable[[], Awaitable[object]] | None = None,
    ) -> _Answer:
        """Send `request`, or raise Throttled.

        `probe`: a harmless request that is sent first if this request must not be the probe.
        """
        permit = await self._circuit.enter()
        if permit.wait_seconds > 0:
            raise Throttled("the broker does not answer; waiting for the next probe", permit.wait_seconds)
        if permit.is_probe and probe is not None:
            await self._probe(hashed_key, probe)
        return await self._counted(hashed_key, request)

    async def _probe(self, hashed_key: str, probe: Callable[[], Awaitable[object]]) -> None:
        try:
            await self._counted(hashed_key, probe)
        except (NotSent, OutcomeUnknown) as error:
            if isinstance(error, OutcomeUnknown) and error.answered:
                return
            permit = await self._circuit.enter()
            raise Throttled(f"the broker does not answer: {error}", permit.wait_seconds or 1.0) from error
        except BrokerError:
            # A refusal is an answer: the request itself will hear it, if it concerns that too.
            return

    async def _counted(self, hashed_key: str, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            answer = await request()
        except Throttled:
            raise
        except NotVisibleYet:
            await self._circuit.answered()
            raise
        except (NotSent, OutcomeUnknown) as error:
            if isinstance(error, OutcomeUnknown) and error.answered:
                # Unknown words concern the one request. They must not stop the broker's other orders.
                await self._circuit.answered()
            else:
                await self._circuit.failed(hashed_key, str(error))
            raise
        except BrokerError:
            await self._circuit.answered()
            raise
        await self._circuit.answered()
        return answer


class GuardedAccount:
    """A `BrokerAccount` behind a circuit breaker."""

    __slots__ = ("_account", "_guard", "_hashed_key")

    def __init__(self, account: BrokerAccount, guard: Guard, hashed_key: str) -> None:
        self._account = account
        self._guard = guard
        self._hashed_key = hashed_key

    def at(self, priority: Priority) -> "GuardedAccount":
        return GuardedAccount(self._account.at(priority), self._guard, self._hashed_key)

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        account = self._account
        return await self._guard.call(self._hashed_key, lambda: account.place(order), account.balances)

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:
        return await self._guard.call(self._hashed_key, lambda: self._account.order(broker_order_id, symbol))

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        return await self._guard.call(self._hashed_key, lambda: self._account.look_up(client_order_id, symbol, since))

    async def open_orders(self) -> list[OrderReport]:
        return await self._guard.call(self._hashed_key, self._account.open_orders)

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None:
        await self._guard.call(self._hashed_key, lambda: self._account.cancel(broker_order_id, symbol))

    async def balances(self) -> dict[str, Balance]:
        return await self._guard.call(self._hashed_key, self._account.balances)

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        return await self._guard.call(self._hashed_key, lambda: self._account.fills_since(since))

    async def learn_fees(self) -> None:
        account = self._account
        if isinstance(account, LearnsFees):
            await self._guard.call(self._hashed_key, account.learn_fees)

    def knows_fee(self, fill: AccountFill) -> bool:
        account = self._account
        return account.knows_fee(fill) if isinstance(account, LearnsFees) else True

    @property
    def is_searching(self) -> bool:
        account = self._account
        return isinstance(account, SearchesForFills) and account.is_searching

    async def key_permissions(self) -> KeyPermissions:
        return await self._guard.call(self._hashed_key, self._account.key_permissions)

    async def fee_rates(self) -> FeeRates | None:
        account = self._account
        return await self._guard.call(self._hashed_key, account.fee_rates) if isinstance(account, HasFeeRates) else None

    async def margin(self) -> MarginReading | None:
        account = self._account
        return await self._guard.call(self._hashed_key, account.margin) if isinstance(account, HasMargin) else None

    async def closed_until(self, symbol: Symbol) -> datetime | None:
        account = self._account
        if not isinstance(account, HasTradingHours):
            return None
        return await self._guard.call(self._hashed_key, lambda: account.closed_until(symbol))


class GuardedMarketData:
    """A `MarketData` behind a circuit breaker."""

    __slots__ = ("_guard", "_market_data")

    def __init__(self, market_data: MarketData, guard: Guard) -> None:
        self._market_data = market_data
        self._guard = guard

    @property
    def candle_limits(self) -> CandleLimits:
        return self._market_data.candle_limits

    def at(self, priority: Priority) -> "GuardedMarketData":
        return GuardedMarketData(self._market_data.at(priority), self._guard)

    async def candles(
        self, symbol: Symbol, interval: Interval, *, limit: int, since: datetime | None = None
    ) -> list[Candle]:
        read = self._market_data.candles
        return await self._guard.call(PUBLIC, lambda: read(symbol, interval, limit=limit, since=since))

    async def order_book(self, symbol: Symbol, levels: int = USUAL_LEVELS) -> OrderBook:
        return await self._guard.call(PUBLIC, lambda: self._market_data.order_book(symbol, levels))

    async def last_price(self, symbol: Symbol) -> LastPrice | None:
        return await self._guard.call(PUBLIC, lambda: self._market_data.last_price(symbol))


class GuardedConnection:
    """A `BrokerConnection` behind a circuit breaker."""

    def __init__(self, connection: BrokerConnection, guard: Guard) -> None:
        self._connection = connection
        self._guard = guard
        self.broker = connection.broker
        self.request_validity_seconds = connection.request_validity_seconds
        self.lookup_margin_seconds = connection.lookup_margin_seconds
        self.clock = connection.clock

    async def open(self) -> None:
        """Not guarded: nothing can be done before, and who opens tries again at a distance of its own."""
        await self._connection.open()

    async def reload(self) -> None:
        """Not guarded, for the same reason."""
        await self._connection.reload()

    async def close(self) -> None:
        await self._connection.close()

    def instruments(self) -> Mapping[Symbol, Instrument]:
        return self._connection.instruments()

    @property
    def market_data(self) -> MarketData:
        return GuardedMarketData(self._connection.market_data, self._guard)

    def account(self, credentials: Credentials) -> BrokerAccount:
        hashed_key = key_hash(credentials.api_key)
        return GuardedAccount(self._connection.account(credentials), self._guard, hashed_key)

    async def price_list(
        self, needed: Collection[str] = (), priority: Priority = Priority.FOREGROUND
    ) -> dict[Symbol, Decimal]:
        return await self._guard.call(PUBLIC, lambda: self._connection.price_list(needed, priority))
