"""Defines the rate limits of a broker: what it counts, and how many units of each limit one request costs.

Each limit is a bucket of the broker's own units that refills steadily. A bucket belongs to an API key, which stands for
its account or user, or to the address that the requests come from: the egress proxy, or this machine. The numbers are
the documented ones of the lowest tier that trades, so that an account that keeps to them is not refused.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256
from typing import Any, Final, Protocol

from shared.brokers.errors import Throttled
from shared.domain.request_limits import Charge

KEPT_FOR_ORDERS: Final = 0.5
"""The share of a bucket that background reading leaves to orders and to watching the master."""
LONGEST_WAIT_SECONDS: Final = 3 * 86_400.0
"""The longest ban that Binance imposes."""

_in_background: ContextVar[bool] = ContextVar("requests_in_background", default=False)
_reserved: ContextVar[dict[str, float] | None] = ContextVar("reserved_units", default=None)
"""Bucket → units that the current search has reserved and not used yet."""


@contextmanager
def background_requests() -> Iterator[None]:
    """Requests inside this context, in this task, leave half of every bucket to others."""
    before = _in_background.set(True)
    try:
        yield
    finally:
        _in_background.reset(before)


class RateLimits(Protocol):
    """The buckets, shared by all processes that trade at a broker."""

    async def take(self, charges: Sequence[Charge], kept_free: float) -> float:
        """Take all charges and return 0. Otherwise take nothing and return the seconds until the next attempt.

        `kept_free`: the share of each bucket (0 to 1) that must be left. Never waits.
        """
        ...

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Return units that were taken and not needed."""
        ...

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        """Empty the buckets for all processes, for `seconds`: the broker has reported too many requests."""
        ...


class PatientLimits:
    """Waits for short times itself. For a process that serves one account and has nothing else to do meanwhile."""

    def __init__(self, limits: RateLimits, longest_wait_seconds: float = 15.0) -> None:
        self._limits = limits
        self._longest_wait_seconds = longest_wait_seconds

    async def take(self, charges: Sequence[Charge], kept_free: float) -> float:
        """Take all charges, after a wait if needed. A wait that would be too long is returned instead."""
        waited = 0.0
        while (seconds := await self._limits.take(charges, kept_free)) > 0:
            if waited + seconds > self._longest_wait_seconds:
                return seconds
            await asyncio.sleep(seconds)
            waited += seconds
        return 0.0

    async def give_back(self, charges: Sequence[Charge]) -> None:
        await self._limits.give_back(charges)

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        await self._limits.exhaust(charges, seconds)


class CountedPer(Enum):
    KEY = auto()
    ADDRESS = auto()


@dataclass(frozen=True, slots=True)
class Limit:
    """One bucket for each key or address, and for each value of `per_parameter` if that is given."""

    name: str
    counted_per: CountedPer
    capacity: float
    refill_per_second: float
    per_parameter: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """The cost of matching requests. `request` is searched in "api METHOD path"; a limit's first match decides."""

    limit: Limit
    request: str
    cost: float
    with_parameter: str = ""
    cost_with_parameter: float = 0.0
    """The cost when the request has the parameter `with_parameter`."""


def address_of(proxy: str | None) -> str:
    """The name under which an address's limits are kept. A proxy's name is a hash, which does not reveal its URL."""
    return sha256(proxy.encode()).hexdigest()[:16] if proxy else "direct"


@asynccontextmanager
async def units_for(
    budget: "Budget | None", method: str, paths: Sequence[str], parameters: Mapping[str, Any]
) -> AsyncIterator[None]:
    """Reserve the units for a whole search before its first request, so that no search begins that cannot finish.

    `paths`: the private requests that the search usually needs when it finds nothing. Raises Throttled with the wait
    for all of them. For further requests (long histories) the search waits in place, one request after another.
    """
    if budget is None:
        yield
        return
    charges = (budget.charges("private", method, path, parameters) for path in paths)
    taken = await budget.reserve([charge for request in charges for charge in request])
    left = {bucket: charge.cost for bucket, charge in taken.items()}
    before = _reserved.set(left)
    try:
        yield
    finally:
        _reserved.reset(before)
    # Nothing is given back after an error: when the broker reports too many requests, nothing is left.
    unused = [charge._replace(cost=left[bucket]) for bucket, charge in taken.items() if left[bucket] > 0]
    if unused:
        await budget.limits.give_back(unused)


@dataclass(slots=True)
class Budget:
    """The requests that one account may still send to its broker. An empty `key_hash` means the public side."""

    limits: RateLimits
    rules: Sequence[Rule]
    address: str
    key_hash: str = ""
    _known: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    """Request → its rules. There are few kinds of requests and many of each kind. Copies share it."""

    def of_key(self, key_hash: str) -> "Budget":
        """The budget of the account with this key, at the same address."""
        return Budget(self.limits, self.rules, self.address, key_hash, self._known)

    def charges(self, api: str, method: str, path: str, parameters: Any) -> list[Charge]:
        """The cost of a request. `api`: public or private; `parameters`: a dictionary, or a list with one per order."""
        request = f"{api} {method} {path}"
        rules = self._known.get(request)
        if rules is None:
            rules = self._known[request] = _rules_of(self.rules, request)
        if not rules:
            return []
        named: Mapping[str, Any] = parameters if isinstance(parameters, Mapping) else {}
        if not named and isinstance(parameters, list) and parameters and isinstance(parameters[0], Mapping):
            named = parameters[0]
        found = []
        for rule in rules:
            limit = rule.limit
            cost = rule.cost_with_parameter if rule.with_parameter and rule.with_parameter in named else rule.cost
            if not cost:
                continue
            whose = self.key_hash if limit.counted_per is CountedPer.KEY else self.address
            bucket = f"{limit.name}:{whose}"
            if limit.per_parameter:
                bucket = f"{bucket}:{named.get(limit.per_parameter, '')}"
            found.append(Charge(bucket, limit.capacity, limit.refill_per_second, min(cost, limit.capacity)))
        return found

    async def spend(self, charges: Sequence[Charge]) -> None:
        """Take the charges. Raises Throttled when too little is left; then the request must not be sent."""
        limits, reserved = self.limits, _reserved.get()
        if reserved is not None:
            # A search that has begun is finished. One that starts over again and again would never finish.
            limits, charges = PatientLimits(limits), _beyond(charges, reserved)
        if not charges:
            return
        seconds = await limits.take(charges, _kept_free())
        if seconds > 0:
            raise Throttled(f"within our own limits the next request is due in {seconds:.1f} s", seconds)

    async def reserve(self, charges: Sequence[Charge]) -> dict[str, Charge]:
        """Take the units of several requests, or none of them; one charge per bucket. Raises Throttled."""
        sums: dict[str, Charge] = {}
        for charge in charges:
            cost = charge.cost + (sums[charge.bucket].cost if charge.bucket in sums else 0.0)
            sums[charge.bucket] = charge._replace(cost=min(cost, charge.capacity))
        await self.spend(list(sums.values()))
        return sums

    async def refused(self, charges: Sequence[Charge], seconds: float, *, of_account_only: bool = False) -> None:
        """Empty the buckets for all processes, for `seconds`, because the broker has reported too many requests.

        `of_account_only`: the limit is the account's; other accounts at the same address continue.
        """
        if of_account_only:
            charges = [charge for charge in charges if charge.bucket.split(":")[1] == self.key_hash]
        if charges:
            await self.limits.exhaust(charges, min(max(seconds, 1.0), LONGEST_WAIT_SECONDS))


def _rules_of(rules: Sequence[Rule], request: str) -> tuple[Rule, ...]:
    first: dict[str, Rule] = {}
    for rule in rules:
        if rule.limit.name not in first and re.search(rule.request, request):
            first[rule.limit.name] = rule
    return tuple(first.values())


def _kept_free() -> float:
    return KEPT_FOR_ORDERS if _in_background.get() else 0.0


def _beyond(charges: Sequence[Charge], reserved: dict[str, float]) -> list[Charge]:
    """The part of the charges that the reserved units do not cover. Covered units are subtracted from `reserved`."""
    beyond = []
    for charge in charges:
        covered = min(charge.cost, reserved.get(charge.bucket, 0.0))
        if covered:
            reserved[charge.bucket] -= covered
        if charge.cost > covered:
            beyond.append(charge._replace(cost=charge.cost - covered))
    return beyond
