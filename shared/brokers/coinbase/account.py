"""Turns the port's calls for one Coinbase account into signed requests, and sends each request once."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import ccxt  # type: ignore[import-untyped]  # ccxt ships no type marker

from shared.brokers.ccxt.account import CcxtAccount
from shared.brokers.ccxt.connection import WRONG_SHAPE
from shared.brokers.ccxt.errors import classify, shortened
from shared.brokers.coinbase import replies
from shared.brokers.coinbase.client import CoinbaseClient, token_expires_at
from shared.brokers.coinbase.history import whole_list
from shared.brokers.coinbase.symbols import CoinbaseSymbols
from shared.brokers.coinbase.tokens import LIFE_SECONDS
from shared.brokers.errors import Expired, InvalidNonce, KeyRefused, NotVisibleYet, OutcomeUnknown, Rejected
from shared.brokers.limits import units_for
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import MarketOrder, OrderReport, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import plain
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol

# A token's expiry is in whole seconds, so it may be up to one second before the order's.
SHORTEST_VALIDITY = timedelta(seconds=2)
LONGEST_VALIDITY = timedelta(seconds=LIFE_SECONDS - 1)
# The start may be exclusive, and Coinbase's own times differ by milliseconds from one field to the other.
OVERLAP = timedelta(seconds=2)
WALLETS_PER_PAGE = 250
ORDERS_PER_PAGE = 250
FILLS_PER_PAGE = 250
# Coinbase does not list OPEN together with other states. The states before OPEN are read first: an order that moves on
# in between is then in at least one of the lists.
OPEN_STATES = (["PENDING", "QUEUED", "CANCEL_QUEUED"], ["OPEN"])

_LIMIT_CONFIGURATIONS = {
    TimeInForce.GOOD_TIL_CANCELED: "limit_limit_gtc",
    TimeInForce.IMMEDIATE_OR_CANCEL: "sor_limit_ioc",
}

LOOK_UP = ("brokerage/orders/historical/batch", "brokerage/orders/historical/fills")

_Read = TypeVar("_Read")
_Endpoint = Callable[[dict[str, Any]], Awaitable[Any]]


class CoinbaseAccount(CcxtAccount):
    """A `BrokerAccount`. The key is read at the first request, not before."""

    __slots__ = ("_malformed_key", "_symbols")

    def __init__(self, client: CoinbaseClient, symbols: CoinbaseSymbols, malformed_key: str) -> None:
        """`malformed_key`: what is wrong with the form of the key, so that no request can be signed; or empty."""
        self._client = client
        self._symbols = symbols
        self._malformed_key = malformed_key

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once. For a known client order id Coinbase answers with the first order of that id.

        The size of a buy is sent in base currency, which ccxt's own call cannot do.
        """
        product_id = self._symbols.product_id(order.symbol)
        if product_id is None:
            raise Rejected(f"Coinbase does not list {order.symbol}")
        request = {
            "client_order_id": order.client_order_id,
            "product_id": product_id,
            "side": order.side.value.upper(),
            "order_configuration": _configuration(order),
        }
        now = datetime.now(UTC)
        if order.valid_until - now < SHORTEST_VALIDITY:
            raise Expired("not sent: too little is left of the order's validity")
        # Coinbase refuses the request once its token has expired, even when the request still waits to be signed.
        validity = token_expires_at.set(
            int(self._client.clock.at(min(order.valid_until, now + LONGEST_VALIDITY)).timestamp())
        )
        try:
            return await self._send(self._client.v3PrivatePostBrokerageOrders, request, replies.placed_order_id)
        finally:
            token_expires_at.reset(validity)

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:
        def read(reply: Mapping[str, Any]) -> OrderReport:
            return replies.order_report(reply["order"], symbol, self._symbols)

        endpoint = self._client.v3PrivateGetBrokerageOrdersHistoricalOrderId
        try:
            return await self._request(endpoint, {"order_id": broker_order_id}, read)
        except Rejected as error:
            # Coinbase issued this id, so the order exists and is only not visible yet.
            raise NotVisibleYet(f"order {broker_order_id} cannot be read: {error}") from error

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        """Read all orders since `since`, in any state, because Coinbase cannot search by client order id.

        The search is not limited to the product: an alias may be listed under its other name.
        """
        async with units_for(self._client.budget, "GET", LOOK_UP, {}) as budget:
            return await self._counted_in(budget).search(client_order_id, symbol, since)

    async def search(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:
        """Look the order up within a budget that has reserved the units."""
        start = _timestamp(since - OVERLAP)
        orders = await whole_list(
            self._request,
            self._client.v3PrivateGetBrokerageOrdersHistoricalBatch,
            {"start_date": start, "limit": ORDERS_PER_PAGE},
            "orders",
        )
        found = self._matching(orders, client_order_id, symbol)
        if found is not None:
            return found
        listed = {order.get("order_id") for order in orders}
        fills = await self._fills_from(since)
        for order_id in dict.fromkeys(fill.order_id for fill in fills if fill.order_id not in listed):
            # Executed, but not on the list of orders: it may be the wanted order.
            report = await self.order(BrokerOrderId(order_id), symbol)
            if report.client_order_id == client_order_id:
                return report
        return None

    async def open_orders(self) -> list[OrderReport]:
        found: dict[str, OrderReport] = {}
        for states in OPEN_STATES:
            orders = await whole_list(
                self._request,
                self._client.v3PrivateGetBrokerageOrdersHistoricalBatch,
                {"order_status": states, "limit": ORDERS_PER_PAGE},
                "orders",
            )
            try:
                reports = [
                    replies.order_report(order, self._symbols.symbol(order["product_id"]), self._symbols)
                    for order in orders
                ]
            except WRONG_SHAPE as error:
                raise _unreadable("List Orders", error) from error
            found |= {report.broker_order_id: report for report in reports}
        return list(found.values())

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None:  # noqa: ARG002  # the port's
        """Cancel the order. Raises Rejected when there is nothing to cancel, or no longer."""

        def read(reply: Mapping[str, Any]) -> tuple[bool, str]:
            (result,) = reply["results"]
            return result["success"] is True, str(result.get("failure_reason") or "")

        endpoint = self._client.v3PrivatePostBrokerageOrdersBatchCancel
        done, reason = await self._request(endpoint, {"order_ids": [broker_order_id]}, read)
        if done or reason == "DUPLICATE_CANCEL_REQUEST":
            return
        if reason in ("", "UNKNOWN_CANCEL_FAILURE_REASON"):
            raise OutcomeUnknown(f"order {broker_order_id} was not canceled, and no reason is given")
        raise Rejected(f"order {broker_order_id} was not canceled: {shortened(reason)}")

    async def balances(self) -> dict[str, Balance]:
        wallets = await whole_list(
            self._request, self._client.v3PrivateGetBrokerageAccounts, {"limit": WALLETS_PER_PAGE}, "accounts"
        )
        try:
            return replies.balances(wallets, self._symbols)
        except WRONG_SHAPE as error:
            raise _unreadable("List Accounts", error) from error

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        fills = await self._fills_from(since)
        return sorted(
            (fill for fill in fills if fill.executed_at >= since), key=lambda fill: (fill.executed_at, fill.fill_id)
        )

    async def key_permissions(self) -> KeyPermissions:
        """What Coinbase reports about the key. An error or an unreadable reply counts as "may withdraw".

        Raises KeyRefused for a key that does not work at all. Raises InvalidNonce, RateLimited and NotSent, too.
        """
        try:
            return await self._request(self._client.v3PrivateGetBrokerageKeyPermissions, {}, replies.key_permissions)
        except (Rejected, OutcomeUnknown):
            return KeyPermissions(may_trade=True, may_withdraw=True, answered=False)

    async def fee_rates(self) -> FeeRates:
        """The account's own fee tier, as fractions. Raises BrokerError."""
        return await self._request(
            self._client.v3PrivateGetBrokerageTransactionSummary, {"product_type": "SPOT"}, replies.fee_rates
        )

    async def _fills_from(self, since: datetime) -> list[AccountFill]:
        """Each execution from a little before `since` on, without repetitions."""
        entries = await whole_list(
            self._request,
            self._client.v3PrivateGetBrokerageOrdersHistoricalFills,
            {"start_sequence_timestamp": _timestamp(since - OVERLAP), "limit": FILLS_PER_PAGE},
            "fills",
        )
        try:
            fills = [replies.account_fill(entry, self._symbols) for entry in entries if replies.is_execution(entry)]
        except WRONG_SHAPE as error:
            raise _unreadable("List Fills", error) from error
        return list({fill.fill_id: fill for fill in fills}.values())

    def _matching(self, orders: list[dict[str, Any]], client_order_id: str, symbol: Symbol) -> OrderReport | None:
        try:
            reports = [
                replies.order_report(order, symbol, self._symbols)
                for order in orders
                if order.get("client_order_id") == client_order_id
            ]
        except WRONG_SHAPE as error:
            raise _unreadable("List Orders", error) from error
        return max(reports, key=lambda report: report.filled_quantity, default=None)

    async def _request(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], _Read]) -> _Read:
        """Send a request that places no order. One that arrived too late raises InvalidNonce, so it is sent again."""
        try:
            return await self._send(endpoint, request, read)
        except Expired as error:
            raise InvalidNonce(str(error)) from error

    async def _send(self, endpoint: _Endpoint, request: dict[str, Any], read: Callable[[Any], _Read]) -> _Read:
        if self._malformed_key:
            raise KeyRefused(self._malformed_key)
        try:
            reply = await endpoint(request)
            return read(reply)
        except ccxt.BaseError as error:
            raise classify(error) from error
        except (*WRONG_SHAPE, OSError) as error:
            raise _unreadable("the request", error) from error


def _configuration(order: OrderRequest) -> dict[str, dict[str, str]]:
    """The size and kind of an order in Coinbase's request format. Raises Rejected."""
    size = {"base_size": plain(order.quantity)}
    if isinstance(order, MarketOrder):
        return {"market_market_ioc": size}
    configuration = _LIMIT_CONFIGURATIONS.get(order.time_in_force)
    if configuration is None:
        raise Rejected(f"Coinbase has no limit orders that wait for {order.time_in_force.value}")
    return {configuration: {**size, "limit_price": plain(order.limit_price)}}


def _unreadable(what: str, error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(shortened(f"Coinbase's reply to {what} cannot be read: {error!r}"))


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
