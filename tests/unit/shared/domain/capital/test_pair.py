"""Tests how the pair of an account is found from what a user writes."""

import pytest

from shared.domain.capital.pair import resolve_pair
from shared.domain.symbol import Symbol

KRAKEN = [Symbol.parse(text) for text in ("BTC/USD", "BTC/EUR", "ETH/USD", "ETH/BTC", "USDT/USD")]
BINANCE = [Symbol.parse(text) for text in ("BTC/USDT", "ETH/USDT", "ETH/BTC", "PYUSD/USDT")]


@pytest.mark.parametrize("text", ["BTC/USD", "BTC-USD", "BTCUSD", "btc-usd", " BTCUSD ", "BTC", "BTCUSDT", "BTC/USDC"])
def test_every_spelling_finds_the_pair_of_the_account(text: str) -> None:
    """Another cash currency stands for the account's own."""
    assert resolve_pair(text, KRAKEN, ["USD", "USDT"]) == "BTC/USD"


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("BTC-USD", "BTC/USDT"),
        ("BTCUSDT", "BTC/USDT"),
        ("ETH-BTC", "ETH/BTC"),
        ("PYUSD", "PYUSD/USDT"),
        ("PYUSDUSDT", "PYUSD/USDT"),
    ],
)
def test_an_account_in_usdt_gets_its_own_pair(text: str, pair: str) -> None:
    """A coin whose name ends like a currency is found too."""
    assert resolve_pair(text, BINANCE, ["USDT", "USDC"]) == pair


def test_the_exact_pair_goes_first() -> None:
    """Both are listed, and the user has named one."""
    assert resolve_pair("BTCEUR", KRAKEN, ["USD"]) == "BTC/EUR"
    assert resolve_pair("USDTUSD", KRAKEN, ["USD"]) == "USDT/USD"


@pytest.mark.parametrize(
    "text", ["", "/", "-", "DOGE", "DOGEUSD", "BTC/XYZ", "BTC/USD/X", "/USD", "USD", "A" * 10_000, "BTC-ETH", "\x00"]
)
def test_what_is_not_listed_is_no_pair_and_no_exception(text: str) -> None:
    """The API answers 404."""
    assert resolve_pair(text, KRAKEN, ["USD"]) is None


def test_a_share_is_found_by_its_name() -> None:
    """Its quote is the cash of the account."""
    assert resolve_pair("AAPL", [Symbol("AAPL", "USD")], ["USD"]) == "AAPL/USD"
