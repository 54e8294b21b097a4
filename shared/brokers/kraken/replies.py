"""Converts Kraken's replies into domain types. Pure; a wrong shape raises the Python error that it causes.

Only the needed fields are required: recorded replies and other servers leave out many fields.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from shared.brokers.kraken.asset_names import LOCKED_SUFFIXES, unstaked
from shared.brokers.kraken.symbols import KrakenSymbols
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol

_STATUSES = {
    "pending": OrderStatus.OPEN,
    "open": OrderStatus.OPEN,
    "closed": OrderStatus.DONE,
    "canceled": OrderStatus.DONE,
    "expired": OrderStatus.DONE,
}

# Volumes have eight decimals. A finer fee would only repeat how Kraken rounded it in quote currency.
_VOLUME_STEP = Decimal("1e-8")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(seconds: Any) -> datetime:
    """Kraken's time (seconds since 1970 with a fraction) as an aware UTC moment, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=int(parse_amount(seconds) * 1_000_000))


def amount(reply: Mapping[str, Any], field: str) -> Decimal:
    """The field as an amount; 0 when it is missing or empty."""
    value = reply.get(field)
    return ZERO if value in (None, "") else parse_amount(value)


def order_report(order_id: str, reply: Mapping[str, Any], symbols: KrakenSymbols) -> OrderReport:
    """Convert an entry of QueryOrders, OpenOrders or ClosedOrders."""
    description = reply["descr"]
    symbol = symbols.symbol(description["pair"])
    flags = order_flags(reply)
    filled = amount(reply, "vol_exec")
    # Kraken cuts the cost to the quote's decimals, and the average price to the pair's decimals, which loses more.
    cost = amount(reply, "cost") or amount(reply, "price") * filled
    fee, fee_currency = _fee_taken(amount(reply, "fee"), filled, cost, flags, symbol)
    return OrderReport(
        broker_order_id=BrokerOrderId(order_id),
        client_order_id=reply.get("cl_ord_id") or None,
        symbol=symbol,
        side=Side(description["type"]),
        status=_STATUSES[reply["status"]],
        # The volume of a viqc order is in quote currency; its quantity in base is then what was filled.
        quantity=filled if SIZED_IN_QUOTE in flags else parse_amount(reply["vol"]),
        limit_price=amount(description, "price") if description.get("ordertype") == "limit" else None,
        filled_quantity=filled,
        cost=cost,
        fee=fee,
        fee_currency=fee_currency,
        reason=str(reply.get("reason") or ""),
    )


IN_BASE: Final = "fcib"
"""The flag of an order whose fee is taken in base currency."""
SIZED_IN_QUOTE: Final = "viqc"
"""The flag of an order whose volume is in quote currency."""


def order_flags(reply: Mapping[str, Any]) -> frozenset[str]:
    """The order flags, for example {"fciq", "viqc"}."""
    return frozenset(flag.strip() for flag in (reply.get("oflags") or "").split(",") if flag.strip())


def _fee_taken(
    fee: Decimal, quantity: Decimal, cost: Decimal, flags: Collection[str], symbol: Symbol
) -> tuple[Decimal, str]:
    """What was taken, and in which currency. Kraken reports every fee in quote currency, whatever it was taken in."""
    base, quote = symbol.currencies
    if IN_BASE in flags and cost > 0:
        return (fee * quantity / cost).quantize(_VOLUME_STEP).normalize(), base
    return fee, quote or symbol


def account_fill(
    trade_id: str, reply: Mapping[str, Any], flags: Collection[str], symbols: KrakenSymbols
) -> AccountFill:
    """Convert an entry of TradesHistory. `flags`: those of its order, which trades do not contain, as far as known."""
    symbol = symbols.symbol(reply["pair"])
    price, quantity = parse_amount(reply["price"]), parse_amount(reply["vol"])
    cost = amount(reply, "cost") or price * quantity
    fee, fee_currency = _fee_taken(amount(reply, "fee"), quantity, cost, flags, symbol)
    return AccountFill(
        fill_id=trade_id,
        order_id=reply["ordertxid"],
        symbol=symbol,
        side=Side(reply["type"]),
        price=price,
        quantity=quantity,
        cost=cost,
        fee=fee,
        fee_currency=fee_currency,
        executed_at=moment(reply["time"]),
    )


def balances(result: Mapping[str, Any], symbols: KrakenSymbols) -> dict[str, Balance]:
    """Totals and free amounts from the result of BalanceEx, by canonical currency.

    `BTC.F` is BTC that may be traded: orders for the coin use it. Staked and bonded coins belong to the account, so
    they count in its total and its equity. They are not free, because an order could not sell them.
    """
    totals: dict[str, Decimal] = {}
    frees: dict[str, Decimal] = {}
    for name, entry in result.items():
        asset, _, suffix = name.partition(".")
        coin = symbols.currency(asset)
        currency = unstaked(coin, suffix, symbols.currencies) or f"{coin}.{suffix}"
        # An older format has only the balance.
        total, held = (
            (amount(entry, "balance"), amount(entry, "hold_trade"))
            if isinstance(entry, dict)
            else (
                parse_amount(entry),
                ZERO,
            )
        )
        totals[currency] = totals.get(currency, ZERO) + total
        is_locked = suffix in LOCKED_SUFFIXES or (not suffix and currency != coin)
        frees[currency] = frees.get(currency, ZERO) + (ZERO if is_locked else total - held)
    return {
        currency: Balance(free=max(frees[currency], ZERO), total=total) for currency, total in totals.items() if total
    }


def key_permissions(result: Mapping[str, Any]) -> KeyPermissions:
    """The permissions in the result of GetApiKeyInfo. If the result lists no permissions, all count as granted."""
    permissions = result.get("permissions")
    identity = str(result.get("iban") or "") or None
    if not isinstance(permissions, list):
        return KeyPermissions(may_trade=True, may_withdraw=True, identity=identity)
    return KeyPermissions(
        may_trade="modify-trades" in permissions, may_withdraw="withdraw-funds" in permissions, identity=identity
    )


def fee_rates(result: Mapping[str, Any]) -> FeeRates:
    """The fee rates of the one requested pair. Kraken reports percent, and omits a maker fee equal to the taker's."""
    (taker,) = result["fees"].values()
    maker = next(iter((result.get("fees_maker") or {}).values()), taker)
    return FeeRates(taker=parse_amount(taker["fee"]) / 100, maker=parse_amount(maker["fee"]) / 100)
