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
        limits.count_order(key(account, f"key-{number % 2}"), "BTC/USDT", NOW)
    with pytest.raises(OkxError) as raised:
        limits.count_order(key(account, "key-0"), "BTC/USDT", NOW)
    assert (raised.value.problem.code, raised.value.problem.status) == ("50011", 429)
    limits.count_order(key(account, "key-0"), "ETH/USDT", NOW)
    limits.count_order(key(Account("b"), "key-b"), "BTC/USDT", NOW)
    limits.count_order(key(account, "key-0"), "BTC/USDT", NOW + 100_000)


@pytest.mark.parametrize(("path", "most"), [("trade/fills-history", 10), ("trade/order", 60), ("other/path", 20)])
def test_reads_are_counted_per_call(path: str, most: int) -> None:
    """Each with OKX's own number."""
    limits, asker = OkxRateCounters(), key(Account("a"), "key")
    for _ in range(most):
        limits.count_read(asker, path, NOW)
    with pytest.raises(OkxError):
        limits.count_read(asker, path, NOW)
    limits.count_read(asker, path, NOW + 2_000_000)
