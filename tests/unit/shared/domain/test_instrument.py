"""Tests how an instrument rounds a price, and how long its orders may wait."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.amounts import round_up
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass, Instrument, TimeInForce

COIN = Instrument(broker=Broker.KRAKEN, symbol="BTC/USD", base="BTC", quote="USD", lot="0.00000001", price_tick="0.1")
STOCK = Instrument(
    broker=Broker.ALPACA,
    symbol="AAPL/USD",
    base="AAPL",
    quote="USD",
    lot="0.000000001",
    price_tick="0.01",
    asset_class=AssetClass.STOCK,
)
PRICES = st.decimals(min_value="0.0001", max_value=10**7, allow_nan=False, places=9)


@pytest.mark.parametrize(
    ("instrument", "price", "buy", "sell"),
    [
        (COIN, "50000.16", "50000.1", "50000.2"),
        (COIN, "50000.1", "50000.1", "50000.1"),
        (COIN, "0.09", "0", "0.1"),
        (STOCK, "172.4567", "172.45", "172.46"),
        (STOCK, "0.45678", "0.4567", "0.4568"),
        (STOCK, "0.99999", "0.9999", "1"),
    ],
)
def test_a_limit_price_lies_on_the_tick(instrument: Instrument, price: str, buy: str, sell: str) -> None:
    """Stocks below a dollar have a finer tick."""
    assert instrument.limit_price(Decimal(price), Side.BUY) == Decimal(buy)
    assert instrument.limit_price(Decimal(price), Side.SELL) == Decimal(sell)


@given(price=PRICES)
def test_a_limit_price_is_never_worse_than_what_was_meant(price: Decimal) -> None:
    """A buy pays no more, a sale gets no less, and less than a tick is lost."""
    buy, sell = COIN.limit_price(price, Side.BUY), COIN.limit_price(price, Side.SELL)
    assert price - COIN.price_tick < buy <= price <= sell < price + COIN.price_tick
    assert not buy % COIN.price_tick
    assert not sell % COIN.price_tick


@given(amount=PRICES, step=st.sampled_from(["0.1", "0.25", "3", "0.00000001"]))
def test_rounding_up_gives_the_next_multiple(amount: Decimal, step: str) -> None:
    """Exact multiples stay."""
    rounded = round_up(amount, Decimal(step))
    assert amount <= rounded < amount + Decimal(step)
    assert rounded % Decimal(step) == 0
    assert round_up(rounded, Decimal(step)) == rounded


def test_parts_of_a_share_are_for_the_day_and_all_else_is_not() -> None:
    """Whole shares and coins may wait until they are canceled, or not at all."""
    always = {TimeInForce.GOOD_TIL_CANCELED, TimeInForce.IMMEDIATE_OR_CANCEL}
    assert STOCK.times_in_force(Decimal("2.5")) == {TimeInForce.DAY}
    assert STOCK.times_in_force(Decimal("2.0")) == always
    assert COIN.times_in_force(Decimal("2.5")) == always
