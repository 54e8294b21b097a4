"""Price lists for tests that hold their prices in memory, and readings of accounts for tests with a real Redis."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from redis.asyncio import Redis

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import profile_of
from shared.domain.accounts.price_list import PriceList
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.symbol import Symbol
from shared.messaging.accounts import add_account
from shared.messaging.keys import BrokerKeys


@dataclass
class LivePrices:
    """A `PriceLists` of dollar pairs that is listed again at each reading, from prices that a test may change."""

    prices: Mapping[str, Decimal] | None
    """US dollars per asset; None: no process has listed any prices."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    listed: PriceList = field(default_factory=PriceList)

    async def read(self) -> PriceList:
        if self.prices is None:
            return PriceList()
        pairs = {Symbol(asset, "USD"): price for asset, price in self.prices.items()}
        self.listed = self.listed.followed_by(pairs, self.now())
        return self.listed

    async def need(self, assets: frozenset[str]) -> None:
        """Do nothing, because all prices are listed."""


async def dollar_prices(connection: BrokerConnection, *assets: str) -> dict[str, Decimal]:
    """What the assets are worth by the price list that the broker shows now."""
    return profile_of(connection.broker).price_routes.dollar_prices(assets, await connection.price_list(assets))


async def store_accounts(redis: Redis, keys: BrokerKeys, accounts: Mapping[str, AccountSnapshot]) -> None:
    """Write readings as a worker does."""
    async with redis.pipeline(transaction=True) as pipeline:
        for follower_id, account in accounts.items():
            add_account(pipeline, keys, follower_id, account)
        await pipeline.execute()
