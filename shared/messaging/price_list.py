"""Stores the price list of a broker in Redis, and reads it for all processes that value accounts.

One process writes it, every two seconds. It writes only the prices that have changed, because most pairs of a broker do
not trade within two seconds, and Redis logs each write.
"""

from asyncio import Lock
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic, time
from typing import Any, Final

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT

from shared.brokers.price_routes import DollarPrices, PriceRoutes
from shared.brokers.registry import profile_of
from shared.domain.accounts.master_value import PRICE_LASTS
from shared.domain.accounts.price_list import NEVER, EarlierPrice, PriceList, PriceLists
from shared.domain.amounts import parse_amount, plain
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys

LISTED_AT_FIELD: Final = "*"
"""The field of the hash `prices` with the time of the newest list."""
REUSED_SECONDS: Final = 1.0
"""How long a process reuses what it has read."""
NEEDED_SECONDS: Final = 2 * 3_600.0
"""How long an asset is listed after it was last needed. Accounts are read more often than this."""


class StoredPrices:
    """Reads one broker's list. Implements `PriceLists`. All methods raise RedisError."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._read = PriceList()
        self._read_at_seconds = -REUSED_SECONDS
        self._reading = Lock()

    async def read(self) -> PriceList:
        """The newest list. It is read at most once a second, however many callers wait for it."""
        async with self._reading:
            now_seconds = monotonic()
            if now_seconds - self._read_at_seconds >= REUSED_SECONDS or self._read.is_empty:
                self._read = parse_price_list(await self._redis.hgetall(self._keys.prices))
                self._read_at_seconds = now_seconds
        return self._read

    async def need(self, assets: frozenset[str]) -> None:
        """Ask for the prices of these assets from the next list on."""
        if assets and profile_of(self._keys.broker).prices_by_name:
            await self._redis.zadd(self._keys.needed_assets, dict.fromkeys(sorted(assets), time()))


class PresentPrices:
    """What assets of followers are worth now, in US dollars. All methods raise RedisError."""

    def __init__(self, lists: PriceLists, routes: PriceRoutes) -> None:
        self._lists = lists
        self._routes = routes
        self._listed_at = NEVER
        self._prices = DollarPrices(routes, {})

    async def now(self) -> DollarPrices | None:
        """The prices by the newest list; None if there is no list yet.

        An asset that the lists of the last hour lack has no price. While no process lists prices, the last known ones
        stay: an account is never worth less because of that.
        """
        listed = await self._lists.read()
        if listed.is_empty:
            return None
        if listed.listed_at != self._listed_at:
            self._prices = DollarPrices(self._routes, listed.since(listed.listed_at - PRICE_LASTS))
            self._listed_at = listed.listed_at
        return self._prices

    async def need(self, assets: Collection[str]) -> None:
        """Ask for the prices of these assets from the next list on."""
        await self._lists.need(frozenset(assets))


def present_prices(redis: Redis, keys: BrokerKeys) -> PresentPrices:
    """The prices of one broker, by the list that is stored in its Redis."""
    return PresentPrices(StoredPrices(redis, keys), profile_of(keys.broker).price_routes)


class PriceListWriter:
    """Writes one broker's list. Only the holder of the lease writes."""

    def __init__(self, redis: Redis, keys: BrokerKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._written = PriceList()

    async def needed(self) -> list[str]:
        """The assets whose prices were needed lately."""
        await self._redis.zremrangebyscore(self._keys.needed_assets, "-inf", time() - NEEDED_SECONDS)
        assets: list[Any] = await self._redis.zrange(self._keys.needed_assets, 0, -1)
        return [_text(asset) for asset in assets]

    async def write(self, prices: Mapping[Symbol, Decimal], listed_at: datetime) -> None:
        """Replace the newest list. Pairs that it lacks keep their last price, with its time."""
        stored = await self._redis.hget(self._keys.prices, LISTED_AT_FIELD)
        if stored is None or _text(stored) != self._written.listed_at.isoformat():
            # Another process has written, or Redis was emptied.
            self._written = parse_price_list(await self._redis.hgetall(self._keys.prices))
        before, after = _fields(self._written), self._written.followed_by(prices, listed_at)
        changed: dict[FieldT, EncodableT] = {
            field: value for field, value in _fields(after).items() if before.get(field) != value
        }
        await self._redis.hset(self._keys.prices, mapping=changed)
        self._written = after


def _fields(listed: PriceList) -> dict[str, str]:
    earlier: dict[str, str] = {
        symbol: f"{plain(last.price)} {last.listed_at.isoformat()}" for symbol, last in listed.earlier.items()
    }
    newest: dict[str, str] = {symbol: plain(price) for symbol, price in listed.prices.items()}
    return {**earlier, **newest, LISTED_AT_FIELD: listed.listed_at.isoformat()}


def parse_price_list(stored: Mapping[bytes | str, bytes | str]) -> PriceList:
    """Read the hash `prices`. A hash that is empty is an empty list."""
    prices: dict[Symbol, Decimal] = {}
    earlier: dict[Symbol, EarlierPrice] = {}
    listed_at = NEVER
    for name, text in stored.items():
        field, value = _text(name), _text(text)
        if field == LISTED_AT_FIELD:
            listed_at = datetime.fromisoformat(value).astimezone(UTC)
            continue
        price, _, at = value.partition(" ")
        if at:
            earlier[Symbol.parse(field)] = EarlierPrice(parse_amount(price), datetime.fromisoformat(at))
        else:
            prices[Symbol.parse(field)] = parse_amount(price)
    return PriceList(listed_at, prices, earlier)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
