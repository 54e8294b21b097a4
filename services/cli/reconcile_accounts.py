"""Reconcile one broker's accounts: targets and a Redis in, what the workers found and repaired out.

Accounts are read by the workers, under the followers' leases; this only asks and compares.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from shared.domain.instrument import Instrument
from shared.domain.reconcile import AccountReading, Cause, Drift, Target, drifts
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import Submission
from shared.messaging.reconcile import ReconcileRequest, Reconciliation, Repair

POLL_SECONDS = 0.1
ASK_AGAIN_SECONDS = 2.0
UNKNOWN_AGAIN_SECONDS = 1.0
NO_ANSWER = "no worker has answered: `nija status` shows whether one runs"
REASON = "the account holds less than was copied"


@dataclass(slots=True)
class Reconciled:
    """What came out for one broker."""

    asked: int = 0
    readings: dict[str, AccountReading] = field(default_factory=dict)
    drifts: list[Drift] = field(default_factory=list)
    """What is still not as it should be."""
    repaired: list[Drift] = field(default_factory=list)
    resolved: int = 0
    """Followers whose order was unknown before and is not any more."""
    unread: dict[str, str] = field(default_factory=dict)
    """Follower → why its account was not read."""


class Reconcile:
    """Works on one broker until `timeout_seconds` are over. Raises RedisError; `read_targets` raises its own."""

    def __init__(
        self,
        redis: Redis,
        keys: BrokerKeys,
        read_targets: Callable[[], list[Target]],
        *,
        actor: str,
        timeout_seconds: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._reconciliation = Reconciliation(redis, keys)
        self._read_targets = read_targets
        self._actor = actor
        self._ends_at = time.monotonic() + timeout_seconds
        self._expires_at = datetime.now(UTC) + timedelta(seconds=timeout_seconds)

    async def run(self, follower_id: str | None, *, repair: bool) -> Reconciled:
        """Read who should hold something or has an order under way, or that follower; compare; repair when wanted."""
        targets = await self._targets()
        submissions = await self._submissions()
        concerned = {*targets, *submissions} if follower_id is None else {follower_id}
        unknown_before = {each for each in concerned if submissions.get(each) == "unknown"}
        lots = await self._lots()
        result = Reconciled(asked=len(concerned))
        await self._read(concerned, result)
        # What was settled meanwhile is in the ledger a moment later.
        found = self._compare(result.readings, await self._settled_targets(result.readings), lots)
        if repair:
            found = await self._wait_for_unknown(found, result, lots)
            found = await self._repair(found, result, lots)
        result.drifts = sorted(found, key=lambda drift: (drift.follower_id, drift.symbol))
        still_unknown = {drift.follower_id for drift in found if drift.cause is Cause.UNKNOWN_ORDER}
        result.resolved = len(unknown_before - still_unknown - set(result.unread))
        return result

    async def _targets(self) -> dict[str, list[Target]]:
        by_follower: dict[str, list[Target]] = {}
        for target in await asyncio.to_thread(self._read_targets):
            by_follower.setdefault(target.follower_id, []).append(target)
        return by_follower

    async def _settled_targets(self, readings: Mapping[str, AccountReading]) -> dict[str, list[Target]]:
        """The targets once the ledger has what Redis had at the time of the readings, or after two seconds."""
        gives_up_at = time.monotonic() + ASK_AGAIN_SECONDS
        while True:
            targets = await self._targets()
            is_behind = any(
                {t.symbol: t.quantity for t in targets.get(follower_id, ())}
                != {symbol: held.quantity for symbol, held in reading.copied.items() if held.quantity}
                for follower_id, reading in readings.items()
            )
            if not is_behind or time.monotonic() > gives_up_at:
                return targets
            await asyncio.sleep(POLL_SECONDS)

    async def _submissions(self) -> dict[str, str]:
        """Follower → how far its order is; one that cannot be read counts as unknown."""
        stages: dict[str, str] = {}
        recorded: dict[Any, Any] = await self._redis.hgetall(self._keys.submitting)
        for follower_id, stored in recorded.items():
            try:
                stages[follower_id.decode()] = Submission.model_validate_json(stored).stage
            except ValidationError:
                stages[follower_id.decode()] = "unknown"
        return stages

    async def _lots(self) -> dict[str, Decimal]:
        stored = await self._redis.hvals(self._keys.instruments)
        instruments = [Instrument.model_validate_json(each) for each in stored]
        return {instrument.symbol: instrument.lot for instrument in instruments}

    async def _read(
        self, followers: Collection[str], result: Reconciled, repairs: Mapping[str, Sequence[Repair]] | None = None
    ) -> None:
        """Ask for the followers' accounts until each has answered or the time is over."""
        waiting = {
            follower_id: ReconcileRequest(
                id=uuid.uuid4().hex,
                follower_id=follower_id,
                actor=self._actor,
                expires_at=self._expires_at,
                repairs=tuple((repairs or {}).get(follower_id, ())),
            )
            for follower_id in sorted(followers)
        }
        requests = list(waiting.values())
        ask_at = dict.fromkeys(waiting, 0.0)
        why: dict[str, str] = {}
        while waiting and time.monotonic() < self._ends_at:
            now = time.monotonic()
            due = [request for follower_id, request in waiting.items() if ask_at[follower_id] <= now]
            await self._reconciliation.ask(due)
            ask_at |= {request.follower_id: now + ASK_AGAIN_SECONDS for request in due}
            await asyncio.sleep(POLL_SECONDS)
            for follower_id, reading in (await self._reconciliation.answers(list(waiting.values()))).items():
                if reading.error and reading.retry_after_seconds is not None:
                    why[follower_id] = reading.error
                    ask_at[follower_id] = time.monotonic() + reading.retry_after_seconds
                    continue
                del waiting[follower_id]
                if reading.error:
                    result.unread[follower_id] = reading.error
                else:
                    result.unread.pop(follower_id, None)
                    result.readings[follower_id] = reading
        await self._reconciliation.withdraw(requests)
        for follower_id in waiting:
            # An earlier reading says nothing about now.
            result.readings.pop(follower_id, None)
            result.unread[follower_id] = why.get(follower_id, NO_ANSWER)

    def _compare(
        self,
        readings: Mapping[str, AccountReading],
        targets: Mapping[str, Sequence[Target]],
        lots: Mapping[str, Decimal],
    ) -> list[Drift]:
        now = datetime.now(UTC)
        return [
            drift
            for follower_id, reading in readings.items()
            for drift in drifts(reading, targets.get(follower_id, ()), lots, now)
        ]

    async def _wait_for_unknown(
        self, found: list[Drift], result: Reconciled, lots: Mapping[str, Decimal]
    ) -> list[Drift]:
        """Have unknown orders looked up until they are known or the time is over."""
        while True:
            unknown = {drift.follower_id for drift in found if drift.cause is Cause.UNKNOWN_ORDER}
            if not unknown or time.monotonic() + UNKNOWN_AGAIN_SECONDS >= self._ends_at:
                return found
            await asyncio.sleep(UNKNOWN_AGAIN_SECONDS)
            await self._read(unknown, result)
            found = self._compare(result.readings, await self._settled_targets(result.readings), lots)

    async def _repair(self, found: list[Drift], result: Reconciled, lots: Mapping[str, Decimal]) -> list[Drift]:
        repairs: dict[str, list[Repair]] = {}
        for drift in found:
            if drift.is_repairable:
                repair = Repair(symbol=drift.symbol, quantity=drift.target, sequence=drift.sequence, reason=REASON)
                repairs.setdefault(drift.follower_id, []).append(repair)
        if not repairs:
            return found
        await self._read(repairs, result, repairs)
        done = {
            (each, symbol) for each in repairs if each in result.readings for symbol in self._adjusted(result, each)
        }
        result.repaired = [drift for drift in found if (drift.follower_id, drift.symbol) in done]
        return self._compare(result.readings, await self._settled_targets(result.readings), lots)

    @staticmethod
    def _adjusted(result: Reconciled, follower_id: str) -> tuple[str, ...]:
        return result.readings[follower_id].adjusted
