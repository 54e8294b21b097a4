"""Tests OKX's limits: sixty orders in two seconds for each pair of an account, and a number for each call."""

import pytest

from services.paper_broker.okx.rate_limits import OkxRateCounters
from services.paper_broker.okx.replies import OkxError
from shared.exchange.accounts import Account, ApiKey

NOW = 1_700_000_000_000_000


def key(account: Account, name: str) -> ApiKey:
    return ApiKey(name, "secret", b"secret", account, frozenset())


def test_orders_are_counted_per_account_and_pair() -> None:
    """The keys of an account share the count; another pair or account has its own; time brings it back."""
    limits, account = OkxRateCounters(), Account("a")
    for number in range(60):
        limits.count_orders(key(account, f"key-{number % 2}"), ["BTC-USDT"], NOW)
    with pytest.raises(OkxError) as raised:
        limits.count_orders(key(account, "key-0"), ["BTC-USDT"], NOW)
    assert (raised.value.problem.code, raised.value.problem.status) == ("50011", 429)
    limits.count_orders(key(account, "key-0"), ["ETH-USDT"], NOW)
    limits.count_orders(key(Account("b"), "key-b"), ["BTC-USDT"], NOW)
    limits.count_orders(key(account, "key-0"), ["BTC-USDT"], NOW + 2_000_000)


@pytest.mark.parametrize(("path", "most"), [("trade/fills-history", 10), ("trade/order", 60), ("other/path", 20)])
def test_reads_are_counted_per_call(path: str, most: int) -> None:
    """Each with OKX's own number."""
    limits, asker = OkxRateCounters(), key(Account("a"), "key")
    for _ in range(most):
        limits.count_read(asker, path, "BTC-USDT", NOW)
    with pytest.raises(OkxError):
        limits.count_read(asker, path, "BTC-USDT", NOW)
    limits.count_read(asker, path, "BTC-USDT", NOW + 2_000_000)


def test_a_list_of_orders_has_its_own_count_and_an_account_has_one_over_all() -> None:
    """300 orders in lists for each pair, and 1,000 of an account in two seconds, whatever they are for."""
    limits, asker = OkxRateCounters(), key(Account("a"), "key")
    for number in range(50):
        limits.count_orders(asker, [f"{'ABCE'[number // 15]}-USDT"] * 20, NOW)
    with pytest.raises(OkxError) as raised:
        limits.count_orders(asker, ["D-USDT"], NOW)
    assert (raised.value.problem.code, raised.value.problem.status) == ("50061", 200)
    with pytest.raises(OkxError) as raised:
        limits.count_orders(asker, ["A-USDT"] * 2, NOW)
    assert raised.value.problem.code == "50011"


def test_public_reads_are_counted_per_address_and_call() -> None:
    """Twenty tickers in two seconds; a second address and a second call have their own counts."""
    limits = OkxRateCounters()
    for _ in range(20):
        limits.count_public("10.0.0.1", "market/tickers", "SPOT", NOW)
    with pytest.raises(OkxError):
        limits.count_public("10.0.0.1", "market/tickers", "SPOT", NOW)
    limits.count_public("10.0.0.2", "market/tickers", "SPOT", NOW)
    limits.count_public("10.0.0.1", "public/instruments", "SPOT", NOW)
