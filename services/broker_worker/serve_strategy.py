"""Serves the mailbox of a master account that the strategy trades: carries out its orders one after another."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from redis.asyncio import Redis

from services.broker_worker.carry_out import Execution
from services.broker_worker.listing import Listing
from services.broker_worker.order_events import Settled, strategy_event
from services.broker_worker.stop_gate import StopGate
from services.broker_worker.strategy_progress import StrategyProgress
from services.broker_worker.wait_notes import WaitNotes
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.accounts.refused_key import RefusedKey
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.order_observations import Failure, FailureKind, Observation, Resumed
from shared.domain.copying.order_steps import Wait
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderState, StrategyOrderEvent, StrategyOutcome
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.domain.strategy.execution.results import ExecutionPurpose
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Claim, ClaimedFollower, Mailboxes, Submission
from shared.messaging.refused_keys import RefusedKeys

RETRY_SECONDS = 60.0
"""Between two tries of an order that needs an operator: its mail, its key or its symbol cannot be read."""
UNLISTED_RETRY_SECONDS = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyServing:
    """Everything that is needed to serve the master accounts of one broker."""

    redis: Redis
    keys: BrokerKeys
    mailboxes: Mailboxes
    connection: BrokerConnection
    listing: Listing
    refused_keys: RefusedKeys
    stop_gate: StopGate
    stopping: asyncio.Event
    limits: OpenLimits
    broker_clock: Callable[[], datetime]

    async def master(self, claimed: ClaimedFollower, credentials: Credentials | None) -> None:
        """Do the work for a claimed master account. Raises ClaimLost and RedisError."""
        claim, head, submission = claimed.claim, claimed.head, claimed.submission
        if not head:
            await self.mailboxes.release(claim)
        while head:
            try:
                order = StrategyOrder.model_validate_json(head)
            except ValueError as error:
                # The entry is broken or of an unknown version. It waits, and delays only this account.
                log.critical("mailbox entry cannot be read", follower=claim.follower_id, error=str(error))
                await self._alerts.sound(AlertKind.UNREADABLE_MAIL, claim.follower_id, str(error))
                await self.mailboxes.release(claim, ready_in_ms=int(RETRY_SECONDS * 1000))
                return
            result = await self._carry_out(order, claim, submission, credentials)
            if isinstance(result, Wait):
                what = f"{order.side} {order.symbol}, decision {order.decision_id}, order {order.id}"
                await self._waits.note(claim.follower_id, order.id, what, result)
                await self.mailboxes.release(
                    claim, ready_in_ms=int(result.seconds * 1000), forget_submission=result.forget_submission
                )
                return
            if order.replayed or submission is not None:
                await self._alerts.clear(AlertKind.UNKNOWN_ORDER, claim.follower_id)
            await self._waits.end(claim.follower_id, order.decided_at)
            event = result.event.model_dump_json().encode()
            reached = await self.mailboxes.settle(claim, order.id, event, result.positions, None)
            head, submission = reached.head, None
            if head and self.stopping.is_set():
                await self.mailboxes.release(claim)
                return

    async def _carry_out(
        self, order: StrategyOrder, claim: Claim, submission: Submission | None, credentials: Credentials | None
    ) -> Settled[StrategyOrderEvent] | Wait:
        instrument = self.listing.find(order.symbol)
        since = submission.submitted_at if submission else order.decided_at if order.replayed else None
        if instrument is None:
            return self._unlisted(order, since)
        if credentials is None:
            why = f"the key of {claim.follower_id} is not stored; the trader stores it when it starts"
            return Wait(RETRY_SECONDS, unknown_since=since, why=why)
        progress = StrategyProgress(
            order=order,
            claim=claim,
            claimed_at=submission.claimed_at if submission else datetime.now(UTC),
            submission=submission,
            instrument=instrument,
            mailboxes=self.mailboxes,
            limits=self.limits,
            cash_fee=profile_of(order.broker).cash_fee(instrument.asset_class),
        )
        hashed = key_hash(credentials.api_key)
        refused = await self.refused_keys.of(claim.follower_id, hashed)
        execution = Execution(
            progress,
            self.connection.account(credentials),
            self.connection,
            self.broker_clock,
            lambda: self._exit_follows(order),
            self.stop_gate,
        )
        result = await execution.run(self._known_before(progress, refused))
        if execution.key_refused is not None:
            # A master is never disabled. Entries are skipped, and exits wait.
            message, trading = str(execution.key_refused), execution.is_refused_to_trade
            await self.refused_keys.refused(claim.follower_id, hashed, message, trading=trading)
        elif execution.is_key_accepted:
            await self.refused_keys.accepted(claim.follower_id, refused, trading=True)
        if isinstance(result, Settled) and result.event.reason is FailReason.REJECTED:
            self.listing.doubt()
        return result

    def _unlisted(self, order: StrategyOrder, since: datetime | None) -> Settled[StrategyOrderEvent] | Wait:
        """An entry that was never sent is skipped when it expires. Any other order waits."""
        why, now = f"the broker does not list {order.symbol}", datetime.now(UTC)
        if since is not None or order.purpose is ExecutionPurpose.EXIT or self.broker_clock() < order.expires_at:
            return Wait(UNLISTED_RETRY_SECONDS, unknown_since=since, why=why)
        event = strategy_event(
            order,
            OrderState.NOT_SENT,
            now,
            claimed_at=now,
            outcome=StrategyOutcome.NOT_SENT,
            reason=SkipReason.UNSUPPORTED_SYMBOL,
            message=why,
        )
        return Settled(event, {})

    def _known_before(self, progress: StrategyProgress, refused: RefusedKey | None) -> Observation:
        """What is known before the broker is asked: a key that was refused a moment ago is not tried."""
        if progress.submission is not None or progress.order.replayed or refused is None:
            return Resumed()
        wait_seconds = refused.waits(self.refused_keys.now()).total_seconds()
        return Failure(FailureKind.KEY_REFUSED, refused.message, wait_seconds) if wait_seconds > 0 else Resumed()

    async def _exit_follows(self, order: StrategyOrder) -> bool:
        """Whether a sale waits behind the order, which is the head of its mailbox.

        A sale of another symbol counts too, because it cannot be sent while the head waits at the broker. The schedule
        quotes again after it.
        """
        for text in await self.redis.lrange(self.keys.mailbox(order.follower_id), 1, -1):
            try:
                behind = StrategyOrder.model_validate_json(text)
            except ValueError:  # reported when it is the head
                continue
            if behind.purpose is ExecutionPurpose.EXIT:
                return True
        return False

    @property
    def _waits(self) -> WaitNotes:
        return WaitNotes(self.redis, self.keys)

    @property
    def _alerts(self) -> Alerts:
        return Alerts(self.redis, self.keys)
