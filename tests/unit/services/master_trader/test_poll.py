"""Tests one poll of an account, on the fake that stands for the port."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from services.master_trader.poll import Sighting, poll_account, read_equity
from shared.domain.accounts.master_value import PriceMemory, UnknownEquity
from shared.domain.fill import AccountFill, Side
from tests.support.broker import FakeAccount, FakeConnection


class CountingAccount(FakeAccount):
    """Counts readings, trades while balances are read, and repeats a fill as shifting pages do."""

    balance_readings = 0
    fill_readings = 0
    trades_during_readings = 0

    async def balances(self) -> Any:
        self.balance_readings += 1
        balances = await super().balances()
        if self.balance_readings <= self.trades_during_readings:
            self.trade(Side.BUY, "BTC/USD", "0.01")
        return balances

    async def fills_since(self, since: Any) -> list[AccountFill]:
        self.fill_readings += 1
        fills = await super().fills_since(since)
        return fills[:1] + fills


def new_account() -> CountingAccount:
    return CountingAccount(
        totals={"USD": Decimal(10_000), "ETH": Decimal(2), "XYZ": Decimal(7)},
        prices={"BTC": Decimal(50_000), "ETH": Decimal(2_500)},
    )


async def see(account: CountingAccount, known: set[str]) -> Sighting:
    since = account.clock - timedelta(hours=1)
    return await poll_account(
        FakeConnection(account, account.prices),
        account,
        since=since,
        watched_since=since,
        known=known,
        now=account.clock,
        memory=PriceMemory({"XYZ": None}),
    )


async def test_without_new_fills_nothing_but_the_fills_is_read() -> None:
    """A poll of a quiet account costs one request."""
    account = new_account()
    fill = account.trade(Side.BUY, "BTC/USD", "0.01")
    sighting = await see(account, {fill.fill_id})
    assert (sighting.new, sighting.account) == ((), None)
    assert (account.fill_readings, account.balance_readings) == (1, 0)


async def test_new_fills_come_once_each_with_the_equity_before_them() -> None:
    """A fill that two pages show counts once; only the first fill's fee is gone before the second."""
    account = new_account()
    first, second = account.trade(Side.BUY, "BTC/USD", "0.01"), account.trade(Side.SELL, "BTC/USD", "0.004")
    sighting = await see(account, set())
    assert [(o.fill, o.equity_before) for o in sighting.new] == [
        (first, Decimal(15_000)),
        (second, Decimal(15_000) - first.fee),
    ]
    assert sighting.account is not None
    assert sighting.account.unpriced == ()  # the operator ignores XYZ
    assert sighting.agreed


async def test_fills_that_happen_during_the_reading_are_included_and_read_again() -> None:
    """Two trades fall between fills and balances; the third reading agrees, and the equities are exact."""
    account = new_account()
    account.trades_during_readings = 2
    account.trade(Side.BUY, "BTC/USD", "0.01")
    sighting = await see(account, set())
    fees = [fill.fee for fill in account.fills]
    assert sighting.agreed
    assert account.balance_readings == 3
    assert [o.equity_before for o in sighting.new] == [
        Decimal(15_000),
        Decimal(15_000) - fees[0],
        Decimal(15_000) - fees[0] - fees[1],
    ]


async def test_an_account_that_never_rests_is_taken_as_it_is() -> None:
    """The tries are bounded, every fill seen is returned, and the poll says that they did not agree."""
    account = new_account()
    account.trades_during_readings = 1000
    account.trade(Side.BUY, "BTC/USD", "0.01")
    sighting = await see(account, set())
    assert not sighting.agreed
    assert len(sighting.new) == len(account.fills) == 1 + account.balance_readings


async def test_the_equity_is_everything_at_market_and_unpriced_coins_are_named() -> None:
    """10,000 dollars and 2 ETH; XYZ has no price."""
    account = new_account()
    connection, memory = FakeConnection(account, account.prices), PriceMemory({})
    snapshot, equity = await read_equity(connection, account, account.clock, memory)
    assert equity == UnknownEquity(("XYZ",))
    assert (snapshot.equity, snapshot.cash, snapshot.unpriced) == (Decimal(15_000), Decimal(10_000), ("XYZ",))
