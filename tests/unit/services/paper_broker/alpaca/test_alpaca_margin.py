"""Tests that the paper Alpaca lends money for stocks, as much as an account has, and none for coins."""

from decimal import Decimal

import pytest

from tests.unit.services.paper_broker.alpaca.test_alpaca_dialect import Bench


@pytest.fixture
def bench() -> Bench:
    """An account with 10,000 dollars, half a bitcoin and three shares at 170."""
    return Bench()


def test_the_account_borrows_for_stocks_as_much_as_it_has(bench: Bench) -> None:
    """10,000 dollars and stock of 510 give a buying power of 20,510. A purchase of 17,000 makes the cash negative."""
    before = bench.ask("GET", "/v2/account")[1]
    assert (before["multiplier"], before["buying_power"], before["initial_margin"]) == ("2", "20510", "255")
    status, _ = bench.order(symbol="AAPL", qty="100", time_in_force="day")
    after = bench.ask("GET", "/v2/account")[1]
    assert status == 200
    assert Decimal(-7010) < Decimal(after["cash"]) < Decimal(-7000)
    assert after["non_marginable_buying_power"] == "0"
    assert after["initial_margin"] == "8755"
    assert Decimal(3490) < Decimal(after["buying_power"]) < Decimal(3510)


def test_nothing_is_lent_for_coins(bench: Bench) -> None:
    """A purchase of coins for more than the cash is refused, although the buying power for stocks would do."""
    status, reply = bench.order(symbol="BTC/USD", qty="0.3")
    assert (status, reply["code"]) == (403, 40310000)
    assert "insufficient balance for USD" in reply["message"]


def test_a_purchase_of_stocks_beyond_the_buying_power_names_what_is_left(bench: Bench) -> None:
    """The refusal shows the buying power, and nothing is bought."""
    status, reply = bench.order(symbol="AAPL", qty="121", time_in_force="day")
    assert (status, reply["message"], reply["buying_power"]) == (403, "insufficient buying power", "20510")
    assert bench.ask("GET", "/v2/account")[1]["cash"] == "10000"
