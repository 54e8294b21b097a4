"""Turns the port's calls for one OKX account into signed requests, and sends each request once."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
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
from shared.brokers.limits import units_for
from shared.brokers.okx import replies
from shared.brokers.okx.client import EXPIRES_AT, OkxClient
from shared.brokers.okx.fills import fills_since
from shared.brokers.okx.symbols import OkxSymbols
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import MarketOrder, OrderReport, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import plain
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol

# A shorter validity would end before the request arrives.
SHORTEST_VALIDITY = timedelta(milliseconds=200)
# The largest assumed difference between OKX's clock and ours when an order is distinguished from an earlier one.
OVERLAP = timedelta(seconds=1)
ORDERS_PER_PAGE = 100

_READING_NOT_ALLOWED = ("50120", "50030")

_LIMIT_TYPES = {TimeInForce.GOOD_TIL_CANCELED: "limit", TimeInForce.IMMEDIATE_OR_CANCEL: "ioc"}

LOOK_UP = ("trade/order", "trade/fills-history")

_Read = TypeVar("_Read")
_Endpoint = Callable[[Any], Awaitable[Any]]


class OkxAccount(CcxtAccount):
    """A `BrokerAccount`. Requests may overtake each other, because OKX checks a time, not a nonce."""

    __slots__ = ("_malformed_key", "_symbols")

    def __init__(self, client: OkxClient, symbols: OkxSymbols, malformed_key: str) -> None:
        """`malformed_key`: what is wrong with the form of the key, so that no request can be signed; or empty."""
        self._client = client
        self._symbols = symbols
        self._malformed_key = malformed_key

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once. OKX must refuse it rather than reduce it, and must refuse it after `valid_until`."""
        pair = self._symbols.wire_name(order.symbol)
        if pair is None:
            raise Rejected(f"OKX does not list {order.symbol}")
        if order.valid_until - datetime.now(UTC) < SHORTEST_VALIDITY:
            raise Expired("not sent: too little is left of the order's validity")
        request = {
            "instId": pair,
            "tdMode": "cash",
            "side": order.side.value,
            "sz": plain(order.quantity),
            "clOrdId": order.client_order_id,
            EXPIRES_AT: str(replies.milliseconds(self._client.clock.at(order.valid_until))),
            **_kind(order),
        }

        def read(data: list[Any]) -> BrokerOrderId:
            return replies.order_id(data[0])

        return await self._request(self._client.privatePostTradeBatchOrders, [request], read)

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:
        try:
            entry = await self._order({"instId": self._symbols.asked_name(symbol), "ordId": broker_order_id})
        except Rejected as error:
            # OKX issued this id, so the order exists and is only not visible yet.
            raise NotVisibleYet(f"order {broker_order_id} cannot be read: {error}") from error
        return self._report(entry)

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        """Search by the client order id, which finds open and closed orders, and then among the fills."""
        pair = self._symbols.asked_name(symbol)
        async with units_for(self._client.budget, "GET", LOOK_UP, {"instId": pair}) as budget:
            return await self._counted_in(budget).search(client_order_id, symbol, pair, since)

    async def search(self, client_order_id: str, symbol: Symbol, pair: str, since: datetime) -> OrderReport | None:
        """Look the order up within a budget that has reserved the units."""
        entry = await self._order_or_none({"instId": pair, "clOrdId": client_order_id})
        if entry is not None and self._is_ours(entry, client_order_id, symbol, since):
            return self._report(entry)
        order_ids: dict[BrokerOrderId, None] = {}
        for fill in await self._fills(since - OVERLAP, {"instId": pair}):
            name = replies.client_order_id(fill)
            if self._symbols.symbol(fill["instId"]) == symbol and name in (None, client_order_id):
                order_ids[replies.order_id(fill)] = None
        for order_id in order_ids:
            report = await self.order(order_id, symbol)
            if report.client_order_id == client_order_id:
                return report
        return None

    async def open_orders(self) -> list[OrderReport]:
        """The orders in the book. Waiting triggers (stop and trailing orders) are not included: OKX lists them apart."""
        found: dict[str, OrderReport] = {}
        parameters = {"limit": str(ORDERS_PER_PAGE)}
        while True:
            page = await self._request(self._client.privateGetTradeOrdersPending, parameters, self._reports)
            if all(report.broker_order_id in found for report in page):
                return list(found.values())
            found |= {report.broker_order_id: report for report in page}
            # The newest come first. A page starts after the oldest order of the page before.
            parameters = {**parameters, "after": page[-1].broker_order_id}

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None:
        """Cancel the order. Raises Rejected when there is nothing to cancel, or no longer."""
        request = {"instId": self._symbols.asked_name(symbol), "ordId": broker_order_id}
        await self._request(self._client.privatePostTradeCancelOrder, request, lambda _: None)

    async def balances(self) -> dict[str, Balance]:
        """The balances of the trading account. The funding account cannot trade, so it is left out."""
        return await self._request(
            self._client.privateGetAccountBalance, {}, lambda data: replies.balances(data, self._symbols)
        )

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        entries = await self._fills(since, {})
        try:
            return [replies.account_fill(entry, self._symbols) for entry in entries]
        except WRONG_SHAPE as error:
            raise _unreadable("fills-history", error) from error

    async def key_permissions(self) -> KeyPermissions:
        """What OKX reports about the key. An error or an unreadable reply counts as "may withdraw".

        Raises KeyRefused for a key that does not work at all. Raises InvalidNonce, RateLimited and NotSent, too.
        """
        try:
            return await self._request(self._client.privateGetAccountConfig, {}, replies.key_permissions)
        except (Rejected, OutcomeUnknown):
            return KeyPermissions(may_trade=True, may_withdraw=True, answered=False)
        except KeyRefused as error:
            if str(error).startswith(_READING_NOT_ALLOWED):
                return KeyPermissions(may_trade=True, may_withdraw=True)
            raise

    async def fee_rates(self) -> FeeRates:
        """The account's own fee tier, as fractions. Raises BrokerError."""
        return await self._request(self._client.privateGetAccountTradeFee, {"instType": "SPOT"}, replies.fee_rates)

    async def _fills(self, since: datetime, filters: Mapping[str, str]) -> list[Mapping[str, Any]]:
        async def ask(parameters: dict[str, str]) -> list[Any]:
            return await self._request(self._client.privateGetTradeFillsHistory, parameters, _checked_fills)

        try:
            return await fills_since(ask, since, filters)
        except WRONG_SHAPE as error:
            raise _unreadable("fills-history", error) from error

    def _is_ours(self, entry: Mapping[str, Any], client_order_id: str, symbol: Symbol, since: datetime) -> bool:
        """Whether an order found by our id is ours: it has the id, or it has no id and the rest fits."""
        name = replies.client_order_id(entry)
        if name is not None:
            return name == client_order_id
        try:
            opened_at = replies.moment(entry.get("cTime") or 0)
            return self._symbols.symbol(entry["instId"]) == symbol and opened_at >= since - OVERLAP
        except WRONG_SHAPE as error:
            raise _unreadable("the look-up", error) from error

    async def _order_or_none(self, request: dict[str, str]) -> Mapping[str, Any] | None:
        try:
            return await self._order(request)
        except Rejected as error:
            if isinstance(error.__cause__, ccxt.OrderNotFound):
                return None
            # Any other rejection shows nothing about the order.
            raise NotVisibleYet(f"the order cannot be looked up: {error}") from error

    async def _order(self, request: dict[str, str]) -> Mapping[str, Any]:
        def read(data: list[Any]) -> Mapping[str, Any]:
            if not data:
                raise ccxt.OrderNotFound("the reply holds no order")
            if not isinstance(data[0], dict):
                raise TypeError(f"an order is a {type(data[0]).__name__}")
            return data[0]

        return await self._request(self._client.privateGetTradeOrder, request, read)

    def _report(self, entry: Mapping[str, Any]) -> OrderReport:
        try:
            return replies.order_report(entry, self._symbols)
        except WRONG_SHAPE as error:
            raise _unreadable("trade/order", error) from error

    def _reports(self, data: list[Any]) -> list[OrderReport]:
        return [replies.order_report(entry, self._symbols) for entry in data]

    async def _request(self, endpoint: _Endpoint, request: Any, read: Callable[[list[Any]], _Read]) -> _Read:
        if self._malformed_key:
            raise KeyRefused(self._malformed_key)
        try:
            reply = await endpoint(request)
            return read(reply["data"])
        except ccxt.BaseError as error:
            raise classify(error) from error
        except (*WRONG_SHAPE, OSError) as error:
            raise _unreadable("the request", error) from error


def _kind(order: OrderRequest) -> dict[str, Any]:
    """The fields of a request that make it a market or a limit order. Raises Rejected."""
    if isinstance(order, MarketOrder):
        return {"ordType": "market", "tgtCcy": "base_ccy", "banAmend": True}
    kind = _LIMIT_TYPES.get(order.time_in_force)
    if kind is None:
        raise Rejected(f"OKX has no limit orders that wait for {order.time_in_force.value}")
    return {"ordType": kind, "px": plain(order.limit_price)}


def _checked_fills(data: list[Any]) -> list[Any]:
    for entry in data:
        replies.fill_id(entry), replies.executed_at(entry), replies.order_id(entry)
        if not isinstance(entry["instId"], str):
            raise TypeError(f"instId is {entry['instId']!r}")
    return data


def _unreadable(what: str, error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(shortened(f"OKX's reply to {what} cannot be read: {error!r}"))
