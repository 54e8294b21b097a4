"""Writes orders, trades and balances of the exchange as the JSON that Kraken sends.

Amounts are text; times are seconds since 1970 as JSON numbers, as Kraken sends them (time is not money).
"""

from base64 import b32encode
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from services.paper_broker.kraken.wire_names import WIRE_PAIRS, WirePair, asset_id
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.orders import ExchangeOrderState, Fill, Order

_STATUS = {
    ExchangeOrderState.OPEN: "open",
    ExchangeOrderState.FILLED: "closed",
    ExchangeOrderState.CANCELED: "canceled",
    ExchangeOrderState.EXPIRED: "expired",
}
_MICROSECONDS = 1_000_000


def seconds(microseconds: int) -> float:
    return microseconds / _MICROSECONDS


def order_text(order: Order, pair: WirePair) -> str:
    """`buy 0.01000000 XBTUSD @ limit 45000.0`."""
    kind = order.type.value
    if order.limit_price is not None:
        kind += f" {order.limit_price:.{pair.instrument.price_decimals}f}"
    return f"{order.side.value} {order.quantity:.8f} {pair.altname} @ {kind}"


def order_flags(order: Order) -> str:
    flags = ["fcib" if order.fee_in_base else "fciq"]
    if order.quote_sized:
        flags.append("viqc")
    if order.post_only:
        flags.append("post")
    return ",".join(flags)


def order_shape(order: Order, *, with_trades: bool) -> dict[str, Any]:
    """An order as OpenOrders, ClosedOrders and QueryOrders show it. Its fee is in quote currency, whatever was taken."""
    pair = WIRE_PAIRS[order.symbol]
    instrument = pair.instrument
    limit = "0" if order.limit_price is None else f"{order.limit_price:.{instrument.price_decimals}f}"
    average = order.cost / order.filled if order.filled else order.filled
    shape: dict[str, Any] = {
        "refid": None,
        "userref": order.reference,
        "status": _STATUS[order.state],
        "opentm": seconds(order.accepted_at),
        "starttm": 0,
        "expiretm": 0,
        "descr": {
            "pair": pair.altname,
            "type": order.side.value,
            "ordertype": order.type.value,
            "price": limit,
            "price2": "0",
            "leverage": "none",
            "order": order_text(order, pair),
            "close": "",
        },
        "vol": f"{order.quantity:.8f}",
        "vol_exec": f"{order.filled:.8f}",
        "cost": f"{order.cost:.{instrument.cost_decimals}f}",
        "fee": f"{sum((_fee_in_quote(fill) for fill in order.fills), Decimal(0)):.{instrument.cost_decimals}f}",
        "price": f"{average:.{max(instrument.price_decimals, 5)}f}",
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "",
        "oflags": order_flags(order),
    }
    if order.client_order_id is not None:
        shape["cl_ord_id"] = order.client_order_id
    if order.closed_at is not None:
        shape["closetm"] = seconds(order.closed_at)
        shape["reason"] = order.reason or None
    if with_trades and order.fills:
        shape["trades"] = [fill.fill_id for fill in order.fills]
    return shape


def trade_shape(fill: Fill) -> dict[str, Any]:
    """A fill as TradesHistory and QueryTrades show it. A fee taken in the coin is shown in quote currency."""
    order = fill.order
    pair = WIRE_PAIRS[order.symbol]
    instrument = pair.instrument
    return {
        "ordertxid": order.order_id,
        "postxid": "T" + order.order_id[1:],
        "pair": pair.pair_id,
        "time": seconds(fill.executed_at),
        "type": order.side.value,
        "ordertype": order.type.value,
        "price": f"{fill.price:.{max(instrument.price_decimals, 5)}f}",
        "cost": f"{fill.cost:.{instrument.cost_decimals}f}",
        "fee": f"{_fee_in_quote(fill):.{instrument.cost_decimals}f}",
        "vol": f"{fill.quantity:.8f}",
        "margin": "0.00000",
        "leverage": "0",
        "misc": "",
        "trade_id": fill.sequence,
        "maker": fill.is_maker,
    }


def _fee_in_quote(fill: Fill) -> Decimal:
    return fill.fee * fill.price if fill.order.fee_in_base else fill.fee


def extended_balances(account: Account) -> dict[str, dict[str, str]]:
    """BalanceEx: total and what open orders hold, by asset id."""
    return {
        asset_id(currency): {"balance": f"{holding.total:f}", "hold_trade": f"{holding.hold:f}"}
        for currency, holding in account.holdings.items()
    }


def balances(account: Account) -> dict[str, str]:
    """Balance: totals only."""
    return {asset_id(currency): f"{holding.total:f}" for currency, holding in account.holdings.items()}


def iban(account: Account) -> str:
    """The account's number at Kraken, which looks like "AA12 N84G 3RFV WD6Y"."""
    digest = b32encode(blake2b(account.name.encode(), person=b"iban", digest_size=10).digest()).decode()
    return " ".join(("AA" + digest[:2], digest[2:6], digest[6:10], digest[10:14]))


def opening_entry(account: Account) -> dict[str, Any]:
    """The oldest entry of the account's ledger: the deposit that opened it."""
    digest = b32encode(blake2b(account.name.encode(), person=b"ledger", digest_size=10).digest()).decode()
    ledger_id = f"L{digest[:5]}-{digest[5:10]}-{digest[10:16]}"
    currency = next(iter(account.holdings), "USD")
    entry = {
        "aclass": "currency",
        "amount": "0.0000",
        "asset": asset_id(currency),
        "balance": "0.0000",
        "fee": "0.0000",
        "refid": ledger_id.replace("L", "Q", 1),
        "subtype": "",
        "time": 0,
        "type": "deposit",
    }
    return {ledger_id: entry}


def key_info(key: ApiKey) -> dict[str, Any]:
    """GetApiKeyInfo of the key that asks."""
    return {
        "apiKeyName": key.account.name,
        "apiKey": key.api_key,
        "nonce": str(key.last_nonce),
        "nonceWindow": 0,
        "permissions": sorted(key.permissions),
        "iban": iban(key.account) if key.account.shows_identity else "",
        "validUntil": "0",
        "queryFrom": "0",
        "queryTo": "0",
        "createdTime": "0",
        "modifiedTime": "0",
        "ipAllowlist": sorted(key.addresses),
        "lastUsed": "0",
    }
