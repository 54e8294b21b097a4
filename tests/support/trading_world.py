"""Lets the traders of several brokers run in virtual time, on markets whose decisions can be worked out by hand.

Rules, gate and loop are those of the product. The broker, the books and the executor are kept in memory here; other
tests run the real ones.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, ParamSpec, TypeVar

from services.strategy_trader.serve import TraderLoop
from services.strategy_trader.venue import AccountUnusable, VenueAccount
from shared.brokers.errors import NotSent
from shared.brokers.registry import profile_of
from shared.domain.amounts import ZERO
from shared.domain.capital.drawdown import first_record
from shared.domain.capital.facts import AccountFacts, ClosedTrade, MarketFacts
from shared.domain.capital.gate import recommend
from shared.domain.capital.recommendation import Approved, Entry, EntryRequest, GateInputs, Recommendation
from shared.domain.capital.regime import MarketRegime
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, DecisionId, FillId
from shared.domain.instrument import Instrument
from shared.domain.market_data import Candle
from shared.domain.stop import StopMode
from shared.domain.strategy.decision import Enter, StrategyDecision
from shared.domain.strategy.execution.results import ExecutionResult, StrategySale
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.schedule import schedule_of
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.observability.vitals import Duty
from shared.persistence.traders import StoredPosition, UnfinishedDecision
from tests.support.capital import a_book
from tests.support.strategy import FIVE_MINUTES, INSTRUMENT, Zigzag

BEGINS_AT = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
CANDLES = Zigzag().candles()
CLOSE = CANDLES[-1].close
_TURNS = 60

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def directly(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run what would block, without a thread."""
    return work(*args, **kwargs)


class VirtualTime:
    """A clock that a test moves. Whatever sleeps until a moment runs at this moment, in its order."""

    def __init__(self) -> None:
        self._now = BEGINS_AT
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> datetime:
        return self._now

    async def pause(self, event: asyncio.Event, seconds: float) -> None:
        """Sleep, or until the event is set."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._numbers), future))
        ended = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({future, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()

    async def run_for(self, seconds: float) -> None:
        """Let everything happen that is due within this time."""
        until = self._now + timedelta(seconds=seconds)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, future = heapq.heappop(self._sleepers)
            self._now = max(at, self._now)
            if not future.done():
                future.set_result(None)
                await self._settle()
        self._now = until

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


@dataclass
class WorldVenue:
    """One broker with a market that rises in a zigzag. A test changes what it answers. Implements `Venue`."""

    broker: Broker
    time: VirtualTime
    equity: Decimal = Decimal(10_000)
    cash: Decimal = Decimal(10_000)
    stopped: StopMode | None = None
    down: bool = False
    refused: bool = False
    market_down: bool = False
    bid: Decimal = CLOSE
    """The best bid, and the last price."""
    shown: Mapping[str, Decimal] = field(default_factory=dict)
    """Quantity per coin that the account shows."""
    connected: tuple[Broker, ...] = ()
    """Other brokers that are connected."""
    candles_read: int = 0

    @property
    def instrument(self) -> Instrument:
        return INSTRUMENT.model_copy(update={"broker": self.broker})

    def now(self) -> datetime:
        return self.time.now()

    async def account(self) -> VenueAccount:
        if self.refused:
            raise AccountUnusable("the account cannot be watched: invalid key", refused=True)
        if self.down:
            raise AccountUnusable("the account is not watched at the moment: no answer")
        offers = (self.broker, *self.connected)
        return VenueAccount(
            facts=AccountFacts(equity=self.equity, free_cash=self.cash, read_at=self.now()),
            free={"USD": self.cash, **self.shown},
            offers=tuple(profile_of(each).offer(connected=True) for each in offers),
        )

    async def stop(self) -> StopMode | None:
        return self.stopped

    async def pairs(self, account: VenueAccount) -> Sequence[Instrument]:
        return [self.instrument]

    async def candles(self, instrument: Instrument) -> Sequence[Candle]:
        self.candles_read += 1
        if self.market_down:
            raise NotSent("no connection")
        passed = (self.now() - BEGINS_AT) // FIVE_MINUTES * FIVE_MINUTES
        shift = BEGINS_AT + passed - CANDLES[-1].closes_at
        return [candle.model_copy(update={"opened_at": candle.opened_at + shift}) for candle in CANDLES]

    async def best_bid(self, instrument: Instrument) -> Decimal | None:
        return self.bid

    async def atr_pct(self, instrument: Instrument) -> Decimal | None:
        return Decimal(2)

    async def last_prices(self, symbols: Sequence[Symbol]) -> Mapping[Symbol, Decimal]:
        return dict.fromkeys(symbols, self.bid)

    async def ask(
        self, entry: Enter, account: VenueAccount, trades: Sequence[ClosedTrade], *, has_made_room: bool
    ) -> Recommendation:
        """Ask the real gate, on a deep book at the close."""
        book = a_book(str(CLOSE), str(CLOSE)).model_copy(update={"at": self.now()})
        inputs = GateInputs(
            request=EntryRequest(
                instrument=self.instrument,
                signal_score=Decimal(entry.gate.signal_score),
                expected_return_pct=entry.gate.expected_return_pct,
                regime=MarketRegime(entry.gate.regime.value),
                largest_size=entry.size_usd,
                has_made_room=has_made_room,
            ),
            account=account.facts,
            market=MarketFacts(book=book, atr_pct=Decimal(2)),
            drawdown=first_record(account.facts.equity),
            fees=account.fees_of(self.instrument),
            stop=self.stopped,
            trades=tuple(trades),
        )
        return recommend(inputs, self.now())


@dataclass
class WorldRecord:
    """A decision as it was stored."""

    symbol: Symbol
    decision: StrategyDecision
    candle: datetime | None
    gate: dict[str, Any] | None = None
    outcome: str | None = None


@dataclass
class MemoryBooks:
    """The books of one trader, in memory. They outlive its process. Implements `Books`."""

    cycle: int = -1
    owner: str = ""
    state: TraderState = field(default_factory=TraderState)
    taken: list[tuple[int, str, datetime]] = field(default_factory=list)
    records: dict[str, WorldRecord] = field(default_factory=dict)
    positions: dict[str, StrategyPosition] = field(default_factory=dict)
    trades: list[ClosedTrade] = field(default_factory=list)
    booked: set[str] = field(default_factory=set)
    states: list[TraderState] = field(default_factory=list)

    def take_cycle(self, cycle: int, process: str, at: datetime) -> TraderState | None:
        if cycle <= self.cycle:
            return None
        self.cycle, self.owner = cycle, process
        self.taken.append((cycle, process, at))
        return self.state

    def store_state(self, cycle: int, process: str, at: datetime, state: TraderState) -> bool:
        if (cycle, process) != (self.cycle, self.owner):
            return False
        self.state = state
        self.states.append(state)
        return True

    def record(
        self,
        decision_id: str,
        cycle: int,
        symbol: Symbol,
        decision: StrategyDecision,
        candle: datetime | None,
    ) -> None:
        self.records.setdefault(decision_id, WorldRecord(symbol, decision, candle))

    def note_gate(self, decision_id: str, answer: dict[str, Any]) -> None:
        self.records[decision_id].gate = answer

    def note_outcome(self, decision_id: str, outcome: str) -> None:
        self.records[decision_id].outcome = outcome

    def unfinished(self) -> Sequence[UnfinishedDecision]:
        return [
            UnfinishedDecision(name, each.decision)
            for name, each in self.records.items()
            if each.outcome is None and each.decision.decision != "hold"
        ]

    def decided_candles(self) -> Mapping[Symbol, datetime]:
        return {each.symbol: each.candle for each in self.records.values() if each.candle is not None}

    def open_positions(self) -> Sequence[StoredPosition]:
        return [StoredPosition(name, each) for name, each in self.positions.items()]

    def closed_trades(self) -> Sequence[ClosedTrade]:
        return list(self.trades)

    def book_fills(self, decision_id: str, before: StrategyPosition, fills: Sequence[AccountFill]) -> StrategyPosition:
        position = self.positions.get(decision_id, before)
        for fill in fills:
            if fill.fill_id in self.booked:
                continue
            self.booked.add(fill.fill_id)
            position = position.after_fill(fill)
        self.positions[decision_id] = position
        if not position.is_open:
            self._close(decision_id, fills[-1].executed_at)
        return position

    def raise_stop(self, decision_id: str, moved: StrategyPosition) -> None:
        self.positions[decision_id] = replace(
            self.positions[decision_id].with_stop(moved.stop), passed_first_target=moved.passed_first_target
        )

    def write_off(self, decision_id: str, at: datetime) -> None:
        self._close(decision_id, at)

    def forget_holds(self, now: datetime) -> None:
        """Keep everything."""

    def _close(self, decision_id: str, at: datetime) -> None:
        self.trades.append(ClosedTrade(profit=self.positions.pop(decision_id).net_profit, closed_at=at))


@dataclass
class WorldExecutor:
    """Fills every order at once at the bid of its venue. Implements `Executor` and `Results`."""

    venue: WorldVenue
    fails: bool = False
    """Nothing is executed."""
    hangs: bool = False
    """An execution does not end before its task is canceled."""
    results: dict[str, ExecutionResult] = field(default_factory=dict)
    sent: list[tuple[Side, Decimal]] = field(default_factory=list)
    sent_at: list[datetime] = field(default_factory=list)

    async def enter(self, decision_id: DecisionId, approved: Approved[Entry]) -> ExecutionResult:
        entry = approved.value
        return await self._execute(decision_id, entry.instrument, Side.BUY, entry.quantity)

    async def sell(self, decision_id: DecisionId, sale: StrategySale) -> ExecutionResult:
        return await self._execute(decision_id, sale.instrument, Side.SELL, sale.quantity)

    async def resume(self) -> Sequence[ExecutionResult]:
        return []

    def result(self, decision_id: DecisionId) -> ExecutionResult | None:
        return self.results.get(decision_id)

    async def _execute(
        self, decision_id: DecisionId, instrument: Instrument, side: Side, quantity: Decimal
    ) -> ExecutionResult:
        self.sent.append((side, quantity))
        self.sent_at.append(self.venue.now())
        if self.hangs:
            await asyncio.Event().wait()
        price = self.venue.bid
        filled = AccountFill(
            fill_id=FillId(decision_id),
            order_id=decision_id,
            symbol=instrument.symbol,
            side=side,
            price=price,
            quantity=quantity,
            cost=price * quantity,
            fee=ZERO,
            fee_currency=instrument.quote,
            executed_at=self.venue.now(),
        )
        found = ExecutionResult(
            decision_id=decision_id,
            symbol=instrument.symbol,
            side=side,
            quantity=quantity,
            message="insufficient funds" if self.fails else "",
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
        )

    def decisions(self) -> list[StrategyDecision]:
        return [each.decision for each in self.books.records.values()]


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
