"""Reads candles and order books for questions about capital. What cannot be read is missing, and never an error."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from time import monotonic
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from shared.brokers.errors import BrokerError
from shared.brokers.market_reader import MarketReader
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.market_data import MOST_LEVELS, MarketData
from shared.domain.amounts import ZERO
from shared.domain.capital.facts import MarketFacts
from shared.domain.capital.liquidity import quoted_book
from shared.domain.capital.volatility import CANDLES, atr_pct
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass, Instrument
from shared.domain.market_data import Candle, Interval, OrderBook
from shared.domain.symbol import Symbol
from shared.queries.capital.sources import CapitalSources, Clock, utc_now

READING_SECONDS: Final = 20.0
"""How long one question waits for market data. A rate limit may make it wait, because orders and polls come first."""
LISTING_SECONDS: Final = 3600.0
LISTING_RETRY_SECONDS: Final = 60.0
ATR_CANDLES: Final = 100
"""Wilder's average depends on all candles before. After so many, the first ones no longer matter."""

log = structlog.get_logger()

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class SymbolMarket:
    """What could be read of the market of one symbol."""

    facts: MarketFacts
    missing: str | None
    """What is missing or too old, as the end of a sentence; None if all is there."""

    @property
    def book(self) -> OrderBook | None:
        """The order book, if it can be used."""
        return self.facts.book if self.missing is None else None


class OpenMarkets:
    """Opens the connection to a broker at the first question, and uses it for all later ones. Implements `Markets`.

    Listings are read again every hour, so that a process that runs for long answers questions about new pairs.
    """

    def __init__(
        self,
        connect: Callable[[Broker], BrokerConnection],
        clock: Callable[[], float] = monotonic,
        market_now: Clock = utc_now,
    ) -> None:
        """`market_now`: the time of the markets' candles."""
        self._connect = connect
        self._market_now = market_now
        self._clock = clock
        self._open: dict[Broker, BrokerConnection] = {}
        self._reload_at: dict[Broker, float] = {}
        self._opening = {broker: asyncio.Lock() for broker in Broker}

    async def of(self, broker: Broker) -> MarketData:
        """The market data of a broker. Raises BrokerError, RedisError, OSError."""
        data = (await self.connection(broker)).market_data
        if isinstance(data, MarketReader):
            data.now = self._market_now
        return data

    async def connection(self, broker: Broker) -> BrokerConnection:
        """The connection to a broker. Raises BrokerError, RedisError, OSError."""
        async with self._opening[broker]:
            if broker not in self._open:
                self._open[broker] = await self._opened(broker)
                self._reload_at[broker] = self._clock() + LISTING_SECONDS
            elif self._clock() >= self._reload_at[broker]:
                # Before it is tried. What was listed stays when it fails, and the next try is a minute later.
                self._reload_at[broker] = self._clock() + LISTING_RETRY_SECONDS
                await self._open[broker].reload()
                self._reload_at[broker] = self._clock() + LISTING_SECONDS
        return self._open[broker]

    async def _opened(self, broker: Broker) -> BrokerConnection:
        connection = self._connect(broker)
        try:
            await connection.open()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Close all connections."""
        connections, self._open = list(self._open.values()), {}
        for connection in connections:
            await connection.close()


async def read_market(sources: CapitalSources, broker: Broker, instrument: Instrument) -> SymbolMarket:
    """Return the ATR and the order book of a symbol, as far as they can be read."""
    atr, book = await asyncio.gather(_atr(sources, broker, instrument.symbol), _book(sources, broker, instrument))
    facts = MarketFacts(book=book, atr_pct=atr)
    return SymbolMarket(facts, facts.missing(sources.now()))


async def read_closes(sources: CapitalSources, broker: Broker, symbol: Symbol) -> Mapping[datetime, Decimal]:
    """Return the closes of the last 100 closed candles of five minutes, by the time at which each opened."""
    known = sources.closes.get((broker, symbol))
    if known is not None:
        return known
    candles = await _candles(sources, broker, symbol, Interval.FIVE_MINUTES, CANDLES + 1)
    found = {candle.opened_at: candle.close for candle in candles if candle.is_closed}
    closes = {opened_at: found[opened_at] for opened_at in sorted(found)[-CANDLES:]}
    if closes:
        sources.closes.put((broker, symbol), closes)
    return closes


async def _atr(sources: CapitalSources, broker: Broker, symbol: Symbol) -> Decimal | None:
    """The ATR of 4-hour candles. It hardly changes within the minute for which it is remembered."""
    known = sources.ranges.get((broker, symbol))
    if known is not None:
        return known
    found = atr_pct(await _candles(sources, broker, symbol, Interval.FOUR_HOURS, ATR_CANDLES))
    if found is not None:
        sources.ranges.put((broker, symbol), found)
    return found


async def _book(sources: CapitalSources, broker: Broker, instrument: Instrument) -> OrderBook | None:
    """The order book; for a stock its quote, deepened by a part of what is usually traded in five minutes."""
    symbol = instrument.symbol
    book = await _read(sources, broker, lambda data: data.order_book(symbol, MOST_LEVELS))
    if book is None or instrument.asset_class is not AssetClass.STOCK or not book.bids or not book.asks:
        return book
    candles = await _candles(sources, broker, symbol, Interval.FIVE_MINUTES, CANDLES + 1)
    return quoted_book(symbol, book.bids[0], book.asks[0], _mean_volume(candles), book.at)


def _mean_volume(candles: Sequence[Candle]) -> Decimal:
    volumes = [candle.base_volume for candle in candles if candle.is_closed][-CANDLES:]
    return sum(volumes, ZERO) / len(volumes) if volumes else ZERO


async def _candles(
    sources: CapitalSources, broker: Broker, symbol: Symbol, interval: Interval, limit: int
) -> list[Candle]:
    return await _read(sources, broker, lambda data: data.candles(symbol, interval, limit=limit)) or []


async def _read(sources: CapitalSources, broker: Broker, ask: Callable[[MarketData], Awaitable[_Read]]) -> _Read | None:
    try:
        async with asyncio.timeout(READING_SECONDS):
            return await ask(await sources.markets.of(broker))
    except (BrokerError, RedisError, OSError) as error:
        # TimeoutError is an OSError.
        log.warning("market data not read", broker=broker.value, error=str(error) or type(error).__name__)
        return None
