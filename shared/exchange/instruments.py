"""Defines the pairs that every paper broker lists: `INSTRUMENTS`, by canonical symbol.

A dialect adds its own wire names. Lots and minimums are those that Kraken publishes. They are the strictest ones of the
supported brokers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from shared.domain.cash import is_cash
from shared.domain.symbol import Symbol


@dataclass(frozen=True, slots=True)
class PaperInstrument:
    """One pair. Quantities are in base currency, prices and costs in quote currency."""

    symbol: Symbol
    base: str
    quote: str
    start_price: Decimal
    """The first price of the seeded generator."""
    price_decimals: int
    quantity_decimals: int
    minimum_quantity: Decimal
    minimum_cost: Decimal = Decimal("0.5")
    cost_decimals: int = 5
    step_millionths: int = 250
    """The largest change of the seeded generator's price from one candle to the next."""
    quote_dollars: Decimal = Decimal(1)
    """About how many US dollars one unit of the quote currency is worth. The depth of the book follows from it."""
    largest_market_quantity: Decimal | None = None
    """The largest market order in base currency; None: the broker limits it in another way or not at all."""
    largest_market_cost: Decimal | None = None
    """The largest market order in quote currency."""
    commission_free: bool = False
    """Whether the broker takes no fee for this pair, whatever its rates are (stocks)."""
    base_fee_decimals: int | None = None
    """The decimals of fees that are taken in base currency; None means those of the lot."""
    # The steps for these decimals. They are computed once, because every execution reads them.
    price_tick: Decimal = field(init=False)
    lot: Decimal = field(init=False)
    cost_step: Decimal = field(init=False)
    base_fee_step: Decimal = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "price_tick", Decimal(1).scaleb(-self.price_decimals))
        object.__setattr__(self, "lot", Decimal(1).scaleb(-self.quantity_decimals))
        object.__setattr__(self, "cost_step", Decimal(1).scaleb(-self.cost_decimals))
        fee_decimals = self.quantity_decimals if self.base_fee_decimals is None else self.base_fee_decimals
        object.__setattr__(self, "base_fee_step", Decimal(1).scaleb(-fee_decimals))


def _pair(
    base: str, start_price: str, price_decimals: int, minimum_quantity: str, step_millionths: int = 250
) -> PaperInstrument:
    return PaperInstrument(
        symbol=Symbol(base, "USD"),
        base=base,
        quote="USD",
        start_price=Decimal(start_price),
        price_decimals=price_decimals,
        quantity_decimals=8,
        minimum_quantity=Decimal(minimum_quantity),
        step_millionths=step_millionths,
    )


BITCOIN_DOLLARS: Final = Decimal(40_000)
"""About what a bitcoin is worth, for sizes that a broker states in dollars."""

ETHER_IN_BITCOIN: Final = PaperInstrument(
    symbol=Symbol("ETH", "BTC"),
    base="ETH",
    quote="BTC",
    start_price=Decimal("0.05730"),
    price_decimals=5,
    quantity_decimals=8,
    minimum_quantity=Decimal("0.001"),
    minimum_cost=Decimal("0.00002"),
    cost_decimals=10,
    quote_dollars=BITCOIN_DOLLARS,
)
"""A pair that is paid with a coin. Its price follows from those of both coins."""

INSTRUMENTS: dict[Symbol, PaperInstrument] = {
    instrument.symbol: instrument
    for instrument in (
        _pair("BTC", "46250.0", 1, "0.00005"),
        _pair("ETH", "2650.00", 2, "0.001", 320),
        _pair("SOL", "148.20", 2, "0.02", 450),
        _pair("XRP", "0.61250", 5, "2", 380),
        _pair("ADA", "0.452300", 6, "5", 400),
        _pair("DOT", "6.8120", 4, "0.5", 400),
        _pair("LTC", "72.40", 2, "0.05", 320),
        _pair("DOGE", "0.1234000", 7, "20", 500),
        _pair("LINK", "14.62000", 5, "0.2", 420),
        _pair("AVAX", "27.45", 2, "0.1", 450),
        _pair("ATOM", "8.1230", 4, "0.5", 400),
        _pair("BCH", "318.40", 2, "0.01", 380),
        _pair("UNI", "7.215", 3, "0.3", 420),
        _pair("TRX", "0.123400", 6, "20", 300),
        _pair("USDT", "1.00010", 5, "5", 10),
        _pair("USDC", "1.0000", 4, "5", 100),
        ETHER_IN_BITCOIN,
    )
}


def legs_of(instrument: PaperInstrument, listed: Mapping[Symbol, PaperInstrument]) -> tuple[Symbol, Symbol] | None:
    """The pairs of base and quote with the same money, if the quote is a coin: ETH/USD and BTC/USD for ETH/BTC.

    None: the pair has a price of its own.
    """
    for money in (each.quote for each in listed.values() if each.base == instrument.quote):
        legs = Symbol(instrument.base, money), Symbol(instrument.quote, money)
        if not is_cash(instrument.quote) and all(leg in listed for leg in legs):
            return legs
    return None
