"""Books what executions have filled, and repeats the booking until it succeeds. Holds the open positions.

Each booking may be repeated: a fill moves a position once, and a position that is closed stays closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.patience import patiently
from services.strategy_trader.ports import CycleBooks, InThread, Pause, Results
from services.strategy_trader.venue import TraderVenue
from shared.domain.amounts import ZERO, plain
from shared.domain.backoff import Backoff
from shared.domain.errors import NijaError
from shared.domain.identity import DecisionId
from shared.domain.strategy.decision import Enter
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.execution.results import ExecutionResult, NotBegun
from shared.domain.strategy.position import StrategyPosition
from shared.domain.symbol import Symbol
from shared.persistence.stored_traders import StoredPosition, UnfinishedDecision
from shared.persistence.traders import NEVER_SENT, NOT_COUNTED

DEFECT_RETRY: Final = Backoff(1, 60)
"""Between two tries of what fails for another reason than a server that is away."""

T = TypeVar("T")
log = structlog.get_logger()


class Bookings:
    """The positions of one account, as its executions move them."""

    def __init__(
        self, venue: TraderVenue, books: CycleBooks, results: Results, in_thread: InThread, pause: Pause
    ) -> None:
        self.positions: dict[Symbol, StoredPosition] = {}
        """What the strategy holds, by pair."""
        self.failing: dict[DecisionId, tuple[Symbol, str]] = {}
        """The decisions that do not go on, and why."""
        self.changed_at: datetime | None = None
        """When an execution ended last that filled something. A reading from before does not show what it did."""
        self._venue = venue
        self._books = books
        self._results = results
        self._in_thread = in_thread
        self._pause = pause
        self._loading = asyncio.Lock()

    async def begin(self) -> None:
        """Read what earlier processes booked."""
        await self.load()
        self.changed_at = await self._in_thread(self._results.last_fill_at)

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        await self._pause(asyncio.Event(), seconds)

    async def surely(
        self,
        symbol: Symbol,
        decision_id: DecisionId,
        work: Callable[[], Awaitable[T]],
        on_defect: Callable[[Symbol], None] | None = None,
    ) -> T:
        """Do work that may be repeated, until it succeeds. Only NotBegun ends it early.

        `on_defect`: called when it fails for another reason than a server that is away.
        """
        failures = 0
        while True:
            try:
                done = await patiently(work, self.sleep)
            except NotBegun:
                raise
            except Exception as error:
                failures += 1
                self.failing[decision_id] = (symbol, f"{type(error).__name__}: {error}")
                if on_defect is not None:
                    on_defect(symbol)
                log.exception("execution does not go on", symbol=symbol, decision=decision_id)
                await self.sleep(DEFECT_RETRY.after(failures))
            else:
                self.failing.pop(decision_id, None)
                return done

    async def book(
        self, result: ExecutionResult, *, opening: StrategyPosition | None = None, opened_by: str | None = None
    ) -> None:
        """Move the position by the fills, and note the outcome. It may be repeated.

        `opening`: the position of an entry. `opened_by`: the decision that opened the position of a sale.
        """
        position: StrategyPosition | None = None
        if result.fills and opening is not None:
            opened_by = result.decision_id
            position = await self._in_thread(self._books.book_fills, opened_by, opening, result.fills)
        elif result.fills and opened_by is not None:
            position = await self._in_thread(self._books.book_sale, opened_by, result.fills)
        if result.fills and position is None:
            log.error("a sale has no position", symbol=result.symbol, decision=result.decision_id)
        if position is not None and opened_by is not None and (opening is not None or _sold_whole(result, position)):
            # What was bought and can never be sold stays in the account, so it is no loss of the strategy.
            prefix = "" if opening is None else NOT_COUNTED
            price = result.cost / result.filled_quantity
            await self.write_off_rest(StoredPosition(opened_by, position), price, prefix)
        if result.fills:
            self.changed_at = self._venue.now()
        outcome = outcome_of(result)
        await self._in_thread(self._books.note_outcome, result.decision_id, outcome)
        await self.load()
        log.info("decision carried out", symbol=result.symbol, decision=result.decision_id, outcome=outcome)

    async def settle(self, decision_id: DecisionId, unfinished: UnfinishedDecision | None) -> None:
        """Book what an earlier process executed of a decision. It may be repeated."""
        result = await self._in_thread(self._results.result, decision_id)
        if result is None:
            await self.note(decision_id, NEVER_SENT)
        elif unfinished is None:
            log.error("an execution has no decision", symbol=result.symbol, decision=decision_id)
        else:
            decision = unfinished.decision()
            opening = position_of(decision) if isinstance(decision, Enter) else None
            await self.book(result, opening=opening, opened_by=unfinished.opened_by)

    async def load(self) -> None:
        """Read the positions again."""
        # One reading at a time. Otherwise an old reading that returns late could hide a position that was just bought.
        async with self._loading:
            found = await self._in_thread(self._books.open_positions)
            self.positions = {each.symbol: each for each in found}

    async def note(self, decision_id: DecisionId, outcome: str) -> None:
        """Note what became of a decision that filled nothing."""
        await patiently(partial(self._in_thread, self._books.note_outcome, decision_id, outcome), self.sleep)

    async def write_off(self, stored: StoredPosition, why: str) -> None:
        """Close a position that cannot be sold, so that it is not watched any more."""
        position = stored.position
        write = partial(self._in_thread, self._books.write_off, stored.decision_id, self._venue.now(), why)
        await patiently(write, self.sleep)
        log.warning("position written off", symbol=stored.symbol, quantity=plain(position.quantity), reason=why)
        await patiently(self.load, self.sleep)

    async def write_off_rest(self, stored: StoredPosition, price: Decimal, prefix: str = "") -> None:
        """Close a position of which the broker would not accept the sale at this price, because it is too small.

        `prefix`: how the reason begins, such as NOT_COUNTED.
        """
        if stored.position.is_open and not stored.position.can_be_sold(price):
            await self.write_off(stored, f"{prefix}at {plain(price)} it is below the broker's minimum")

    async def account_lacks(self, stored: StoredPosition) -> bool:
        """Whether the account has nothing of the asset, free or in orders, by a reading after the purchase."""
        opened_at = stored.position.opened_at
        try:
            account = await self._venue.account()
        except (NijaError, RedisError, OSError) as error:
            log.warning("position not compared with the account", symbol=stored.symbol, error=str(error))
            return False
        is_newer = opened_at is None or account.facts.read_at > opened_at
        return is_newer and not account.quantity_of(stored.symbol.base)


def _sold_whole(result: ExecutionResult, after: StrategyPosition) -> bool:
    """Whether the sale was one of the whole position. What a sale of a part leaves stays a position."""
    return result.quantity >= after.instrument.rounded(after.quantity + result.filled_quantity)


def outcome_of(result: ExecutionResult) -> str:
    """Return what became of a decision, in words."""
    if not result.fills:
        return f"nothing was executed: {result.message}"
    verb = "bought" if result.side.value == "buy" else "sold"
    quantity = result.filled_quantity
    price = round(result.cost / quantity, 8) if quantity else ZERO
    text = f"{verb} {plain(quantity)} {result.symbol.base} at {plain(price)}"
    return f"{text}; {result.message}" if result.message else text
