"""Lets the traders of several brokers run in virtual time, on markets whose decisions can be worked out by hand.

Rules, gate and loop are those of the product. The broker, the books and the executor are kept in memory here; other
tests run the real ones.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.strategy_trader.serve import TraderLoop
from services.strategy_trader.venue import AccountUnusable, VenueAccount
from shared.brokers.errors import NotSent
from shared.brokers.registry import profile_of
from shared.domain.amounts import ZERO
from shared.domain.capital.drawdown import DrawdownRecord, first_record
from shared.domain.capital.facts import AccountFacts, ClosedTrade, HeldPosition, MarginFacts, MarketFacts
from shared.domain.capital.gate import recommend
from shared.domain.capital.recommendation import Approved, Entry, EntryRequest, GateInputs, Recommendation
from shared.domain.capital.regime import MarketRegime
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, DecisionId, FillId
from shared.domain.instrument import Instrument
from shared.domain.market_data import Candle
from shared.domain.stop import StopMode
from shared.domain.strategy.decision import Enter, StrategyDecision
from shared.domain.strategy.execution.results import (
    ExecutionPurpose,
    ExecutionResult,
    ExecutionUnderWay,
    NotBegun,
    StrategySale,
)
from shared.domain.strategy.schedule import schedule_of
from shared.domain.symbol import Symbol
from shared.observability.vitals import Duty
from tests.support.capital import a_book
from tests.support.strategy import FIVE_MINUTES, INSTRUMENT, Zigzag, position
from tests.support.trading_books import MemoryBooks
from tests.support.virtual_time import BEGINS_AT, VirtualTime, directly

CANDLES = Zigzag().candles()
CLOSE = CANDLES[-1].close


@dataclass
class WorldVenue:
    """One broker with a market that rises in a zigzag. A test changes what it answers. Implements `TraderVenue`."""

    broker: Broker
    time: VirtualTime
    equity: Decimal = Decimal(10_000)
    cash: Decimal = Decimal(10_000)
    stopped: StopMode | None = None
    down: bool = False
    refused: bool = False
    market_down: bool = False
    bid: Decimal = CLOSE
    """The best bid, and the last price unless a test sets that."""
    last_price: Decimal | None = None
    """In the price list; None: the best bid."""
    shown: Mapping[str, Decimal] = field(default_factory=dict)
    """Quantity per coin that the account shows."""
    in_orders: Decimal = ZERO
    """Bitcoin that open orders hold, so that it is not free."""
    connected: tuple[Broker, ...] = ()
    """Other brokers that are connected."""
    largest_size: Decimal | None = None
    """What the gate approves at most, in US dollars; None: what the strategy asks for."""
    quotes: tuple[str, ...] = ("USD",)
    """What bitcoin is traded against."""
    lists_prices: bool = True
    opens_at: datetime | None = None
    """The market is closed until then."""
    margin: MarginFacts | None = None
    """None: a spot account."""
    foreign: tuple[HeldPosition, ...] = ()
    """What the account shows as positions, without what the strategy opened being marked."""
    drawdown: DrawdownRecord | None = None
    """None: no drawdown."""
    read_at: datetime | None = None
    """When the account was read; None: now."""
    other_candles: Sequence[Candle] = tuple(CANDLES)
    """What every other pair than BTC/USD shows."""
    silent_books: tuple[str, ...] = ()
    """Assets whose order books are never answered."""
    candles_read: int = 0
    books_read: int = 0

    @property
    def instrument(self) -> Instrument:
        return INSTRUMENT.model_copy(update={"broker": self.broker})

    def now(self) -> datetime:
        return self.time.now()

    def market_now(self) -> datetime:
        return self.time.now()

    def market_time(self, at: datetime) -> datetime:
        return at

    async def account(self) -> VenueAccount:
        if self.refused:
            raise AccountUnusable("the account cannot be watched: invalid key", refused=True)
        if self.down:
            raise AccountUnusable("the account is not watched at the moment: no answer")
        offers = (self.broker, *self.connected)
        return VenueAccount(
            facts=AccountFacts(
                equity=self.equity,
                free_cash=self.cash,
                margin=self.margin,
                positions=(*self._in_orders(), *self.foreign),
                read_at=self.read_at or self.now(),
            ),
            free={"USD": self.cash, **self.shown},
            offers=tuple(profile_of(each).offer(connected=True) for each in offers),
        )

    def _in_orders(self) -> Iterator[HeldPosition]:
        if self.in_orders:
            yield HeldPosition(instrument=self.instrument, quantity=self.in_orders, price=self.bid)

    async def stop(self) -> StopMode | None:
        return self.stopped

    async def pairs(self, account: VenueAccount) -> Sequence[Instrument]:
        return [self.instrument.model_copy(update={"symbol": Symbol("BTC", quote)}) for quote in self.quotes]

    async def candles(self, instrument: Instrument) -> Sequence[Candle]:
        self.candles_read += 1
        if self.market_down:
            raise NotSent("no connection")
        passed = (self.market_now() - BEGINS_AT) // FIVE_MINUTES * FIVE_MINUTES
        candles = CANDLES if instrument.base == INSTRUMENT.base else self.other_candles
        shift = BEGINS_AT + passed - candles[-1].closes_at
        return [candle.model_copy(update={"opened_at": candle.opened_at + shift}) for candle in candles]

    async def best_bid(self, instrument: Instrument) -> Decimal | None:
        self.books_read += 1
        if instrument.base in self.silent_books:
            await asyncio.Event().wait()
        return self.bid

    async def closed_until(self, instrument: Instrument) -> datetime | None:
        return self.opens_at if self.opens_at is not None and self.now() < self.opens_at else None

    async def atr_pct(self, instrument: Instrument) -> Decimal | None:
        return Decimal(2)

    async def last_prices(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, Decimal]:
        return dict.fromkeys(symbols, self.last_price or self.bid) if self.lists_prices else {}

    async def ask(
        self, entry: Enter, account: VenueAccount, trades: Sequence[ClosedTrade], *, has_made_room: bool
    ) -> Recommendation:
        """Ask the real gate, on a deep book at the close."""
        book = a_book(str(CLOSE), str(CLOSE)).model_copy(update={"at": self.now()})
        inputs = GateInputs(
            request=EntryRequest(
                instrument=entry.inputs.account.instrument,
                signal_score=Decimal(entry.gate.signal_score),
                expected_return_pct=entry.gate.expected_return_pct,
                regime=MarketRegime(entry.gate.regime.value),
                largest_size=entry.size_usd if self.largest_size is None else self.largest_size,
                has_made_room=has_made_room,
            ),
            account=account.facts,
            market=MarketFacts(book=book, atr_pct=Decimal(2)),
            drawdown=self.drawdown or first_record(account.facts.equity),
            fees=account.fees_of(self.instrument),
            stop=self.stopped,
            trades=tuple(trades),
        )
        return recommend(inputs, self.now())


@dataclass
class WorldExecutor:
    """Fills every order at once at the bid of its venue. Implements `Executor` and `Results`."""

    venue: WorldVenue
    fails: bool = False
    """Nothing is executed."""
    fills_share: Decimal = Decimal(1)
    """The part of each order that is executed."""
    hangs: bool = False
    """An execution does not end before its task is canceled."""
    hanging: tuple[str, ...] = ()
    """Assets whose executions do not end before their tasks are canceled."""
    refuses: str = ""
    """Why no execution begins."""
    lacks_funds: bool = False
    """When nothing is executed: the account has too little."""
    begun: dict[str, ExecutionUnderWay] = field(default_factory=dict)
    """What an earlier process began, and did not end."""
    results: dict[str, ExecutionResult] = field(default_factory=dict)
    sent: list[tuple[Side, Decimal]] = field(default_factory=list)
    sent_at: list[datetime] = field(default_factory=list)

    async def enter(self, decision_id: DecisionId, approved: Approved[Entry]) -> ExecutionResult:
        entry = approved.value
        return await self._execute(decision_id, entry.instrument, Side.BUY, entry.quantity)

    async def sell(self, decision_id: DecisionId, sale: StrategySale) -> ExecutionResult:
        return await self._execute(decision_id, sale.instrument, Side.SELL, sale.quantity)

    def under_way(self) -> Sequence[ExecutionUnderWay]:
        return list(self.begun.values())

    async def go_on(self, decision_id: DecisionId) -> ExecutionResult:
        """Fill what was begun, unless it hangs."""
        begun = self.begun[decision_id]
        side = Side.BUY if begun.purpose is ExecutionPurpose.ENTRY else Side.SELL
        instrument = self.venue.instrument.model_copy(update={"symbol": begun.symbol})
        return await self._execute(decision_id, instrument, side, begun.quantity)

    def result(self, decision_id: DecisionId) -> ExecutionResult | None:
        return self.results.get(decision_id)

    def last_fill_at(self) -> datetime | None:
        return max((each.ended_at for each in self.results.values() if each.fills), default=None)

    async def _execute(
        self, decision_id: DecisionId, instrument: Instrument, side: Side, quantity: Decimal
    ) -> ExecutionResult:
        if self.refuses:
            raise NotBegun(self.refuses)
        self.sent.append((side, quantity))
        self.sent_at.append(self.venue.now())
        if self.hangs or instrument.base in self.hanging:
            await asyncio.Event().wait()
        price, filled_quantity = self.venue.bid, quantity * self.fills_share
        filled = AccountFill(
            fill_id=FillId(decision_id),
            order_id=decision_id,
            symbol=instrument.symbol,
            side=side,
            price=price,
            quantity=filled_quantity,
            cost=price * filled_quantity,
            fee=ZERO,
            fee_currency=instrument.quote,
            executed_at=self.venue.now(),
        )
        found = ExecutionResult(
            decision_id=decision_id,
            symbol=instrument.symbol,
            side=side,
            quantity=quantity,
            message="refused" if self.fails else "",
            lacked_funds=self.fails and self.lacks_funds,
            fills=() if self.fails else (filled,),
            ended_at=self.venue.now(),
        )
        self.results[decision_id] = found
        return found


@dataclass
class WorldTrader:
    """The trader of one broker, and all that is around it."""

    venue: WorldVenue
    books: MemoryBooks
    executor: WorldExecutor

    @classmethod
    def at(cls, broker: Broker, time: VirtualTime, **facts: Any) -> "WorldTrader":
        venue = WorldVenue(broker, time, **facts)
        return cls(venue, MemoryBooks(), WorldExecutor(venue))

    def loop(self, process: str = "first") -> TraderLoop:
        return TraderLoop(
            self.venue,
            self.books,
            self.executor,
            self.executor,
            schedule_of(self.venue.broker),
            process,
            Duty(),
            in_thread=directly,
            pause=self.venue.time.pause,
            margin_memory=self.books.change_margin_action,
        )

    def decisions(self) -> list[StrategyDecision]:
        return [each.decision for each in self.books.records.values()]


def holding(time: VirtualTime, **facts: Any) -> WorldTrader:
    """A trader that holds one bitcoin of the strategy, bought at the close."""
    trader = WorldTrader.at(Broker.KRAKEN, time, shown={"BTC": Decimal(1)}, **facts)
    bought = position("1", str(CLOSE), str(CLOSE - 100))
    trader.books.positions["opening"] = bought
    return trader


@asynccontextmanager
async def running(*loops: TraderLoop) -> Any:
    """Run traders until the block ends; then each ends the cycle in hand. Yields the event that stops them."""
    stopping = asyncio.Event()
    works: list[Coroutine[Any, Any, None]] = [loop.work(stopping) for loop in loops]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield stopping
    finally:
        stopping.set()
        await asyncio.wait(tasks, timeout=5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
