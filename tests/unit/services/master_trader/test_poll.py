"""Tests the readings of an account, and the new fills of a poll, on the fake that stands for the port."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from services.master_trader.books import MasterBooks
from services.master_trader.master_prices import MasterPriceList
from services.master_trader.poll import Sighting, Stock, read_account, read_fills, sight, take_stock
from shared.brokers.registry import profile_of
from shared.domain.accounts.master_value import MasterPrices, UnknownEquity
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.prices import LivePrices


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


def price_list_of(account: CountingAccount, named: dict[str, Decimal | None]) -> MasterPriceList:
    lists = LivePrices(account.prices, lambda: account.clock)
    return MasterPriceList(lists, profile_of(Broker.KRAKEN).price_routes, named)


async def stock_of(account: CountingAccount) -> Stock:
    since = account.clock - timedelta(hours=1)
    return await take_stock(account, since, lambda: account.clock, price_list_of(account, {"XYZ": None}))


def seen(account: CountingAccount, stock: Stock, known: set[str]) -> Sighting:
    return sight(
        FakeConnection(account, account.prices),
        stock.fills,
        MasterBooks(stock.reading.totals, stock.reading.account.taken_at, stock.fills),
        MasterPrices(account.prices, ignored=frozenset({"XYZ"})),
        known=known,
        watched_since=account.clock - timedelta(hours=1),
    )


async def test_a_known_fill_is_not_new() -> None:
    """It stays among the fills that the broker shows."""
    account = new_account()
    fill = account.trade(Side.BUY, "BTC/USD", "0.01")
    sighting = seen(account, await stock_of(account), {fill.fill_id})
    assert (sighting.new, sighting.fills) == ((), (fill,))


async def test_new_fills_come_once_each_with_the_equity_before_them() -> None:
    """A fill that two pages show counts once; only the first fill's fee is gone before the second."""
    account = new_account()
    first, second = account.trade(Side.BUY, "BTC/USD", "0.01"), account.trade(Side.SELL, "BTC/USD", "0.004")
    stock = await stock_of(account)
    assert [(o.fill, o.equity_before) for o in seen(account, stock, set()).new] == [
        (first, Decimal(15_000)),
        (second, Decimal(15_000) - first.fee),
    ]
    assert stock.reading.account.unpriced == ()  # the operator ignores XYZ
    assert stock.agreed


async def test_fills_that_happen_during_the_reading_are_included_and_read_again() -> None:
    """Two trades fall between fills and balances; the third reading agrees, and the equities are exact."""
    account = new_account()
    account.trades_during_readings = 2
    account.trade(Side.BUY, "BTC/USD", "0.01")
    stock = await stock_of(account)
    fees = [fill.fee for fill in account.fills]
    assert stock.agreed
    assert account.balance_readings == 3
    assert [o.equity_before for o in seen(account, stock, set()).new] == [
        Decimal(15_000),
        Decimal(15_000) - fees[0],
        Decimal(15_000) - fees[0] - fees[1],
    ]


async def test_an_account_that_never_rests_is_taken_as_it_is() -> None:
    """The tries are bounded, every fill seen is returned, and the reading says that they did not agree."""
    account = new_account()
    account.trades_during_readings = 1000
    account.trade(Side.BUY, "BTC/USD", "0.01")
    stock = await stock_of(account)
    assert not stock.agreed
    assert len(stock.fills) == len(account.fills) == 1 + account.balance_readings


async def test_the_equity_is_everything_at_market_and_unpriced_coins_are_named() -> None:
    """10,000 dollars and 2 ETH; XYZ has no price."""
    account = new_account()
    reading = await read_account(account, (), account.clock, price_list_of(account, {}))
    assert reading.equity == UnknownEquity(("XYZ",))
    valued = reading.account
    assert (valued.equity, valued.cash, valued.unpriced) == (Decimal(15_000), Decimal(10_000), ("XYZ",))


async def test_a_poll_of_fills_reads_nothing_else() -> None:
    """The fill comes once, although two pages show it."""
    account = new_account()
    fill = account.trade(Side.BUY, "BTC/USD", "0.01")
    assert await read_fills(account, account.clock - timedelta(hours=1)) == (fill,)
    assert (account.fill_readings, account.balance_readings) == (1, 0)


def test_a_fill_that_is_held_back_is_neither_new_nor_shown() -> None:
    """The other fills stay. The sighting remembers the time from which the next reading must begin."""
    account = new_account()
    fills = tuple(account.trade(Side.BUY, "BTC/USD", "0.01") for _ in range(3))
    sighting = Sighting(fills, ()).without({fills[1].fill_id})
    assert sighting.fills == (fills[0], fills[2])
    assert sighting.held_from == fills[1].executed_at
    assert sighting.without({fills[0].fill_id}).held_from == fills[0].executed_at
