"""Compares all accounts of one broker with the ledger at intervals, and raises alerts or repairs what differs.

A round begins at each multiple of the interval, and one of the bookkeepers makes it. A drift counts only when a second
reading confirms it, because an answer of a broker may be wrong once.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.actions.reconciliation import NO_ANSWER, Reconciliation
from shared.domain.amounts import plain
from shared.domain.reconciliation.drift import Drift
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease, LeaseLost, new_token
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.targets import Targets

ACTOR: Final = "policy"
AT_ONCE: Final = 50
"""Number of accounts that are read together. The others wait, so that the requests of a round are spread over time."""
ANSWER_SECONDS: Final = 60.0
CONFIRM_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 300.0
"""Longer than the longest step of a round."""
ALERT_LASTS_ROUNDS: Final = 2.5
"""An alert ends after this many intervals without a round that repeats it."""

_Name = tuple[str, str, str, str, Decimal]

log = structlog.get_logger()


class ReconciliationRounds:
    """The rounds of one broker."""

    def __init__(
        self,
        redis: Redis,
        keys: BrokerKeys,
        targets: Targets,
        *,
        every_seconds: float,
        repair: bool,
        name: str,
        confirm_seconds: float = CONFIRM_SECONDS,
    ) -> None:
        """`name` identifies this process among all bookkeepers. `confirm_seconds` lies between the two readings."""
        self._redis = redis
        self._keys = keys
        self._targets = targets
        self._every_seconds = every_seconds
        self._repair = repair
        self._name = name
        self._confirm_seconds = confirm_seconds
        self._alerts = Alerts(redis, keys)

    async def run(self) -> None:
        """Make a round in every interval, until cancelled. An error ends only the round in which it occurs."""
        while True:
            await asyncio.sleep(self._every_seconds - time.time() % self._every_seconds)
            try:
                await self.round()
            except (RedisError, OSError, DatabaseUnavailable, LeaseLost) as error:
                why = str(error) or type(error).__name__
                log.warning("accounts not reconciled", broker=self._keys.broker.value, error=why)
            except Exception:
                # A defect. The books of this broker and all work for other brokers continue.
                log.exception("reconciling failed", broker=self._keys.broker.value)

    async def round(self) -> bool:
        """Compare all accounts now. Return False when another bookkeeper makes this round.

        Raises RedisError or DatabaseUnavailable, and LeaseLost when another bookkeeper has begun this round meanwhile.
        """
        # Each round has its own token, so that this process cannot begin the same round twice.
        lease = Lease(self._redis, self._keys.reconciliation_lease, new_token(self._name), LEASE_SECONDS)
        if not await lease.acquire():
            return False
        began_at = time.monotonic()
        try:
            followers = await self._asking().concerned()
            seen: dict[_Name, Drift] = {}
            unread = 0
            for some in _parts(followers):
                await _keep(lease)
                found = await self._asking().run(some, repair=False)
                seen |= {_named(drift): drift for drift in found.drifts if drift.needs_attention}
                unread += len(found.unread)
                if set(found.unread.values()) == {NO_ANSWER} and not found.readings:
                    log.warning("accounts not reconciled", broker=self._keys.broker.value, error=NO_ANSWER)
                    return True
            drifting = sorted({drift.follower_id for drift in seen.values()})
            if drifting:
                await asyncio.sleep(self._confirm_seconds)
            repaired = 0
            for some in _parts(drifting):
                await _keep(lease)
                repaired += await self._read_again(some, seen)
        finally:
            # The lease lasts for half an interval. It prevents a second round in this interval, but not the next round,
            # because clocks differ by less than that.
            await lease.renew(self._every_seconds / 2 - (time.monotonic() - began_at))
        log.info(
            "accounts reconciled",
            broker=self._keys.broker.value,
            accounts=len(followers),
            drifting=len(drifting),
            repaired=repaired,
            unread=unread,
        )
        return True

    async def _read_again(self, followers: Collection[str], seen: Mapping[_Name, Drift]) -> int:
        """Read the accounts again. Repair drift that has not changed (if repairs are on), and alert about the rest.

        Return the number of repairs.
        """
        found = await self._asking().run(followers, repair=False)
        confirmed = [drift for drift in found.drifts if _named(drift) in seen]
        if self._repair:
            await self._asking().repair(found, [d for d in confirmed if seen[_named(d)].real == d.real])
        # A follower that did not answer during the repair keeps the drift that was confirmed before.
        stays = [drift for drift in confirmed if drift.follower_id in found.unread]
        stays += [drift for drift in found.drifts if _named(drift) in seen]
        said: dict[str, list[str]] = {}
        for drift in stays:
            said.setdefault(drift.follower_id, []).append(_words(drift))
        until = datetime.now(UTC) + timedelta(seconds=self._every_seconds * ALERT_LASTS_ROUNDS)
        for follower_id, words in said.items():
            await self._alerts.sound(AlertKind.DRIFT, follower_id, "; ".join(words), until=until)
        return len(found.repaired)

    def _asking(self) -> Reconciliation:
        return Reconciliation(self._redis, self._keys, self._targets, actor=ACTOR, timeout_seconds=ANSWER_SECONDS)


async def _keep(lease: Lease) -> None:
    if not await lease.renew():
        raise LeaseLost("another bookkeeper has begun this round")


def _parts(followers: Sequence[str]) -> Iterator[Sequence[str]]:
    return (followers[start : start + AT_ONCE] for start in range(0, len(followers), AT_ONCE))


def _named(drift: Drift) -> _Name:
    """What identifies a drift when it is seen again.

    The target is part of it. So a follower that has traded since is not confirmed, but compared in the next round.
    """
    return drift.follower_id, drift.asset, drift.cause.value, drift.broker_order_id, drift.target


def _words(drift: Drift) -> str:
    amount = f" {plain(drift.drift)}" if drift.drift else ""
    return f"{drift.asset} {drift.cause.replace('_', ' ')}{amount}: {drift.detail}"
