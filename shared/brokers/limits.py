"""Defines the rate limits of a broker: what it counts, and how many units of each limit one request costs.

Each limit is a bucket of the broker's own units that refills steadily. A bucket belongs to an API key, which stands for
its account or user, or to the address that the requests come from: the egress proxy, or this machine. The numbers are
the documented ones of the lowest tier that trades, so that an account that keeps to them is not refused.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from hashlib import sha256
from typing import Any, Final, Protocol

from shared.brokers.errors import Throttled
from shared.domain.request_limits import Charge, Priority

WINDOW_BURST: Final = 0.25
"""The part of a window's units that may be used at once."""
LONGEST_WAIT_SECONDS: Final = 3 * 86_400.0
"""The longest ban that Binance imposes."""


class RateLimits(Protocol):
    """The buckets, shared by all processes that trade at a broker."""

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        """Take all charges and return 0. Otherwise take nothing and return the seconds until the next attempt.

        Never waits.
        """
        ...

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Return units that were taken and not needed. Best effort."""
        ...

    async def count(self, charges: Sequence[Charge]) -> None:
        """Count units that the broker has taken already. Best effort; a bucket may fall below zero."""
        ...

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        """Empty the buckets for all processes, for `seconds`: the broker has reported too many requests."""
        ...


class PatientLimits:
    """Waits for short times itself. For a process that serves one account and has nothing else to do meanwhile."""

    def __init__(self, limits: RateLimits, longest_wait_seconds: float = 15.0) -> None:
        self._limits = limits
        self._longest_wait_seconds = longest_wait_seconds

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        """Take all charges, after a wait if needed. A wait that would be too long is returned instead."""
        waited = 0.0
        while (seconds := await self._limits.take(charges, priority)) > 0:
            if waited + seconds > self._longest_wait_seconds:
                return seconds
            await asyncio.sleep(seconds)
            waited += seconds
        return 0.0

    async def give_back(self, charges: Sequence[Charge]) -> None:
        await self._limits.give_back(charges)

    async def count(self, charges: Sequence[Charge]) -> None:
        await self._limits.count(charges)

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

    @classmethod
    def of_window(
        cls, name: str, counted_per: CountedPer, units: float, seconds: float, per_parameter: str = ""
    ) -> "Limit":
        """The limit of a broker that counts at most `units` in each window of `seconds`.

        A part may be used at once, and the rest refills over one window. So no window ever sees more than `units`. A
        bucket that held all units would allow almost twice as many, because it refills while it is emptied.
        """
        burst = units * WINDOW_BURST
        return cls(name, counted_per, burst, (units - burst) / seconds, per_parameter)


@dataclass(frozen=True, slots=True)
class Rule:
    """The cost of matching requests. `request` is searched in "api METHOD path"; a limit's first match decides."""

    limit: Limit
    request: str
    cost: float
    with_parameter: str = ""
    cost_with_parameter: float = 0.0
    """The cost when the request has the parameter `with_parameter`."""
    counted_parameter: str = ""
    costs_by_count: tuple[tuple[int, float], ...] = ()
    """The cost when the request has `counted_parameter`, a JSON list: (most names, cost), the smallest first."""
    cost_of_refusal: float = 0.0
    """What the broker counts in addition when it refuses the request."""


def address_of(proxy: str | None) -> str:
    """The name under which an address's limits are kept. A proxy's name is a hash, which does not reveal its URL."""
    return sha256(proxy.encode()).hexdigest()[:16] if proxy else "direct"


@asynccontextmanager
async def units_for(
    budget: "Budget | None", method: str, paths: Sequence[str], parameters: Mapping[str, Any]
) -> AsyncIterator["Budget | None"]:
    """Reserve the units for a whole search before its first request, so that no search begins that cannot finish.

    Returns the budget that the search must use. `paths`: the private requests that the search usually needs when it
    finds nothing. Raises Throttled with the wait for all of them. For further requests (long histories) the search
    waits in place, one request after another.
    """
    if budget is None:
        yield None
        return
    charges = (budget.charges("private", method, path, parameters) for path in paths)
    taken = await budget.reserve([charge for request in charges for charge in request])
    left = {bucket: charge.cost for bucket, charge in taken.items()}
    yield replace(budget, reserved=left)
    # Nothing is given back after an error: when the broker reports too many requests, nothing is left.
    unused = [charge._replace(cost=left[bucket]) for bucket, charge in taken.items() if left[bucket] > 0]
    if unused:
        await budget.limits.give_back(unused)


@dataclass(frozen=True, slots=True)
class Budget:
    """The requests that one account may still send to its broker. An empty `key_hash` means the public side."""

    limits: RateLimits
    rules: Sequence[Rule]
    address: str
    key_hash: str = ""
    priority: Priority = Priority.FOREGROUND
    """The priority of every request that is counted here."""
    reserved: dict[str, float] | None = None
    """Bucket → units that the current search has reserved and not used yet. None: this is no search."""
    known: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    """Request → its rules. There are few kinds of requests and many of each kind. Copies share it."""

    def of_key(self, key_hash: str) -> "Budget":
        """The budget of the account with this key, at the same address."""
        return replace(self, key_hash=key_hash)

    def at(self, priority: Priority) -> "Budget":
        """The same budget for requests of this priority."""
        return replace(self, priority=priority)

    def for_listing(self) -> "Budget":
        """The same budget for loading markets: several requests in the background, each of which waits in place."""
        return replace(self, limits=PatientLimits(self.limits), priority=Priority.BACKGROUND)

    def charges(self, api: str, method: str, path: str, parameters: Any) -> list[Charge]:
        """The cost of a request. `api`: public or private; `parameters`: a dictionary, or a list with one per order."""
        named = _named(parameters)

        def cost(rule: Rule) -> float:
            if rule.counted_parameter and rule.counted_parameter in named:
                count = str(named[rule.counted_parameter]).count(",") + 1
                return next((cost for most, cost in rule.costs_by_count if count <= most), rule.cost)
            return rule.cost_with_parameter if rule.with_parameter and rule.with_parameter in named else rule.cost

        return self._charges(f"{api} {method} {path}", named, cost)

    async def spend(self, charges: Sequence[Charge]) -> None:
        """Take the charges. Raises Throttled when too little is left; then the request must not be sent."""
        limits = self.limits
        if self.reserved is not None:
            # A search that has begun is finished. One that starts over again and again would never finish.
            limits, charges = PatientLimits(limits), _beyond(charges, self.reserved)
        if not charges:
            return
        seconds = await limits.take(charges, self.priority)
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

    def charges_of_refusal(self, api: str, method: str, path: str, parameters: Any) -> list[Charge]:
        """What the broker counts when it refuses a request, in addition to the request's own cost."""
        return self._charges(f"{api} {method} {path}", _named(parameters), lambda rule: rule.cost_of_refusal)

    async def refused(self, charges: Sequence[Charge], seconds: float, *, of_account_only: bool = False) -> None:
        """Empty the buckets for all processes, for `seconds`, because the broker has reported too many requests.

        `of_account_only`: the limit is the account's; other accounts at the same address continue.
        """
        if of_account_only:
            charges = [charge for charge in charges if charge.bucket.split(":")[1] == self.key_hash]
        if charges:
            await self.limits.exhaust(charges, min(max(seconds, 1.0), LONGEST_WAIT_SECONDS))

    def _charges(self, request: str, named: Mapping[str, Any], cost_of: Callable[[Rule], float]) -> list[Charge]:
        rules = self.known.get(request)
        if rules is None:
            rules = self.known[request] = _rules_of(self.rules, request)
        found = []
        for rule in rules:
            limit, cost = rule.limit, cost_of(rule)
            if not cost:
                continue
            whose = self.key_hash if limit.counted_per is CountedPer.KEY else self.address
            bucket = f"{limit.name}:{whose}"
            if limit.per_parameter:
                bucket = f"{bucket}:{named.get(limit.per_parameter, '')}"
            found.append(Charge(bucket, limit.capacity, limit.refill_per_second, min(cost, limit.capacity)))
        return found


def _named(parameters: Any) -> Mapping[str, Any]:
    """The parameters by name. A list of orders stands for its first one."""
    if isinstance(parameters, list) and parameters:
        parameters = parameters[0]
    return parameters if isinstance(parameters, Mapping) else {}


def _rules_of(rules: Sequence[Rule], request: str) -> tuple[Rule, ...]:
    first: dict[str, Rule] = {}
    for rule in rules:
        if rule.limit.name not in first and re.search(rule.request, request):
            first[rule.limit.name] = rule
    return tuple(first.values())


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
