"""Converts records of the exchange into orders, trades, balances and keys in Binance's JSON format.

Amounts are text with eight decimals. Times are whole milliseconds since 1970.
"""

from decimal import Decimal
from hashlib import blake2b
from typing import Any

from services.paper_broker.binance.wire_names import WIRE_NAMES
from shared.domain.fill import Side
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.exchange import USER_REQUESTED
from shared.exchange.orders import ZERO, ExchangeOrderState, Fill, Order, OrderType

_MICROSECONDS = 1_000


def milliseconds(microseconds: int) -> int:
    return microseconds // _MICROSECONDS


def text(amount: Decimal) -> str:
    return f"{amount:.8f}"


def status(order: Order) -> str:
    """Binance's status of an order. An order canceled without the user's request is EXPIRED."""
    match order.state:
        case ExchangeOrderState.OPEN:
            return "PARTIALLY_FILLED" if order.filled else "NEW"
        case ExchangeOrderState.FILLED:
            return "FILLED"
        case ExchangeOrderState.CANCELED if order.reason == USER_REQUESTED:
            return "CANCELED"
    return "EXPIRED"


def _type(order: Order) -> str:
    if order.type is OrderType.MARKET:
        return "MARKET"
    return "LIMIT_MAKER" if order.post_only else "LIMIT"


def _core(order: Order) -> dict[str, Any]:
    """The fields that every reply about an order has."""
    return {
        "symbol": WIRE_NAMES[order.symbol],
        "orderId": int(order.order_id),
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "price": text(order.limit_price or ZERO),
        # The quantity of an order sized in quote currency is what was filled.
        "origQty": text(order.filled if order.quote_sized else order.quantity),
        "executedQty": text(order.filled),
        "origQuoteOrderQty": text(order.quantity if order.quote_sized else ZERO),
        "cummulativeQuoteQty": text(order.cost),
        "status": status(order),
        "timeInForce": order.time_in_force.value.upper(),
        "type": _type(order),
        "side": "BUY" if order.side is Side.BUY else "SELL",
        "workingTime": milliseconds(order.accepted_at),
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def queried_order(order: Order) -> dict[str, Any]:
    """An order in the format of GET order, openOrders and allOrders. Like Binance's, it has no fees."""
    changed_at = order.closed_at or (order.fills[-1].executed_at if order.fills else order.accepted_at)
    return {
        **_core(order),
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": milliseconds(order.accepted_at),
        "updateTime": milliseconds(changed_at),
        "isWorking": True,
    }


def placed_order(order: Order, response_type: str) -> dict[str, Any]:
    """The reply to a new order: ACK, RESULT or FULL."""
    if response_type == "ACK":
        return {
            "symbol": WIRE_NAMES[order.symbol],
            "orderId": int(order.order_id),
            "orderListId": -1,
            "clientOrderId": order.client_order_id,
            "transactTime": milliseconds(order.accepted_at),
        }
    shape = {**_core(order), "transactTime": milliseconds(order.accepted_at)}
    if response_type == "FULL":
        shape["fills"] = [
            {
                "price": text(fill.price),
                "qty": text(fill.quantity),
                "commission": text(fill.fee),
                "commissionAsset": fill.fee_currency,
                "tradeId": int(fill.fill_id),
            }
            for fill in order.fills
        ]
    return shape


def canceled_order(order: Order, new_client_order_id: str) -> dict[str, Any]:
    """The reply to a cancellation, which has its own client order id."""
    return {
        **_core(order),
        "origClientOrderId": order.client_order_id,
        "clientOrderId": new_client_order_id,
        "transactTime": milliseconds(order.closed_at or order.accepted_at),
    }


def trade(fill: Fill) -> dict[str, Any]:
    """A fill in the format of myTrades."""
    order = fill.order
    return {
        "symbol": WIRE_NAMES[order.symbol],
        "id": int(fill.fill_id),
        "orderId": int(order.order_id),
        "orderListId": -1,
        "price": text(fill.price),
        "qty": text(fill.quantity),
        "quoteQty": text(fill.cost),
        "commission": text(fill.fee),
        "commissionAsset": fill.fee_currency,
        "time": milliseconds(fill.executed_at),
        "isBuyer": order.side is Side.BUY,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def account(account: Account, key: ApiKey, rates: tuple[Decimal, Decimal], *, omit_zero: bool) -> dict[str, Any]:
    """The reply to GET account. `rates` are the maker's and the taker's fee as fractions."""
    maker, taker = rates
    changed_at = max(
        account.orders[-1].accepted_at if account.orders else 0,
        account.fills[-1].executed_at if account.fills else 0,
    )
    return {
        "makerCommission": int(maker * 10_000),
        "takerCommission": int(taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": text(maker), "taker": text(taker), "buyer": text(ZERO), "seller": text(ZERO)},
        "canTrade": "enableSpotAndMarginTrading" in key.permissions,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": milliseconds(changed_at),
        "accountType": "SPOT",
        "balances": [
            {"asset": currency, "free": text(holding.free), "locked": text(holding.hold)}
            for currency, holding in account.holdings.items()
            if holding.total or not omit_zero
        ],
        "permissions": ["SPOT"],
        "uid": user_id(account),
    }


def user_id(account: Account) -> int:
    """The account's number at Binance: nine digits, the same at every request."""
    digest = blake2b(account.name.encode(), person=b"uid", digest_size=8).digest()
    return 100_000_000 + int.from_bytes(digest, "big") % 900_000_000


def api_restrictions(key: ApiKey, names: frozenset[str]) -> dict[str, Any]:
    """The permissions of the requesting key."""
    return {
        "ipRestrict": bool(key.addresses),
        "createTime": 0,
        **{name: name in key.permissions for name in sorted(names)},
    }
