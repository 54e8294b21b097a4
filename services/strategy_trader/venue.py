"""Reads all that the trader of one account decides on: the account, its market and what is stopped.

The account is read from the hash `master`, so it costs no request to the broker. The process that watches the account
reads it there. An account that is not watched at the moment is an error, and never an empty account.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

from redis import Redis as BlockingRedis

from services.strategy_trader.market_time import MACHINE_TIME, MarketTime
from shared.brokers.port.account import HasTradingHours
from shared.brokers.port.market_data import MarketData
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import ZERO
from shared.domain.capital.facts import AccountFacts, ClosedTrade, HeldPosition
from shared.domain.capital.own_positions import with_own_positions
from shared.domain.capital.recommendation import Recommendation
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.scaling import rules_for
from shared.domain.errors import NijaError
from shared.domain.fees import Fees
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass, Instrument
from shared.domain.market_data import Candle
from shared.domain.request_limits import Priority
from shared.domain.stop import StopMode
from shared.domain.strategy.candle_window import INTERVAL
from shared.domain.strategy.decision import Enter
from shared.domain.strategy.parameters import WINDOW_CANDLES
from shared.domain.strategy.routing import BrokerOffer, OpensHere, Route, route_of
from shared.domain.strategy.traded_pairs import traded_pairs
from shared.domain.symbol import Symbol
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys
from shared.messaging.price_list import LISTED_AT_FIELD, parse_price_list
from shared.queries.broker_findings import LONGEST_POLL_AGE_SECONDS
from shared.queries.brokers import own_rates
from shared.queries.capital.accounts import CapitalAccount, listed_instruments, read_account
from shared.queries.capital.markets import READING_SECONDS, read_market
from shared.queries.capital.models import EntryQuestion
from shared.queries.capital.recommendation import ask_gate
from shared.queries.capital.sizing import correlation_with_held
from shared.queries.capital.sources import AccountName, CapitalSources
from shared.queries.stops import read_stop
from shared.queries.traders import connected_brokers

ATR_LASTS: Final = timedelta(minutes=15)
PRICE_LASTS: Final = timedelta(seconds=10)
"""A list of prices is read every two seconds. An older one says nothing about the present."""
_UNFINISHED: Final = 2
"""Candles that are read more than needed: the last one is open, and so may be the one before."""


class AccountUnusable(NijaError):
    """The account cannot be traded now. The text says why."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        """`refused`: a person has to act, for example because the broker refused the key."""
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class VenueAccount:
    """An account at the beginning of a cycle. Money is US dollars."""

    facts: AccountFacts
    """Without any position that nija opened."""
    free: Mapping[str, Decimal]
    """What no open order holds, per currency."""
    offers: tuple[BrokerOffer, ...]
    """What all brokers mean for an account that trades coins."""
    capital: CapitalAccount | None = None
    """What the gate asks of the account."""

    def fees_of(self, instrument: Instrument) -> Fees:
        """What trading the instrument costs here."""
        if self.capital is not None:
            return self.capital.fees_of(instrument)
        return profile_of(instrument.broker).fees_of(instrument.asset_class)

    def route_of(self, instrument: Instrument) -> Route:
        """Where the money of the account should buy the instrument."""
        if instrument.asset_class is AssetClass.STOCK:
            return OpensHere(self.fees_of(instrument).smallest_worthwhile_profit)
        return self.coin_route(instrument.broker)

    def coin_route(self, broker: Broker) -> Route:
        """Where the money of the account, which is at this broker, should buy coins."""
        return route_of(broker, self.facts.equity, self.offers)

    def quantity_of(self, base: str) -> Decimal:
        """How much of an asset the account has, free or held by orders."""
        if self.capital is not None:
            return self.capital.reading.holdings.total.get(base, ZERO)
        listed = sum((each.quantity for each in self.facts.positions if each.instrument.base == base), ZERO)
        return max(listed, self.free.get(base, ZERO))

    def held_usd(self, instrument: Instrument) -> Decimal:
        """The value of an asset in the account, whichever way it was bought."""
        held = [each.value for each in self.facts.positions if each.instrument.base == instrument.base]
        return sum(held, ZERO)


class TraderVenue(Protocol):
    """What a trader reads. Every method raises errors of the server that it asks."""

    broker: Broker

    def now(self) -> datetime:
        """The present time. Ages and deadlines follow it."""
        ...

    def market_now(self) -> datetime:
        """The time of the market's candles. Cycles and decisions follow it. It differs only on a paper market."""
        ...

    def market_time(self, at: datetime) -> datetime:
        """The time of the market's candles at a moment of the past."""
        ...

    async def account(self) -> VenueAccount: ...

    async def stop(self) -> StopMode | None: ...

    async def pairs(self, account: VenueAccount) -> Sequence[Instrument]: ...

    async def candles(self, instrument: Instrument) -> Sequence[Candle]: ...

    async def best_bid(self, instrument: Instrument) -> Decimal | None: ...

    async def closed_until(self, instrument: Instrument) -> datetime | None: ...

    async def atr_pct(self, instrument: Instrument) -> Decimal | None: ...

    async def last_prices(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, Decimal]: ...

    async def ask(
        self, entry: Enter, account: VenueAccount, trades: Sequence[ClosedTrade], *, has_made_room: bool
    ) -> Recommendation: ...


class BrokerVenue:
    """The venue of a real account: its broker, Redis and PostgreSQL. Implements `TraderVenue`."""

    def __init__(
        self,
        sources: CapitalSources,
        name: AccountName,
        time: MarketTime = MACHINE_TIME,
        assets: Collection[str] = (),
        credentials: Credentials | None = None,
    ) -> None:
        """`assets`: the only ones that are bought; none: all that the size of the account and the settings allow.

        `credentials`: a key for which the broker shows its trading hours.
        """
        self.broker = name.broker
        self._time = time
        self._assets = assets
        self._sources = sources
        self._name = name
        self._credentials = credentials
        self._keys = BrokerKeys(name.broker)
        self._atr: dict[Symbol, tuple[datetime, Decimal | None]] = {}

    @property
    def _redis(self) -> BlockingRedis:
        return self._sources.connections.redis_of(self.broker)

    def now(self) -> datetime:
        """The present time."""
        return self._sources.now()

    def market_now(self) -> datetime:
        """The time of the market's candles."""
        return self._time.now()

    def market_time(self, at: datetime) -> datetime:
        """The time of the market's candles at a moment of the past."""
        return self._time.at(at)

    async def account(self) -> VenueAccount:
        """Read the account. Raises AccountUnusable, AccountNotRead, RedisError, DatabaseUnavailable."""
        return await asyncio.to_thread(self._account)

    async def stop(self) -> StopMode | None:
        """How far the broker is stopped; None: it is not. Raises DatabaseUnavailable."""
        return await asyncio.to_thread(read_stop, self._sources.connections, self.broker)

    async def pairs(self, account: VenueAccount) -> Sequence[Instrument]:
        """The pairs that the account may trade. Raises RedisError."""
        quotes = profile_of(self.broker).cash_currencies
        equity, stocks = account.facts.equity, self._sources.stocks
        allowed = (*rules_for(equity).assets, *stocks)
        assets = [asset for asset in allowed if not self._assets or asset in self._assets]
        symbols = [Symbol(asset, quote) for asset in assets for quote in quotes]
        listed = await asyncio.to_thread(listed_instruments, self._redis, self._keys, symbols)
        return traded_pairs(listed.values(), equity, free=account.free, quotes=quotes, stocks=stocks)

    async def candles(self, instrument: Instrument) -> Sequence[Candle]:
        """The closed candles that a decision needs, oldest first. Raises BrokerError, RedisError, OSError."""
        async with asyncio.timeout(READING_SECONDS):
            data = await self._market()
            found = await data.candles(instrument.symbol, INTERVAL, limit=WINDOW_CANDLES + _UNFINISHED)
        return [candle for candle in found if candle.is_closed][-WINDOW_CANDLES:]

    async def best_bid(self, instrument: Instrument) -> Decimal | None:
        """What a sale would get now; None: the book is empty. Raises BrokerError, RedisError, OSError."""
        async with asyncio.timeout(READING_SECONDS):
            # More urgent than readings of accounts: a position may have to be sold at once.
            book = await (await self._market()).at(Priority.WATCH).order_book(instrument.symbol)
        return book.bids[0].price if book.bids else None

    async def closed_until(self, instrument: Instrument) -> datetime | None:
        """When the closed market of a stock opens; None: it is open. Raises BrokerError, RedisError, OSError."""
        if instrument.asset_class is not AssetClass.STOCK or self._credentials is None:
            return None
        async with asyncio.timeout(READING_SECONDS):
            account = (await self._sources.markets.connection(self.broker)).account(self._credentials)
            return await account.closed_until(instrument.symbol) if isinstance(account, HasTradingHours) else None

    async def atr_pct(self, instrument: Instrument) -> Decimal | None:
        """ATR of 4-hour candles in percent of the price; None: unknown. It is remembered for a quarter of an hour."""
        known, now = self._atr.get(instrument.symbol), self.market_now()
        if known is None or known[0] < now:
            market = await read_market(self._sources, self.broker, instrument)
            known = (now + ATR_LASTS, market.facts.atr_pct)
            if market.facts.atr_pct is not None:
                self._atr[instrument.symbol] = known
        return known[1]

    async def last_prices(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, Decimal]:
        """The newest prices of some pairs, from the list that is read every two seconds. Raises RedisError.

        Prices that are too old are left out, for example because no process lists them.
        """
        return await asyncio.to_thread(self._last_prices, symbols)

    async def ask(
        self, entry: Enter, account: VenueAccount, trades: Sequence[ClosedTrade], *, has_made_room: bool
    ) -> Recommendation:
        """Ask the capital gate about an entry. Raises DatabaseUnavailable."""
        if account.capital is None:
            raise AccountUnusable("the account was not read for the gate")
        instrument = entry.inputs.account.instrument
        reading = replace(account.capital.reading, account=account.facts)
        capital = replace(account.capital, reading=reading)
        market, related = await asyncio.gather(
            read_market(self._sources, self.broker, instrument),
            correlation_with_held(self._sources, capital, instrument.symbol),
        )
        question = EntryQuestion(
            symbol=str(instrument.symbol),
            signal_score=Decimal(entry.gate.signal_score),
            expected_return_pct=entry.gate.expected_return_pct,
            regime=MarketRegime(entry.gate.regime.value),
            largest_size=entry.size_usd,
        )
        return await ask_gate(
            self._sources,
            capital,
            instrument,
            market,
            related,
            question,
            trades=trades,
            has_made_room=has_made_room,
        )

    async def _market(self) -> MarketData:
        return await self._sources.markets.of(self.broker)

    def _account(self) -> VenueAccount:
        found = read_account(self._sources.connections, self._name, self.now())
        self._require_watched(found)
        return VenueAccount(
            facts=found.facts, free=found.reading.holdings.free, offers=self._offers(found), capital=found
        )

    def _require_watched(self, account: CapitalAccount) -> None:
        """Raise AccountUnusable unless the account was read lately, and its key is accepted."""
        master, now = account.master, self.now()
        state, error = master.get("state"), master.get("last_error", "")
        if state == MasterState.FAILED.value:
            raise AccountUnusable(f"the account cannot be watched: {error}", refused=True)
        polled = master.get(LAST_POLL_FIELD)
        age_seconds = (now - datetime.fromisoformat(polled)).total_seconds() if polled else float("inf")
        if state != MasterState.WATCHING.value or age_seconds > LONGEST_POLL_AGE_SECONDS:
            raise AccountUnusable(f"the account is not watched at the moment: {error or state or 'no process'}")
        if account.reading.is_old(now):
            raise AccountUnusable(f"the account was last read at {account.reading.holdings.read_at:%H:%M:%S} UTC")

    def _offers(self, account: CapitalAccount) -> tuple[BrokerOffer, ...]:
        now = self.now()
        others = connected_brokers(self._sources.connections, now) - {self.broker}
        own = profile_of(self.broker).offer(connected=True, rates=own_rates(account.master))
        return (own, *(profile_of(each).offer(connected=True) for each in Broker if each in others))

    def _last_prices(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, Decimal]:
        if not symbols:
            return {}
        fields = [LISTED_AT_FIELD, *map(str, symbols)]
        stored = self._redis.hmget(self._keys.prices, fields)
        listed = parse_price_list({field: text for field, text in zip(fields, stored, strict=True) if text})
        return listed.prices if self.now() - listed.listed_at <= PRICE_LASTS else {}


def with_positions(account: VenueAccount, own: Sequence[HeldPosition], spent: Decimal = ZERO) -> VenueAccount:
    """Return the account in which the positions that the strategy opened are marked as nija's."""
    return replace(account, facts=with_own_positions(account.facts, own, spent))
