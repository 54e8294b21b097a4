"""Converts Alpaca's replies into domain types. Pure; a wrong shape raises the Python error that it causes.

Only the needed fields are required: recorded replies and other servers leave out many fields.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from shared.brokers.alpaca.fees import FeeTier, fee
from shared.brokers.alpaca.symbols import AlpacaSymbols
from shared.brokers.port.account import KeyPermissions, MarginReading
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ONE, ZERO, parse_amount
from shared.domain.capital.facts import MarginFacts
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId

# `done_for_day`, `calculated` and `stopped` may still change, so they do not end an order.
_FINAL = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
_OPEN = frozenset(
    {
        *("new", "accepted", "pending_new", "accepted_for_bidding", "partially_filled", "pending_cancel", "held"),
        *("pending_replace", "stopped", "suspended", "calculated", "done_for_day", "pending_review"),
    }
)
_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}
# A multiplier of 4 holds during the trading day only. A position that stays overnight has 2.
_MOST_LEVERAGE = Decimal(2)
# A limit order that is executed later than this after its submission has waited in the book.
_TAKES_WITHIN = timedelta(seconds=1)


class OrderFacts(NamedTuple):
    """The facts that a fill's order adds to the fill."""

    asset_class: str | None = None
    rested_from: datetime | None = None
    """When a limit order that may wait was submitted. Executions well after that time pay the maker's rate."""


def moment(text: Any) -> datetime:
    """Alpaca's time as an aware UTC moment; fractions beyond a microsecond are cut off."""
    if not isinstance(text, str):
        raise TypeError(f"a time is {text!r}")
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def amount(reply: Mapping[str, Any], field: str) -> Decimal:
    """The field as an amount; 0 when it is missing or empty."""
    value = reply.get(field)
    return ZERO if value in (None, "") else parse_amount(value)


def placed_order_id(reply: Mapping[str, Any]) -> BrokerOrderId:
    order_id = reply["id"]
    if not isinstance(order_id, str) or not order_id:
        raise ValueError(f"the order's id is {order_id!r}")
    return BrokerOrderId(order_id)


def order_report(reply: Mapping[str, Any], symbols: AlpacaSymbols, tier: FeeTier) -> OrderReport:
    """The report of an order. The execution time decides whether all of its fee is a taker's or a maker's."""
    status = reply["status"]
    if status not in _FINAL and status not in _OPEN:
        raise ValueError(f"an order's status is {status!r}")
    symbol = symbols.symbol(reply["symbol"], reply.get("asset_class"))
    side = _SIDES[reply["side"]]
    filled = amount(reply, "filled_qty")
    cost = amount(reply, "filled_avg_price") * filled
    rate = ZERO
    if symbols.is_crypto(symbol):
        rested_from, filled_at = _rested_from(reply), reply.get("filled_at")
        rate = tier.maker if filled_at and _has_rested(rested_from, moment(filled_at)) else tier.taker
    taken, currency = fee(symbol, side, filled, cost, rate)
    return OrderReport(
        broker_order_id=placed_order_id(reply),
        client_order_id=reply.get("client_order_id") or None,
        symbol=symbol,
        side=side,
        status=OrderStatus.DONE if status in _FINAL else OrderStatus.OPEN,
        # An order by notional gives its size in dollars; its quantity in base is then what was filled.
        quantity=amount(reply, "qty") or filled,
        limit_price=amount(reply, "limit_price") or None,
        filled_quantity=filled,
        cost=cost,
        fee=taken,
        fee_currency=currency,
        reason="" if status in _OPEN or status == "filled" else status,
    )


def order_facts(reply: Mapping[str, Any]) -> OrderFacts:
    """The facts of a fill's order that `account_fill` needs."""
    return OrderFacts(
        asset_class=reply.get("asset_class"),
        rested_from=_rested_from(reply),
    )


def _rested_from(reply: Mapping[str, Any]) -> datetime | None:
    """When a limit order was submitted; None for an order that never waits in the book."""
    kind = reply.get("type") or reply.get("order_type")
    came_at = reply.get("submitted_at") or reply.get("created_at")
    # Such an order takes what is there, however late it reaches the book.
    is_immediate = reply.get("time_in_force") in ("ioc", "fok")
    return moment(came_at) if kind == "limit" and came_at and not is_immediate else None


def _has_rested(rested_from: datetime | None, executed_at: datetime) -> bool:
    """Whether an order was executed well after its submission, so that it pays the maker's rate."""
    return rested_from is not None and executed_at - rested_from > _TAKES_WITHIN


def account_fill(activity: Mapping[str, Any], order: OrderFacts, symbols: AlpacaSymbols, tier: FeeTier) -> AccountFill:
    """Convert an activity of type FILL."""
    symbol = symbols.symbol(activity["symbol"], order.asset_class)
    side = _SIDES[activity["side"]]
    price, quantity = parse_amount(activity["price"]), parse_amount(activity["qty"])
    executed_at = moment(activity["transaction_time"])
    rate = ZERO
    if symbols.is_crypto(symbol):
        rate = tier.maker if _has_rested(order.rested_from, executed_at) else tier.taker
    taken, currency = fee(symbol, side, quantity, price * quantity, rate)
    return AccountFill(
        fill_id=activity["id"],
        order_id=activity["order_id"],
        symbol=symbol,
        side=side,
        price=price,
        quantity=quantity,
        cost=price * quantity,
        fee=taken,
        fee_currency=currency,
        executed_at=executed_at,
    )


def cash(reply: Mapping[str, Any]) -> tuple[str, Balance]:
    """The account's currency and cash. Open purchases reduce the buying power, but not the cash."""
    total = parse_amount(reply["cash"])
    free = total
    for field in ("non_marginable_buying_power", "buying_power"):
        if reply.get(field) not in (None, ""):
            free = min(total, max(amount(reply, field), ZERO))
            break
    return str(reply.get("currency") or "USD"), Balance(free=free, total=total)


def positions(reply: Sequence[Mapping[str, Any]], symbols: AlpacaSymbols) -> dict[str, Balance]:
    """Holdings by canonical currency. A short position is negative."""
    holdings: dict[str, Balance] = {}
    for position in reply:
        currency = symbols.symbol(position["symbol"], position.get("asset_class")).partition("/")[0]
        total = parse_amount(position["qty"])
        if total > 0 and position.get("side") == "short":
            total = -total
        free = total if position.get("qty_available") in (None, "") else amount(position, "qty_available")
        if total:
            holdings[currency] = Balance(free=free, total=total)
    return holdings


def margin(
    account: Mapping[str, Any], positions: Sequence[Mapping[str, Any]], symbols: AlpacaSymbols
) -> MarginReading | None:
    """Margin and entry prices of an account; None for one that cannot borrow.

    The wallet is the equity without the unrealized profit. Alpaca reports that profit for each position.
    """
    leverage = min(amount(account, "multiplier"), _MOST_LEVERAGE)
    if leverage <= ONE:
        return None
    unrealized = sum((amount(position, "unrealized_pl") for position in positions), ZERO)
    prices = {
        symbols.symbol(position["symbol"], position.get("asset_class")).base: amount(position, "avg_entry_price")
        for position in positions
    }
    facts = MarginFacts(
        wallet=parse_amount(account["equity"]) - unrealized,
        used=max(ZERO, amount(account, "initial_margin")),
        most_leverage=leverage,
    )
    return MarginReading(facts=facts, entry_prices={asset: price for asset, price in prices.items() if price > 0})


def crypto_tier(reply: Mapping[str, Any]) -> int | None:
    """The account's fee tier; None when the reply does not contain it."""
    tier = reply.get("crypto_tier")
    return int(tier) if isinstance(tier, int | str) and str(tier).isdecimal() else None


def key_permissions(reply: Mapping[str, Any]) -> KeyPermissions:
    """Permissions derived from the account. Alpaca does not report a key's rights, so it counts as "may withdraw"."""
    blocked = any(
        reply.get(field) is True for field in ("trading_blocked", "account_blocked", "trade_suspended_by_user")
    )
    active = str(reply.get("status") or "ACTIVE").upper() == "ACTIVE"
    identity = str(reply.get("id") or "") or None
    return KeyPermissions(may_trade=active and not blocked, may_withdraw=True, identity=identity)


def last_prices(reply: Mapping[str, Any]) -> dict[str, Decimal]:
    """The price of the latest trade by wire name. A name without a trade is left out."""
    trades = reply["trades"]
    return {name: amount(trade, "p") for name, trade in trades.items() if isinstance(trade, dict) and trade.get("p")}
