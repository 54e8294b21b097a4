"""Answers a request of `nija reconcile` with what an account really holds, while the follower's claim is held.

On request it also lowers a copied position to what is there, or cancels a stray order. It repairs only while no order
waits, and only what still matches the request. So a repair never affects an order in flight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from redis.asyncio import Redis

from services.broker_worker.follower_keys import Access
from services.broker_worker.read_account import AccountReader
from shared.brokers.errors import BrokerError, KeyRefused, RateLimited, Rejected, Throttled
from shared.brokers.port.account import BrokerAccount
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition, CopyOrder
from shared.domain.events import PositionAdjusted
from shared.domain.identity import BrokerOrderId, FollowerId
from shared.domain.reconciliation.drift import covered
from shared.domain.reconciliation.readings import AccountReading, OpenOrder, WaitingOrder
from shared.domain.request_limits import Priority
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Claim, ClaimLost, Mailboxes, Submission
from shared.messaging.reconciliation import ReconciliationRequest, ReconciliationRequests

MOST_MAIL_LISTED = 100
RETRY_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReconciliationResponder:
    """Answers requests. Reads and writes the keys of one broker."""

    redis: Redis
    keys: BrokerKeys
    mailboxes: Mailboxes
    accounts: AccountReader

    async def answer(
        self, raw: bytes, claim: Claim, access: Access | None, copied: Mapping[str, CopiedPosition]
    ) -> KeyRefused | None:
        """Serve the request. Return the broker's error if it refused the key.

        Raises RedisError, and ClaimLost before a repair.
        """
        try:
            request = ReconciliationRequest.model_validate_json(raw)
        except ValueError as error:
            log.warning("request cannot be read", follower=claim.follower_id, error=str(error))
            await self.redis.hdel(self.keys.reconciliation_requests, claim.follower_id)
            return None
        if request.expires_at <= datetime.now(UTC):
            await self.redis.hdel(self.keys.reconciliation_requests, claim.follower_id)
            return None
        reading, refused = await self._read(request, access, copied)
        if access is not None and not reading.error and not reading.mail:
            if request.cancellations:
                reading = await self._cancel(request, claim, access.account, reading)
            if request.repairs:
                reading = await self._repair(request, claim, reading)
        await ReconciliationRequests(self.redis, self.keys).answer(reading)
        return refused

    async def _read(
        self, request: ReconciliationRequest, access: Access | None, copied: Mapping[str, CopiedPosition]
    ) -> tuple[AccountReading, KeyRefused | None]:
        waiting, mail = await self._mail(request.follower_id)
        reading = AccountReading(
            request_id=request.id,
            follower_id=request.follower_id,
            read_at=datetime.now(UTC),
            copied=dict(copied),
            waiting=waiting,
            mail=mail,
        )
        if access is None:
            return reading.model_copy(update={"error": "the follower has no key"}), None
        try:
            taken = await self.accounts.read(request.follower_id, access.account, access.key_hash)
            open_orders = await self._open_orders(request.follower_id, access.account)
        except KeyRefused as error:
            return reading.model_copy(update={"error": f"the key was refused: {error}"}), error
        except (Throttled, RateLimited) as error:
            again = {"error": str(error), "retry_after_seconds": error.retry_after_seconds}
            return reading.model_copy(update=again), None
        except BrokerError as error:
            return reading.model_copy(update={"error": str(error), "retry_after_seconds": RETRY_SECONDS}), None
        locked = {currency: total - taken.free_quantity(currency) for currency, total in taken.total.items()}
        held = {
            "read_at": taken.taken_at,
            "total": taken.total,
            "locked": {currency: quantity for currency, quantity in locked.items() if quantity},
            "open_orders": open_orders,
        }
        return reading.model_copy(update=held), None

    async def _open_orders(self, follower_id: FollowerId, account: BrokerAccount) -> tuple[OpenOrder, ...] | None:
        """Return None when the key may not list orders, which does not prevent it from trading. Raises other
        BrokerErrors.
        """
        try:
            listed = await account.at(Priority.BACKGROUND).open_orders()
        except KeyRefused as error:
            log.warning("open orders cannot be listed", follower=follower_id, error=str(error))
            return None
        return tuple(
            OpenOrder(
                broker_order_id=order.broker_order_id,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                quantity=order.quantity,
                filled_quantity=order.filled_quantity,
            )
            for order in listed
        )

    async def _mail(self, follower_id: FollowerId) -> tuple[tuple[WaitingOrder, ...], int]:
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.lrange(self.keys.mailbox(follower_id), 0, MOST_MAIL_LISTED - 1)
            pipeline.llen(self.keys.mailbox(follower_id))
            pipeline.hget(self.keys.submitting, follower_id)
            texts, count, recorded = await pipeline.execute()
        waiting: list[WaitingOrder] = []
        for text in texts:
            try:
                order = CopyOrder.model_validate_json(text)
                submission = Submission.model_validate_json(recorded) if recorded else None
            except ValueError:
                continue  # it is only counted here; an alert reports it to an operator
            is_sent = submission is not None and submission.copy_order_id == order.id
            waiting.append(
                WaitingOrder(
                    copy_order_id=order.id,
                    sequence=order.sequence,
                    symbol=order.symbol,
                    side=order.side,
                    stage=submission.stage if submission and is_sent else "waiting",
                    submitted_at=submission.submitted_at if submission and is_sent else None,
                )
            )
        return tuple(waiting), count

    async def _cancel(
        self, request: ReconciliationRequest, claim: Claim, account: BrokerAccount, reading: AccountReading
    ) -> AccountReading:
        wanted = {(each.broker_order_id, each.copy_order_id) for each in request.cancellations}
        left = list(reading.open_orders or ())
        canceled: list[str] = []
        for order in reading.open_orders or ():
            if (order.broker_order_id, order.client_order_id) not in wanted:
                continue
            if await self.mailboxes.renew([claim]):
                raise ClaimLost(f"{claim.follower_id}: the claim was lost before order {order.broker_order_id}")
            if await self.redis.exists(self.keys.mailbox(claim.follower_id)):
                break
            what = {"follower": request.follower_id, "order": order.broker_order_id, "actor": request.actor}
            try:
                background = account.at(Priority.BACKGROUND)
                await background.cancel(BrokerOrderId(order.broker_order_id), order.symbol)
            except Rejected as error:
                log.info("stray order was over already", **what, error=str(error))
            except BrokerError as error:
                log.warning("stray order not canceled", **what, error=str(error))
                continue
            else:
                log.warning("stray order canceled", **what, copy_order=order.client_order_id)
                canceled.append(order.broker_order_id)
            left.remove(order)
        return reading.model_copy(update={"open_orders": tuple(left), "canceled": tuple(canceled)})

    async def _repair(self, request: ReconciliationRequest, claim: Claim, reading: AccountReading) -> AccountReading:
        copied = dict(reading.copied)
        real = covered({asset: position.quantity for asset, position in copied.items()}, reading.total)
        adjusted: list[str] = []
        for repair in request.repairs:
            before = copied.get(repair.asset)
            if before is None or before.quantity != repair.quantity or real[repair.asset] >= before.quantity:
                continue
            quantity = real[repair.asset]
            if repair.real not in (None, quantity):
                continue  # the drift has changed since this repair was requested
            after = CopiedPosition(quantity=quantity, carried_exit=min(before.carried_exit, quantity))
            event = PositionAdjusted(
                broker=self.keys.broker,
                follower_id=request.follower_id,
                asset=repair.asset,
                sequence=repair.sequence,
                quantity_before=before.quantity,
                carried_exit_before=before.carried_exit,
                quantity_after=after.quantity,
                carried_exit_after=after.carried_exit,
                real_quantity=reading.total.get(repair.asset, ZERO),
                actor=request.actor,
                reason=repair.reason,
                occurred_at=datetime.now(UTC),
            )
            if not await self.mailboxes.adjust(claim, repair.asset, after, event.model_dump_json().encode()):
                break
            log.warning("copied position lowered", follower=request.follower_id, asset=repair.asset)
            copied[repair.asset] = after
            adjusted.append(repair.asset)
        return reading.model_copy(update={"copied": copied, "adjusted": tuple(adjusted)})
