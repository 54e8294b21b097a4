"""Tests when the value of a master's account is known, and what it is then."""

from decimal import Decimal

from shared.domain.accounts.master_value import MasterPrices, UnknownEquity, unpriced_text

HOLDINGS = {"USD": Decimal(1000), "XYZ": Decimal(9), "OLD": Decimal(0)}


def test_a_priced_account_has_the_sum_of_its_parts() -> None:
    """1,000 dollars and nine units at 2 dollars are 1,018 dollars. A currency that is not held needs no price."""
    assert MasterPrices({"XYZ": Decimal(2)}).equity(HOLDINGS) == 1018


def test_an_asset_that_never_had_a_price_makes_the_equity_unknown() -> None:
    """It may be worth anything, so the equity is not the 1,000 dollars that are known."""
    assert MasterPrices({}).equity(HOLDINGS) == UnknownEquity(("XYZ",))


def test_an_outdated_price_counts_up_to_one_percent_of_the_account() -> None:
    """Nine units at 1.12 dollars are 1 % of 1,010.08 dollars. At 1.13 dollars they are more."""
    assert MasterPrices({}, outdated={"XYZ": Decimal("1.12")}).equity(HOLDINGS) == Decimal("1010.08")
    assert MasterPrices({}, outdated={"XYZ": Decimal("1.13")}).equity(HOLDINGS) == UnknownEquity(("XYZ",))


def test_the_finding_names_the_asset_and_the_setting() -> None:
    """An operator can copy the setting from the text."""
    text = unpriced_text("DOT28.S", "KRAKEN_MASTER_VALUES")
    assert "KRAKEN_MASTER_VALUES=DOT28.S:ignore" in text
