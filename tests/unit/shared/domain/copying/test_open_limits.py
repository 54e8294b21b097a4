"""Tests how old an open may become, and how far above the master's price it may buy."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.copying.open_limits import OpenLimits
from tests.support.examples import NOW, an_instrument


@pytest.mark.parametrize(
    ("base", "price", "tick", "limit"),
    [
        ("BTC", "50000", "0.1", "50250"),
        ("ETH", "2650.07", "0.01", "2663.32"),
        ("SOL", "148.20", "0.01", "150.42"),
        ("DOGE", "0.1234567", "0.0000001", "0.1253085"),
        ("SOL", "148.20", "5", "150"),
    ],
)
def test_an_open_may_pay_half_a_percent_more_for_bitcoin_and_ether_and_three_times_that_for_others(
    base: str, price: str, tick: str, limit: str
) -> None:
    """The limit price is rounded down to the tick, so it never exceeds the limit."""
    instrument = an_instrument(symbol=f"{base}/USD", base=base, price_tick=tick)
    assert OpenLimits().highest_price(instrument, Decimal(price)) == Decimal(limit)


def test_a_limit_below_one_tick_is_no_price() -> None:
    """The caller gets 0, and must not send an order."""
    assert OpenLimits().highest_price(an_instrument(price_tick="1"), Decimal("0.5")) == 0


def test_an_open_ends_a_minute_after_the_execution_of_the_master() -> None:
    """The age counts from the execution, not from the decision."""
    assert OpenLimits().ends_at(NOW) == NOW + timedelta(minutes=1)
