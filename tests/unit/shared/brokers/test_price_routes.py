"""Tests through which pairs coins are priced, whatever the broker."""

from decimal import Decimal

from shared.brokers.price_routes import PriceRoutes

ROUTES = PriceRoutes(("USD", "USDT"), money_base="USD")


def test_a_price_comes_from_the_best_pair_that_has_traded() -> None:
    """A pair that never traded gives way to the next; money is inverted; a coin without a price is left out."""
    last = {
        "BTC/USD": Decimal(0),
        "BTC/USDT": Decimal(50_000),
        "SOL/USD": Decimal(150),
        "SOL/USDT": Decimal(151),
        "USD/JPY": Decimal(160),
        "ETH/USD": Decimal(0),
    }
    assert ROUTES.dollar_prices(["BTC", "SOL", "JPY", "USDC", "ETH", "NEW"], last) == {
        "BTC": Decimal(50_000),
        "SOL": Decimal(150),
        "JPY": Decimal("0.00625"),
        "USDC": Decimal(1),
    }


def test_where_no_money_is_listed_nothing_is_inverted() -> None:
    """Without a base for money, a pair the other way round prices nothing."""
    assert PriceRoutes(("USD",)).dollar_prices(["JPY"], {"USD/JPY": Decimal(160)}) == {}


BRIDGED = PriceRoutes(("USD",), bridges=("EUR", "BTC"))


def test_a_coin_without_a_dollar_pair_is_priced_through_another_currency() -> None:
    """A pair that is listed the other way round is inverted. A coin without such a way has no price."""
    last = {
        "NEW/BTC": Decimal("0.002"),
        "BTC/USD": Decimal(50_000),
        "BTC/PLN": Decimal(200_000),
        "ODD/XYZ": Decimal(1),
    }
    assert BRIDGED.dollar_prices(["NEW", "PLN", "ODD"], last) == {"NEW": Decimal(100), "PLN": Decimal("0.25")}


def test_a_direct_price_comes_before_two_steps() -> None:
    """The dollar pair has traded, so the pair with BTC is not used."""
    last = {"NEW/USD": Decimal(99), "NEW/BTC": Decimal("0.002"), "BTC/USD": Decimal(50_000)}
    assert BRIDGED.dollar_prices(["NEW"], last) == {"NEW": Decimal(99)}


def test_the_pairs_for_a_price_give_the_same_price_as_the_whole_list() -> None:
    """A reader that asks for these pairs only misses none, in whatever direction a pair is listed."""
    last = {
        "NEW/BTC": Decimal("0.002"),
        "BTC/USD": Decimal(50_000),
        "BTC/PLN": Decimal(200_000),
        "SOL/USD": Decimal(150),
        "SOL/BTC": Decimal(1),
    }
    coins = ["NEW", "PLN", "SOL"]
    needed = BRIDGED.pairs_for(coins)
    assert "SOL/EUR" in needed
    assert "SOL/NEW" not in needed
    kept = {symbol: price for symbol, price in last.items() if symbol in needed}
    assert BRIDGED.dollar_prices(coins, kept) == BRIDGED.dollar_prices(coins, last)
