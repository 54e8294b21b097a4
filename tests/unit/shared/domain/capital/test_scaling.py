"""Tests what an account of each class may do: the table, its bounds and the three examples."""

from decimal import Decimal

import pytest

from shared.domain.capital.scaling import (
    RULES,
    AccountClass,
    class_of,
    is_allowed,
    margin_for,
    risk_amount,
    rules_for,
)
from shared.domain.instrument import AssetClass
from tests.support.capital import instrument_of

D = Decimal
SMALL, MEDIUM, LARGE = AccountClass


@pytest.mark.parametrize(
    ("equity", "name"),
    [
        ("-5", SMALL),
        ("0", SMALL),
        ("999.99", SMALL),
        ("1000", MEDIUM),
        ("4999.99", MEDIUM),
        ("5000", LARGE),
        ("1000000", LARGE),
    ],
)
def test_a_class_includes_its_lower_bound(equity: str, name: AccountClass) -> None:
    """Small below 1,000, medium below 5,000, large from there."""
    assert class_of(D(equity)) is name
    assert rules_for(D(equity)) is RULES[name]


@pytest.mark.parametrize(
    ("name", "positions", "leverage", "risk", "band", "ways", "goal"),
    [
        (SMALL, 5, (5, 10), "3", (3, 5), ("sniper entries",), "rapid growth"),
        (MEDIUM, 10, (3, 8), "2", (2, 3), ("pyramid", "DCA"), "consistent growth"),
        (LARGE, 15, (2, 5), "1.5", (1, 2), ("pairs", "hedging", "TWAP"), "capital preservation"),
    ],
)
def test_the_table_of_classes(
    name: AccountClass,
    positions: int,
    leverage: tuple[int, int],
    risk: str,
    band: tuple[int, int],
    ways: tuple[str, ...],
    goal: str,
) -> None:
    """Every cell."""
    rules = RULES[name]
    assert rules.most_positions == positions
    assert tuple(rules.leverage) == leverage
    assert rules.risk_pct == D(risk)
    assert rules.risk_band == band
    assert rules.ways == ways
    assert rules.goal == goal


@pytest.mark.parametrize(
    ("equity", "allowed", "refused"),
    [
        ("999", "BTC ETH", "BNB SOL XRP PEPE"),
        ("1000", "BTC ETH BNB SOL", "XRP ADA PEPE"),
        ("5000", "BTC ETH BNB SOL XRP ADA LINK AVAX DOT LTC DOGE BCH", "PEPE USDT"),
    ],
)
def test_each_class_has_its_assets(equity: str, allowed: str, refused: str) -> None:
    """What no list names is refused to every class."""
    assert all(is_allowed(instrument_of(base), D(equity)) for base in allowed.split())
    assert not any(is_allowed(instrument_of(base), D(equity)) for base in refused.split())


def test_stocks_are_a_setting_for_every_class() -> None:
    """AAPL, MSFT and SPY by default. A share with the name of a coin is not that coin."""
    for equity in (D(10), D(1000), D(5000)):
        for base in ("AAPL", "MSFT", "SPY"):
            assert is_allowed(instrument_of(base, asset_class=AssetClass.STOCK), equity)
        assert not is_allowed(instrument_of("TSLA", asset_class=AssetClass.STOCK), equity)
        assert is_allowed(instrument_of("TSLA", asset_class=AssetClass.STOCK), equity, ["TSLA"])
        assert not is_allowed(instrument_of("BTC", asset_class=AssetClass.STOCK), equity)
        assert not is_allowed(instrument_of("AAPL"), equity)


@pytest.mark.parametrize(
    ("equity", "size", "leverage", "margin"),
    [("500", "15", "8", "1.87"), ("2500", "50", "7", "7.14"), ("10000", "150", "4", "37.50")],
)
def test_the_three_examples_of_risk_and_margin(equity: str, size: str, leverage: str, margin: str) -> None:
    """15 US dollars at 8x bind 1.875, and the half cent is cut."""
    assert risk_amount(D(equity)) == D(size)
    assert margin_for(risk_amount(D(equity)), D(leverage)) == D(margin)


@pytest.mark.parametrize(
    ("equity", "amount"),
    [
        ("0", "0"),
        ("-100", "0"),
        ("999.99", "29.9997"),
        ("1000", "30"),
        ("1500", "30"),
        ("1500.50", "30.01"),
        ("4999.99", "99.9998"),
        ("5000", "100"),
        ("6666.66", "100"),
        ("6668", "100.02"),
    ],
)
def test_more_equity_never_means_a_smaller_amount_where_the_class_changes(equity: str, amount: str) -> None:
    """At least 30 US dollars from 1,000 and 100 from 5,000: the most of the class below."""
    assert risk_amount(D(equity)) == D(amount)
