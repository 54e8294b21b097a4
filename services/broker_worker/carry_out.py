"""Carries out the order at the head of a mailbox: looks it up or sends it, and reads it until it is final.

The one rule: an order whose fate is unknown is looked up, not sent again. It is sent again only when the broker can no
longer execute the earlier request and no list of the broker contains it.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog

from services.broker_worker.open_bounds import OpenBounds
from services.broker_worker.order_events import Later, Settled, why_waiting
from services.broker_worker.order_progress import OrderProgress
from services.broker_worker.pauses import look_up_pause, until_after, wait_by_age
from shared.brokers.errors import (
    BrokerError,
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Throttled,
)
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.accounts.refused_key import RETRY_AFTER
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.reasons import FailReason
from shared.domain.events import OrderState
from shared.domain.fill import Side
from shared.domain.identity import BrokerOrderId
from shared.domain.request_limits import Priority
from shared.messaging.mailboxes import Submission

SENDS_AT_ONCE = 5
"""How often a request that was certainly not executed is sent before the place goes to another follower.

The first time is included.
"""
OPEN_ORDER_READS_SECONDS = (0.0, 0.15)
UNREAD_AFTER = timedelta(seconds=60)
"""After this time, an accepted order that cannot be read by the broker's id is searched for by our id."""
UNREAD_RETRY_SECONDS = 30.0
"""Long, because a search costs many requests."""
LOOK_UP_STARTS_BEFORE = timedelta(minutes=5)
"""How far before the decision a look-up begins, because clocks differ."""

log = structlog.get_logger()


@dataclass(slots=True)
class Execution:
    """One copy order at the head of a follower's mailbox, while this worker holds the claim."""

    progress: OrderProgress
    account: BrokerAccount
    connection: BrokerConnection
    bounds: OpenBounds
    certainly_not_sent: bool = False
    is_key_accepted: bool = False
    """The broker has accepted an order, by a request of this run."""

    @property
    def order(self) -> CopyOrder:
        return self.progress.order

    async def run(self) -> Settled | Later:
        """Bring the order as far as possible now.

        Raises KeyRefused (report it, then call `refused`), ClaimLost and RedisError.
        """
        if self.progress.submission is None:
            # A replayed order may have been sent before Redis lost its note.
            return await (self._resolve(None) if self.order.replayed else self._send(attempt=1))
        self.progress.accepted_at = self.progress.submission.accepted_at
        if self.progress.submission.broker_order_id:  # accepted, even if it cannot be read any more
            return await self._read_order(BrokerOrderId(self.progress.submission.broker_order_id))
        return await self._resolve(self.progress.submission)

    def refused(self, error: KeyRefused) -> Settled | Later:
        """The result for this order when the key is refused. An order that was certainly not sent is not unknown."""
        wait_seconds = RETRY_AFTER.total_seconds()
        if not self.certainly_not_sent:
            return self._unresolved(self.progress.submission, wait_seconds, str(error))
        return self.progress.without_key(str(error), wait_seconds)

    async def _send(self, attempt: int) -> Settled | Later:
        size = self.progress.size()
        if size.skip_reason is not None:
            return self.progress.skipped(size)
        quantity, exit_due = size.quantity, size.exit_due
        last_attempt = attempt + SENDS_AT_ONCE
        again: BrokerError | None = None
        while attempt < last_attempt:
            # Every earlier attempt has certainly not been executed, so the order may still be skipped.
            skipped = await self.bounds.skip()
            if skipped is not None:
                return skipped
            submission = await self._begin(attempt, quantity, exit_due)
            try:
                broker_order_id = await self.account.place(self.progress.request(quantity, submission.valid_until))
            except (InvalidNonce, Expired) as error:
                again = error
                attempt += 1
            except InsufficientFunds as error:
                self.certainly_not_sent = True
                try:
                    smaller = await self._smaller(quantity)
                except (RateLimited, InvalidNonce, NotSent, OutcomeUnknown, Rejected) as unread:
                    log.warning("balance not read", follower=self.order.follower_id, error=str(unread))
                    # What follows costs several requests: a look-up if the order is replayed, the order, the balance. The
                    # limiter names the wait for one of them. Without a longer wait, the tries could use up all units.
                    wait_seconds = max(self._wait_after(unread), wait_by_age(self.order.decided_at))
                    return Later(wait_seconds, forget_submission=True, why=why_waiting(unread))
                if smaller is None:
                    return self.progress.failed(FailReason.INSUFFICIENT_FUNDS, str(error), exit_due)
                log.warning(
                    "the account has less than the order needs",
                    follower=self.order.follower_id,
                    copy_order=self.order.id,
                )
                self.progress.short_of = self.progress.short_of or quantity
                quantity = smaller
                attempt += 1
            except Rejected as error:
                return self.progress.failed(FailReason.REJECTED, str(error), exit_due)
            except KeyRefused:
                self.certainly_not_sent = True
                raise
            except (NotSent, RateLimited) as error:
                is_certain = isinstance(error, NotSent) or error.certainly_refused
                return Later(self._wait_after(error), forget_submission=is_certain, why=why_waiting(error))
            except OutcomeUnknown as error:
                return await self._resolve(submission, str(error))
            else:
                self.progress.accepted_at = datetime.now(UTC)
                self.is_key_accepted = True
                return await self._read_order(broker_order_id)
        return Later(wait_by_age(self.order.decided_at), forget_submission=True, why=why_waiting(again))

    def _wait_after(self, error: BrokerError) -> float:
        """Seconds to wait. A request that is too much for the limits knows when they allow it to continue."""
        if isinstance(error, Throttled | RateLimited):
            return error.retry_after_seconds
        return wait_by_age(self.order.decided_at)

    async def _begin(self, attempt: int, quantity: Decimal, exit_due: Decimal) -> Submission:
        now = datetime.now(UTC)
        submission = Submission(
            copy_order_id=self.order.id,
            stage="submitting",
            attempt=attempt,
            quantity=quantity,
            exit_due=exit_due,
            claimed_at=self.progress.claimed_at,
            submitted_at=now,
            valid_until=now + timedelta(seconds=self.connection.request_validity_seconds),
        )
        await self.progress.record(submission)
        self.certainly_not_sent = False
        return submission

    async def _smaller(self, quantity: Decimal) -> Decimal | None:
        """Read the account after a refusal for lack of funds, and return a quantity that it pays for. Raises BrokerError.

        An open is made smaller once. The second refusal ends it, because nothing of it is carried.
        """
        if self.order.side is Side.BUY and self.progress.short_of is not None:
            return None
        return self.progress.smaller(quantity, await self.account.balances())

    async def _resolve(self, submission: Submission | None, why: str = "") -> Settled | Later:
        """Find out what became of a request without a clear answer.

        `submission` is None when Redis has no record of the request. The request may still have been sent, before the
        order was decided again.

        The look-up that decides comes when the broker can no longer execute the request. Earlier look-ups can only find
        the order sooner, so they leave half of every rate limit to other requests.
        """
        why = why or (submission.why if submission else "")
        validity = timedelta(seconds=self.connection.request_validity_seconds)
        valid_until = submission.valid_until if submission else self.order.decided_at + validity
        window_ends = valid_until + timedelta(seconds=self.connection.lookup_margin_seconds)
        since = submission.submitted_at if submission else self.order.decided_at
        is_early = datetime.now(UTC) < window_ends
        try:
            report = await self._look_up(self._urgency(is_early=is_early))
        except RateLimited as error:
            return self._unresolved(submission, error.retry_after_seconds, _words(why, error))
        except Throttled as error:
            await self.progress.note_unknown(submission, why or str(error))
            wait_seconds = error.retry_after_seconds
            if is_early:
                wait_seconds = min(wait_seconds, until_after(window_ends))
            return self._unresolved(submission, wait_seconds, _words(why, error))
        except (InvalidNonce, NotSent, OutcomeUnknown, Rejected) as error:
            await self.progress.note_unknown(submission, why or str(error))
            return self._unresolved(submission, look_up_pause(since, window_ends), _words(why, error))
        if report is not None:
            return await self._adopt(report)
        if not is_early:
            return await self._send(submission.attempt + 1 if submission else 1)
        await self.progress.note_unknown(submission, why or "not found yet")
        return self._unresolved(submission, look_up_pause(since, window_ends), why or "not found yet")

    def _urgency(self, *, is_early: bool) -> Priority:
        if is_early:
            return Priority.BACKGROUND
        return Priority.RESTORED if self.order.replayed else Priority.FOREGROUND

    def _unresolved(self, submission: Submission | None, wait_seconds: float, why: str) -> Later:
        since = submission.submitted_at if submission else self.order.decided_at
        return Later(wait_seconds, unknown_since=since, why=why)

    async def _look_up(self, priority: Priority) -> OrderReport | None:
        # A replayed order may have been sent at any time since the fill of the master.
        since = min(self.order.executed_at, self.order.decided_at) if self.order.replayed else self.order.decided_at
        return await self.account.at(priority).look_up(self.order.id, self.order.symbol, since - LOOK_UP_STARTS_BEFORE)

    async def _adopt(self, report: OrderReport) -> Settled | Later:
        """Continue with an order that was found at the broker."""
        self.progress.accepted_at = self.progress.accepted_at or datetime.now(UTC)
        if report.status is OrderStatus.DONE:
            return self.progress.final(report)
        return await self._wait_for(report.broker_order_id, report.quantity)

    async def _read_order(self, broker_order_id: BrokerOrderId) -> Settled | Later:
        unread: BrokerError | None = None
        for pause_seconds in OPEN_ORDER_READS_SECONDS:
            await asyncio.sleep(pause_seconds)
            try:
                report = await self.account.order(broker_order_id, self.order.symbol)
            except InvalidNonce as error:
                unread = error
                continue
            except (RateLimited, NotSent, OutcomeUnknown, Rejected) as error:
                log.info("order not read", copy_order=self.order.id, error=str(error))
                unread = error
                break
            unread = None
            if report.status is OrderStatus.DONE:
                return self.progress.final(report)
        if unread is not None:
            return await self._unread(broker_order_id, unread)
        later = await self._wait_for(broker_order_id, self.order.quantity or ZERO)
        return await self.bounds.end(broker_order_id, later)

    async def _unread(self, broker_order_id: BrokerOrderId, error: BrokerError) -> Settled | Later:
        """Handle an accepted order that cannot be read by the broker's id. After a while, search for it by our id.

        The broker accepted it, so it is not sent again, even if it is found nowhere.
        """
        now = datetime.now(UTC)
        since = self.progress.accepted_at or now
        wait_seconds = max(wait_by_age(since), getattr(error, "retry_after_seconds", 0.0))
        if self.progress.submission is None or self.progress.submission.broker_order_id is None:
            await self._wait_for(broker_order_id, self.order.quantity or ZERO)
        elif now - since >= UNREAD_AFTER and isinstance(error, OutcomeUnknown | Rejected):
            try:
                report = await self._look_up(Priority.FOREGROUND)
            except (RateLimited, InvalidNonce, NotSent, OutcomeUnknown, Rejected) as failed:
                log.info("order not looked up", copy_order=self.order.id, error=str(failed))
                report = None
            if report is not None:
                return await self._adopt(report)
            await self.progress.note_unknown(self.progress.submission, str(error))
            wait_seconds = UNREAD_RETRY_SECONDS
        return Later(wait_seconds, unknown_since=since, why=f"accepted, and cannot be read: {error}")

    async def _wait_for(self, broker_order_id: BrokerOrderId, quantity: Decimal) -> Later:
        """Record where the order can be found, so that the next reading needs no search."""
        now = datetime.now(UTC)
        known = (
            self.progress.submission
            or Submission(  # a replayed order that was found has no recorded submission yet
                copy_order_id=self.order.id,
                stage="accepted",
                attempt=0,
                quantity=quantity,
                exit_due=self.progress.exit_due(quantity),
                claimed_at=self.progress.claimed_at,
                submitted_at=now,
                valid_until=now,
            )
        )
        if known.stage != "accepted" or known.broker_order_id is None:
            found = {"stage": "accepted", "broker_order_id": broker_order_id, "accepted_at": self.progress.accepted_at}
            await self.progress.record(known.model_copy(update=found), OrderState.ACCEPTED)
        return Later(wait_by_age(known.submitted_at))


def _words(why: str, error: BrokerError) -> str:
    """The broker's words about the order, and why it could not be looked up."""
    return f"{why}; not looked up: {error}" if why else str(error)
