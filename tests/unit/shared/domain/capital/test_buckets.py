"""Tests the buckets of an account: lists, targets, caps and proposals."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.buckets import (
    REPORTED_LEVERAGE,
    TARGETS,
    BucketName,
    allocation,
    bucket_of,
    room_above_reserve,
    room_for_entry,
    value_of,
)
from shared.domain.capital.facts import AccountFacts
from shared.domain.fill import Side
from tests.support.capital import a_margin_account, a_position, a_spot_account
from tests.support.examples import NOW

D = Decimal
CORE, GROWTH, OPPORTUNITY, RESERVE = BucketName


def account_with(cash: str, **values: str) -> AccountFacts:
    """An account with cash and the value of each asset, in US dollars."""
    positions = tuple(a_position(base, quantity=value, price="1", entry_price="1") for base, value in values.items())
    equity = D(cash) + sum((D(value) for value in values.values()), D(0))
    return a_spot_account(str(equity), free_cash=cash, positions=positions)


BALANCED = account_with("50", BTC="300", ETH="200", SOL="300", PEPE="150")


@pytest.mark.parametrize(
    ("assets", "bucket"),
    [
        ("BTC ETH", CORE),
        ("BNB SOL XRP ADA LINK AVAX DOT LTC DOGE BCH", GROWTH),
        ("PEPE UNI AAPL MSFT SPY btc", OPPORTUNITY),
    ],
)
def test_every_asset_has_one_bucket(assets: str, bucket: BucketName) -> None:
    """ETH is CORE, and what no list names is OPPORTUNITY."""
    assert {bucket_of(asset) for asset in assets.split()} == {bucket}


def test_targets_are_50_30_15_and_5() -> None:
    """They add up to 100. The leverage is only reported."""
    assert TARGETS == {CORE: 50, GROWTH: 30, OPPORTUNITY: 15, RESERVE: 5}
    assert REPORTED_LEVERAGE == {CORE: (3, 5), GROWTH: (5, 10), OPPORTUNITY: (3, 8)}


def test_a_balanced_account_needs_no_orders() -> None:
    """It is compared once a week."""
    found = allocation(BALANCED, None, NOW)
    assert [each.current_pct for each in found.buckets] == [50, 30, 15, 5]
    assert [each.current_value for each in found.buckets] == [500, 300, 150, 50]
    assert not any(each.is_off for each in found.buckets)
    assert (found.every, found.orders) == (timedelta(weeks=1), ())


@pytest.mark.parametrize(
    ("core", "is_off"), [("600", False), ("600.01", True), ("400", False), ("399.99", True), ("0", True)]
)
def test_a_bucket_is_off_by_more_than_20_percent_of_its_target(core: str, is_off: bool) -> None:
    """CORE should hold 500 of 1,000 US dollars."""
    account = a_spot_account("1000", positions=(a_position(quantity=core, price="1"),))
    status = allocation(account, None, NOW).buckets[0]
    assert status.is_off is is_off
    assert status.off_pct == (D(core) - 500) / 5


def test_a_bucket_that_is_off_is_compared_daily() -> None:
    """Both sides of a day; without an earlier proposal it is due at once."""
    account = account_with("1000")
    assert allocation(account, None, NOW).is_due
    assert allocation(account, NOW - timedelta(days=1), NOW).is_due
    early = allocation(account, NOW - timedelta(hours=23, minutes=59), NOW)
    assert (early.every, early.is_due, early.orders) == (timedelta(days=1), False, ())


def test_without_a_bucket_that_is_off_it_is_compared_weekly() -> None:
    """Both sides of a week."""
    assert allocation(BALANCED, NOW - timedelta(weeks=1), NOW).is_due
    assert not allocation(BALANCED, NOW - timedelta(days=6), NOW).is_due


def test_too_large_a_bucket_is_sold_in_proportion_and_too_small_a_one_is_bought() -> None:
    """CORE holds 800 of 1,000: 300 are too much. The other buckets get their largest holding or first asset."""
    found = allocation(account_with("50", BTC="600", ETH="200", PEPE="150"), None, NOW)
    assert [(order.asset, order.side, order.value) for order in found.orders] == [
        ("BTC", Side.SELL, D(225)),
        ("ETH", Side.SELL, D(75)),
        ("BNB", Side.BUY, D(300)),
    ]


def test_a_missing_opportunity_proposes_nothing_because_it_has_no_list() -> None:
    """And RESERVE is filled by sales, not by an order of its own."""
    found = allocation(account_with("1000"), None, NOW)
    assert [(order.bucket, order.asset) for order in found.orders] == [(CORE, "BTC"), (GROWTH, "BNB")]


def test_an_account_without_equity_has_no_orders_and_divides_nothing_by_zero() -> None:
    """All targets are 0."""
    found = allocation(a_spot_account("0"), None, NOW)
    assert found.orders == ()
    assert {each.current_pct for each in found.buckets} == {0}
    assert allocation(a_spot_account("-10"), None, NOW).orders == ()


def test_a_target_caps_the_entries_of_its_bucket() -> None:
    """CORE of 1,000 US dollars may hold 500, whether nija or a person bought them."""
    account = account_with("550", BTC="300", ETH="150")
    assert room_for_entry(account, "BTC") == room_for_entry(account, "ETH") == 50
    assert room_for_entry(account, "SOL") == 300
    assert room_for_entry(account_with("100", BTC="900"), "ETH") == 0


def test_the_reserve_stays_free() -> None:
    """An entry on spot may use what is free above 5 % of equity; on margin, times the leverage."""
    assert room_above_reserve(account_with("80", BTC="920"), D(1)) == 30
    assert room_above_reserve(account_with("50", BTC="950"), D(1)) == 0
    assert room_above_reserve(account_with("10", BTC="990"), D(1)) == 0
    assert room_above_reserve(a_margin_account("1000", "400"), D(4)) == 2200
    # Paid in full: the free margin is 600, and only 300 of it are cash.
    assert room_above_reserve(a_margin_account("1000", "400", "1", free_cash="300"), D(1)) == 250
    assert value_of(a_spot_account("100", free_cash="-5"), RESERVE) == 0
