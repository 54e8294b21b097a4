"""Simulates an hour of copying at one broker on virtual time, with the broker's real rate limits.

One master trades. Every 30 s, all followers copy a fill. Several processes share the buckets, and each takes and gives
back blocks as `RedisRateLimits` does. Accounts are read by the schedule, oldest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, Final, NamedTuple

from services.broker_worker.sweep import ACCOUNT_READS_AT_ONCE
from services.master_trader.list_prices import PRICES_SECONDS
from shared.brokers.limits import Budget, RateLimits
from shared.brokers.registry import profile_of
from shared.domain.accounts.reading_schedule import (
    ROUTINE_SECONDS,
    due_after_order,
    due_after_reading,
    reading_priority,
)
from shared.domain.identity import Broker
from shared.domain.request_limits import Charge, Priority
from shared.messaging.blocks import Blocks, units_ahead
from shared.messaging.rate_limits import SHORTEST_WAIT_SECONDS
from tests.support import bucket_model
from tests.support.bucket_model import Bucket

HOUR_SECONDS: Final = 3_600
FILL_EVERY_SECONDS: Final = 30
POLL_SECONDS: Final = 2.0
PROCESSES: Final = 10
"""The children of several workers, which share the followers."""

Request = tuple[str, Any]
"""`api METHOD path` and the parameters, as the gateway counts them."""


class Copying(NamedTuple):
    """The requests of one broker."""

    order: Sequence[Request]
    """To place one copied order and to read it until it is final."""
    reading: Sequence[Request]
    """To read one account."""
    poll: Sequence[Request]
    """To poll the master once."""
    after_fill: Sequence[Request]
    """The balances of the master after a new fill. The fills are polled once more as well."""
    prices: Sequence[Request]
    """The price list of the broker, for all accounts."""


class VirtualLimits:
    """The buckets of a broker, and the processes that use them."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.lowest_share = 1.0
        self.lowest_bucket = ""
        self._processes = [Blocks() for _ in range(PROCESSES)]

    def take(self, process: int, charges: Sequence[Charge], priority: Priority, now: float) -> float:
        """Take all charges and return 0, or take none and return the seconds to wait, as `RedisRateLimits` does."""
        blocks = self._processes[process]
        taken: list[tuple[Charge, float]] = []
        longest = 0.0
        for charge in charges:
            ahead = units_ahead(charge)
            covered = blocks.use(charge, priority, now) if ahead else 0.0
            wait = 0.0
            if covered < charge.cost:
                wait = self._take(charge, charge.cost - covered, ahead, priority, now, blocks)
                longest = max(longest, wait)
            taken.append((charge, covered if wait else charge.cost))
        if longest:
            self._give_back([charge._replace(cost=units) for charge, units in taken], now)
        return longest

    def give_back_expired(self, now: float) -> None:
        """Give back the blocks at the end of their lifetime."""
        for blocks in self._processes:
            self._give_back(blocks.pop(now), now)

    def _take(
        self, charge: Charge, units: float, ahead: float, priority: Priority, now: float, blocks: Blocks
    ) -> float:
        bucket, capacity, refill, cost = charge
        to_be_left = min(capacity * priority.value, capacity - cost)
        reply = bucket_model.take(
            self.buckets.get(bucket),
            int(now * 1000),
            capacity,
            refill,
            wanted=units,
            least=units,
            extra=ahead,
            to_be_left=to_be_left,
        )
        if reply.granted < units or reply.bucket is None:
            return max((units - reply.available) / refill, SHORTEST_WAIT_SECONDS)
        self.buckets[bucket] = reply.bucket
        if reply.granted > units:
            blocks.keep(charge, priority, reply.granted - units, now)
        if reply.bucket.level < self.lowest_share * capacity:
            self.lowest_share, self.lowest_bucket = reply.bucket.level / capacity, bucket
        return 0.0

    def _give_back(self, charges: Sequence[Charge], now: float) -> None:
        for bucket, capacity, refill, units in charges:
            after = bucket_model.correct(self.buckets.get(bucket), int(now * 1000), capacity, refill, units)
            if after is not None:
                self.buckets[bucket] = after


@dataclass(slots=True)
class Follower:
    """One follower's account."""

    process: int
    order: list[list[Charge]]
    reading: list[list[Charge]]
    joined_at: float
    read_at: float | None = None
    due_at: float = 0.0
    """When the account is due to be read, as the set `refresh` in Redis has it."""


@dataclass(slots=True)
class Results:
    """What the hour showed."""

    oldest_seconds: float = 0.0
    """The highest age of a reading, or of an account that was never read."""
    stale_opens: int = 0
    foreground_waits: int = 0
    late_prices: int = 0
    longest_poll_seconds: float = 0.0
    """The longest time between two polls of the master."""
    orders: int = 0
    readings: int = 0
    lowest_share: float = 1.0
    """The lowest share of its capacity that any bucket held."""
    lowest_bucket: str = ""


class Hour:
    """One hour at one broker. All followers join at its beginning."""

    def __init__(
        self,
        broker: Broker,
        copying: Copying,
        followers: int,
        stale_after_seconds: float,
        routine_seconds: float = ROUTINE_SECONDS,
    ) -> None:
        self._budget = Budget(NO_LIMITS, profile_of(broker).rate_rules, "direct")
        self._limits = VirtualLimits()
        self._routine_seconds = routine_seconds
        self._chance = Random(7)  # noqa: S311  no secret depends on it
        self._stale_after_seconds = stale_after_seconds
        self._poll = self._charges("master", copying.poll)
        self._after_fill = self._charges("master", copying.after_fill)
        self._prices = self._charges("master", copying.prices)
        self._followers = [
            Follower(
                number % PROCESSES,
                self._charges(f"k{number}", copying.order),
                self._charges(f"k{number}", copying.reading),
                joined_at=0.0,
            )
            for number in range(followers)
        ]
        self._due: list[tuple[float, int]] = [(0.0, number) for number in range(followers)]
        heapify(self._due)
        self._results = Results()

    def run(self, seconds: int = HOUR_SECONDS) -> Results:
        """Run the hour, or its first `seconds`."""
        polled_at, poll_at = 0.0, 0.0
        for second in range(seconds):
            now = float(second)
            self._limits.give_back_expired(now)
            if now % PRICES_SECONDS == 0 and self._send(0, self._prices, Priority.WATCH, now):
                self._results.late_prices += 1
            if now >= poll_at:
                wait = self._send(0, self._poll, Priority.WATCH, now)
                poll_at = now + (wait or POLL_SECONDS)
                if not wait:
                    self._results.longest_poll_seconds = max(self._results.longest_poll_seconds, now - polled_at)
                    polled_at = now
            if second % FILL_EVERY_SECONDS == FILL_EVERY_SECONDS - 1:
                self._foreground(0, self._after_fill, now)
                self._copy_fill(now)
                poll_at = now
            self._read_accounts(now + 0.5)
        ages = (_age(follower, seconds) for follower in self._followers)
        self._results.oldest_seconds = max(self._results.oldest_seconds, *ages)
        self._results.lowest_share, self._results.lowest_bucket = self._limits.lowest_share, self._limits.lowest_bucket
        return self._results

    def _copy_fill(self, now: float) -> None:
        results = self._results
        for number, follower in enumerate(self._followers):
            if _age(follower, now) > self._stale_after_seconds:
                results.stale_opens += 1
            self._foreground(follower.process, follower.order, now)
            results.orders += 1
            after_order = due_after_order(follower.read_at, now)
            if after_order < follower.due_at:  # settle.lua: ZADD LT
                self._plan(number, after_order)

    def _read_accounts(self, now: float) -> None:
        for _ in range(ACCOUNT_READS_AT_ONCE):
            if not self._due or self._due[0][0] > now:
                return
            due_at, number = heappop(self._due)
            follower = self._followers[number]
            if due_at != follower.due_at:
                continue  # the account has become due at another time since
            priority = reading_priority(None if follower.read_at is None else now - follower.read_at)
            wait = self._send(follower.process, follower.reading, priority, now)
            if wait:
                self._plan(number, now + wait)
                continue
            self._results.oldest_seconds = max(self._results.oldest_seconds, _age(follower, now))
            self._results.readings += 1
            follower.read_at = now
            self._plan(number, due_after_reading(now, self._chance.random(), self._routine_seconds))

    def _plan(self, number: int, due_at: float) -> None:
        self._followers[number].due_at = due_at
        heappush(self._due, (due_at, number))

    def _foreground(self, process: int, requests: list[list[Charge]], now: float) -> None:
        if self._send(process, requests, Priority.FOREGROUND, now):
            self._results.foreground_waits += 1

    def _send(self, process: int, requests: list[list[Charge]], priority: Priority, now: float) -> float:
        """Send requests one after another. The first one that must wait ends the row."""
        for charges in requests:
            wait = self._limits.take(process, charges, priority, now)
            if wait:
                return wait
        return 0.0

    def _charges(self, key: str, requests: Sequence[Request]) -> list[list[Charge]]:
        budget = self._budget.of_key(key)
        return [budget.charges(*request.split(), parameters) for request, parameters in requests]


def _age(follower: Follower, now: float) -> float:
    return now - (follower.joined_at if follower.read_at is None else follower.read_at)


class _NoLimits:
    """Stands for the limits of a budget that is only asked what requests cost."""

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        raise NotImplementedError

    async def give_back(self, charges: Sequence[Charge]) -> None:
        raise NotImplementedError

    async def count(self, charges: Sequence[Charge]) -> None:
        raise NotImplementedError

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        raise NotImplementedError


NO_LIMITS: Final[RateLimits] = _NoLimits()
