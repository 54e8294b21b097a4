"""Says which currencies are cash: money that pays for positions and is never a position itself.

One set serves all brokers, because these names mean money at each of them. Some are also names of shares, such as `NOK`.
Alpaca's adapter gives those shares another name (`NOK.STOCK`), so that they are not taken for cash.
"""

from typing import Final

from shared.domain.fill import Side
from shared.domain.symbol import Symbol

# fmt: off
_NATIONAL: Final = frozenset((
    "USD", "ZUSD", "EUR", "GBP", "CHF", "CAD", "AUD", "NZD", "JPY", "SGD", "HKD", "TRY", "BRL", "MXN", "PLN",
    "CZK", "RON", "ZAR", "UAH", "ARS", "AED", "INR", "IDR", "SEK", "NOK", "DKK", "HUF", "RUB", "KRW",
))
_STABLE: Final = frozenset((
    "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "PYUSD", "USDG", "RLUSD", "USD1", "USDS", "USDE", "USDQ",
    "USDR", "DAI", "EURC", "EURI", "AEUR", "EURQ", "EURR",
))
"""Coins that stand for one unit of a national currency."""
# fmt: on
CASH: Final = _NATIONAL | _STABLE


def is_cash(currency: str) -> bool:
    return currency in CASH


def is_cash_conversion(symbol: Symbol) -> bool:
    """Whether the pair exchanges cash for cash, so that a trade opens and closes nothing."""
    return is_cash(symbol.base) and is_cash(symbol.quote)


def is_paid_with_coin(symbol: Symbol, side: Side) -> bool:
    """Whether the trade spends a position: it is a purchase whose quote is known and is not cash."""
    return side is Side.BUY and bool(symbol.quote) and not is_cash(symbol.quote)


def closable_asset(symbol: Symbol, side: Side) -> str:
    """The asset that the trade opens or closes.

    It is the base, except for a purchase that is paid with a coin. Such a purchase closes a part of the coin.
    """
    return symbol.quote if is_paid_with_coin(symbol, side) else symbol.base


def may_close(symbol: Symbol, side: Side) -> bool:
    """Whether the trade can close a position: it is a sale, or a purchase that is paid with a coin."""
    return side is Side.SELL or is_paid_with_coin(symbol, side)
