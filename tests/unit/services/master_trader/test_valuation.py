"""Tests the books of a master while its account is read, on the fake that stands for the port."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from services.master_trader.held_sales import HeldSales
from services.master_trader.master_prices import MasterPriceList
from services.master_trader.valuation import Valuation
from shared.brokers.registry import profile_of
from shared.domain.accounts.equity import Balance
from shared.domain.accounts.master_value import MasterPrices
from shared.domain.fill import Side
from shared.domain.identity import Broker
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.prices import LivePrices


class LimitedAccount(FakeAccount):
    """An account whose balances are read after something else has happened."""

    before_reply: Callable[[], object] | None = None
    cash_read_before: Decimal | None = None
    """The cash that the reply shows, if it was read before something else."""

    async def balances(self) -> Any:
        if self.before_reply is not None:
            self.before_reply()
        found = await super().balances()
        if self.cash_read_before is not None:
            found["USD"] = Balance(free=self.cash_read_before, total=self.cash_read_before)
        return found


def watched() -> tuple[LimitedAccount, Valuation]:
    account = LimitedAccount({"USD": Decimal(10_000)}, {"ETH": Decimal(2_500)})
    lists = LivePrices(account.prices, lambda: account.clock)
    price_list = MasterPriceList(lists, profile_of(Broker.KRAKEN).price_routes, {})
    return account, Valuation(price_list, HeldSales(0), lambda: account.clock)


async def test_a_fill_during_a_reading_that_had_to_wait_is_counted_once() -> None:
    """The limiter holds the request back for ten seconds. The fill comes in the middle, so the reply contains it.

    The books keep what they had and count the fill. The reading is not taken into them.
    """
    account, valuation = watched()
    since = account.clock - timedelta(hours=1)
    fills, _ = await valuation.poll(account, since)

    def wait() -> None:
        account.clock += timedelta(seconds=4)
        account.trade(Side.BUY, "ETH/USD", "2")
        account.clock += timedelta(seconds=5)

    account.before_reply = wait
    reading = await valuation.read(account, fills)
    assert reading.totals == account.totals
    (fill,), _ = await valuation.poll(account, since)
    assert valuation.books.totals == account.totals
    # A reading that was taken into the books would contain the fee.
    assert valuation.books.fees_since_reading(MasterPrices(account.prices)) == fill.fee > 0


async def test_a_reading_without_a_fill_near_it_is_taken_into_the_books() -> None:
    """A deposit changes what the account holds, and no fill shows it."""
    account, valuation = watched()
    since = account.clock - timedelta(hours=1)
    fills, _ = await valuation.poll(account, since)
    account.clock += timedelta(seconds=60)
    account.totals["USD"] += 500
    await valuation.read(account, fills)
    await valuation.poll(account, since)
    assert valuation.books.totals == account.totals


async def test_a_torn_reading_does_not_raise_the_equity_before_a_purchase() -> None:
    """The reply has the cash from before the purchase, and the coins that it bought: 15,000 instead of 10,000.

    The purchase is copied by the equity of the reading before.
    """
    account, valuation = watched()
    since = account.clock - timedelta(hours=1)
    fills, _ = await valuation.poll(account, since)
    account.clock += timedelta(seconds=60)

    account.before_reply = lambda: account.trade(Side.BUY, "ETH/USD", "2")
    account.cash_read_before = Decimal(10_000)
    reading = await valuation.read(account, fills)
    assert reading.equity == 15_000
    fills, _ = await valuation.poll(account, since)
    connection = FakeConnection(account, account.prices)
    (observed,) = valuation.sight(connection, fills, set(), since).new
    assert observed.equity_before == 10_000


async def test_a_first_reading_that_is_torn_is_replaced_at_once_and_decides_nothing() -> None:
    """The account buys at every request, so no two readings of its fills agree, and the cash is always from before.

    The account is read again at the next poll. A purchase after that is copied by the present equity.
    """
    account, valuation = watched()
    account.fee_rate = Decimal(0)
    since = account.clock - timedelta(hours=1)

    account.before_reply = lambda: account.trade(Side.BUY, "ETH/USD", "0.2")
    account.cash_read_before = Decimal(10_000)
    fills, reading = await valuation.poll(account, since)
    assert reading is not None
    assert reading.equity == 12_500
    assert valuation.is_due
    account.before_reply = account.cash_read_before = None
    account.clock += timedelta(seconds=10)
    await valuation.read(account, fills)
    account.clock += timedelta(seconds=10)
    await valuation.poll(account, since)
    assert not valuation.is_due
    bought = account.trade(Side.BUY, "ETH/USD", "1")
    fills, _ = await valuation.poll(account, since)
    sighting = valuation.sight(
        FakeConnection(account, account.prices), fills, {each.fill_id for each in fills[:-1]}, since
    )
    assert [each.fill for each in sighting.new] == [bought]
    assert sighting.new[0].equity_before == 10_000
