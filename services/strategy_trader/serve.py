"""Trades one account until the process is to stop: waits for the lease, runs its cycles on time, and reports each one.

A second process for the same broker waits for the lease. Each cycle is taken in PostgreSQL before it begins, so that
no two processes run the same one. No failure ends the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from time import monotonic
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.cycle import Cycle, is_refusal
from services.strategy_trader.dealer import Dealer
from services.strategy_trader.emergency import EmergencyWatch
from services.strategy_trader.margin import MARGIN_SECONDS, MarginMemory, MarginWatch
from services.strategy_trader.market_time import WaitFor
from services.strategy_trader.ports import CycleBooks, Executor, InThread, Pause, Results
from services.strategy_trader.repeat import repeat
from services.strategy_trader.venue import TraderVenue
from shared.domain.amounts import plain
from shared.domain.errors import NijaError
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.schedule import CycleSchedule
from shared.domain.strategy.trader_state import TraderState
from shared.messaging.lease import Lease, LeaseLost, work_while_held
from shared.observability.vitals import Duty
from shared.persistence.errors import DatabaseUnavailable
from shared.running import wait

SUMMARY_CYCLES: Final = 10
LATE_SECONDS: Final = 15.0
"""A process that takes over runs the present cycle if it began at most so long ago, and no process has taken it."""
LONGEST_PAUSE_SECONDS: Final = 10.0
_REDIS_AWAY_SECONDS: Final = 1.0

Summarize = Callable[[], Awaitable[None]]
log = structlog.get_logger()


async def no_summary() -> None:
    """Log nothing."""


class TraderLoop:
    """The trader of one account, in one process."""

    def __init__(
        self,
        venue: TraderVenue,
        books: CycleBooks,
        executor: Executor,
        results: Results,
        schedule: CycleSchedule,
        process: str,
        duty: Duty,
        *,
        margin_memory: MarginMemory,
        parameters: ApexParameters = APEX,
        summarize: Summarize = no_summary,
        in_thread: InThread = asyncio.to_thread,
        pause: Pause = wait,
        wait_for: WaitFor | None = None,
    ) -> None:
        """`process`: names this process among all that may trade the account.

        `wait_for`: waits for the next cycle; without it, `pause` does so in parts.
        """
        self._venue = venue
        self._books = books
        self._executor = executor
        self._results = results
        self._schedule = schedule
        self._process = process
        self._duty = duty
        self._margin_memory = margin_memory
        self._parameters = parameters
        self._summarize = summarize
        self._in_thread = in_thread
        self._pause = pause
        self._wait_for = wait_for or self._wait_in_parts

    async def serve(self, lease: Lease, stopping: asyncio.Event) -> None:
        """Trade whenever this process holds the lease, until `stopping`."""
        try:
            while not stopping.is_set():
                asked_at_seconds = monotonic()
                if not await self._take(lease, stopping):
                    continue
                log.info("lease taken", process=lease.token)
                try:
                    await work_while_held(lease, asked_at_seconds, lambda: self.work(stopping))
                except LeaseLost as lost:
                    log.warning("stopped trading", reason=str(lost))
        finally:
            try:
                await lease.release()
            except (RedisError, OSError) as error:
                log.warning("lease not given back; it runs out by itself", error=str(error))

    async def work(self, stopping: asyncio.Event) -> None:
        """Run the cycles and watch prices and margin, until `stopping`. The cycle in hand is ended."""
        async with asyncio.TaskGroup() as tasks:
            dealer = Dealer(
                self._venue,
                self._books,
                self._executor,
                self._results,
                tasks,
                self._in_thread,
                process=self._process,
                pause=self._pause,
            )
            dealer.begin()
            watches = [tasks.create_task(each) for each in self._watches(dealer, stopping)]
            cycle = Cycle(self._venue, self._books, dealer, self._parameters, self._in_thread, self._pause)
            try:
                await self._run_cycles(cycle, stopping)
            finally:
                for each in watches:
                    each.cancel()
                dealer.stop()

    def _watches(self, dealer: Dealer, stopping: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        """What is done side by side with the cycles. No failure of one reaches another one."""
        prices = EmergencyWatch(self._venue, dealer, self._parameters)
        margin = MarginWatch(self._venue, dealer, self._results, self._margin_memory, self._parameters, self._in_thread)
        return [
            prices.watch(stopping, self._pause),
            repeat("margin not checked", margin.check, MARGIN_SECONDS, stopping, self._pause),
        ]

    async def _run_cycles(self, cycle: Cycle, stopping: asyncio.Event) -> None:
        now = self._venue.market_now()
        number = self._schedule.number_at(now)
        if (now - self._schedule.starts_at(number)).total_seconds() > LATE_SECONDS:
            number += 1
        done = 0
        while not stopping.is_set():
            starts_at = self._schedule.starts_at(number)
            seconds = (starts_at - self._venue.market_now()).total_seconds()
            if seconds > 0:
                log.info("waiting for the next cycle", cycle=number, seconds=round(seconds, 1))
                await self._wait(stopping, starts_at)
                if stopping.is_set():
                    return
            try:
                await self._one(cycle, number, stopping)
                self._duty.worked()
            except (DatabaseUnavailable, RedisError) as error:
                text = f"{type(error).__name__}: {error}"
                self._duty.without_server(text)
                log.warning("cycle lost", cycle=number, error=text)
            except Exception as error:
                self._duty.worked()
                log.exception("cycle lost", cycle=number, error=str(error))
            done += 1
            if done % SUMMARY_CYCLES == 0:
                await self._show_summary()
            # A cycle that took too long is not made up for.
            number = max(number + 1, self._schedule.number_at(self._venue.market_now()))

    async def _wait(self, stopping: asyncio.Event, starts_at: datetime) -> None:
        while self._venue.market_now() < starts_at and not stopping.is_set():
            await self._wait_for(stopping, starts_at)
            self._duty.worked()

    async def _wait_in_parts(self, stopping: asyncio.Event, moment: datetime) -> None:
        """Wait for a while at most, because the process says meanwhile that it lives."""
        seconds = (moment - self._venue.market_now()).total_seconds()
        await self._pause(stopping, min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS))

    async def _one(self, cycle: Cycle, number: int, stopping: asyncio.Event) -> None:
        began_at = self._venue.now()
        state = await self._in_thread(self._books.take_cycle, number, self._process, began_at)
        if state is None:
            log.info("cycle left out: another process has taken it", cycle=number)
            return
        state = state.model_copy(update={"cycle_at": began_at, "next_cycle_at": self._schedule.starts_at(number + 1)})
        if not state.health.cycle_is_due:
            state = state.model_copy(update={"health": state.health.after_waiting()})
            log.info("cycle waiting", cycle=number, status=state.health.status.value, error=state.health.last_error)
        else:
            state = await self._run(cycle, number, state, stopping)
        await self._in_thread(self._books.store_state, number, self._process, self._venue.now(), state)
        await self._in_thread(self._books.forget_holds, self._venue.market_now())

    async def _run(self, cycle: Cycle, number: int, state: TraderState, stopping: asyncio.Event) -> TraderState:
        log.info("cycle started", cycle=number, status=state.health.status.value)
        try:
            state = await cycle.run(number, state, stopping)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            state = state.after_error(number, self._venue.now(), text, refused=is_refusal(error))
            health = state.health
            log.warning(
                "cycle failed",
                cycle=number,
                error=text,
                status=health.status.value,
                consecutive_errors=health.consecutive_errors,
                exc_info=not isinstance(error, NijaError | RedisError | OSError),
            )
            log.info("cycle will retry", cycle=number, next_cycle_at=str(state.next_cycle_at))
            return state
        log.info(
            "cycle completed",
            cycle=number,
            status=state.health.status.value,
            doubt=state.health.doubt,
            equity=None if state.equity_usd is None else plain(state.equity_usd),
            cash=plain(state.cash_usd),
            positions=state.open_positions,
            opens_stopped=state.opens_stopped,
        )
        return state

    async def _show_summary(self) -> None:
        try:
            await self._summarize()
        except (DatabaseUnavailable, RedisError, OSError) as error:
            log.warning("no summary", error=str(error))
        except Exception:
            # A defect in a text must not end the process that sells.
            log.exception("no summary")

    async def _take(self, lease: Lease, stopping: asyncio.Event) -> bool:
        try:
            taken = await lease.acquire()
            # A spare that waits for the lease does its work.
            self._duty.worked()
            if taken:
                return True
        except (RedisError, OSError) as error:
            self._duty.without_server(f"Redis: {error or type(error).__name__}")
            log.warning("no lease while Redis is away", error=str(error))
            await wait(stopping, _REDIS_AWAY_SECONDS)
            return False
        log.debug("another process trades this account; ready to take over")
        await wait(stopping, lease.seconds / 10)
        return False
