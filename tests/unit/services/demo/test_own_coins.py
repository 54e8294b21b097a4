"""Tests that a follower's own coin that is sold is found, by the broker's fills and balances."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from services.demo.broker_log import LoggedFill
from services.demo.market_moments import START_PRICES, moments
from services.demo.own_coins import own_coins_sold
from shared.domain.symbol import Symbol

BEFORE = {"anna": {"BTC": Decimal("0.2"), "LTC": Decimal(60)}}


def fill(side: str, quantity: str, *, account: str = "anna", fee: str = "0", fee_currency: str = "USD") -> LoggedFill:
    """An execution of BTC at 40,000."""
    return LoggedFill(
        account=account,
        fill_id=f"{account}-{side}-{quantity}",
        symbol=Symbol("BTC", "USD"),
        side=side,
        price=Decimal(40_000),
        quantity=Decimal(quantity),
        cost=Decimal(quantity) * 40_000,
        fee=Decimal(fee),
        fee_currency=fee_currency,
    )


def sold(fills: Sequence[LoggedFill], btc: str, ltc: str = "60", doubt: str = "0") -> dict[str, str]:
    """What is found when the account holds this at the end."""
    now = {"anna": {"BTC": Decimal(btc), "LTC": Decimal(ltc), "USD": Decimal(1)}}
    return own_coins_sold(BEFORE, fills, now, {"BTC": Decimal(doubt)})


def test_copied_coins_may_be_sold_again() -> None:
    """A fee in the coin is paid by what was bought. Others' trades do not matter."""
    fills = [
        fill("buy", "0.1", fee="0.0001", fee_currency="BTC"),
        fill("sell", "0.0999"),
        fill("sell", "9", account="ben"),
    ]
    assert sold(fills, "0.2") == {}
    assert sold([], "0.2") == {}


@pytest.mark.parametrize("bought_back", [False, True])
def test_an_own_coin_that_was_sold_is_found_even_if_it_was_bought_back(bought_back: bool) -> None:
    """The lowest holding counts, and not only the last one."""
    fills = [fill("buy", "0.1"), fill("sell", "0.15"), *([fill("buy", "0.05")] if bought_back else [])]
    found = sold(fills, "0.2" if bought_back else "0.15")
    assert found == {"anna": "fill anna-sell-0.15 left 0.15 BTC, of which 0.2 are its own"}


def test_a_balance_that_no_fill_explains_is_found() -> None:
    """Coins went away, or came, without a trade."""
    assert sold([], "0.2", "59") == {"anna": "it holds 59 LTC, and its fills make 60"}
    assert sold([fill("buy", "0.1")], "0.25") == {"anna": "it holds 0.25 BTC, and its fills make 0.3"}
    assert own_coins_sold(BEFORE, [], {}, {}) == {"anna": "it holds 0 BTC, and its fills make 0.2"}


def test_the_masters_equity_comes_from_the_log_alone() -> None:
    """Cash, what was bought less what was sold, at the price of the fill; the moment before each fill."""
    log = [fill("buy", "1", account="master", fee="100"), fill("buy", "5"), fill("sell", "1", account="master")]
    log[2] = log[2].model_copy(update={"price": Decimal(41_000)})
    found = moments(log, "master", {"USD": Decimal(100_000)})
    assert [moment.master_equity for moment in found.values()] == [Decimal(100_000), Decimal(100_900)]
    assert found[log[2].fill_id].prices["BTC"] == Decimal(41_000)
    assert found[log[0].fill_id].prices["ETH"] == START_PRICES["ETH"]


def test_each_sale_may_take_the_rounding_of_a_fee() -> None:
    """At a broker that rounds the fee of each execution, a sale may be a lot larger than what was copied."""
    fills = [fill("buy", "0.1"), fill("sell", "0.100000001"), fill("buy", "0.1"), fill("sell", "0.100000001")]
    assert sold(fills, "0.199999998", doubt="0.000000001") == {}
    assert sold(fills, "0.199999998") != {}
    assert sold([fill("buy", "0.1"), fill("sell", "0.100000002")], "0.199999998", doubt="0.000000001") != {}


def test_a_coin_that_paid_for_another_coin_is_found() -> None:
    """A purchase with bitcoin takes what was copied, and not a satoshi more than the broker's rounding explains."""
    swap = fill("buy", "2").model_copy(update={"symbol": Symbol("ETH", "BTC"), "cost": Decimal("0.1001")})
    fills = [fill("buy", "0.1"), swap]
    assert sold(fills, "0.1999", doubt="0.0002") == {}
    found = sold(fills, "0.1999")
    assert found == {"anna": "fill anna-buy-2 left 0.1999 BTC, of which 0.2 are its own"}
