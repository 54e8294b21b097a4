"""Finds the pair of an account that a user means by `BTCUSDT`, `BTC-USD`, `BTC/USD` or `BTC`."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from shared.domain.errors import InvalidSymbol
from shared.domain.symbol import Symbol

CASH_QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "GBP")
"""Quotes that stand for money. A user who names one of them means the cash of the account."""


def resolve_pair(text: str, listed: Collection[Symbol], cash_currencies: Sequence[str]) -> Symbol | None:
    """Return the listed pair that a text names; None if there is none.

    The exact pair goes first. A pair against another cash currency becomes the one against the account's own cash:
    `BTC-USD` is `BTC/USDT` where only that is listed. `cash_currencies`: the account's, the preferred one first.
    """
    named = list(_readings(text.strip().upper()))
    exact = (symbol for base, quote in named if (symbol := _symbol(base, quote)) in listed)
    in_cash = (
        symbol
        for base, quote in named
        if quote in ("", *CASH_QUOTES, *cash_currencies)
        for cash in cash_currencies
        if (symbol := _symbol(base, cash)) in listed
    )
    return next(exact, None) or next(in_cash, None)


def _readings(text: str) -> Iterator[tuple[str, str]]:
    """Yield what a text can mean as base and quote; without a separator it may end with a quote or have none."""
    for separator in "/-":
        base, found, quote = text.partition(separator)
        if found:
            yield base, quote
            return
    for quote in CASH_QUOTES:
        if text.endswith(quote) and text != quote:
            yield text.removesuffix(quote), quote
    yield text, ""


def _symbol(base: str, quote: str) -> Symbol | None:
    try:
        return Symbol(base, quote)
    except InvalidSymbol:
        return None
