"""Tests Kraken's limits: a decaying counter for each key, one for each pair of an account, and one for each address."""

import pytest

from services.paper_broker.kraken.rate_limits import KrakenRateCounters
from services.paper_broker.kraken.replies import KrakenError
from shared.exchange.accounts import Account, ApiKey

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


def key(name: str, account: Account | None = None) -> ApiKey:
    return ApiKey(name, "secret", b"secret", account or Account("a"), frozenset())


def test_each_key_has_a_counter_of_fifteen_that_loses_a_third_a_second() -> None:
    """Histories count two. Orders do not count here. Another key of the account has its own counter."""
    limits = KrakenRateCounters()
    for _ in range(7):
        limits.count_call("TradesHistory", key("one"), NOW)
    limits.count_call("AddOrder", key("one"), NOW)
    limits.count_call("BalanceEx", key("one"), NOW)
    with pytest.raises(KrakenError, match="^EAPI:Rate limit exceeded$"):
        limits.count_call("BalanceEx", key("one"), NOW)
    limits.count_call("BalanceEx", key("two"), NOW)
    with pytest.raises(KrakenError):
        limits.count_call("BalanceEx", key("one"), NOW + 3 * SECOND)
    limits.count_call("BalanceEx", key("one"), NOW + 4 * SECOND)


def test_a_key_that_does_not_slow_down_is_locked_out_for_a_quarter_of_an_hour() -> None:
    """Then orders are refused, too. A key that pauses after a refusal is not locked out."""
    limits = KrakenRateCounters()
    for _ in range(15):
        limits.count_call("BalanceEx", key("one"), NOW)
    for _ in range(10):
        with pytest.raises(KrakenError, match="^EAPI:Rate limit exceeded$"):
            limits.count_call("BalanceEx", key("one"), NOW)
    for name, at in (("BalanceEx", NOW), ("AddOrder", NOW + 899 * SECOND)):
        with pytest.raises(KrakenError, match="^EGeneral:Temporary lockout$"):
            limits.count_call(name, key("one"), at)
    limits.count_call("BalanceEx", key("one"), NOW + 900 * SECOND)


def test_orders_are_counted_per_account_and_pair() -> None:
    """Sixty at once, then one a second, whatever key they are placed with."""
    limits, account = KrakenRateCounters(), Account("a")
    for _ in range(60):
        limits.count_order(account, "BTC/USD", NOW)
    with pytest.raises(KrakenError, match="^EOrder:Rate limit exceeded$"):
        limits.count_order(account, "BTC/USD", NOW)
    limits.count_order(account, "ETH/USD", NOW)
    limits.count_order(Account("b"), "BTC/USD", NOW)
    limits.count_order(account, "BTC/USD", NOW + SECOND)


def test_public_calls_are_counted_per_address() -> None:
    """Twenty at once, then one a second. Kraken has other words for these."""
    limits = KrakenRateCounters()
    for _ in range(20):
        limits.count_public("10.0.0.1", NOW)
    with pytest.raises(KrakenError, match="^EGeneral:Too many requests$"):
        limits.count_public("10.0.0.1", NOW)
    limits.count_public("10.0.0.2", NOW)
    limits.count_public("10.0.0.1", NOW + SECOND)
