"""Serves OKX's calls that place and cancel orders, whose key the dialect has already checked."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from services.paper_broker.okx import replies
from services.paper_broker.okx.order_request import Requested, requested_order
from services.paper_broker.okx.wire_names import INSTRUMENTS_BY_ID
from shared.domain.fill import Side
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.book import take_for_cost
from shared.exchange.exchange import Exchange
from shared.exchange.orders import ExchangeOrderState, ExecutionTerms, NewOrder, Order
from shared.exchange.refusals import NotEnoughFunds, Refused

Fields = Mapping[str, Any]
MOST_ORDERS = 20


def place(
    exchange: Exchange,
    key: ApiKey,
    fields: Fields,
    expires_at: int | None,
    execution: ExecutionTerms,
) -> dict[str, Any]:
    """Place one order; its refusal is an entry of the reply as well."""
    try:
        requested = requested_order(fields, expires_at)
        order = _placed(exchange, key, requested, execution)
    except replies.OkxError as error:
        return _refused(fields, error.problem)
    except Refused as refused:
        return _refused(fields, replies.refusal(refused, _spent(fields)))
    return {
        "clOrdId": order.client_order_id or "",
        "ordId": order.order_id,
        "sCode": "0",
        "sMsg": "Order placed",
        "tag": fields.get("tag") or "",
        "ts": str(order.accepted_at // 1_000),
    }


def cancel(exchange: Exchange, key: ApiKey, fields: Fields) -> dict[str, Any]:
    """Cancel one order by ordId or clOrdId."""
    try:
        order = named_order(exchange, key.account, fields)
        if order is None or order.state is not ExchangeOrderState.OPEN:
            raise replies.OkxError(replies.NOTHING_TO_CANCEL)
        exchange.cancel(order)
    except replies.OkxError as error:
        return _refused(fields, error.problem)
    return {
        "clOrdId": order.client_order_id or "",
        "ordId": order.order_id,
        "sCode": "0",
        "sMsg": "",
        "ts": str(exchange.clock() // 1_000),
    }


def named_order(exchange: Exchange, account: Account, fields: Fields) -> Order | None:
    """The account's order of this ordId, or else the latest of this clOrdId. Raises OkxError."""
    if fields.get("instId") not in INSTRUMENTS_BY_ID:
        raise replies.OkxError(replies.UNKNOWN_INSTRUMENT) if fields.get("instId") else replies.missing("instId")
    order_id, client_order_id = fields.get("ordId"), fields.get("clOrdId")
    if order_id:
        order = exchange.state.orders_by_id.get(str(order_id))
    elif client_order_id:
        same = account.orders_by_client_id.get(str(client_order_id), [])
        order = same[-1] if same else None
    else:
        raise replies.OkxError(replies.NEITHER_ID)
    if order is None or order.account != account.name:
        return None
    return order if order.symbol == INSTRUMENTS_BY_ID[fields["instId"]].symbol else None


def _placed(exchange: Exchange, key: ApiKey, requested: Requested, execution: ExecutionTerms) -> Order:
    try:
        return exchange.place(key, requested.new, execution)
    except NotEnoughFunds:
        if not requested.may_shrink:
            raise
        smaller = _affordable(exchange, key.account, requested.new)
        if smaller is None:
            raise
        return exchange.place(key, smaller, execution)


def _affordable(exchange: Exchange, account: Account, new: NewOrder) -> NewOrder | None:
    """The market order made as small as the balance, in silence, as OKX does unless `banAmend` forbids it."""
    instrument = exchange.instruments[new.symbol]
    if new.side is Side.SELL:
        quantity = account.free(instrument.base).quantize(instrument.lot, ROUND_DOWN)
    elif new.quote_sized:
        quantity = account.free(instrument.quote).quantize(instrument.cost_step, ROUND_DOWN)
    else:
        executions = take_for_cost(exchange.book(new.symbol).asks, account.free(instrument.quote), instrument.lot)
        quantity = sum((part for _, part in executions), Decimal(0))
    return replace(new, quantity=quantity) if 0 < quantity < new.quantity else None


def _spent(fields: Fields) -> str:
    base, _, quote = str(fields["instId"]).partition("-")
    return base if fields.get("side") == Side.SELL.value else quote


def _refused(fields: Fields, problem: replies.Problem) -> dict[str, Any]:
    client_order_id = fields.get("clOrdId")
    return {
        "clOrdId": client_order_id if isinstance(client_order_id, str) else "",
        "ordId": "",
        "sCode": problem.code,
        "sMsg": problem.message,
        "tag": "",
        "ts": "",
    }
