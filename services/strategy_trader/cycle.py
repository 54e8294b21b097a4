"""Runs one cycle of a trader: reads the account, decides on each pair, and passes entries and exits to the dealer.

Exits come first and need no cash. An entry is decided once for each closed candle, and the capital gate has to approve
it. A pair whose candles cannot be read leaves the others alone.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.cycle_facts import CycleFacts
from services.strategy_trader.dealer import UNDER_WAY, Dealer
from services.strategy_trader.ports import CycleBooks, InThread, Pause
from services.strategy_trader.venue import AccountUnusable, TraderVenue, VenueAccount
from shared.brokers.errors import BrokerError, KeyRefused
from shared.domain.amounts import ZERO, plain
from shared.domain.capital.recommendation import Recommendation
from shared.domain.identity import DecisionId
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode
from shared.domain.strategy.candle_window import INTERVAL
from shared.domain.strategy.decision import Enter, Exit, ExitReason, Hold, HoldReason
from shared.domain.strategy.entries import can_be_sold
from shared.domain.strategy.exits import whole_exit
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.routing import RoutedTo
from shared.domain.strategy.trader_state import TraderState
from shared.domain.symbol import Symbol
from shared.indicators.decide import decide
from shared.indicators.window import Window
from shared.persistence.traders import NOT_SENT
from shared.running import wait

ROOM_SECONDS: Final = 60.0
"""How long an entry waits for the sale of the position that it replaces."""
READ_AGAIN_SECONDS: Final = 1.0
READ_AGAIN_TRIES: Final = 30
"""The account is read ten seconds after a fill. An entry waits for that reading so many times the seconds above."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = 4
"""Pairs whose candles are read at the same time."""
_UNDECIDED: Final = frozenset(
    {HoldReason.WINDOW, HoldReason.ORDER_UNDER_WAY, HoldReason.CANDLE_BEGINNING, HoldReason.CANDLE_OVERTAKEN}
)
"""Reasons after which a later cycle decides on the same candle, or on one that is missing."""

log = structlog.get_logger()


class Cycle:
    """The cycles of one account. `run` raises every error; what it has sent stays under way."""

    def __init__(
        self,
        venue: TraderVenue,
        books: CycleBooks,
        dealer: Dealer,
        parameters: ApexParameters = APEX,
        in_thread: InThread = asyncio.to_thread,
        pause: Pause = wait,
    ) -> None:
        self._pause = pause
        self._venue = venue
        self._books = books
        self._dealer = dealer
        self._parameters = parameters
        self._in_thread = in_thread

    async def run(self, number: int, state: TraderState, stopping: asyncio.Event) -> TraderState:
        """Run a cycle and return the state after it. `stopping` ends it after the pair in hand."""
        await self._dealer.until_ready()
        account = await self._venue.account()
        facts = account.facts
        state = state.with_account(facts.equity, facts.free_cash)
        stop = await self._venue.stop()
        why = _why_no_opens(state, stop)
        log.info(
            "account read",
            equity=plain(facts.equity),
            cash=plain(facts.free_cash),
            positions=len(self._dealer.positions),
            opens_stopped=why,
        )
        doubts = self._dealer.troubles
        if state.funded or self._dealer.positions:
            known = CycleFacts(
                number,
                account,
                stop,
                why,
                await self._in_thread(self._books.closed_trades),
                await self._in_thread(self._books.decided_candles),
                self._dealer,
                self._venue.market_time,
            )
            await self._decide_all(known, stopping, with_entries=state.funded)
            doubts += known.doubts
        routed = self._routed(account) if state.funded else ""
        return state.model_copy(
            update={
                "health": state.health.after_success("; ".join(doubts[:3])),
                "open_positions": len(self._dealer.positions),
                "opens_stopped": why or routed,
            }
        )

    async def _decide_all(self, known: CycleFacts, stopping: asyncio.Event, *, with_entries: bool) -> None:
        held = [each.position.instrument for each in self._dealer.positions.values()]
        others: list[Instrument] = []
        if with_entries:
            busy = self._dealer.bases
            pairs = [each for each in await self._venue.pairs(known.account) if each.base not in busy]
            newest = _newest_candle(self._venue.market_now())
            others = [each for each in pairs if known.decided.get(each.symbol, newest - INTERVAL.length) < newest]
        windows = await self._windows([*held, *others], known)
        for instrument in held:
            window = windows.get(instrument.symbol)
            if window is not None:
                await self._decide_on_position(known, instrument, window)
        for instrument in others:
            window = windows.get(instrument.symbol)
            # An entry of this cycle may have begun to buy the asset in another pair.
            if window is not None and instrument.base not in self._dealer.bases and not stopping.is_set():
                await self._decide_on_entry(known, instrument, window, stopping)

    async def _windows(self, instruments: Sequence[Instrument], known: CycleFacts) -> dict[Symbol, Window]:
        """Read the candles of all pairs. Raises the first error if none can be read."""
        places = asyncio.Semaphore(_AT_ONCE)

        async def read(instrument: Instrument) -> Window | Exception:
            async with places:
                try:
                    candles = await self._venue.candles(instrument)
                except (BrokerError, RedisError, OSError) as error:
                    return error
            return Window.of(candles, instrument.asset_class)

        found = await asyncio.gather(*map(read, instruments))
        failed = [each for each in found if isinstance(each, Exception)]
        refused = next((each for each in failed if isinstance(each, KeyRefused)), None)
        if refused is not None or (failed and len(failed) == len(found)):
            raise refused or failed[0]
        windows: dict[Symbol, Window] = {}
        for instrument, each in zip(instruments, found, strict=True):
            if isinstance(each, Exception):
                known.doubts.append(f"{instrument.symbol}: candles not read: {each or type(each).__name__}")
            else:
                windows[instrument.symbol] = each
                if each.last is not None:
                    known.prices[instrument.symbol] = each.last.close
        return windows

    async def _decide_on_position(self, known: CycleFacts, instrument: Instrument, window: Window) -> None:
        symbol = instrument.symbol
        stored = self._dealer.positions.get(symbol)
        if stored is None:
            return
        bid = await self._bid(known, instrument)
        account = known.trader_account(self._venue.market_now(), instrument, bid)
        decision = decide(window, stored.position, account, self._parameters)
        decision_id = self._name(known.number, symbol)
        if decision.signal is not None:
            known.scores[symbol] = decision.signal.gate_score
        known.note_faults(instrument, decision)
        await self._in_thread(self._books.record, decision_id, known.number, symbol, decision, None)
        if isinstance(decision, Exit | Hold) and decision.position is not None and decision.position != stored.position:
            await self._in_thread(self._books.raise_stop, stored.decision_id, decision.position)
            await self._dealer.load()
        if isinstance(decision, Exit):
            await self._sell(known, decision_id, decision)
        elif isinstance(decision, Hold) and HoldReason.EXIT_BELOW_MINIMUM in decision.reasons:
            # A book that is nearly empty for a moment has a bid that says nothing about the value of the position.
            prices = [price for price in (bid, known.prices.get(symbol)) if price is not None]
            if prices:
                await self._dealer.write_off_rest(symbol, max(prices))

    async def _sell(self, known: CycleFacts, decision_id: DecisionId, sale: Exit) -> None:
        instrument = sale.position.instrument
        shown = known.account.free.get(instrument.base, ZERO)
        why = ""
        if known.stop is StopMode.HALT:
            why = "trading is halted"
        elif not self._dealer.may_sell(instrument.symbol):
            why = "the last sale filled nothing"
        elif not self._dealer.sell(decision_id, sale, shown):
            why = UNDER_WAY
        if why:
            await self._in_thread(self._books.note_outcome, decision_id, f"{NOT_SENT}{why}")

    async def _decide_on_entry(
        self, known: CycleFacts, instrument: Instrument, window: Window, stopping: asyncio.Event
    ) -> None:
        symbol = instrument.symbol
        decision = decide(window, None, known.trader_account(self._venue.market_now(), instrument), self._parameters)
        if isinstance(decision, Enter):
            # Only an entry asks for the regime by the 4-hour ATR, so only an entry costs the request.
            atr_pct = await self._venue.atr_pct(instrument)
            decision = decide(
                window,
                None,
                known.trader_account(self._venue.market_now(), instrument, atr_pct=atr_pct),
                self._parameters,
            )
        decision_id = self._name(known.number, symbol)
        known.note_faults(instrument, decision)
        undecided = isinstance(decision, Hold) and not _UNDECIDED.isdisjoint(decision.reasons)
        candle = None if undecided else decision.inputs.last_candle
        await self._in_thread(self._books.record, decision_id, known.number, symbol, decision, candle)
        if isinstance(decision, Enter):
            await self._enter(known, decision_id, decision, stopping)

    async def _enter(self, known: CycleFacts, decision_id: DecisionId, entry: Enter, stopping: asyncio.Event) -> None:
        answer = await self._ask(known, entry)
        if answer.close_first is not None and await self._made_room(known, answer.close_first, stopping):
            answer = await self._ask(known, entry, has_made_room=True)
        await self._in_thread(self._books.note_gate, decision_id, answer.model_dump(mode="json"))
        if answer.approved is None:
            await self._in_thread(self._books.note_outcome, decision_id, f"not entered: {answer.reason}")
            return
        symbol = entry.inputs.account.instrument.symbol
        if not can_be_sold(answer.approved.value.quantity, entry.stop, entry.inputs.account):
            why = "the broker would not accept the sale of the approved quantity at the stop"
            await self._in_thread(self._books.note_outcome, decision_id, f"not entered: {why}")
            return
        log.info("position is opened", symbol=symbol, decision=decision_id, reason=answer.reason)
        if not self._dealer.enter(decision_id, entry, answer.approved):
            await self._in_thread(self._books.note_outcome, decision_id, f"{NOT_SENT}{UNDER_WAY}")

    async def _ask(self, known: CycleFacts, entry: Enter, *, has_made_room: bool = False) -> Recommendation:
        return await self._venue.ask(entry, known.gate_account(), known.trades, has_made_room=has_made_room)

    async def _made_room(self, known: CycleFacts, symbol: Symbol, stopping: asyncio.Event) -> bool:
        """Sell a whole position for a better one, and read the account again. False: it could not be sold in time."""
        stored = self._dealer.positions.get(symbol)
        if stored is None or known.stop is not None or not self._dealer.may_sell(symbol):
            return False
        instrument = stored.position.instrument
        account = known.trader_account(self._venue.market_now(), instrument, await self._bid(known, instrument))
        sale = whole_exit(stored.position, account, ExitReason.ROOM, self._parameters)
        if sale is None:
            return False
        decision_id = DecisionId(f"{self._name(known.number, symbol)}-room")
        await self._in_thread(self._books.record, decision_id, known.number, symbol, sale, None)
        if not self._dealer.sell(decision_id, sale, known.account.free.get(instrument.base, ZERO)):
            await self._in_thread(self._books.note_outcome, decision_id, f"{NOT_SENT}{UNDER_WAY}")
            return False
        if not await self._dealer.ended(symbol, ROOM_SECONDS) or symbol in self._dealer.positions:
            return False
        return await self._was_read_again(known, stopping)

    async def _was_read_again(self, known: CycleFacts, stopping: asyncio.Event) -> bool:
        """Wait for a reading of the account that shows the last sale. Without its cash, the gate would skip the entry."""
        sold_at = self._dealer.changed_at
        for _ in range(READ_AGAIN_TRIES):
            account = await self._venue.account()
            if sold_at is None or account.facts.read_at > sold_at:
                known.account = account
                return True
            if stopping.is_set():
                break
            await self._pause(stopping, READ_AGAIN_SECONDS)
        return False

    async def _bid(self, known: CycleFacts, instrument: Instrument) -> Decimal | None:
        try:
            return await self._venue.best_bid(instrument)
        except (BrokerError, RedisError, OSError) as error:
            # The close of the last candle stands for it.
            known.doubts.append(f"{instrument.symbol}: no best bid: {error or type(error).__name__}")
            return None

    def _routed(self, account: VenueAccount) -> str:
        offers = [each for each in account.offers if each.broker is self._venue.broker]
        if not offers:
            return ""
        route = account.coin_route(self._venue.broker)
        return f"routed to {route.broker.value}: {route.reason}" if isinstance(route, RoutedTo) else ""

    def _name(self, number: int, symbol: Symbol) -> DecisionId:
        return DecisionId(f"{self._venue.broker.value}-{number}-{symbol.base}-{symbol.quote}")


def is_refusal(error: Exception) -> bool:
    """Whether a person has to act before the broker can be traded again."""
    return isinstance(error, KeyRefused) or (isinstance(error, AccountUnusable) and error.refused)


def _newest_candle(now: datetime) -> datetime:
    """Return when the last closed candle began."""
    return now - (now - _EPOCH) % INTERVAL.length - INTERVAL.length


def _why_no_opens(state: TraderState, stop: StopMode | None) -> str:
    if stop is not None:
        return f"trading is stopped ({stop.value})"
    if not state.funded:
        return "the account has less than 10 USD"
    if not state.health.allows_opens:
        return "the broker has failed, and this cycle only probes it"
    return ""
