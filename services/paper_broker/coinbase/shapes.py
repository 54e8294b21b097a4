"""Writes orders, fills, accounts and keys of the exchange as the JSON that Coinbase sends.

Amounts are text, times are RFC 3339 in UTC with microseconds.
"""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from services.paper_broker.coinbase.order_request import quote_increment
from services.paper_broker.coinbase.wire_names import PRODUCT_IDS, PRODUCTS, uuid_of
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange.accounts import Account, ApiKey, Holding
from shared.exchange.orders import ExchangeOrderState, Fill, Order, OrderType

_STATUS = {
    ExchangeOrderState.OPEN: "OPEN",
    ExchangeOrderState.FILLED: "FILLED",
    ExchangeOrderState.CANCELED: "CANCELLED",
    ExchangeOrderState.EXPIRED: "EXPIRED",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORIGIN = "2024-01-01T00:00:00.000000Z"
_ONE = Decimal(1)


def timestamp(microseconds: int) -> str:
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def order_configuration(order: Order, taker_rate: Decimal) -> dict[str, Any]:
    """What was asked for. A size in quote currency was lessened by the fee when the order was read."""
    if order.type is OrderType.LIMIT:
        details = {"base_size": f"{order.quantity:f}", "limit_price": f"{order.limit_price:f}"}
        if order.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL:
            return {"sor_limit_ioc": details}
        return {"limit_limit_gtc": {**details, "post_only": order.post_only}}
    if order.quote_sized:
        size = (order.quantity * (1 + taker_rate)).quantize(
            quote_increment(PRODUCTS[PRODUCT_IDS[order.symbol]]), ROUND_HALF_UP
        )
        return {"market_market_ioc": {"quote_size": f"{size:f}"}}
    return {"market_market_ioc": {"base_size": f"{order.quantity:f}"}}


def order_shape(order: Order, taker_rate: Decimal) -> dict[str, Any]:
    """An order as Get Order and List Orders show it."""
    is_limit = order.type is OrderType.LIMIT
    average = order.cost / order.filled if order.filled else order.filled
    done = min(order.cost if order.quote_sized else order.filled, order.quantity) / order.quantity
    # The last crumb of a size in quote currency buys nothing any more.
    done = _ONE if order.state is ExchangeOrderState.FILLED else done
    after_fees = order.cost + order.fee if order.side is Side.BUY else order.cost - order.fee
    return {
        "order_id": order.order_id,
        "product_id": PRODUCT_IDS[order.symbol],
        "user_id": uuid_of("user", order.account),
        "order_configuration": order_configuration(order, taker_rate),
        "side": order.side.value.upper(),
        "client_order_id": order.client_order_id or "",
        "status": _STATUS[order.state],
        "time_in_force": "GOOD_UNTIL_CANCELLED" if order.may_rest else "IMMEDIATE_OR_CANCEL",
        "created_time": timestamp(order.accepted_at),
        "completion_percentage": f"{done * 100:.2f}",
        "filled_size": f"{order.filled:f}",
        "average_filled_price": f"{average:f}",
        "fee": "",
        "number_of_fills": str(len(order.fills)),
        "filled_value": f"{order.cost:f}",
        "pending_cancel": False,
        "size_in_quote": order.quote_sized,
        "total_fees": f"{order.fee:f}",
        "size_inclusive_of_fees": order.quote_sized,
        "total_value_after_fees": f"{after_fees:f}",
        "trigger_status": "INVALID_ORDER_TYPE",
        "order_type": "LIMIT" if is_limit else "MARKET",
        "reject_reason": "REJECT_REASON_UNSPECIFIED",
        "settled": order.state is ExchangeOrderState.FILLED,
        "product_type": "SPOT",
        "reject_message": "",
        "cancel_message": order.reason,
        "order_placement_source": "RETAIL_ADVANCED",
        "outstanding_hold_amount": f"{order.hold:f}",
        "is_liquidation": False,
        "last_fill_time": timestamp(order.fills[-1].executed_at) if order.fills else None,
        "edit_history": [],
    }


def fill_shape(fill: Fill) -> dict[str, Any]:
    """A fill as List Fills shows it. The size of an order in quote currency is shown in quote currency."""
    order = fill.order
    # Unlike the cost it is not rounded, so that size ÷ price is what was bought.
    size = fill.price * fill.quantity if order.quote_sized else fill.quantity
    return {
        "entry_id": fill.fill_id,
        "trade_id": uuid_of("trade", fill.fill_id),
        "order_id": order.order_id,
        "trade_time": timestamp(fill.executed_at),
        "trade_type": "FILL",
        "price": f"{fill.price:f}",
        "size": f"{size:f}",
        "commission": f"{fill.fee:f}",
        "product_id": PRODUCT_IDS[order.symbol],
        "sequence_timestamp": timestamp(fill.executed_at),
        "liquidity_indicator": "MAKER" if fill.is_maker else "TAKER",
        "size_in_quote": order.quote_sized,
        "user_id": uuid_of("user", order.account),
        "side": order.side.value.upper(),
    }


def wallet_uuid(account: Account, currency: str) -> str:
    return uuid_of("wallet", account.name, currency)


def wallet_shape(account: Account, currency: str, holding: Holding) -> dict[str, Any]:
    """One currency as List Accounts shows it: what is free, and what open orders hold."""
    return {
        "uuid": wallet_uuid(account, currency),
        "name": f"{currency} Wallet",
        "currency": currency,
        "available_balance": {"value": f"{holding.free:f}", "currency": currency},
        "default": True,
        "active": True,
        "created_at": _ORIGIN,
        "updated_at": _ORIGIN,
        "deleted_at": None,
        "type": "ACCOUNT_TYPE_FIAT" if currency == "USD" else "ACCOUNT_TYPE_CRYPTO",
        "ready": True,
        "hold": {"value": f"{holding.hold:f}", "currency": currency},
        "retail_portfolio_id": uuid_of("portfolio", account.name),
        "platform": "ACCOUNT_PLATFORM_CONSUMER",
    }


def older_wallet_shape(account: Account, currency: str, holding: Holding) -> dict[str, Any]:
    """One currency as the older API under /v2 shows it: the total only."""
    identifier = wallet_uuid(account, currency)
    return {
        "id": identifier,
        "name": f"{currency} Wallet",
        "primary": False,
        "type": "fiat" if currency == "USD" else "wallet",
        "currency": {"code": currency, "name": currency, "type": "fiat" if currency == "USD" else "crypto"},
        "balance": {"amount": f"{holding.total:f}", "currency": currency},
        "created_at": _ORIGIN,
        "updated_at": _ORIGIN,
        "resource": "account",
        "resource_path": f"/v2/accounts/{identifier}",
        "allow_deposits": True,
        "allow_withdrawals": True,
    }


def key_permissions(key: ApiKey) -> dict[str, Any]:
    """What the key that asks may do."""
    return {
        **{name: name in key.permissions for name in ("can_view", "can_trade", "can_transfer")},
        "portfolio_uuid": uuid_of("portfolio", key.account.name),
        "portfolio_type": "DEFAULT",
    }
