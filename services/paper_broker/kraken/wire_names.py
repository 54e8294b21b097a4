"""Translates names of assets and pairs into Kraken's names, and back."""

from dataclasses import dataclass

from shared.exchange.instruments import INSTRUMENTS, PaperInstrument

_ASSET_IDS = {"USD": "ZUSD", "BTC": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "DOGE": "XXDG"}
_ASSET_ALTNAMES = {"BTC": "XBT", "DOGE": "XDG"}
# The pairs of the first years carry their assets' long ids; later ones do not, and these are in between.
_PAIR_IDS = {"DOGE/USD": "XDGUSD", "USDT/USD": "USDTZUSD"}
_LONG_PAIRS = frozenset({"BTC/USD", "ETH/USD", "LTC/USD", "XRP/USD", "ETH/BTC"})


@dataclass(frozen=True, slots=True)
class WirePair:
    """One pair as Kraken writes it."""

    instrument: PaperInstrument
    pair_id: str
    """`XXBTZUSD`: the key in replies."""
    altname: str
    """`XBTUSD`: in order descriptions."""
    websocket_name: str
    """`XBT/USD`."""
    base_id: str
    quote_id: str


def asset_id(currency: str) -> str:
    """`BTC` → `XXBT`; with a suffix the short name stays: `BTC.F` → `XBT.F`."""
    base, dot, suffix = currency.partition(".")
    return asset_altname(base) + dot + suffix if dot else _ASSET_IDS.get(currency, currency)


def asset_altname(currency: str) -> str:
    return _ASSET_ALTNAMES.get(currency, currency)


def _wire_pair(instrument: PaperInstrument) -> WirePair:
    base, quote = asset_altname(instrument.base), asset_altname(instrument.quote)
    long_id = asset_id(instrument.base) + asset_id(instrument.quote)
    pair_id = long_id if instrument.symbol in _LONG_PAIRS else _PAIR_IDS.get(instrument.symbol, base + quote)
    return WirePair(
        instrument=instrument,
        pair_id=pair_id,
        altname=base + quote,
        websocket_name=f"{base}/{quote}",
        base_id=asset_id(instrument.base),
        quote_id=asset_id(instrument.quote),
    )


WIRE_PAIRS: dict[str, WirePair] = {symbol: _wire_pair(instrument) for symbol, instrument in INSTRUMENTS.items()}
"""By canonical symbol."""

PAIRS_BY_ANY_NAME: dict[str, WirePair] = {
    name: pair for pair in WIRE_PAIRS.values() for name in (pair.pair_id, pair.altname, pair.websocket_name)
}
