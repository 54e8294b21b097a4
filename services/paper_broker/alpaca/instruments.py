"""Lists what the paper Alpaca trades: coins and some stocks against US dollars, with Alpaca's lots and minimums.

`INSTRUMENTS` lists them by canonical symbol, and `BY_ANY_NAME` by each name that a request may use.
"""

from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from typing import Final

from shared.domain.symbol import Symbol
from shared.exchange.instruments import INSTRUMENTS as COMMON
from shared.exchange.instruments import PaperInstrument

# Alpaca counts coins and fractional shares in billionths.
_QUANTITY_DECIMALS = 9
_LOT = Decimal(1).scaleb(-_QUANTITY_DECIMALS)
_CRYPTO_MINIMUM_COST = Decimal(10)
_CRYPTO_LARGEST_COST = Decimal(200_000)
_STOCK_MINIMUM_COST = Decimal(1)
_COIN_PAIR_MINIMUM = 2 * _LOT
CURRENCY: Final = "USD"
"""The currency of accounts, and of everything but the pairs of two coins."""


def _coin(instrument: PaperInstrument) -> PaperInstrument:
    # `min_order_size` is about one dollar's worth; the ten dollars that an order must cost are another rule.
    return replace(
        instrument,
        quantity_decimals=_QUANTITY_DECIMALS,
        minimum_quantity=(1 / instrument.start_price).quantize(_LOT, ROUND_CEILING),
        minimum_cost=_CRYPTO_MINIMUM_COST,
        largest_market_cost=_CRYPTO_LARGEST_COST,
        cost_decimals=_QUANTITY_DECIMALS,
    )


def _coin_pair(instrument: PaperInstrument) -> PaperInstrument:
    """A pair that is paid with a coin. Its orders have no minimum in dollars."""
    return replace(
        instrument,
        price_decimals=_QUANTITY_DECIMALS,
        quantity_decimals=_QUANTITY_DECIMALS,
        minimum_quantity=_COIN_PAIR_MINIMUM,
        minimum_cost=Decimal(0),
        largest_market_cost=_CRYPTO_LARGEST_COST / instrument.quote_dollars,
        cost_decimals=_QUANTITY_DECIMALS,
    )


def _listed(instrument: PaperInstrument) -> PaperInstrument:
    return _coin(instrument) if instrument.quote == CURRENCY else _coin_pair(instrument)


def _stock(ticker: str, start_price: str) -> PaperInstrument:
    return PaperInstrument(
        symbol=Symbol(ticker, "USD"),
        base=ticker,
        quote="USD",
        start_price=Decimal(start_price),
        price_decimals=2,
        quantity_decimals=_QUANTITY_DECIMALS,
        minimum_quantity=_LOT,
        minimum_cost=_STOCK_MINIMUM_COST,
        cost_decimals=_QUANTITY_DECIMALS,
        step_millionths=80,
        commission_free=True,
    )


_STOCKS = (
    _stock("AAPL", "172.40"),
    _stock("MSFT", "318.20"),
    _stock("NVDA", "244.10"),
    _stock("TSLA", "312.60"),
    _stock("SPY", "448.70"),
)

INSTRUMENTS: dict[Symbol, PaperInstrument] = {
    instrument.symbol: instrument for instrument in (*map(_listed, COMMON.values()), *_STOCKS)
}


def is_stock(instrument: PaperInstrument) -> bool:
    return instrument.commission_free


def wire_symbol(instrument: PaperInstrument) -> str:
    """`BTC/USD`, `AAPL`: the name in orders, assets and activities."""
    return instrument.base if is_stock(instrument) else str(instrument.symbol)


def position_symbol(instrument: PaperInstrument) -> str:
    """`BTCUSD`, `AAPL`: the name in positions."""
    return instrument.base if is_stock(instrument) else instrument.base + instrument.quote


BY_ANY_NAME: dict[str, PaperInstrument] = {
    name: instrument
    for instrument in INSTRUMENTS.values()
    for name in (wire_symbol(instrument), position_symbol(instrument))
}
"""Requests may name a coin's pair with or without the slash."""
