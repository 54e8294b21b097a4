"""Tests how a master's assets are valued by the price list of its broker."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.master_trader.master_prices import MasterPriceList
from shared.brokers.price_routes import PriceRoutes
from shared.domain.accounts.master_value import Equity, UnknownEquity
from shared.domain.accounts.price_list import PriceList
from shared.domain.symbol import Symbol

NOW = datetime(2026, 11, 29, tzinfo=UTC)
HOLDINGS = {"USD": Decimal(1000), "XYZ": Decimal(9)}
ROUTES = PriceRoutes(("USD",), bridges=("BTC",))


@dataclass
class Listed:
    """A price list that a test changes."""

    list_now: PriceList = field(default_factory=PriceList)

    def add(self, prices: dict[str, int], at: datetime) -> None:
        pairs = {Symbol.parse(symbol): Decimal(price) for symbol, price in prices.items()}
        self.list_now = self.list_now.followed_by(pairs, at)

    async def read(self) -> PriceList:
        return self.list_now

    async def need(self, assets: frozenset[str]) -> None:
        """Do nothing, because the test decides what is listed."""


async def equity(listed: Listed, now: datetime, named: dict[str, Decimal | None] | None = None) -> Equity:
    return (await MasterPriceList(listed, ROUTES, named or {}).of(HOLDINGS, now)).equity(HOLDINGS)


async def test_a_coin_whose_ticker_failed_once_keeps_its_last_price() -> None:
    """The last known price is used for an hour, and is an estimate from then on."""
    listed = Listed()
    listed.add({"XYZ/USD": 100}, NOW)
    listed.add({"BTC/USD": 50_000}, NOW + timedelta(seconds=2))
    assert await equity(listed, NOW + timedelta(hours=1)) == 1900
    assert await equity(listed, NOW + timedelta(hours=1, seconds=1)) == UnknownEquity(("XYZ",))
    listed.add({"XYZ/USD": 50}, NOW + timedelta(hours=2))
    assert await equity(listed, NOW + timedelta(hours=2)) == 1450


async def test_prices_that_no_process_lists_any_more_get_old_too() -> None:
    """The lister stopped. After an hour, the equity is unknown."""
    listed = Listed()
    listed.add({"XYZ/USD": 100}, NOW)
    assert await equity(listed, NOW + timedelta(minutes=59)) == 1900
    assert await equity(listed, NOW + timedelta(minutes=61)) == UnknownEquity(("XYZ",))


async def test_a_price_in_two_steps_is_as_old_as_its_older_step() -> None:
    """XYZ is listed in BTC only. The pair of BTC and dollars has not been listed for an hour."""
    listed = Listed()
    listed.add({"XYZ/BTC": 2, "BTC/USD": 50}, NOW)
    listed.add({"XYZ/BTC": 2}, NOW + timedelta(hours=1))
    assert await equity(listed, NOW + timedelta(hours=1)) == 1900
    assert await equity(listed, NOW + timedelta(hours=1, seconds=1)) == UnknownEquity(("XYZ",))


async def test_the_operator_names_a_value_or_ignores_the_asset() -> None:
    """A named value replaces the broker's price. An ignored asset counts nothing and keeps nothing unknown."""
    listed = Listed()
    listed.add({"XYZ/USD": 100}, NOW)
    assert await equity(listed, NOW, {"XYZ": Decimal(5)}) == 1045
    assert await equity(Listed(), NOW, {"XYZ": None}) == 1000
