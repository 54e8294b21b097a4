"""Serves one claimed follower: carries out its orders one after another, or reads its account if none waits."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog
from redis.asyncio import Redis

from services.broker_worker.answer_reconciliation import ReconciliationResponder
from services.broker_worker.carry_out import Execution
from services.broker_worker.follower_keys import Access, FollowerKeys
from services.broker_worker.listing import Listing
from services.broker_worker.order_events import Settled, order_event
from services.broker_worker.order_progress import OrderProgress
from services.broker_worker.order_size import Purse
from services.broker_worker.read_account import AccountReader
from services.broker_worker.serve_strategy import StrategyServing
from services.broker_worker.stop_gate import StopGate
from services.broker_worker.wait_notes import WaitNotes
from shared.brokers.errors import BrokerError, KeyRefused, RateLimited, Throttled
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.cash import may_close
from shared.domain.copying.copy_order import NO_POSITION, CopiedPosition, CopyOrder
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.copying.order_observations import Failure, FailureKind, Observation, Resumed, SendChecked
from shared.domain.copying.order_steps import Wait
from shared.domain.copying.plan import exit_due
from shared.domain.copying.planned import PlannedExit, PlannedOpen
from shared.domain.copying.reasons import FailReason, SkipReason
from shared.domain.events import OrderEvent, OrderState, Outcome
from shared.domain.identity import master_of_mailbox
from shared.domain.instrument import Instrument
from shared.domain.stop import holds_back
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Claim, ClaimedFollower, Mailboxes, NextHead, Submission
from shared.messaging.refused_keys import RefusedKeys

UNREADABLE_RETRY_SECONDS = 60.0
UNLISTED_RETRY_SECONDS = 5.0
UNLISTED_AFTER = timedelta(seconds=60)
"""A symbol that is still not listed so long after the decision is not just a new listing."""

log = structlog.get_logger()


def _machine_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Serving:
    """Everything that is needed to serve the followers of one broker."""

    redis: Redis
    keys: BrokerKeys
    mailboxes: Mailboxes
    connection: BrokerConnection
    accounts: AccountReader
    listing: Listing
    refused_keys: RefusedKeys
    stop_gate: StopGate
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is to stop. Then only the first order of a claim is begun."""
    limits: OpenLimits = field(default_factory=OpenLimits)
    """How old an open may become, and how much it may pay."""
    broker_clock: Callable[[], datetime] = _machine_clock
    """The present by the broker's clock. The ages of opens are measured with it."""

    async def follower(self, claimed: ClaimedFollower, credentials: Credentials | None) -> None:
        """Do the work for a claimed follower, or for a master account that the strategy trades.

        Raises ClaimLost and RedisError.

        Without credentials (the follower was removed), its orders are skipped.
        """
        if master_of_mailbox(claimed.claim.follower_id) is not None:
            await self._strategy.master(claimed, credentials)
            return
        claim = claimed.claim
        access = await self._follower_keys.open(claim.follower_id, credentials) if credentials else None
        if not claimed.head and claimed.request:
            await self._release(claimed, access)
            return
        if not claimed.head:
            await self._read_account(claim, access)
            return
        head, submission, positions = claimed.head, claimed.submission, claimed.positions
        while head:
            try:
                order = CopyOrder.model_validate_json(head)
            except ValueError as error:
                # The entry is broken or of an unknown version. It waits, and delays only this follower.
                log.critical("mailbox entry cannot be read", follower=claim.follower_id, error=str(error))
                await self._alerts.sound(AlertKind.UNREADABLE_MAIL, claim.follower_id, str(error))
                await self._release(claimed, access, positions, ready_in_seconds=UNREADABLE_RETRY_SECONDS)
                return
            result = await self._carry_out(order, claim, submission, positions, access)
            if isinstance(result, Wait):
                what = f"{order.side} {order.symbol}, fill {order.sequence}, order {order.id}"
                await self._waits.note(claim.follower_id, order.id, what, result)
                await self._release(
                    claimed,
                    access,
                    positions,
                    ready_in_seconds=result.seconds,
                    forget_submission=result.forget_submission,
                )
                return
            if order.replayed or submission is not None:
                await self._alerts.clear(AlertKind.UNKNOWN_ORDER, claim.follower_id)
            await self._waits.end(claim.follower_id, order.decided_at)
            reached = await self._settle(claim, order, result)
            head, submission, positions = reached.head, None, reached.positions
            if head and self.stopping.is_set():
                await self.mailboxes.release(claim)
                return

    async def without_readable_key(self, claimed: ClaimedFollower, error: Exception) -> None:
        """Let the mail wait. The follower is not removed, but its key cannot be decrypted here. Raises RedisError."""
        claim = claimed.claim
        log.error("key cannot be read", follower=claim.follower_id, error=str(error))
        await self._alerts.sound(AlertKind.UNREADABLE_KEY, claim.follower_id, str(error))
        await self._release(claimed, None, ready_in_seconds=UNREADABLE_RETRY_SECONDS)

    async def _carry_out(
        self,
        order: CopyOrder,
        claim: Claim,
        submission: Submission | None,
        positions: Mapping[str, CopiedPosition],
        access: Access | None,
    ) -> Settled[OrderEvent] | Wait:
        now = datetime.now(UTC)
        position = positions.get(order.asset, NO_POSITION)
        if access is None:
            if submission is not None or order.replayed:  # without the key, its outcome cannot be looked up
                since = submission.submitted_at if submission else order.decided_at
                why = "the follower has no key any more, so the order cannot be looked up"
                return Wait(UNREADABLE_RETRY_SECONDS, unknown_since=since, why=why)
            return _not_sent(order, position, now, SkipReason.DISABLED)
        instrument = self.listing.find(order.symbol)
        if instrument is None:
            return await self._unlisted(order, submission, position, now)
        free = None
        if isinstance(order.plan, PlannedOpen):
            free = await self.accounts.free(claim.follower_id, instrument.quote)
        progress = OrderProgress(
            order=order,
            claim=claim,
            claimed_at=submission.claimed_at if submission else now,
            submission=submission,
            positions=positions,
            instrument=instrument,
            mailboxes=self.mailboxes,
            purse=Purse(_cash_fee(order, instrument), free),
            limits=self.limits,
        )
        first = await self._known_before(progress, access)
        execution = Execution(
            progress,
            access.account,
            self.connection,
            self.broker_clock,
            lambda: self._exit_follows(order),
            self.stop_gate,
        )
        result = await execution.run(first)
        if execution.key_refused is not None:
            await self._follower_keys.refused(
                claim.follower_id, access, execution.key_refused, trading=execution.is_refused_to_trade
            )
        elif execution.is_key_accepted:
            await self._follower_keys.accepted(claim.follower_id, access, trading=True)
        if isinstance(result, Settled) and result.event.reason is FailReason.REJECTED:
            self.listing.doubt()
        return result

    async def _known_before(self, progress: OrderProgress, access: Access) -> Observation:
        """What is known before the broker is asked about the order: a stop that holds it back, or a refused key."""
        order = progress.order
        if progress.submission is not None or order.replayed:  # the broker may have it
            return Resumed()
        # The stop comes first, so it is the reason of each open that it skips.
        stop = await self.stop_gate.mode_of(order.follower_id)
        if holds_back(stop, is_open=progress.is_open):
            return SendChecked(self.broker_clock(), stop)
        wait_seconds = self._follower_keys.wait_seconds(access)
        if access.refused and wait_seconds:
            return Failure(FailureKind.KEY_REFUSED, access.refused.message, wait_seconds)
        return Resumed()

    async def _exit_follows(self, order: CopyOrder) -> bool:
        """Whether an exit of the asset that the order buys waits behind it. The order is the head of its mailbox."""
        for text in await self.redis.lrange(self.keys.mailbox(order.follower_id), 1, -1):
            try:
                behind = CopyOrder.model_validate_json(text)
            except ValueError:  # reported when it is the head
                continue
            if behind.asset == order.symbol.base and may_close(behind.symbol, behind.side):
                return True
        return False

    async def _unlisted(
        self, order: CopyOrder, submission: Submission | None, position: CopiedPosition, now: datetime
    ) -> Settled[OrderEvent] | Wait:
        is_settled = self.listing.read_at - order.decided_at >= UNLISTED_AFTER
        wait_seconds = UNREADABLE_RETRY_SECONDS if is_settled else UNLISTED_RETRY_SECONDS
        why = f"the broker does not list {order.symbol}"
        log.warning("symbol is not listed", symbol=order.symbol, follower=order.follower_id)
        if submission is not None or order.replayed:  # it may have been executed
            since = submission.submitted_at if submission else order.decided_at
            return Wait(wait_seconds, unknown_since=since, why=why)
        is_exit = isinstance(order.plan, PlannedExit)
        if is_exit and not position.quantity:
            return _not_sent(order, position, now, SkipReason.NO_POSITION)
        if is_settled and not is_exit:
            return _not_sent(order, position, now, SkipReason.UNSUPPORTED_SYMBOL)
        if is_settled and order.is_paid_with_coin and isinstance(order.plan, PlannedExit):
            # The next exit of the coin sells what this purchase should have spent.
            owed = position.model_copy(update={"carried_exit": exit_due(order.plan.fraction, position)})
            return _not_sent(order, owed, now, SkipReason.UNSUPPORTED_SYMBOL)
        if is_settled:
            what = f"{why}; {order.side} {order.symbol}, fill {order.sequence}, order {order.id} cannot be sent"
            await self._alerts.sound(AlertKind.UNLISTED_SYMBOL, order.follower_id, what, order.decided_at)
        return Wait(wait_seconds, why=why, has_own_alert=True)

    @property
    def _strategy(self) -> StrategyServing:
        return StrategyServing(
            redis=self.redis,
            keys=self.keys,
            mailboxes=self.mailboxes,
            connection=self.connection,
            listing=self.listing,
            refused_keys=self.refused_keys,
            stop_gate=self.stop_gate,
            stopping=self.stopping,
            limits=self.limits,
            broker_clock=self.broker_clock,
        )

    @property
    def _follower_keys(self) -> FollowerKeys:
        return FollowerKeys(self.redis, self.keys, self.connection, self.accounts, self.refused_keys)

    @property
    def _waits(self) -> WaitNotes:
        return WaitNotes(self.redis, self.keys)

    @property
    def _alerts(self) -> Alerts:
        return Alerts(self.redis, self.keys)

    async def _settle(self, claim: Claim, order: CopyOrder, settled: Settled[OrderEvent]) -> NextHead:
        # Before the settlement, because the next order may belong to another worker from then on. If settling fails
        # after this, cash is counted too low until the next reading.
        refresh_in_ms = await self.accounts.settled(settled.event)
        return await self.mailboxes.settle(
            claim,
            order.id,
            settled.event.model_dump_json().encode(),
            settled.positions,
            refresh_in_ms,
        )

    async def _release(
        self,
        claimed: ClaimedFollower,
        access: Access | None,
        positions: Mapping[str, CopiedPosition] | None = None,
        *,
        ready_in_seconds: float = 0.0,
        forget_submission: bool = False,
    ) -> None:
        """Give up the claim, and answer a reconciliation of the account before that.

        So an order that makes no progress does not prevent it.
        """
        if claimed.request:
            await self._reconcile(claimed, access, positions)
        await self.mailboxes.release(
            claimed.claim, ready_in_ms=int(ready_in_seconds * 1000), forget_submission=forget_submission
        )

    async def _reconcile(
        self, claimed: ClaimedFollower, access: Access | None, positions: Mapping[str, CopiedPosition] | None
    ) -> None:
        responder = ReconciliationResponder(self.redis, self.keys, self.mailboxes, self.accounts)
        copied = claimed.positions if positions is None else positions
        refused = await responder.answer(claimed.request, claimed.claim, access, copied)
        if refused is not None and access is not None:
            await self._follower_keys.refused(claimed.claim.follower_id, access, refused, trading=False)

    async def _read_account(self, claim: Claim, access: Access | None) -> None:
        try:
            if access is None:
                await self.accounts.forget(claim.follower_id)
            elif (
                access.refused and access.refused.reading and (wait_seconds := self._follower_keys.wait_seconds(access))
            ):
                await self.accounts.postpone(claim.follower_id, wait_seconds)
            else:
                await self.accounts.read(claim.follower_id, access.account, access.key_hash)
                await self._follower_keys.accepted(claim.follower_id, access, trading=False)
        except KeyRefused as error:
            if access is not None:
                await self._follower_keys.refused(claim.follower_id, access, error, trading=False)
        except (Throttled, RateLimited) as error:
            # The account itself may be fine. The limiter names the time of the next try, so reading is no lottery.
            log.info("account not read yet", follower=claim.follower_id, error=str(error))
            await self.accounts.postpone(claim.follower_id, error.retry_after_seconds)
        except BrokerError as error:
            log.warning("account not read", follower=claim.follower_id, error=str(error))
            await self.accounts.failed(claim.follower_id, error)
        await self.mailboxes.release(claim)


def _cash_fee(order: CopyOrder, instrument: Instrument) -> Decimal:
    """The fee on top of the cost. A coin that pays may be the one in which the fee is taken, such as BNB."""
    profile = profile_of(order.broker)
    if order.is_paid_with_coin:
        return profile.fees_of(instrument.asset_class).taker
    return profile.cash_fee(instrument.asset_class)


def _not_sent(order: CopyOrder, position: CopiedPosition, now: datetime, reason: SkipReason) -> Settled[OrderEvent]:
    event = order_event(
        order,
        OrderState.NOT_SENT,
        now,
        claimed_at=now,
        position=position,
        outcome=Outcome.SKIPPED,
        reason=reason,
    )
    return Settled(event, {order.asset: position})
