"""Compares the accounts of one broker with the ledger, and asks workers to repair differences.

Workers read the accounts, each under the follower's claim. This module sends the requests and compares the answers.
The action `reconcile` and the rounds of the bookkeeper both use it.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.identity import FollowerId, master_of_mailbox
from shared.domain.instrument import Instrument
from shared.domain.reconciliation.drift import Cause, Drift, Target, drifts
from shared.domain.reconciliation.readings import AccountReading, OpenOrder
from shared.domain.reconciliation.stray_orders import CopyRecord, Ownership, ownership_of, stray_orders
from shared.domain.symbol import Symbol
from shared.messaging.alerts import AlertKind, Alerts, current_alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Submission
from shared.messaging.reconciliation import Cancellation, ReconciliationRequest, ReconciliationRequests, Repair
from shared.persistence.ledger.targets import Targets

POLL_SECONDS = 0.1
ASK_AGAIN_SECONDS = 2.0
UNKNOWN_AGAIN_SECONDS = 1.0
NO_ANSWER = "no worker has answered: `nija status` shows whether one runs"
REASON = "the account holds less than was copied"


@dataclass(slots=True)
class Work:
    """The repairs and cancellations that a worker is asked to make after it has read an account."""

    repairs: list[Repair] = field(default_factory=list)
    cancellations: list[Cancellation] = field(default_factory=list)


@dataclass(slots=True)
class ReconciliationReport:
    """The result for one broker. It changes while the reconciliation runs."""

    asked: int = 0
    readings: dict[str, AccountReading] = field(default_factory=dict)
    copies: dict[str, CopyRecord] = field(default_factory=dict)
    """The ledger's records of the open orders, by copy order id."""
    strategy_orders: frozenset[str] = frozenset()
    """The client order ids among the open orders that belong to the strategy."""
    drifts: list[Drift] = field(default_factory=list)
    """Differences that are not repaired."""
    repaired: list[Drift] = field(default_factory=list)
    resolved: int = 0
    """How many followers had an unknown order before, and have none now."""
    unread: dict[str, str] = field(default_factory=dict)
    """By follower: the reason why its account was not read."""

    def open_orders(self) -> list[tuple[str, OpenOrder, Ownership]]:
        """The open orders of every account that was read, by follower, each with its ownership."""
        now = datetime.now(UTC)
        return [
            (follower_id, order, ownership_of(order, reading, self.copies, now, self.strategy_orders))
            for follower_id, reading in sorted(self.readings.items())
            for order in reading.open_orders or ()
        ]

    def unlisted(self) -> list[str]:
        """Followers whose accounts were read, but not their open orders."""
        return sorted(each for each, reading in self.readings.items() if reading.open_orders is None)


class Reconciliation:
    """The reconciliation of one broker, which ends after `timeout_seconds`. Raises RedisError, DatabaseUnavailable."""

    def __init__(
        self,
        redis: Redis,
        keys: BrokerKeys,
        targets: Targets,
        *,
        actor: str,
        timeout_seconds: float,
        reason: str = REASON,
    ) -> None:
        """`actor` and `reason` are recorded with each position that a repair lowers."""
        self._redis = redis
        self._keys = keys
        self._requests = ReconciliationRequests(redis, keys)
        self._alerts = Alerts(redis, keys)
        self._targets = targets
        self._actor = actor
        self._reason = reason
        self._ends_at = time.monotonic() + timeout_seconds
        self._expires_at = datetime.now(UTC) + timedelta(seconds=timeout_seconds)

    async def concerned(self) -> list[str]:
        """The followers with a copied position, an order under way, something locked in open orders, or an alert.

        Removed followers are left out.
        """
        targets = await asyncio.to_thread(self._targets.of, self._keys.broker)
        removed = await asyncio.to_thread(self._targets.removed, self._keys.broker)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hkeys(self._keys.submitting)
            pipeline.hgetall(self._keys.accounts)
            pipeline.hvals(self._keys.alerts)
            submitting, accounts, alerts = await pipeline.execute()
        raised = current_alerts(alerts, datetime.now(UTC))
        concerned = {target.follower_id for target in targets}
        mailboxes = {FollowerId(name.decode()) for name in submitting}
        concerned |= {name for name in mailboxes if master_of_mailbox(name) is None}
        concerned |= {
            FollowerId(follower_id.decode()) for follower_id, stored in accounts.items() if _has_locked(stored)
        }
        concerned |= {FollowerId(alert.follower_id) for alert in raised if alert.kind is AlertKind.DRIFT}
        return sorted(concerned - removed)

    async def run(self, followers: Collection[str] | None = None, *, repair: bool) -> ReconciliationReport:
        """Read the accounts of these followers (None: of all concerned), compare, and with `repair` also repair."""
        concerned = await self.concerned() if followers is None else followers
        submissions = await self._submissions()
        unknown_before = {each for each in concerned if submissions.get(each) == "unknown"}
        result = ReconciliationReport(asked=len(concerned))
        await self._read(dict.fromkeys(concerned, Work()), result)
        await self._compare(result)
        if repair:
            await self._wait_for_unknown(result)
            await self.repair(result, result.drifts)
        still_unknown = {drift.follower_id for drift in result.drifts if drift.cause is Cause.UNKNOWN_ORDER}
        result.resolved = len(unknown_before - still_unknown - set(result.unread))
        return result

    async def repair(self, result: ReconciliationReport, found: Iterable[Drift]) -> None:
        """Ask workers to repair the drifts that can be repaired, then compare these accounts again."""
        work: dict[str, Work] = {}
        for drift in found:
            if drift.cause is Cause.MANUAL_SALE:
                work.setdefault(drift.follower_id, Work()).repairs.append(
                    Repair(
                        asset=drift.asset,
                        quantity=drift.target,
                        sequence=drift.sequence,
                        real=drift.real,
                        reason=self._reason,
                    )
                )
            elif drift.cause is Cause.STRAY_ORDER:
                work.setdefault(drift.follower_id, Work()).cancellations.append(
                    Cancellation(broker_order_id=drift.broker_order_id, copy_order_id=drift.copy_order_id)
                )
        if not work:
            return
        before = result.drifts
        await self._read(work, result)
        result.repaired = [
            drift
            for drift in before
            if drift.follower_id in work and _is_repaired(drift, result.readings.get(drift.follower_id))
        ]
        await self._compare(result)

    async def _settled_targets(self, readings: Mapping[str, AccountReading]) -> dict[str, list[Target]]:
        """The targets, as soon as the ledger has caught up with the readings, and after two seconds in any case."""
        gives_up_at = time.monotonic() + ASK_AGAIN_SECONDS
        while True:
            targets: dict[str, list[Target]] = {}
            for target in await asyncio.to_thread(self._targets.of, self._keys.broker, list(readings)):
                targets.setdefault(target.follower_id, []).append(target)
            is_behind = any(
                {t.asset: t.quantity for t in targets.get(follower_id, ())}
                != {asset: held.quantity for asset, held in reading.copied.items() if held.quantity}
                for follower_id, reading in readings.items()
            )
            if not is_behind or time.monotonic() > gives_up_at:
                return targets
            await asyncio.sleep(POLL_SECONDS)

    async def _submissions(self) -> dict[str, str]:
        """By follower: the stage of its order. A record that cannot be read counts as unknown."""
        stages: dict[str, str] = {}
        recorded: dict[Any, Any] = await self._redis.hgetall(self._keys.submitting)
        for follower_id, stored in recorded.items():
            try:
                stages[follower_id.decode()] = Submission.model_validate_json(stored).stage
            except ValidationError:
                stages[follower_id.decode()] = "unknown"
        return stages

    async def _lots(self) -> dict[str, Decimal]:
        """The smallest lot by asset, among its pairs."""
        lots: dict[str, Decimal] = {}
        listed: dict[Any, Any] = await self._redis.hgetall(self._keys.instruments)
        for symbol, stored in listed.items():
            # An unreadable instrument counts as not listed. The engines raise the alert about it.
            with contextlib.suppress(ValidationError):
                base, lot = Symbol.parse(symbol.decode()).base, Instrument.model_validate_json(stored).lot
                lots[base] = min(lot, lots.get(base, lot))
        return lots

    async def _read(self, work: Mapping[str, Work], result: ReconciliationReport) -> None:
        """Ask for the followers' accounts until every answer is there or the time is over."""
        waiting = {
            follower_id: ReconciliationRequest(
                id=uuid.uuid4().hex,
                follower_id=follower_id,
                actor=self._actor,
                expires_at=self._expires_at,
                repairs=tuple(wanted.repairs),
                cancellations=tuple(wanted.cancellations),
            )
            for follower_id, wanted in sorted(work.items())
        }
        requests = list(waiting.values())
        ask_at = dict.fromkeys(waiting, 0.0)
        why: dict[str, str] = {}
        try:
            while waiting and time.monotonic() < self._ends_at:
                now = time.monotonic()
                due = [request for follower_id, request in waiting.items() if ask_at[follower_id] <= now]
                await self._requests.ask(due)
                ask_at |= {request.follower_id: now + ASK_AGAIN_SECONDS for request in due}
                await asyncio.sleep(POLL_SECONDS)
                for follower_id, reading in (await self._requests.answers(list(waiting.values()))).items():
                    if reading.error and reading.retry_after_seconds is not None:
                        why[follower_id] = reading.error
                        ask_at[follower_id] = time.monotonic() + reading.retry_after_seconds
                        continue
                    del waiting[follower_id]
                    if reading.error:
                        # An earlier reading does not describe the account now.
                        result.readings.pop(follower_id, None)
                        result.unread[follower_id] = reading.error
                    else:
                        result.unread.pop(follower_id, None)
                        result.readings[follower_id] = reading
        finally:
            await self._requests.withdraw(requests)
        for follower_id in waiting:
            result.readings.pop(follower_id, None)
            result.unread[follower_id] = why.get(follower_id, NO_ANSWER)

    async def _compare(self, result: ReconciliationReport) -> None:
        """Find the drifts in the readings, and clear the alerts of followers without a lasting drift."""
        readings = result.readings
        targets = await self._settled_targets(readings)
        listed = [order for reading in readings.values() for order in reading.open_orders or ()]
        named = {order.client_order_id for order in listed if order.client_order_id}
        result.copies = await asyncio.to_thread(self._targets.copies, self._keys.broker, named)
        result.strategy_orders = await asyncio.to_thread(self._targets.strategy_orders, self._keys.broker, named)
        lots = await self._lots()
        now = datetime.now(UTC)
        found: list[Drift] = []
        for follower_id, reading in readings.items():
            theirs = targets.get(follower_id, ())
            found += drifts(reading, theirs, lots, now)
            found += stray_orders(reading, theirs, result.copies, now)
        result.drifts = sorted(found, key=lambda drift: (drift.follower_id, drift.asset, drift.broker_order_id))
        troubled = {drift.follower_id for drift in found if drift.needs_attention}
        await self._alerts.clear(AlertKind.DRIFT, *(each for each in readings if each not in troubled))

    async def _wait_for_unknown(self, result: ReconciliationReport) -> None:
        """Ask workers to look unknown orders up until all are known or the time is over."""
        while True:
            unknown = {drift.follower_id for drift in result.drifts if drift.cause is Cause.UNKNOWN_ORDER}
            if not unknown or time.monotonic() + UNKNOWN_AGAIN_SECONDS >= self._ends_at:
                return
            await asyncio.sleep(UNKNOWN_AGAIN_SECONDS)
            await self._read(dict.fromkeys(unknown, Work()), result)
            await self._compare(result)


def _has_locked(stored: bytes) -> bool:
    """Whether the last reading of the account had something in open orders; true if it cannot be read."""
    try:
        account = AccountSnapshot.model_validate_json(stored)
    except ValidationError:
        return True  # a new reading will show it
    return any(total != account.free_quantity(currency) for currency, total in account.total.items())


def _is_repaired(drift: Drift, reading: AccountReading | None) -> bool:
    if reading is None:
        return False
    if drift.cause is Cause.STRAY_ORDER:
        return drift.broker_order_id in reading.canceled
    return drift.cause is Cause.MANUAL_SALE and drift.asset in reading.adjusted
