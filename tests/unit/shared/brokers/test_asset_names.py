"""Tests which names count as the asset that they hold: staked, earning and bonded ones."""

import pytest

from shared.brokers.binance.asset_names import locked_asset
from shared.brokers.kraken.asset_names import unstaked
from shared.brokers.okx.asset_names import staked_asset

LISTED = {"BTC", "ETH", "USDT", "LDO", "DOT", "SHIB", "1INCH", "WBETH", "ATOM", "USD"}


@pytest.mark.parametrize(
    ("name", "asset"),
    [
        ("LDUSDT", "USDT"),
        ("LDBTC", "BTC"),
        ("LDLDO", "LDO"),
        ("LDSHIB2", "SHIB"),
        ("LD1INCH", "1INCH"),
        ("BETH", "ETH"),
        ("LDO", None),
        ("WBETH", None),
        ("LDXYZ", None),
        ("BTC", None),
    ],
)
def test_binance_names(name: str, asset: str | None) -> None:
    """A coin that begins with LD is a coin. An unknown name stays what it is, and is reported as unpriced."""
    assert locked_asset(name, LISTED) == asset


@pytest.mark.parametrize(
    ("asset", "suffix", "expected"),
    [
        ("DOT28", "S", "DOT"),
        ("DOT", "S", "DOT"),
        ("ATOM21", "S", "ATOM"),
        ("ETH2", "S", "ETH"),
        ("ETH2", "", "ETH"),
        ("BTC", "M", "BTC"),
        ("BTC", "F", "BTC"),
        ("USD", "HOLD", "USD"),
        ("XYZ28", "S", "XYZ28"),
        ("ABC21", "", "ABC21"),
        ("AAPLX", "T", None),
    ],
)
def test_kraken_names(asset: str, suffix: str, expected: str | None) -> None:
    """Digits are a staking period only if the name without them is a listed asset."""
    assert unstaked(asset, suffix, LISTED) == expected


def test_okx_names() -> None:
    """BETH counts as ETH where it cannot be traded itself."""
    assert (staked_asset("BETH", LISTED), staked_asset("BETH", {*LISTED, "BETH"})) == ("ETH", None)
