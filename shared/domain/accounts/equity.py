"""Computes an account's equity (cash + held + positions at market), and its holdings before known fills."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill, Side

DOLLARS = frozenset({"USD", "USDT", "USDC", "ZUSD"})
"""Currencies that count as cash at par."""


class Balance(BaseModel):
    """The balance of one currency, in that currency: `total` = free + locked in open orders."""

    model_config = ConfigDict(frozen=True)

    free: Decimal
    total: Decimal


def snapshot(balances: Mapping[str, Balance], prices: Mapping[str, Decimal], taken_at: datetime) -> AccountSnapshot:
    """Value an account from its balances and prices, both by currency; prices are in US dollars.

    A currency without a price is listed as unpriced and adds nothing to the sums.
    """
    cash = held = positions = ZERO
    unpriced: list[str] = []
    for currency, balance in balances.items():
        if balance.total == 0:
            continue
        price = Decimal(1) if currency in DOLLARS else prices.get(currency)
        if price is None:
            unpriced.append(currency)
            continue
        held += (balance.total - balance.free) * price
        if currency in DOLLARS:
            cash += balance.free
        else:
            positions += balance.free * price
    return AccountSnapshot(
        equity=cash + held + positions,
        cash=cash,
        held=held,
        positions=positions,
        free={currency: b.free for currency, b in balances.items() if b.total != 0},
        total={currency: b.total for currency, b in balances.items() if b.total != 0},
        unpriced=tuple(sorted(unpriced)),
        taken_at=taken_at,
    )


def effects(fill: AccountFill) -> dict[str, Decimal]:
    """How a fill moves the holdings, by currency, its fee included."""
    base, quote = fill.symbol.currencies
    sign = 1 if fill.side is Side.BUY else -1
    moved = {base: sign * fill.quantity, quote: -sign * fill.cost}
    if fill.fee:
        moved[fill.fee_currency] = moved.get(fill.fee_currency, ZERO) - fill.fee
    return moved


def market_value(
    totals: Mapping[str, Decimal], moved: Mapping[str, Decimal], price_of: Callable[[str], Decimal | None]
) -> Decimal:
    """What holdings are worth at present prices, in US dollars. An asset without a price adds nothing.

    `totals`: quantity per currency; `moved`: what own fills have changed since. A purchase of an asset without a price
    never lowers the value.
    """
    before, change = _value(totals, price_of), _value(moved, price_of)
    is_price_missing = any(quantity > 0 and price_of(currency) is None for currency, quantity in moved.items())
    return before + (max(change, ZERO) if is_price_missing else change)


def _value(quantities: Mapping[str, Decimal], price_of: Callable[[str], Decimal | None]) -> Decimal:
    value = ZERO
    for currency, quantity in quantities.items():
        price = price_of(currency)
        if price is not None:
            value += quantity * price
    return value


def totals_before_fills(totals_now: Mapping[str, Decimal], fills: Sequence[AccountFill]) -> list[dict[str, Decimal]]:
    """Return what the account held before each of `fills` (oldest first), as a quantity per currency.

    `totals_now` are the quantities after the last fill. The fills are undone from there. This needs no earlier reading,
    so it also works for fills that happened while nija was not running.
    """
    totals = dict(totals_now)
    before: list[dict[str, Decimal]] = []
    for fill in reversed(fills):
        for currency, change in effects(fill).items():
            totals[currency] = totals.get(currency, ZERO) - change
        before.append(dict(totals))
    before.reverse()
    return before
