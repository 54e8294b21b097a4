"""Converts Coinbase's replies into domain types. Pure; a wrong shape raises the Python error that it causes.

Only the needed fields are required: recorded replies and other servers leave out many fields.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.brokers.coinbase.symbols import CoinbaseSymbols
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol

_STATUSES = {
    "PENDING": OrderStatus.OPEN,
    "QUEUED": OrderStatus.OPEN,
    "OPEN": OrderStatus.OPEN,
    "CANCEL_QUEUED": OrderStatus.OPEN,
    "EDIT_QUEUED": OrderStatus.OPEN,
    "FILLED": OrderStatus.DONE,
    "CANCELLED": OrderStatus.DONE,
    "EXPIRED": OrderStatus.DONE,
    "FAILED": OrderStatus.DONE,
}
_NO_REASON = frozenset({"", "REJECT_REASON_UNSPECIFIED"})

# Orders in quote currency buy fractions of a lot. Coinbase reports sixteen decimals.
_QUANTITY_STEP = Decimal("0.0000000000000001")

# A vault's coins belong to the account, too, but are locked: no order can use them.
_LOCKED_TYPES = frozenset({"ACCOUNT_TYPE_VAULT"})
_FOREIGN_TYPES = frozenset({"ACCOUNT_TYPE_PERP_FUTURES"})


def moment(text: Any) -> datetime:
    """An RFC 3339 text as an aware UTC moment, cut to microseconds."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def amount(reply: Mapping[str, Any], field: str) -> Decimal:
    """The field as an amount; 0 when it is missing or empty."""
    value = reply.get(field)
    return ZERO if value in (None, "") else parse_amount(value)


def placed_order_id(reply: Mapping[str, Any]) -> BrokerOrderId:
    """The order id in a reply to Create Order that reports no failure."""
    order_id = (reply.get("success_response") or {}).get("order_id") or reply.get("order_id")
    if not isinstance(order_id, str) or not order_id:
        raise ValueError(f"order_id is {order_id!r}")
    return BrokerOrderId(order_id)


def order_report(reply: Mapping[str, Any], asked_symbol: Symbol, symbols: CoinbaseSymbols) -> OrderReport:
    """Convert an entry of List Orders or Get Order."""
    symbol = symbols.symbol_asked(reply["product_id"], asked_symbol)
    status = _STATUSES[reply["status"]]
    filled = amount(reply, "filled_size")
    if reply["status"] == "FILLED" and not filled:
        raise ValueError("the order is filled with nothing")
    size = _of_configuration(reply, "base_size")
    return OrderReport(
        broker_order_id=BrokerOrderId(reply["order_id"]),
        client_order_id=reply.get("client_order_id") or None,
        symbol=symbol,
        side=Side(reply["side"].lower()),
        status=status,
        # An order sized in quote currency has no size in base; its quantity is then what was filled.
        quantity=filled if size is None else size,
        limit_price=_of_configuration(reply, "limit_price"),
        filled_quantity=filled,
        cost=amount(reply, "filled_value") or amount(reply, "average_filled_price") * filled,
        fee=amount(reply, "total_fees"),
        fee_currency=symbol.quote,
        reason=_reason(reply),
    )


def _of_configuration(reply: Mapping[str, Any], field: str) -> Decimal | None:
    """A field of the order's one configuration; None when it is missing."""
    configuration = reply.get("order_configuration")
    details: Iterable[Any] = configuration.values() if isinstance(configuration, dict) else ()
    for each in details:
        if isinstance(each, dict) and each.get(field):
            return parse_amount(each[field])
    return None


def _reason(reply: Mapping[str, Any]) -> str:
    """Why the order ended. A filled order has no reason, although Coinbase sends "Internal error" with some."""
    if reply["status"] == "FILLED":
        return ""
    for field in ("cancel_message", "reject_message", "reject_reason"):
        text = str(reply.get(field) or "")
        if text not in _NO_REASON:
            return text
    return ""


def is_execution(reply: Mapping[str, Any]) -> bool:
    """Whether an entry of List Fills is a trade. Corrections and reversals are bookings about earlier trades."""
    return reply.get("trade_type") in (None, "", "FILL")


def account_fill(reply: Mapping[str, Any], symbols: CoinbaseSymbols) -> AccountFill:
    """Convert an entry of List Fills. Coinbase takes its fee in quote currency."""
    symbol = symbols.symbol(reply["product_id"])
    price, size = parse_amount(reply["price"]), parse_amount(reply["size"])
    in_quote = reply.get("size_in_quote") is True
    return AccountFill(
        fill_id=reply.get("entry_id") or reply["trade_id"],
        order_id=reply["order_id"],
        symbol=symbol,
        side=Side(reply["side"].lower()),
        price=price,
        quantity=(size / price).quantize(_QUANTITY_STEP).normalize() if in_quote else size,
        cost=size if in_quote else price * size,
        fee=amount(reply, "commission"),
        fee_currency=symbol.quote or symbol,
        executed_at=moment(reply["trade_time"]),
    )


def balances(wallets: Iterable[Mapping[str, Any]], symbols: CoinbaseSymbols) -> dict[str, Balance]:
    """Totals and free amounts from entries of List Accounts, by canonical currency."""
    totals: dict[str, Decimal] = {}
    frees: dict[str, Decimal] = {}
    for wallet in wallets:
        if wallet.get("type") in _FOREIGN_TYPES:
            continue
        available, hold = wallet["available_balance"], wallet.get("hold") or {}
        currency = symbols.currency(wallet.get("currency") or available["currency"])
        free, held = parse_amount(available["value"]), amount(hold, "value")
        totals[currency] = totals.get(currency, ZERO) + free + held
        frees[currency] = frees.get(currency, ZERO) + (ZERO if wallet.get("type") in _LOCKED_TYPES else free)
    return {
        currency: Balance(free=max(frees[currency], ZERO), total=total) for currency, total in totals.items() if total
    }


def key_permissions(reply: Mapping[str, Any]) -> KeyPermissions:
    """The permissions in the reply to Get API Key Permissions. A permission that is missing counts as granted."""
    return KeyPermissions(
        may_trade=reply.get("can_trade") is not False,
        may_withdraw=reply.get("can_transfer") is not False,
        identity=str(reply.get("portfolio_uuid") or "") or None,
    )


def fee_rates(reply: Mapping[str, Any]) -> FeeRates:
    """The fee tier in the reply to Get Transaction Summary."""
    tier = reply["fee_tier"]
    return FeeRates(taker=parse_amount(tier["taker_fee_rate"]), maker=parse_amount(tier["maker_fee_rate"]))
