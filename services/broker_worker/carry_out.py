"""Carries out the order at the head of a mailbox: performs the steps that the machine of the order decides.

The machine is pure (`order_machine.py`). This file asks the broker and the mailbox, and decides nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Generic, Protocol

import structlog

from services.broker_worker.broker_answers import failure_of
from services.broker_worker.order_events import E, Settled
from services.broker_worker.stop_gate import StopGate
from shared.brokers.errors import BrokerError, KeyRefused, Rejected
from shared.brokers.port.account import BrokerAccount, HasTradingHours
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.copying.order_machine import OrderMachine
from shared.domain.copying.order_observations import (
    Absent,
    CancelAnswered,
    ExitChecked,
    FundsRead,
    Observation,
    Seen,
    SendChecked,
    Taken,
)
from shared.domain.copying.order_state import Attempt, CopyOrderState, Verdict
from shared.domain.copying.order_steps import (
    Cancel,
    CheckExit,
    CheckSend,
    LookUp,
    OrderStep,
    Read,
    ReadFunds,
    Send,
    Settle,
    Wait,
)
from shared.domain.identity import BrokerOrderId, CopyOrderId, FollowerId
from shared.domain.instrument import AssetClass, Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

log = structlog.get_logger()


class MailedOrder(Protocol):
    """An order in a mailbox: a copy, or an order of the strategy."""

    @property
    def id(self) -> CopyOrderId: ...

    @property
    def symbol(self) -> Symbol: ...

    @property
    def follower_id(self) -> FollowerId:
        """The name of the mailbox."""
        ...


class OrderInHand(Protocol[E]):
    """What is known of the order that is carried out. It records each change and concludes the order."""

    @property
    def order(self) -> MailedOrder: ...

    @property
    def instrument(self) -> Instrument: ...

    def machine(self, validity: timedelta, lookup_margin: timedelta) -> OrderMachine: ...

    def recorded_state(self) -> CopyOrderState: ...

    async def record(self, state: CopyOrderState) -> None: ...

    def request(self, quantity: Decimal, valid_until: datetime) -> OrderRequest: ...

    def smaller(self, refused: Decimal, balances: Mapping[str, Balance]) -> Decimal | None: ...

    def settled(self, verdict: Verdict) -> Settled[E]: ...


@dataclass(slots=True)
class Execution(Generic[E]):
    """One order at the head of a mailbox, while this worker holds the claim."""

    progress: OrderInHand[E]
    account: BrokerAccount
    connection: BrokerConnection
    broker_clock: Callable[[], datetime]
    """The present by the broker's clock, because the broker's clock timed the master's execution."""
    exit_follows: Callable[[], Awaitable[bool]]
    """Whether an exit of what the order buys waits behind it."""
    stop_gate: StopGate
    key_refused: KeyRefused | None = None
    """The refusal of the key that ended this run."""
    is_refused_to_trade: bool = False
    """The key was refused for an order, so the order was certainly not sent."""
    is_key_accepted: bool = False
    """The broker has accepted an order, by a request of this run."""

    async def run(self, observation: Observation) -> Settled[E] | Wait:
        """Bring the order as far as possible now, from what is recorded. Raises ClaimLost and RedisError."""
        connection = self.connection
        machine = self.progress.machine(
            timedelta(seconds=connection.request_validity_seconds),
            timedelta(seconds=connection.lookup_margin_seconds),
        )
        state = self.progress.recorded_state()
        while True:
            state, step = machine.next_step(state, observation, datetime.now(UTC))
            if step.is_recorded_first:
                await self.progress.record(state)
            outcome = await self.perform(step)
            if isinstance(outcome, Settled | Wait):
                return outcome
            observation = outcome

    async def perform(self, step: OrderStep) -> Observation | Settled[E] | Wait:
        """Perform one step, and return what was observed, or the result of the run."""
        try:
            match step:
                case CheckSend():
                    return await self._check_send(step)
                case Send(attempt):
                    return await self._send(attempt)
                case ReadFunds(refused):
                    return await self._read_funds(refused)
                case LookUp(since, priority):
                    return await self._look_up(since, priority)
                case Read(broker_order_id, pause_seconds):
                    await asyncio.sleep(pause_seconds)
                    return Seen(await self.account.order(broker_order_id, self.progress.order.symbol))
                case CheckExit(ends_at):
                    at = self.broker_clock()
                    return ExitChecked(at, at < ends_at and await self.exit_follows())
                case Cancel(broker_order_id):
                    return await self._cancel(broker_order_id)
                case Wait():
                    return step
                case Settle(verdict):
                    return self.progress.settled(verdict)
        except KeyRefused as error:
            self.key_refused = error
            self.is_refused_to_trade = isinstance(step, Send | ReadFunds)
            return failure_of(error)
        except BrokerError as error:
            log.info("step failed", step=type(step).__name__, copy_order=self.progress.order.id, error=str(error))
            return failure_of(error)

    async def _check_send(self, step: CheckSend) -> SendChecked:
        at, stop = self.broker_clock(), await self.stop_gate.mode_of(self.progress.order.follower_id)
        is_open_asked = step.ends_at is not None and at < step.ends_at and stop is None
        is_market_asked = is_open_asked or (step.ends_at is None and step.needs_open_market)
        exit_follows = is_open_asked and step.is_exit_asked and await self.exit_follows()
        opens_at = await self._market_opens_at() if is_market_asked else None
        return SendChecked(at, stop, opens_at, exit_follows=exit_follows)

    async def _market_opens_at(self) -> datetime | None:
        """When the closed market of a stock opens. None: it is open, or that is not known.

        An open that is sent in spite of a closed market waits at the broker, and is canceled at its age limit.
        """
        is_stock = self.progress.instrument.asset_class is AssetClass.STOCK
        if not is_stock or not isinstance(self.account, HasTradingHours):
            return None
        try:
            return await self.account.closed_until(self.progress.order.symbol)
        except BrokerError as error:
            log.warning("trading hours not read", follower=self.progress.order.follower_id, error=str(error))
            return None

    async def _send(self, attempt: Attempt) -> Taken:
        broker_order_id = await self.account.place(self.progress.request(attempt.quantity, attempt.valid_until))
        self.is_key_accepted = True
        return Taken(broker_order_id)

    async def _read_funds(self, refused: Decimal) -> FundsRead:
        return FundsRead(self.progress.smaller(refused, await self.account.balances()))

    async def _look_up(self, since: datetime, priority: Priority) -> Seen | Absent:
        order = self.progress.order
        report = await self.account.at(priority).look_up(order.id, order.symbol, since)
        return Seen(report) if report is not None else Absent()

    async def _cancel(self, broker_order_id: BrokerOrderId) -> CancelAnswered:
        try:
            await self.account.cancel(broker_order_id, self.progress.order.symbol)
        except Rejected as error:
            log.info("nothing to cancel", copy_order=self.progress.order.id, error=str(error))
        return CancelAnswered()
