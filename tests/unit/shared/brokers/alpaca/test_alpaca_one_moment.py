"""Tests that cash and positions of different moments are never shown as one account."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from shared.brokers.alpaca.one_moment import TRIES, balances_at_one_moment
from shared.domain.accounts.equity import Balance


def balance(total: str) -> Balance:
    return Balance(free=Decimal(total), total=Decimal(total))


async def read(cash: Sequence[str], bitcoin: Sequence[str]) -> tuple[dict[str, Decimal], int]:
    """Let Alpaca answer with these amounts, one after another. Return the totals, and how often it was asked."""
    cash_replies, bitcoin_replies, asked = iter(cash), iter(bitcoin), [0]

    async def read_cash() -> tuple[str, Balance]:
        asked[0] += 1
        return "USD", balance(next(cash_replies))

    async def read_positions() -> dict[str, Balance]:
        asked[0] += 1
        total = next(bitcoin_replies)
        return {"BTC": balance(total)} if total != "0" else {}

    found = await balances_at_one_moment(read_cash, read_positions)
    return {currency: each.total for currency, each in found.items()}, asked[0]


@pytest.mark.parametrize(
    ("cash", "bitcoin", "right", "asked"),
    [
        pytest.param(["500", "500"], ["1"], {"USD": 500, "BTC": 1}, 3, id="nothing happens"),
        pytest.param(["10000", "6000", "6000"], ["1", "1"], {"USD": 6000, "BTC": 1}, 5, id="a purchase before it"),
        pytest.param(["10000", "6000", "6000"], ["0", "1"], {"USD": 6000, "BTC": 1}, 5, id="a purchase after it"),
        pytest.param(["0", "4000", "4000"], ["1", "0"], {"USD": 4000}, 5, id="a sale of everything"),
        pytest.param(["4000", "0", "0"], ["1", "1"], {"BTC": 1}, 5, id="all cash is spent"),
        pytest.param(["4", "3", "2", "1"], ["1", "2", "3"], {"USD": 1, "BTC": 3}, 2 * TRIES + 1, id="all the time"),
    ],
)
async def test_positions_are_read_between_two_readings_of_the_same_cash(
    cash: list[str], bitcoin: list[str], right: dict[str, int], asked: int
) -> None:
    """If the cash differs, a trade was executed meanwhile. An account that trades all the time is read at last."""
    assert await read(cash, bitcoin) == (right, asked)
