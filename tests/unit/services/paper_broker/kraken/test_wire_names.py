"""Tests Kraken's irregular names, and that no name stands for two things."""

import pytest

from services.paper_broker.kraken.wire_names import PAIRS_BY_ANY_NAME, WIRE_PAIRS, asset_id


@pytest.mark.parametrize(
    ("currency", "expected"),
    [("BTC", "XXBT"), ("USD", "ZUSD"), ("DOGE", "XXDG"), ("SOL", "SOL"), ("BTC.F", "XBT.F"), ("ETH.F", "ETH.F")],
)
def test_assets_have_krakens_ids_and_staked_ones_the_short_name(currency: str, expected: str) -> None:
    """The old assets carry X or Z; with a suffix they do not."""
    assert asset_id(currency) == expected


@pytest.mark.parametrize(
    ("symbol", "pair_id", "altname"),
    [
        ("BTC/USD", "XXBTZUSD", "XBTUSD"),
        ("ETH/USD", "XETHZUSD", "ETHUSD"),
        ("SOL/USD", "SOLUSD", "SOLUSD"),
        ("DOGE/USD", "XDGUSD", "XDGUSD"),
        ("USDT/USD", "USDTZUSD", "USDTUSD"),
    ],
)
def test_pairs_have_krakens_ids(symbol: str, pair_id: str, altname: str) -> None:
    """Long, short and mixed ids."""
    assert (WIRE_PAIRS[symbol].pair_id, WIRE_PAIRS[symbol].altname) == (pair_id, altname)


def test_no_name_stands_for_two_pairs() -> None:
    """Every name leads back to the pair that has it."""
    for pair in WIRE_PAIRS.values():
        for name in (pair.pair_id, pair.altname, pair.websocket_name):
            assert PAIRS_BY_ANY_NAME[name] is pair
