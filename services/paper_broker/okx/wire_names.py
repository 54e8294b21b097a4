"""Lists the pairs of the paper OKX with their lots and minimums, and translates symbols to `BTC-USDT` and back."""

from dataclasses import replace
from decimal import Decimal

from shared.domain.symbol import Symbol
from shared.exchange.instruments import INSTRUMENTS, PaperInstrument

QUOTE = "USDT"
# Smallest order and decimals of the lot; pairs that are not named here have the last row's.
_SIZES = {"BTC": ("0.00001", 8), "ETH": ("0.0001", 6), "SOL": ("0.001", 6), "LTC": ("0.001", 6)}
_OTHER_SIZES = ("0.1", 6)
# OKX rounds fees much finer than lots, so what a buyer holds is seldom a multiple of the lot.
_FEE_DECIMALS = 12
LARGEST_MARKET_ORDER = Decimal(1_000_000)
"""In dollars, for every pair."""


def _pair(listed: PaperInstrument) -> PaperInstrument:
    quote = QUOTE if listed.quote == "USD" else listed.quote
    minimum_quantity, quantity_decimals = _SIZES.get(listed.base, _OTHER_SIZES)
    return replace(
        listed,
        symbol=Symbol(listed.base, quote),
        quote=quote,
        quantity_decimals=quantity_decimals,
        minimum_quantity=Decimal(minimum_quantity),
        minimum_cost=Decimal(0),
        largest_market_cost=LARGEST_MARKET_ORDER / listed.quote_dollars,
        # Prices times quantities, exactly: OKX does not round what is paid.
        cost_decimals=listed.price_decimals + quantity_decimals,
        base_fee_decimals=_FEE_DECIMALS,
    )


INSTRUMENTS_BY_SYMBOL: dict[Symbol, PaperInstrument] = {
    instrument.symbol: instrument for instrument in map(_pair, INSTRUMENTS.values()) if instrument.base != QUOTE
}

INSTRUMENTS_BY_ID: dict[str, PaperInstrument] = {
    symbol.replace("/", "-"): instrument for symbol, instrument in INSTRUMENTS_BY_SYMBOL.items()
}

IDS: dict[Symbol, str] = {instrument.symbol: instrument_id for instrument_id, instrument in INSTRUMENTS_BY_ID.items()}
"""By canonical symbol."""
