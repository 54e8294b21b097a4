"""Turns the port's calls for one Binance account into signed requests, and sends each request once."""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.binance import replies
from shared.brokers.binance.client import BinanceClient
from shared.brokers.binance.fill_search import FillSearch
from shared.brokers.binance.symbols import BinanceSymbols
from shared.brokers.binance.trades import Trade, trades_of_order, trades_since
from shared.brokers.ccxt.account import CcxtAccount
from shared.brokers.ccxt.connection import WRONG_SHAPE
from shared.brokers.ccxt.errors import classify, shortened
from shared.brokers.errors import (
    BrokerError,
    Expired,
    InvalidNonce,
    KeyRefused,
    NotVisibleYet,
    OutcomeUnknown,
    Rejected,
)
from shared.brokers.limits import units_for
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import MarketOrder, OrderReport, OrderRequest, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import plain
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol

# A request with less validity would not reach Binance in time.
SHORTEST_VALIDITY = timedelta(milliseconds=200)
LONGEST_WINDOW = timedelta(seconds=60)
# Clocks differ, and ours may be ahead.
OVERLAP = timedelta(seconds=2)
TRADES_VISIBLE_WITHIN = timedelta(seconds=60)
"""How long to wait for trades that the order's state already counts."""

_TIMES_IN_FORCE = {TimeInForce.GOOD_TIL_CANCELED: "GTC", TimeInForce.IMMEDIATE_OR_CANCEL: "IOC"}

LOOK_UP = ("order", "openOrders", "myTrades")

_Read = TypeVar("_Read")
_Endpoint = Callable[[dict[str, Any]], Awaitable[Any]]


class BinanceAccount(CcxtAccount):
    """Implements `BrokerAccount`. Requests carry a time and no nonce, so one may overtake another."""

    __slots__ = ("_malformed_key", "_placed", "_search", "_symbols")

    def __init__(self, client: BinanceClient, symbols: BinanceSymbols, malformed_key: str) -> None:
        """`malformed_key`: what is wrong with the form of the key, so that no request can be signed; or empty."""
        self._client = client
        self._symbols = symbols
        self._malformed_key = malformed_key
        self._placed: OrderReport | None = None
        self._search: FillSearch | None = None

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once. When the reply shows its final state and all its fills, `order` needs no request."""
        wire_name = self._symbols.listed(order.symbol)
        if wire_name is None:
            raise Rejected(f"Binance does not list {order.symbol}")
        self._placed = None
        now = datetime.now(UTC)
        validity = order.valid_until - now
        if validity < SHORTEST_VALIDITY:
            raise Expired("not sent: too little is left of the order's validity")
        request = {
            "symbol": wire_name,
            "side": order.side.value.upper(),
            "quantity": plain(order.quantity),
            "newClientOrderId": order.client_order_id,
            "newOrderRespType": "FULL",
            # Both come from one reading of the clock, because their sum is the moment until which the order is valid.
            "timestamp": replies.milliseconds(self._client.clock.at(now)),
            "recvWindow": min(validity, LONGEST_WINDOW) // timedelta(milliseconds=1),
            **_kind(order),
        }
        try:
            return await self._request(self._client.privatePostOrder, request, self._accepted)
        except InvalidNonce as error:
            if datetime.now(UTC) >= order.valid_until:
                raise Expired(str(error)) from error
            raise

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:
        placed, self._placed = self._placed, None
        if placed is not None and placed.broker_order_id == broker_order_id:
            return placed
        request = {"symbol": self._symbols.wire_name(symbol), "orderId": broker_order_id}
        try:
            reply = await self._request(self._client.privateGetOrder, request, _order)
        except Rejected as error:
            # Binance issued this id, so the order exists and is only not visible yet.
            raise NotVisibleYet(f"order {broker_order_id} cannot be read: {error}") from error
        return await self._read(self._with_fees(reply))

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        wire_name = self._symbols.wire_name(symbol)
        async with units_for(self._client.budget, "GET", LOOK_UP, {"symbol": wire_name}) as budget:
            return await self._read(self._counted_in(budget).search(client_order_id, wire_name, since))

    async def search(self, client_order_id: str, wire_name: str, since: datetime) -> OrderReport | None:
        """Look the order up within a budget that has reserved the units."""
        # One call finds open and closed orders. It may lag, so open orders and trades are searched as well.
        found = await self._find({"symbol": wire_name, "origClientOrderId": client_order_id})
        if found is None or found.get("clientOrderId") not in (client_order_id, None):
            open_orders = await self._request(self._client.privateGetOpenOrders, {"symbol": wire_name}, _list)
            found = next((order for order in open_orders if order.get("clientOrderId") == client_order_id), None)
        if found is None:
            trades = await trades_since(self._trades, wire_name, since - OVERLAP)
            unseen = ""
            for order_id in dict.fromkeys(str(trade["orderId"]) for trade in reversed(trades)):
                order = await self._find({"symbol": wire_name, "orderId": order_id})
                if order is None:
                    unseen = order_id
                elif order.get("clientOrderId") == client_order_id:
                    found = order
                    break
            if found is None and unseen:
                raise NotVisibleYet(
                    f"order {unseen} was executed, but Binance does not return it yet: it may be this one"
                )
        return None if found is None else await self._with_fees(found)

    async def open_orders(self) -> list[OrderReport]:
        """The open orders of all pairs, by one request. They have no fees: only trades have, and are not read."""

        def read(reply: Any) -> list[OrderReport]:
            return [replies.order_report(order, (), self._symbols) for order in _list(reply)]

        return await self._request(self._client.privateGetOpenOrders, {}, read)

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None:
        """Cancel the order. Raises Rejected when there is nothing to cancel, or no longer."""
        request = {"symbol": self._symbols.wire_name(symbol), "orderId": broker_order_id}
        await self._request(self._client.privateDeleteOrder, request, _order)

    async def balances(self) -> dict[str, Balance]:
        return await self._request(
            self._client.privateGetAccount,
            {"omitZeroBalances": "true"},
            lambda reply: replies.balances(reply, self._symbols),
        )

    async def fee_rates(self) -> FeeRates:
        """The account's own fee tier, as fractions. Raises BrokerError."""
        return await self._request(self._client.privateGetAccount, {"omitZeroBalances": "true"}, replies.fee_rates)

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        """All executions. Binance lists trades by symbol only; `fill_search` describes how all of them are found."""
        if self._search is None:
            self._search = FillSearch(self._symbols, self._totals, self._fills)
        return await self._search.since(since)

    @property
    def is_searching(self) -> bool:
        return self._search is not None and self._search.is_searching

    async def key_permissions(self) -> KeyPermissions:
        """What Binance reports about the key. An error or an unreadable reply counts as "may withdraw".

        Raises KeyRefused for a key that does not work at all. Raises InvalidNonce, RateLimited and NotSent, too.
        """
        try:
            permissions = await self._request(self._client.sapiGetAccountApiRestrictions, {}, _permissions)
        except (Rejected, OutcomeUnknown):
            # The spot test network has no restrictions, and still reports the account.
            permissions = KeyPermissions(may_trade=True, may_withdraw=True, answered=False)
        try:
            # The restrictions do not contain the account's id.
            identity = await self._request(self._client.privateGetAccount, {"omitZeroBalances": "true"}, _identity)
        except (Rejected, OutcomeUnknown):
            return permissions
        return permissions.model_copy(update={"identity": identity})

    def _accepted(self, reply: Mapping[str, Any]) -> BrokerOrderId:
        order_id = replies.order_id(reply)
        trades = reply.get("fills")
        if trades and "executedQty" in reply:
            try:
                report = replies.order_report(reply, trades, self._symbols)
                if report.status is OrderStatus.DONE and replies.traded(trades) == report.filled_quantity:
                    self._placed = report
            except WRONG_SHAPE:
                # The order is placed. Its report is then read from Binance.
                self._placed = None
        return order_id

    async def _with_fees(self, reply: Mapping[str, Any]) -> OrderReport:
        """The report of an order, with the fees from its trades. The order itself does not contain fees."""
        filled = replies.amount(reply, "executedQty")
        trades: Sequence[Trade] = ()
        if filled > 0:
            trades = await trades_of_order(self._trades, reply["symbol"], str(reply["orderId"]))
            if replies.traded(trades) != filled:
                changed_at = replies.moment(reply.get("updateTime") or reply.get("time") or 0)
                if datetime.now(UTC) - changed_at < TRADES_VISIBLE_WITHIN:
                    raise NotVisibleYet(f"not all trades of order {reply['orderId']} are visible yet")
        return replies.order_report(reply, trades, self._symbols)

    async def _find(self, request: dict[str, Any]) -> Mapping[str, Any] | None:
        try:
            return await self._request(self._client.privateGetOrder, request, _order)
        except Rejected as error:
            if isinstance(error.__cause__, ccxt.OrderNotFound):
                return None
            raise

    async def _totals(self) -> Mapping[str, Decimal]:
        return {currency: balance.total for currency, balance in (await self.balances()).items()}

    async def _fills(self, symbol: Symbol, since: datetime, known: Container[str]) -> list[AccountFill]:
        return await self._read(self._new_fills(self._symbols.wire_name(symbol), since, known))

    async def _new_fills(self, wire_name: str, since: datetime, known: Container[str]) -> list[AccountFill]:
        try:
            trades = await trades_since(self._trades, wire_name, since)
        except Rejected as error:
            if isinstance(error.__cause__, ccxt.BadSymbol):
                return []  # delisted since the markets were loaded
            raise
        return [replies.account_fill(trade, self._symbols) for trade in trades if replies.fill_id(trade) not in known]

    async def _trades(self, request: dict[str, Any]) -> Sequence[Trade]:
        return await self._request(self._client.privateGetMyTrades, request, _list)

    async def _request(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], _Read]) -> _Read:
        if self._malformed_key:
            raise KeyRefused(self._malformed_key)

        async def answer() -> _Read:
            return read(await endpoint(request))

        return await self._read(answer())

    async def _read(self, work: Awaitable[_Read]) -> _Read:
        """Await requests and the conversion of their replies. Raises our own errors only."""
        try:
            return await work
        except BrokerError:
            raise
        except ccxt.BaseError as error:
            raise classify(error) from error
        except (*WRONG_SHAPE, OSError) as error:
            raise OutcomeUnknown(shortened(f"Binance's reply cannot be read: {error!r}")) from error


def _kind(order: OrderRequest) -> dict[str, str]:
    """The fields of a request that make it a market or a limit order. Raises Rejected."""
    if isinstance(order, MarketOrder):
        return {"type": "MARKET"}
    time_in_force = _TIMES_IN_FORCE.get(order.time_in_force)
    if time_in_force is None:
        raise Rejected(f"Binance has no limit orders that wait for {order.time_in_force.value}")
    return {"type": "LIMIT", "price": plain(order.limit_price), "timeInForce": time_in_force}


def _order(reply: Any) -> Mapping[str, Any]:
    """Check that a reply is one order, and return it."""
    if not isinstance(reply, dict) or "orderId" not in reply:
        raise TypeError("the reply is not an order")
    return reply


def _list(reply: Any) -> list[Mapping[str, Any]]:
    if not isinstance(reply, list) or not all(isinstance(entry, dict) for entry in reply):
        raise TypeError("the reply is not a list of objects")
    return reply


def _identity(reply: Any) -> str | None:
    """The account's id in the reply of GET account."""
    if not isinstance(reply, dict):
        raise TypeError("the reply is not an object")
    return str(reply.get("uid") or "") or None


def _permissions(reply: Any) -> KeyPermissions:
    if not isinstance(reply, dict):
        raise TypeError("the reply is not an object")
    return replies.key_permissions(reply)
