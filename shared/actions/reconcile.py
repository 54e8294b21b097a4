"""Compares followers' accounts with the ledger at all brokers, and repairs differences on request."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from shared.actions.context import ActionContext
from shared.actions.reconciliation import REASON, Reconciliation, ReconciliationReport
from shared.actions.record_texts import require_recordable
from shared.domain.identity import Broker, FollowerId
from shared.domain.reconciliation.drift import Drift
from shared.domain.reconciliation.readings import AccountReading, OpenOrder
from shared.domain.reconciliation.stray_orders import Ownership
from shared.messaging.connection.connect import COMMAND_ANSWER_SECONDS, open_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.followers.find import require_known
from shared.persistence.reports.reports import with_followers


@dataclass(frozen=True, slots=True)
class FollowersOrder:
    """An open order at the broker, and the ownership that its ids show."""

    follower_id: str
    order: OpenOrder
    ownership: Ownership


@dataclass(frozen=True, slots=True)
class ReconciledBroker:
    """The result for one broker."""

    asked: int
    """Accounts that workers were asked to read."""
    readings: Mapping[str, AccountReading]
    drifts: tuple[Drift, ...]
    """Differences that are not repaired."""
    repaired: tuple[Drift, ...]
    resolved: int
    """How many followers had an unknown order before, and have none now."""
    open_orders: tuple[FollowersOrder, ...]
    unlisted: tuple[str, ...]
    """Followers whose open orders could not be read."""
    unread: Mapping[str, str]
    """By follower: the reason why its account was not read."""
    error: BaseException | None = None
    """RedisError, DatabaseUnavailable or another error: why this broker has no result. Repairs may have been made."""

    @property
    def is_sound(self) -> bool:
        """Whether every account was read and nothing is left to repair."""
        return not self.drifts and not self.unread and self.error is None

    @classmethod
    def failed(cls, error: BaseException) -> "ReconciledBroker":
        return replace(cls.of(ReconciliationReport()), error=error)

    @classmethod
    def of(cls, report: ReconciliationReport) -> "ReconciledBroker":
        return cls(
            asked=report.asked,
            readings=dict(sorted(report.readings.items())),
            drifts=tuple(report.drifts),
            repaired=tuple(report.repaired),
            resolved=report.resolved,
            open_orders=tuple(FollowersOrder(*line) for line in report.open_orders()),
            unlisted=tuple(report.unlisted()),
            unread=dict(sorted(report.unread.items())),
        )


async def reconcile(
    context: ActionContext,
    *,
    broker: Broker | None = None,
    follower_id: FollowerId | None = None,
    repair: bool = False,
    timeout_seconds: float = 60.0,
    actor: str,
    reason: str = REASON,
) -> Mapping[Broker, ReconciledBroker]:
    """Compare the accounts of one broker or of all, of one follower or of all that are concerned.

    With `repair`, copied positions are lowered to what the account holds, stray orders are canceled, and unknown
    orders are awaited. Nothing is bought or sold. `actor` and `reason` are recorded with each lowered position. A
    cancellation withdraws the requests.

    An error at one broker, for example of its Redis, is in the result of that broker. Raises ActionRefused (actor or
    reason), UnknownFollower, DatabaseUnavailable.
    """
    require_recordable(actor, reason)
    brokers = await asyncio.to_thread(_concerned, context, broker, follower_id)
    followers = None if follower_id is None else [follower_id]

    async def at(each: Broker) -> ReconciledBroker:
        async with open_redis(context.access.redis_of(each).url, answer_seconds=COMMAND_ANSWER_SECONDS) as redis:
            work = Reconciliation(
                redis,
                BrokerKeys(each),
                context.targets,
                actor=actor,
                reason=reason,
                timeout_seconds=timeout_seconds,
            )
            return ReconciledBroker.of(await work.run(followers, repair=repair))

    # Without return_exceptions, the first error would leave the tasks of the other brokers running.
    results = await asyncio.gather(*map(at, brokers), return_exceptions=True)
    return {
        each: ReconciledBroker.failed(result) if isinstance(result, BaseException) else result
        for each, result in zip(brokers, results, strict=True)
    }


def _concerned(context: ActionContext, broker: Broker | None, follower_id: FollowerId | None) -> tuple[Broker, ...]:
    """The brokers with followers; with a follower, those at which it is not removed."""
    if follower_id is not None:
        require_known(context.store, follower_id, broker)
    brokers = (broker,) if broker else with_followers(context.reports.statuses())
    if follower_id is None:
        return brokers
    return tuple(each for each in brokers if context.reports.followers(each, follower_id=follower_id))
