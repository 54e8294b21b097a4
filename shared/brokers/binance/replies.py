"""Converts Binance's replies into domain types. Pure; a wrong shape raises the Python error that it causes.

Only the needed fields are required: recorded replies and other servers leave out many fields.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.brokers.binance.asset_names import locked_asset
from shared.brokers.binance.symbols import BinanceSymbols
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId

_STATUSES = {
    "NEW": OrderStatus.OPEN,
    "PENDING_NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.OPEN,
    "PENDING_CANCEL": OrderStatus.OPEN,
    "FILLED": OrderStatus.DONE,
    "CANCELED": OrderStatus.DONE,
    "REJECTED": OrderStatus.DONE,
    "EXPIRED": OrderStatus.DONE,
    "EXPIRED_IN_MATCH": OrderStatus.DONE,
}
_LIMIT_TYPES = frozenset({"LIMIT", "LIMIT_MAKER"})
_SAYS_NOTHING = frozenset({"NEW", "PENDING_NEW", "PARTIALLY_FILLED", "FILLED"})
_WITHDRAWALS = ("enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer")
_BASIS_POINT = Decimal("0.0001")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(milliseconds: Any) -> datetime:
    """Binance's time (milliseconds since 1970) as an aware UTC moment."""
    return _EPOCH + timedelta(microseconds=int(parse_amount(milliseconds) * 1_000))


def milliseconds(at: datetime) -> int:
    """The last whole millisecond since 1970 that is not after the moment."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def amount(reply: Mapping[str, Any], field: str) -> Decimal:
    """The field as an amount; 0 when it is missing or empty."""
    value = reply.get(field)
    return ZERO if value in (None, "") else parse_amount(value)


def whole_number(value: Any) -> int:
    """An id as an integer. It arrives as a number or as text."""
    number = parse_amount(value)
    if number != int(number):
        raise ValueError(f"an id is {value!r}")
    return int(number)


def order_id(reply: Mapping[str, Any]) -> BrokerOrderId:
    return BrokerOrderId(str(whole_number(reply["orderId"])))


def order_report(reply: Mapping[str, Any], trades: Sequence[Mapping[str, Any]], symbols: BinanceSymbols) -> OrderReport:
    """The report of an order with its trades: entries of `fills` in the reply to a new order, or of myTrades."""
    symbol = symbols.symbol(reply["symbol"])
    base, quote = symbol.currencies
    filled = parse_amount(reply["executedQty"])
    fee, fee_currency = _fee(trades, base, quote, symbols)
    ordered = amount(reply, "origQty")
    cost = amount(reply, "cummulativeQuoteQty")
    if cost <= 0:
        # Binance sends -1 when it no longer has the value.
        cost = sum((parse_amount(trade["price"]) * parse_amount(trade["qty"]) for trade in trades), ZERO)
    return OrderReport(
        broker_order_id=order_id(reply),
        client_order_id=reply.get("clientOrderId") or None,
        symbol=symbol,
        side=Side(reply["side"].lower()),
        status=_STATUSES[reply["status"]],
        # An order sized in quote currency has no quantity of its own; its quantity is then what was filled.
        quantity=filled if is_quote_sized(reply) or not ordered else ordered,
        limit_price=amount(reply, "price") if reply.get("type") in _LIMIT_TYPES else None,
        filled_quantity=filled,
        cost=cost,
        fee=fee,
        fee_currency=fee_currency,
        reason="" if reply["status"] in _SAYS_NOTHING else reply["status"].lower().replace("_", " "),
    )


def is_quote_sized(reply: Mapping[str, Any]) -> bool:
    """Whether the order gave its size in quote currency."""
    return amount(reply, "origQuoteOrderQty") > 0


def traded(trades: Iterable[Mapping[str, Any]]) -> Decimal:
    """The base currency that these trades moved, without fees."""
    return sum((parse_amount(trade["qty"]) for trade in trades), ZERO)


def _fee(trades: Iterable[Mapping[str, Any]], base: str, quote: str, symbols: BinanceSymbols) -> tuple[Decimal, str]:
    """The fee and its currency.

    BNB may run out between two trades. Then only the fee in the pair's own coins is reported: in base if there is one,
    because positions are counted in base.
    """
    fees: dict[str, Decimal] = {}
    for trade in trades:
        asset = trade.get("commissionAsset")
        if asset:
            currency = symbols.currency(asset)
            fees[currency] = fees.get(currency, ZERO) + amount(trade, "commission")
    taken = {currency: fee for currency, fee in fees.items() if fee} or fees
    for currency in (base, quote, *taken):
        if currency in taken:
            return taken[currency], currency
    return ZERO, ""


def fill_id(trade: Mapping[str, Any]) -> str:
    """Trade ids count per symbol, so the symbol is part of the fill's id."""
    return f"{trade['symbol']}-{whole_number(trade['id'])}"


def account_fill(trade: Mapping[str, Any], symbols: BinanceSymbols) -> AccountFill:
    """Convert an entry of myTrades."""
    price, quantity = parse_amount(trade["price"]), parse_amount(trade["qty"])
    asset = trade.get("commissionAsset")
    symbol = symbols.symbol(trade["symbol"])
    return AccountFill(
        fill_id=fill_id(trade),
        order_id=order_id(trade),
        symbol=symbol,
        side=Side.BUY if _truth(trade["isBuyer"]) else Side.SELL,
        price=price,
        quantity=quantity,
        cost=amount(trade, "quoteQty") or price * quantity,
        fee=amount(trade, "commission"),
        fee_currency=symbols.currency(asset) if asset else symbol.quote,
        executed_at=moment(trade["time"]),
    )


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"neither true nor false: {value!r}")
    return value


def balances(reply: Mapping[str, Any], symbols: BinanceSymbols) -> dict[str, Balance]:
    """The balances in the reply to GET account, by canonical currency. Zero balances are left out.

    What earns or is staked (LDUSDT) counts in the total of its asset. It is not free, because an order cannot use it.
    """
    found: dict[str, Balance] = {}
    for entry in reply["balances"]:
        free, locked = parse_amount(entry["free"]), amount(entry, "locked")
        if not free + locked:
            continue
        name = symbols.currency(entry["asset"])
        asset = locked_asset(name, symbols.currencies)
        before = found.get(asset or name, Balance(free=ZERO, total=ZERO))
        usable = ZERO if asset else free
        found[asset or name] = Balance(free=before.free + usable, total=before.total + free + locked)
    return found


def fee_rates(reply: Mapping[str, Any]) -> FeeRates:
    """The fee tier in GET account: fractions, or ten-thousandths where a server sends only the older fields."""
    rates = reply.get("commissionRates")
    if isinstance(rates, dict):
        return FeeRates(taker=parse_amount(rates["taker"]), maker=parse_amount(rates["maker"]))
    return FeeRates(
        taker=parse_amount(reply["takerCommission"]) * _BASIS_POINT,
        maker=parse_amount(reply["makerCommission"]) * _BASIS_POINT,
    )


def key_permissions(reply: Mapping[str, Any]) -> KeyPermissions:
    """The permissions in the reply of apiRestrictions. A permission that it does not contain counts as granted."""
    return KeyPermissions(
        may_trade=reply.get("enableSpotAndMarginTrading") is not False,
        may_withdraw=any(reply.get(name) is not False for name in _WITHDRAWALS),
    )
