"""Tests when cycles begin, and which pairs they trade."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.domain.identity import Broker
from shared.domain.strategy.schedule import schedule_of
from shared.domain.strategy.traded_pairs import traded_pairs
from tests.support.capital import instrument_of

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("broker", list(Broker))
def test_a_cycle_has_one_number_from_its_beginning_to_the_next(broker: Broker) -> None:
    """Two processes that ask at any moment of a cycle name the same one."""
    schedule = schedule_of(broker)
    number = schedule.number_at(NOON)
    begins = schedule.starts_at(number)
    assert begins <= NOON < begins + timedelta(seconds=150)
    last = begins + timedelta(seconds=150) - timedelta(microseconds=1)
    assert {schedule.number_at(begins), schedule.number_at(last)} == {number}
    assert schedule.number_at(begins + timedelta(seconds=150)) == number + 1


def test_no_two_brokers_begin_together() -> None:
    """The distance is 30 s, and 10 s are left after the beginning of a candle."""
    moments = [schedule_of(broker).starts_at(0).timestamp() % 150 for broker in Broker]
    assert sorted(moments) == [10, 40, 70, 100, 130]
    assert schedule_of(Broker.ALPACA, 15).starts_at(0).timestamp() % 15 == 13


def test_each_asset_is_traded_in_one_pair_against_the_currency_that_the_account_has() -> None:
    """An account with USDC trades BTC/USDC. Without any cash, the usual currency of the broker comes first."""
    listed = [instrument_of("BTC", symbol=f"BTC/{quote}", quote=quote) for quote in ("USDT", "USDC", "EUR")] + [
        instrument_of("ETH", symbol="ETH/USDT", quote="USDT"),
        instrument_of("SOL", symbol="SOL/USDT", quote="USDT"),
    ]
    quotes = ("USDT", "USDC")

    def pairs(**free: str) -> list[str]:
        cash = {name: Decimal(amount) for name, amount in free.items()}
        found = traded_pairs(listed, Decimal(500), free=cash, quotes=quotes, stocks=())
        return [str(each.symbol) for each in found]

    # SOL is no asset of a small account, and EUR is not one of the broker's dollars.
    assert pairs(USDC="100") == ["BTC/USDC", "ETH/USDT"]
    assert pairs() == ["BTC/USDT", "ETH/USDT"]
    assert pairs(USDT="10", USDC="9") == ["BTC/USDT", "ETH/USDT"]
