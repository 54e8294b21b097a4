"""Lists what the paper Binance trades, and translates its names for pairs: `BTC/USDT` is `BTCUSDT`.

Lots, ticks and the least notional are those that Binance publishes for these pairs.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Final

from shared.domain.symbol import Symbol
from shared.exchange.instruments import ETHER_IN_BITCOIN, PaperInstrument

QUOTE = "USDT"
ASSET_DECIMALS = 8
# About what MARKET_LOT_SIZE allows in the large pairs, in dollars.
_LARGEST_MARKET_ORDER = Decimal(5_000_000)


def _pair(
    base: str, start_price: str, price_decimals: int, quantity_decimals: int, step_millionths: int
) -> PaperInstrument:
    return PaperInstrument(
        symbol=Symbol(base, QUOTE),
        base=base,
        quote=QUOTE,
        start_price=Decimal(start_price),
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
        minimum_quantity=Decimal(1).scaleb(-quantity_decimals),
        minimum_cost=Decimal(5),
        largest_market_quantity=(_LARGEST_MARKET_ORDER / Decimal(start_price)).quantize(Decimal(1)),
        cost_decimals=ASSET_DECIMALS,
        base_fee_decimals=ASSET_DECIMALS,
        step_millionths=step_millionths,
    )


_ETHER_IN_BITCOIN: Final = replace(
    ETHER_IN_BITCOIN,
    quantity_decimals=4,
    minimum_quantity=Decimal("0.0001"),
    minimum_cost=Decimal("0.0001"),
    largest_market_quantity=Decimal(2_000),
    cost_decimals=ASSET_DECIMALS,
    base_fee_decimals=ASSET_DECIMALS,
)

INSTRUMENTS: dict[Symbol, PaperInstrument] = {
    instrument.symbol: instrument
    for instrument in (
        _pair("BTC", "46250.00", 2, 5, 250),
        _pair("ETH", "2650.00", 2, 4, 320),
        _pair("SOL", "148.20", 2, 3, 450),
        _pair("BNB", "312.40", 2, 3, 300),
        _pair("XRP", "0.6125", 4, 1, 380),
        _pair("ADA", "0.4523", 4, 1, 400),
        _pair("DOT", "6.812", 3, 2, 400),
        _pair("LTC", "72.40", 2, 3, 320),
        _pair("DOGE", "0.12340", 5, 0, 500),
        _pair("LINK", "14.62", 2, 2, 420),
        _pair("AVAX", "27.45", 2, 2, 450),
        _pair("ATOM", "8.123", 3, 2, 400),
        _pair("BCH", "318.4", 1, 3, 380),
        _pair("UNI", "7.215", 3, 2, 420),
        _pair("TRX", "0.1234", 4, 1, 300),
        _pair("USDC", "1.0000", 4, 0, 100),
        _ETHER_IN_BITCOIN,
    )
}
"""By canonical symbol."""

WIRE_NAMES: dict[str, str] = {symbol: i.base + i.quote for symbol, i in INSTRUMENTS.items()}
"""Canonical symbol → Binance's name."""

INSTRUMENTS_BY_WIRE_NAME: dict[str, PaperInstrument] = {
    WIRE_NAMES[symbol]: instrument for symbol, instrument in INSTRUMENTS.items()
}
