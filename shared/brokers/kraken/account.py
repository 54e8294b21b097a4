"""Turns the port's calls for one Kraken account into signed requests, and sends each once, one at a time."""

from asyncio import Lock
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.account import CcxtAccount
from shared.brokers.ccxt.connection import WRONG_SHAPE
from shared.brokers.ccxt.errors import classify, shortened
from shared.brokers.errors import (
    Expired,
    KeyRefused,
    NotVisibleYet,
    OutcomeUnknown,
    Rejected,
)
from shared.brokers.kraken import replies
from shared.brokers.kraken.client import KrakenClient
from shared.brokers.kraken.history import order_query, whole_history
from shared.brokers.kraken.symbols import KrakenSymbols
from shared.brokers.limits import units_for
from shared.brokers.nonces import Nonces
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import MarketOrder, OrderReport, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import plain
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol

# Kraken accepts deadlines from 2 to 60 s ahead.
SHORTEST_VALIDITY = timedelta(seconds=2)
LONGEST_VALIDITY = timedelta(seconds=59)
# `start` is exclusive and in whole seconds.
OVERLAP = timedelta(seconds=1)
USUAL_FEES = Symbol("BTC", "USD")
# How many orders' flags are remembered. A master's fills are read again with overlap at every poll.
REMEMBERED_ORDERS = 512
TRIES_PER_ORDER = 3
"""How often the flags of an order are requested. An order that Kraken never returns counts as one without flags."""

_TIMES_IN_FORCE = {TimeInForce.GOOD_TIL_CANCELED: "GTC", TimeInForce.IMMEDIATE_OR_CANCEL: "IOC"}

LOOK_UP = ("OpenOrders", "ClosedOrders", "TradesHistory", "QueryOrders")

_Read = TypeVar("_Read")
_Endpoint = Callable[[dict[str, Any]], Awaitable[Any]]


class KrakenAccount(CcxtAccount):
    """Implements `BrokerAccount`. Simultaneous calls wait for each other: Kraken refuses nonces out of order."""

    __slots__ = ("_lock", "_malformed_key", "_nonces", "_order_flags", "_symbols", "_trades", "_unread_orders")

    def __init__(self, client: KrakenClient, nonces: Nonces, symbols: KrakenSymbols, malformed_key: str) -> None:
        """`malformed_key`: what is wrong with the form of the key, so that no request can be signed; or empty."""
        client.nonces = nonces
        self._client = client
        self._nonces = nonces
        self._symbols = symbols
        self._lock = Lock()
        self._malformed_key = malformed_key
        self._trades: dict[str, Any] = {}
        """The trades that `fills_since` read last. A poll reads minutes of them again, which may be several pages."""
        self._order_flags: dict[str, frozenset[str]] = {}
        self._unread_orders: dict[str, int] = {}
        """How often each order was requested whose flags are still missing. The orders of the fills returned last."""

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once. The fee is requested in quote currency, so that the bought quantity is what is held."""
        pair = self._symbols.wire_name(order.symbol)
        if pair is None:
            raise Rejected(f"Kraken does not list {order.symbol}")
        request = {
            "pair": pair,
            "type": order.side.value,
            "volume": plain(order.quantity),
            "cl_ord_id": order.client_order_id,
            "oflags": "fciq",
            **_kind(order),
        }
        async with self._lock:
            await self._ready()
            # This comes last before sending, because reserving a nonce may have taken time.
            now = datetime.now(UTC)
            if order.valid_until - now < SHORTEST_VALIDITY:
                raise Expired("not sent: too little is left of the order's validity")
            deadline = self._client.clock.at(min(order.valid_until, now + LONGEST_VALIDITY)).astimezone(UTC)
            request["deadline"] = deadline.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return await self._send(self._client.privatePostAddOrder, request, _placed_order_id)

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:  # noqa: ARG002  # the port's
        def read(result: Mapping[str, Any]) -> OrderReport:
            if broker_order_id not in result:
                raise NotVisibleYet(f"Kraken does not return order {broker_order_id} yet")
            return replies.order_report(broker_order_id, result[broker_order_id], self._symbols)

        try:
            return await self._request(self._client.privatePostQueryOrders, {"txid": broker_order_id}, read)
        except Rejected as error:
            # Kraken issued this id, so the order exists and is only not visible yet.
            raise NotVisibleYet(f"order {broker_order_id} cannot be read: {error}") from error

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        async with units_for(self._client.budget, "POST", LOOK_UP, {}) as budget:
            return await self._counted_in(budget).search(client_order_id, symbol, since)

    async def search(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        """Look the order up within a budget that has reserved the units."""
        # Open orders come first: an order that closes in between is then in at least one of the lists.
        for endpoint, listed_as in (
            (self._client.privatePostOpenOrders, "open"),
            (self._client.privatePostClosedOrders, "closed"),
        ):
            request = {"cl_ord_id": client_order_id}
            orders = await whole_history(self._request, endpoint, request, listed_as)
            found = self._matching(orders, client_order_id, symbol, since)
            if found is not None:
                return found
        trades = await self._trades_since(since)
        order_ids = {
            trade["ordertxid"]: None for trade in trades.values() if self._symbols.symbol(trade["pair"]) == symbol
        }
        orders = await order_query(self._request, self._client.privatePostQueryOrders, list(order_ids))
        found = self._matching(orders, client_order_id, symbol, None)
        unseen = next((order_id for order_id in order_ids if order_id not in orders), None)
        if found is None and unseen is not None:
            raise NotVisibleYet(f"order {unseen} was executed, but Kraken does not return it yet: it may be this one")
        return found

    async def open_orders(self) -> list[OrderReport]:
        orders = await whole_history(self._request, self._client.privatePostOpenOrders, {}, "open")
        try:
            return [replies.order_report(order_id, reply, self._symbols) for order_id, reply in orders.items()]
        except WRONG_SHAPE as error:
            raise _unreadable("OpenOrders", error) from error

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None:  # noqa: ARG002  # the port's
        """Cancel the order. Raises Rejected when there is nothing to cancel, or no longer."""

        def read(result: Mapping[str, Any]) -> None:
            if str(result.get("count", 1)) == "0" and not result.get("pending"):
                raise Rejected(f"order {broker_order_id} was not canceled: it is no longer open")

        await self._request(self._client.privatePostCancelOrder, {"txid": broker_order_id}, read)

    async def balances(self) -> dict[str, Balance]:
        return await self._request(
            self._client.privatePostBalanceEx, {}, lambda result: replies.balances(result, self._symbols)
        )

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        # Whether Kraken's list begins before, in or after the second of `start` is unclear, so that second is read.
        counted_from = _start(since) + timedelta(seconds=1)
        known = {
            trade_id: trade for trade_id, trade in self._trades.items() if replies.moment(trade["time"]) >= counted_from
        }
        trades = await self._trades_since(since, known)
        self._note_orders(trade["ordertxid"] for trade in trades.values())
        try:
            fills = [
                replies.account_fill(trade_id, trade, self._order_flags.get(trade["ordertxid"], ()), self._symbols)
                for trade_id, trade in trades.items()
            ]
        except WRONG_SHAPE as error:
            raise _unreadable("TradesHistory", error) from error
        # In place, because the same account at other priorities shares it.
        self._trades.clear()
        self._trades.update(trades)
        return sorted(
            (fill for fill in fills if fill.executed_at >= since), key=lambda fill: (fill.executed_at, fill.fill_id)
        )

    async def key_permissions(self) -> KeyPermissions:
        """What Kraken reports about the key. An error or an unreadable reply counts as "may withdraw".

        Raises KeyRefused for a key that does not work at all. Raises InvalidNonce, RateLimited and NotSent, too.
        """
        try:
            return await self._request(self._client.privatePostGetApiKeyInfo, {}, replies.key_permissions)
        except (Rejected, OutcomeUnknown):
            return KeyPermissions(may_trade=True, may_withdraw=True, answered=False)
        except KeyRefused as error:
            if "Permission denied" in str(error):
                return KeyPermissions(may_trade=True, may_withdraw=True)
            raise

    async def fee_rates(self) -> FeeRates | None:
        """The fee tier of the account's trading volume, as Kraken reports it for one pair with the usual fees."""
        pair = self._symbols.wire_name(USUAL_FEES)
        if pair is None:
            return None
        return await self._request(self._client.privatePostTradeVolume, {"pair": pair}, replies.fee_rates)

    async def _trades_since(self, since: datetime, known: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        start = str(int(_start(since).timestamp()))
        endpoint = self._client.privatePostTradesHistory
        trades = await whole_history(self._request, endpoint, {"start": start}, "trades", known)
        for trade_id, trade in trades.items():
            if not (isinstance(trade.get("ordertxid"), str) and isinstance(trade.get("pair"), str)):
                raise OutcomeUnknown(f"Kraken does not report order and pair of trade {shortened(trade_id)}")
        return trades

    def _note_orders(self, order_ids: Iterable[str]) -> None:
        shown = dict.fromkeys(order_ids)
        for order_id in [each for each in self._unread_orders if each not in shown]:
            del self._unread_orders[order_id]
        for order_id in shown:
            if order_id not in self._order_flags:
                self._unread_orders.setdefault(order_id, 0)

    async def learn_fees(self) -> None:
        """Read the flags of new fills' orders. They say in which currency a fee was taken, which a fill does not."""
        unread = list(self._unread_orders)
        orders = await order_query(self._request, self._client.privatePostQueryOrders, unread)
        for order_id in unread:
            reply, tries = orders.get(order_id), self._unread_orders.get(order_id, 0) + 1
            if reply is None and tries < TRIES_PER_ORDER:
                self._unread_orders[order_id] = tries
                continue
            self._order_flags[order_id] = frozenset() if reply is None else replies.order_flags(reply)
            self._unread_orders.pop(order_id, None)
        while len(self._order_flags) > REMEMBERED_ORDERS + len(unread):
            del self._order_flags[next(iter(self._order_flags))]

    def knows_fee(self, fill: AccountFill) -> bool:
        return fill.order_id in self._order_flags

    def _matching(
        self, orders: Mapping[str, Any], client_order_id: str, symbol: Symbol, since: datetime | None
    ) -> OrderReport | None:
        try:
            named = [order_id for order_id, reply in orders.items() if reply.get("cl_ord_id") == client_order_id]
            if not named and since is not None and len(orders) == 1:
                named = [
                    order_id
                    for order_id, reply in orders.items()
                    if not reply.get("cl_ord_id")
                    and self._symbols.symbol(reply["descr"]["pair"]) == symbol
                    and replies.moment(reply.get("opentm") or 0) >= since - OVERLAP
                ]
            reports = [replies.order_report(order_id, orders[order_id], self._symbols) for order_id in named]
        except WRONG_SHAPE as error:
            raise _unreadable("the look-up", error) from error
        return max(reports, key=lambda report: report.filled_quantity, default=None)

    async def _request(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], _Read]) -> _Read:
        async with self._lock:
            await self._ready()
            return await self._send(endpoint, request, read)

    async def _ready(self) -> None:
        if self._malformed_key:
            raise KeyRefused(self._malformed_key)
        await self._nonces.reserve()

    async def _send(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], _Read]) -> _Read:
        try:
            reply = await endpoint(request)
            return read(reply["result"])
        except ccxt.BaseError as error:
            raise classify(error) from error
        except (*WRONG_SHAPE, OSError) as error:
            raise _unreadable("the request", error) from error


def _start(since: datetime) -> datetime:
    """The whole second that is sent as `start`, for everything executed at `since` or later."""
    return (since - OVERLAP).replace(microsecond=0)


def _unreadable(what: str, error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(shortened(f"Kraken's reply to {what} cannot be read: {error!r}"))


def _kind(order: OrderRequest) -> dict[str, str]:
    """The fields of a request that make it a market or a limit order. Raises Rejected."""
    if isinstance(order, MarketOrder):
        return {"ordertype": "market"}
    time_in_force = _TIMES_IN_FORCE.get(order.time_in_force)
    if time_in_force is None:
        raise Rejected(f"Kraken has no limit orders that wait for {order.time_in_force.value}")
    return {"ordertype": "limit", "price": plain(order.limit_price), "timeinforce": time_in_force}


def _placed_order_id(result: Mapping[str, Any]) -> BrokerOrderId:
    order_ids = result["txid"]
    order_id = order_ids if isinstance(order_ids, str) else order_ids[0]
    if not isinstance(order_id, str) or not order_id:
        raise ValueError(f"txid is {order_ids!r}")
    return BrokerOrderId(order_id)
