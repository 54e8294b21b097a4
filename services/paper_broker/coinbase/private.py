"""Answers Coinbase's private calls: each takes a checked key and the query or body, and returns the reply's document.

Lists are newest first. A cursor is the place in the account's own log before which the older entries stand. So entries
that arrive in the meantime do not shift the pages.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from services.paper_broker.coinbase import replies, shapes
from services.paper_broker.coinbase.arguments import Arguments, listed, moment, whole_number
from services.paper_broker.coinbase.order_request import client_order_id, new_order
from services.paper_broker.coinbase.wire_names import PRODUCT_IDS
from shared.domain.amounts import ZERO
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ExecutionTerms, Fill, Order
from shared.exchange.refusals import Refused, UnknownOrder

PAGE = 100
_MOST_ON_A_PAGE = 1_000
_WALLETS = 49
_MOST_WALLETS = 250
_MOST_CANCELED = 100


def create_order(exchange: Exchange, key: ApiKey, body: dict[str, Any], execution: ExecutionTerms) -> Any:
    """Place an order. For a known client order id nothing is placed, and the first order is returned."""
    known = key.account.orders_by_client_id.get(client_order_id(body))
    if known:
        return _created(exchange, known[0])
    try:
        new = new_order(body, exchange.fee_rates.taker)
        order = exchange.place(key, new, execution)
    except replies.OrderFailed as failure:
        return replies.failed_order(failure, body.get("order_configuration"))
    except Refused as refusal:
        return replies.failed_order(replies.order_failure(refusal), body.get("order_configuration"))
    return _created(exchange, order)


def _created(exchange: Exchange, order: Order) -> Any:
    return {
        "success": True,
        "failure_reason": replies.UNKNOWN_REASON,
        "order_id": order.order_id,
        "success_response": {
            "order_id": order.order_id,
            "product_id": PRODUCT_IDS[order.symbol],
            "side": order.side.value.upper(),
            "client_order_id": order.client_order_id,
        },
        "order_configuration": shapes.order_configuration(order, exchange.fee_rates.taker),
    }


def cancel_orders(exchange: Exchange, key: ApiKey, body: dict[str, Any]) -> Any:
    order_ids = body.get("order_ids")
    if not isinstance(order_ids, list) or not 0 < len(order_ids) <= _MOST_CANCELED:
        raise replies.invalid_argument(f"order_ids must name 1 to {_MOST_CANCELED} orders")
    results = []
    for order_id in order_ids:
        reason = "UNKNOWN_CANCEL_FAILURE_REASON"
        order = _own_order(exchange, key.account, str(order_id))
        try:
            if order is None:
                raise UnknownOrder(f"no order {order_id}")
            exchange.cancel(order)
        except UnknownOrder:
            reason = "UNKNOWN_CANCEL_ORDER"
        success = reason == "UNKNOWN_CANCEL_FAILURE_REASON"
        results.append({"success": success, "failure_reason": reason, "order_id": order_id})
    return {"results": results}


def get_order(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    del arguments
    order = _own_order(exchange, key.account, argument)
    if order is None:
        raise replies.not_found("order with this orderID was not found")
    return {"order": shapes.order_shape(order, exchange.fee_rates.taker)}


def list_orders(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    """Orders created from `start_date` to before `end_date`, in any state unless the request gives one."""
    del argument
    order_ids, product_ids = listed(arguments, "order_ids"), listed(arguments, "product_ids", "product_id")
    states, sides = listed(arguments, "order_status"), listed(arguments, "order_side")
    if "OPEN" in states and len(states) > 1:
        raise replies.invalid_argument("cannot query OPEN orders with other statuses")
    first, last = _between(key.account.orders, "accepted_at", arguments, "start_date", "end_date")
    limit = whole_number(arguments, "limit", PAGE, _MOST_ON_A_PAGE) or PAGE
    now = exchange.clock()
    page: list[Any] = []
    place = min(last, whole_number(arguments, "cursor", last, last))
    while place > first and len(page) < limit:
        place -= 1
        order = key.account.orders[place]
        if (
            order.visible_at <= now
            and (not order_ids or order.order_id in order_ids)
            and (not product_ids or PRODUCT_IDS[order.symbol] in product_ids)
            and (not sides or order.side.value.upper() in sides)
        ):
            shape = shapes.order_shape(order, exchange.fee_rates.taker)
            if not states or shape["status"] in states:
                page.append(shape)
    has_next = place > first
    return {"orders": page, "sequence": "0", "has_next": has_next, "cursor": str(place) if has_next else ""}


def list_fills(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    """Fills from `start_sequence_timestamp` to before `end_sequence_timestamp`."""
    del argument
    order_ids, product_ids = listed(arguments, "order_ids", "order_id"), listed(arguments, "product_ids", "product_id")
    fills = key.account.fills
    names = "start_sequence_timestamp", "end_sequence_timestamp"
    first, last = _between(fills, "executed_at", arguments, *names)
    limit = whole_number(arguments, "limit", PAGE, _MOST_ON_A_PAGE) or PAGE
    now = exchange.clock()
    page: list[Fill] = []
    place = min(last, whole_number(arguments, "cursor", last, last))
    while place > first and len(page) < limit:
        place -= 1
        fill = fills[place]
        if (
            fill.visible_at <= now
            and (not order_ids or fill.order.order_id in order_ids)
            and (not product_ids or PRODUCT_IDS[fill.order.symbol] in product_ids)
        ):
            page.append(fill)
    return {"fills": [shapes.fill_shape(fill) for fill in page], "cursor": str(place) if place > first else ""}


def list_accounts(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    del exchange, argument
    wallets = list(key.account.holdings.items())
    first = whole_number(arguments, "cursor", 0, len(wallets))
    limit = whole_number(arguments, "limit", _WALLETS, _MOST_WALLETS) or _WALLETS
    page = [shapes.wallet_shape(key.account, currency, each) for currency, each in wallets[first : first + limit]]
    has_next = first + limit < len(wallets)
    cursor = str(first + limit) if has_next else ""
    return {"accounts": page, "has_next": has_next, "cursor": cursor, "size": len(page)}


def get_account(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    del exchange, arguments
    for currency, holding in key.account.holdings.items():
        if shapes.wallet_uuid(key.account, currency) == argument:
            return {"account": shapes.wallet_shape(key.account, currency, holding)}
    raise replies.not_found("account not found")


def older_accounts(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    del exchange, arguments, argument
    data = [shapes.older_wallet_shape(key.account, currency, each) for currency, each in key.account.holdings.items()]
    return {"pagination": {"next_starting_after": None, "next_uri": None, "limit": 100, "order": "desc"}, "data": data}


def transaction_summary(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    """The fee tier, which never changes here, and the traded totals. Coinbase sends totals as JSON numbers."""
    del arguments, argument
    volume = float(sum((fill.cost for fill in key.account.fills), ZERO))
    fees = float(sum((fill.fee for fill in key.account.fills), ZERO))
    rates = exchange.fee_rates
    return {
        "total_volume": volume,
        "total_fees": fees,
        "fee_tier": {
            "pricing_tier": "Advanced 1",
            "usd_from": "0",
            "usd_to": "1000",
            "taker_fee_rate": f"{rates.taker:f}",
            "maker_fee_rate": f"{rates.maker:f}",
            "aop_from": "",
            "aop_to": "",
        },
        "margin_rate": None,
        "goods_and_services_tax": None,
        "advanced_trade_only_volume": volume,
        "advanced_trade_only_fees": fees,
        "coinbase_pro_volume": 0,
        "coinbase_pro_fees": 0,
        "total_balance": "",
        "has_promo_fee": False,
    }


def key_permissions(exchange: Exchange, key: ApiKey, arguments: Arguments, argument: str) -> Any:
    del exchange, arguments, argument
    return shapes.key_permissions(key)


READING: dict[str, Callable[[Exchange, ApiKey, Arguments, str], Any]] = {
    "get_account": get_account,
    "get_order": get_order,
    "key_permissions": key_permissions,
    "list_accounts": list_accounts,
    "list_fills": list_fills,
    "list_orders": list_orders,
    "older_accounts": older_accounts,
    "transaction_summary": transaction_summary,
}
WRITING: dict[str, Callable[[Exchange, ApiKey, dict[str, Any]], Any]] = {"cancel_orders": cancel_orders}


def _own_order(exchange: Exchange, account: Account, order_id: str) -> Order | None:
    order = exchange.state.orders_by_id.get(order_id)
    if order is None or order.account != account.name or order.visible_at > exchange.clock():
        return None
    return order


def _between(
    records: Sequence[Any], field: str, arguments: Arguments, start_name: str, end_name: str
) -> tuple[int, int]:
    """The places of the first record at or after the start, and of the first one at or after the end."""
    time_of = attrgetter(field)
    start, end = moment(arguments, start_name), moment(arguments, end_name)
    first = 0 if start is None else bisect_left(records, start, key=time_of)
    last = len(records) if end is None else bisect_left(records, end, key=time_of)
    return first, last
