"""Converts OKX's replies into domain types. Pure; a wrong shape raises the Python error that it causes.

Only the needed fields are required: recorded replies and other servers leave out many fields, or send numbers for text.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from shared.brokers.okx.asset_names import staked_asset
from shared.brokers.okx.symbols import OkxSymbols
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.fees import FeeRates
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import Instrument

_STATUSES = {
    "live": OrderStatus.OPEN,
    "partially_filled": OrderStatus.OPEN,
    "filled": OrderStatus.DONE,
    "canceled": OrderStatus.DONE,
    "mmp_canceled": OrderStatus.DONE,
    "order_failed": OrderStatus.DONE,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(milliseconds: Any) -> datetime:
    """OKX's time (milliseconds since 1970) as an aware UTC moment."""
    return _EPOCH + timedelta(milliseconds=int(milliseconds))


def milliseconds(at: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def amount(reply: Mapping[str, Any], *fields: str) -> Decimal:
    """The first of the fields that is neither missing nor empty, as an amount; 0 when there is none."""
    for field in fields:
        value = reply.get(field)
        if value not in (None, ""):
            return parse_amount(value)
    return ZERO


def client_order_id(reply: Mapping[str, Any]) -> str | None:
    return reply.get("clOrdId") or None


def order_id(reply: Mapping[str, Any]) -> BrokerOrderId:
    """The order's id. Raises ValueError when the id is unusable."""
    found = reply["ordId"]
    if isinstance(found, bool) or not isinstance(found, str | int) or not str(found):
        raise ValueError(f"ordId is {found!r}")
    return BrokerOrderId(str(found))


def order_report(reply: Mapping[str, Any], symbols: OkxSymbols) -> OrderReport:
    """The report of an order. OKX takes the fee from what is received; a fee is negative there, a rebate positive."""
    symbol = symbols.symbol(reply["instId"])
    base, quote = symbol.currencies
    side = Side(reply["side"])
    filled = amount(reply, "accFillSz")
    fee_currency = reply.get("feeCcy") or (base if side is Side.BUY else quote)
    return OrderReport(
        broker_order_id=order_id(reply),
        client_order_id=client_order_id(reply),
        symbol=symbol,
        side=side,
        status=_STATUSES[reply["state"]],
        # The size of an order by cost is in quote currency; its quantity in base is then what was filled.
        quantity=filled if _is_sized_in_quote(reply) else parse_amount(reply["sz"]),
        limit_price=None if reply.get("ordType") == "market" or not reply.get("px") else amount(reply, "px"),
        filled_quantity=filled,
        cost=_cost(filled, amount(reply, "avgPx"), symbols.instruments.get(symbol)),
        fee=-amount(reply, "fee"),
        fee_currency=symbols.currency(fee_currency),
        reason=str(reply.get("cancelSourceReason") or reply.get("cancelSource") or ""),
    )


def _is_sized_in_quote(reply: Mapping[str, Any]) -> bool:
    """Whether the order's `sz` is in quote currency. OKX reports it for market orders only."""
    return reply.get("ordType") == "market" and reply.get("tgtCcy") == "quote_ccy"


def account_fill(reply: Mapping[str, Any], symbols: OkxSymbols) -> AccountFill:
    """Convert an entry of fills-history."""
    symbol = symbols.symbol(reply["instId"])
    base, quote = symbol.currencies
    side = Side(reply["side"])
    price, quantity = parse_amount(reply["fillPx"]), parse_amount(reply["fillSz"])
    fee_currency = reply.get("feeCcy") or (base if side is Side.BUY else quote)
    return AccountFill(
        fill_id=fill_id(reply),
        order_id=order_id(reply),
        symbol=symbol,
        side=side,
        price=price,
        quantity=quantity,
        cost=price * quantity,
        fee=-amount(reply, "fee"),
        fee_currency=symbols.currency(fee_currency),
        executed_at=executed_at(reply),
    )


def fill_id(reply: Mapping[str, Any]) -> str:
    """The bill's id. Trade ids count per pair, and both sides of a trade with oneself have the same trade id."""
    return str(reply.get("billId") or f"{reply['instId']}-{reply['tradeId']}")


def executed_at(reply: Mapping[str, Any]) -> datetime:
    """The time by which OKX lists the fill."""
    return moment(reply.get("ts") or reply["fillTime"])


def balances(data: list[Any], symbols: OkxSymbols) -> dict[str, Balance]:
    """Totals, including what orders hold, and free amounts from account/balance, by canonical currency."""
    found: dict[str, Balance] = {}
    for entry in data[0].get("details") or [] if data else []:
        frozen = amount(entry, "frozenBal", "ordFrozen")
        free = amount(entry, "availBal", "availEq")
        if entry.get("eq") in (None, "") and entry.get("cashBal") in (None, ""):
            total = free + frozen
        else:
            total = amount(entry, "eq", "cashBal")
            if entry.get("availBal") in (None, "") and entry.get("availEq") in (None, ""):
                free = total - frozen
        if total:
            name = symbols.currency(entry["ccy"])
            asset = staked_asset(name, symbols.currencies)
            before = found.get(asset or name, Balance(free=ZERO, total=ZERO))
            usable = ZERO if asset else max(free, ZERO)
            found[asset or name] = Balance(free=before.free + usable, total=before.total + total)
    return found


_SPOT_ONLY: Final = "nija trades spot only: choose the account mode Spot or Futures at OKX"
_UNSUPPORTED_MODES: Final = {
    "3": f"the account is in multi-currency margin mode, in which OKX refuses spot orders. {_SPOT_ONLY}",
    "4": f"the account is in portfolio margin mode, in which OKX refuses spot orders. {_SPOT_ONLY}",
}
"""By account level (`acctLv`). In these modes, orders need `tdMode` cross, and executions are listed as margin trades."""


def key_permissions(data: list[Any]) -> KeyPermissions:
    """The permissions in account/config. If it lists no permissions, all count as granted."""
    config = data[0] if data else {}
    text, identity = config.get("perm"), str(config.get("uid") or "") or None
    unsupported = _UNSUPPORTED_MODES.get(str(config.get("acctLv")), "")
    if not isinstance(text, str) or not text:
        return KeyPermissions(may_trade=True, may_withdraw=True, identity=identity, unsupported=unsupported)
    permissions = {part.strip() for part in text.split(",")}
    return KeyPermissions(
        may_trade="trade" in permissions,
        may_withdraw="withdraw" in permissions,
        identity=identity,
        unsupported=unsupported,
    )


def fee_rates(data: list[Any]) -> FeeRates:
    """The fee rates in account/trade-fee, where a fee is negative."""
    tier = data[0]
    return FeeRates(taker=-parse_amount(tier["taker"]), maker=-parse_amount(tier["maker"]))


def _cost(filled: Decimal, average: Decimal, instrument: Instrument | None) -> Decimal:
    """The cost of an order. OKX reports only the average price and cuts it; whole lots at whole ticks undo the cut."""
    cost = filled * average
    if instrument is None:
        return cost
    step = instrument.lot * instrument.price_tick
    return (cost / step).to_integral_value() * step
