"""Rounds over one broker's accounts that nobody has to ask for: the clock in, alerts and, if wanted, repairs out.

Every interval begins at a multiple of it, and one bookkeeper of all takes the round. What does not look right is looked
at a second time before anything is said or done: a broker's answer may be wrong once.
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

from services.bookkeeper.reconcile_accounts import NO_ANSWER, Reconciliation
from shared.domain.amounts import plain
from shared.domain.reconciliation.drift import Drift
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease, LeaseLost, new_token
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.targets import Targets

ACTOR: Final = "policy"
AT_ONCE: Final = 50
"""Accounts that are asked for together; the others wait, so that requests of a round come spread."""
ANSWER_SECONDS: Final = 60.0
CONFIRM_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 300.0
"""Longer than any step of a round takes."""
ALERT_LASTS_ROUNDS: Final = 2.5
"""An alert is over after so many intervals without a round that repeats it."""

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
        """`name`: of this process, among all bookkeepers. `confirm_seconds`: between the first and the second look."""
        self._redis = redis
        self._keys = keys
        self._targets = targets
        self._every_seconds = every_seconds
        self._repair = repair
        self._name = name
        self._confirm_seconds = confirm_seconds
        self._alerts = Alerts(redis, keys)

    async def run(self) -> None:
        """Make a round in every interval, until cancelled. Whatever goes wrong ends the round and nothing else."""
        while True:
            await asyncio.sleep(self._every_seconds - time.time() % self._every_seconds)
            try:
                await self.round()
            except (RedisError, OSError, DatabaseUnavailable, LeaseLost) as error:
                why = str(error) or type(error).__name__
                log.warning("accounts not reconciled", broker=self._keys.broker.value, error=why)
            except Exception:
                # A defect. The books of this broker, and everything of the others, go on.
                log.exception("reconciling failed", broker=self._keys.broker.value)

    async def round(self) -> bool:
        """Look after all accounts now; False: another bookkeeper does.

        Raises RedisError, DatabaseUnavailable, and LeaseLost when another bookkeeper has begun this round meanwhile.
        """
        # A token for each round, so that this process cannot begin the same round twice.
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
                repaired += await self._look_again(some, seen)
        finally:
            # Others are kept from this interval's round and not from the next: clocks differ by less than half of it.
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

    async def _look_again(self, followers: Collection[str], seen: Mapping[_Name, Drift]) -> int:
        """Repair (if wanted) what is as it was, and alert about what stays; return how much was repaired."""
        found = await self._asking().run(followers, repair=False)
        confirmed = [drift for drift in found.drifts if _named(drift) in seen]
        if self._repair:
            await self._asking().repair(found, [d for d in confirmed if seen[_named(d)].real == d.real])
        # Who did not answer any more has what it had.
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
    """What makes it the same drift when it is seen again; a follower that has traded since is looked at next time."""
    return drift.follower_id, drift.symbol, drift.cause.value, drift.broker_order_id, drift.target


def _words(drift: Drift) -> str:
    amount = f" {plain(drift.drift)}" if drift.drift else ""
    return f"{drift.symbol} {drift.cause.replace('_', ' ')}{amount}: {drift.detail}"
