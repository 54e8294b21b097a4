"""Performs one run of chaos: it trades, breaks the system at random, lets it settle and checks the promises."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Engine, text

from services.chaos.evidence import recovery_seconds
from services.chaos.ground import PAUSE_SECONDS, POLL_SECONDS, Ground
from services.chaos.inject import Injector
from services.chaos.invariants import Evidence, Found, check
from services.chaos.plan import Injection
from services.chaos.wake_ups import WakeUps
from services.demo.as_they_are import IN_CHAOS
from services.demo.person import trades_coin_pairs
from services.demo.right_copies import Conditions
from services.demo.scenario import COINS
from services.local_system.process import ProcessSpec
from shared.domain.identity import Broker
from shared.persistence.database import transaction
from shared.persistence.errors import DatabaseUnavailable

SETTLE_SECONDS = 180.0
REMEMBER_EVERY_SECONDS = 15.0
ALL_IN_EVERY = 3
SWAP_AT = 1
"""The place of the round with a swap among these three."""
MOST_WAITING = 4
"""Fills under way: a round."""

_ORDERED = text("SELECT count(*) FROM decisions WHERE skip_reason IS NULL")


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """What a run does. `change`: how a stage's process is started differently (for the self-test)."""

    brokers: Sequence[Broker]
    followers: int
    orders: int
    """Copy orders to reach, of all brokers together."""
    injections: Sequence[Injection]
    seed: int
    change: Callable[[ProcessSpec], ProcessSpec] = lambda spec: spec
    settle_seconds: float = SETTLE_SECONDS
    least_seconds: float = 0.0
    """How long to trade at least."""
    undisturbed: bool = False
    """Nothing is broken or delayed, so special followers must get exact sizes, and no skip is excused."""


class Chaos:
    """A single run."""

    def __init__(self, plan: ChaosPlan, announce: Callable[[str], None]) -> None:
        self._plan = plan
        self._announce = announce
        self._ground = Ground(
            plan.brokers,
            followers=plan.followers,
            seed=plan.seed,
            announce=announce,
            change=plan.change,
            specials=IN_CHAOS,
        )
        self._trading = True

    async def run(self, *, keep: bool = False) -> dict[str, Any]:
        """Return the report; everything is stopped at the end. Raises LocalSystemError when nothing works at all."""
        try:
            async with self._ground.started():
                report = await self._break()
        except asyncio.CancelledError:
            self._leave(keep=keep)
            raise
        self._leave(keep=keep or report["violations"] > 0)
        return report

    def _leave(self, *, keep: bool) -> None:
        """When the system has stopped: at the end, or interrupted."""
        if keep:
            self._announce(f"kept: {self._ground.home}")
        else:
            self._ground.clear()

    async def _break(self) -> dict[str, Any]:
        ground = self._ground
        injector = Injector(ground.system, ground.engine, ground.roster_changes, PAUSE_SECONDS, self._announce)
        wake_ups = WakeUps(ground.redis, self._plan.brokers)
        started = time.monotonic()
        async with wake_ups.watched():
            settled_in = await self._trade_and_break(injector, started)
        return await self._report(injector, wake_ups, time.monotonic() - started, settled_in)

    async def _trade_and_break(self, injector: Injector, started: float) -> float:
        """Return how many seconds the system took to settle."""
        persons = [asyncio.create_task(self._trade(broker)) for broker in self._plan.brokers]
        remembering = asyncio.create_task(_remember(injector))
        try:
            await self._inject(injector)
            await self._until_ordered(started + self._plan.least_seconds)
            self._trading = False
            await injector.end()
            self._announce("all faults are off; the system settles")
            await asyncio.gather(*persons)
            return await self._ground.settle(self._plan.settle_seconds)
        finally:
            for task in (remembering, *persons):
                task.cancel()
            await asyncio.gather(remembering, *persons, return_exceptions=True)

    async def _trade(self, broker: Broker) -> None:
        """Whole rounds, so that the last order sells everything; the next one when the last one is nearly copied.

        In the first round, and in each third one after it, the master goes all in. In the round after that one, it
        exchanges a part of one coin for the other.
        A person does not wait. But faults shall strike orders under way, and not a mailbox that only grows longer.
        """
        swaps = trades_coin_pairs(broker)
        async with self._ground.person(broker) as person:
            rounds = 0
            while self._trading:
                if await self._ground.backlog(broker) > MOST_WAITING:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    is_swap = swaps and rounds % ALL_IN_EVERY == SWAP_AT
                    swapped = COINS[rounds % len(COINS)] if is_swap else None
                    all_in = rounds % ALL_IN_EVERY == 0
                    await self._ground.trade_round(broker, person, all_in=all_in, swapped=swapped)
                    rounds += 1

    async def _inject(self, injector: Injector) -> None:
        waiting = list(self._plan.injections)
        tries = 10 * len(waiting) + 100
        while waiting and tries:
            tries -= 1
            next_one = waiting.pop(0)
            if not await injector.inject(next_one):
                waiting.append(next_one)
            await asyncio.sleep(next_one.pause_seconds)
        for left in waiting:
            self._announce(f"never possible: {left.kind.value}")

    async def _until_ordered(self, not_before: float) -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                ordered = await asyncio.to_thread(_ordered, self._ground.engine)
                if ordered >= self._plan.orders and time.monotonic() >= not_before:
                    return
            await asyncio.sleep(POLL_SECONDS)

    async def _report(self, injector: Injector, wake_ups: WakeUps, seconds: float, settled_in: float) -> dict[str, Any]:
        seen = {
            broker: await self._ground.evidence(
                broker, Conditions(disturbed=not self._plan.undisturbed, refusals=injector.refusals[broker])
            )
            for broker in self._plan.brokers
        }
        found = {broker: check(each._replace(asleep=tuple(wake_ups.lost[broker]))) for broker, each in seen.items()}
        recovery = await asyncio.to_thread(recovery_seconds, self._ground.engine, injector.done)
        waits = [wait for each in recovery.values() for wait in each]
        return {
            "seed": self._plan.seed,
            "brokers": [broker.value for broker in self._plan.brokers],
            "followers": self._plan.followers,
            "as_they_are": _special_ends(seen.values()),
            **_counts(seen.values()),
            "violations": sum(number for each in found.values() for number, _ in each.violations.values()),
            "duplicates": sum(each.duplicates for each in found.values()),
            "missing": sum(each.missing for each in found.values()),
            "unresolved": sum(each.unresolved for each in found.values()),
            "invariants": by_invariant(found),
            "injected": injector.counts,
            "requests_hit": dict(injector.requests_hit),
            "recovery_seconds": _p50_and_max(waits),
            "recovery_seconds_by_fault": {kind: _p50_and_max(each) for kind, each in recovery.items()},
            "wake_ups_watched": wake_ups.polls,
            "seconds": round(seconds, 1),
            "settled_in_seconds": round(settled_in, 1),
        }


def by_invariant(found: Mapping[Broker, Found]) -> dict[str, Any]:
    """Violations and examples of all brokers together."""
    together: dict[str, Any] = {}
    for broker, each in found.items():
        for name, (number, examples) in each.violations.items():
            row = together.setdefault(name, {"violations": 0, "examples": []})
            row["violations"] += number
            row["examples"] += [f"{broker.value}: {example}" for example in examples]
    return together


def _counts(seen: Collection[Evidence]) -> dict[str, int]:
    copies = [copy for each in seen for copy in each.copies]
    return {
        "fills": sum(len(each.ledger_fills) for each in seen),
        "orders": sum(copy.skip_reason is None for copy in copies),
        "copied": sum(copy.outcome == "copied" for copy in copies),
        "skipped": sum(copy.skip_reason is not None or copy.outcome == "skipped" for copy in copies),
        "failed": sum(copy.outcome == "failed" for copy in copies),
    }


def _special_ends(seen: Collection[Evidence]) -> dict[str, dict[str, int]]:
    """By special follower, how its copies ended, all brokers together."""
    ends: dict[str, Counter[str]] = {special.name: Counter() for special in IN_CHAOS}
    for each in seen:
        for name, result in each.special.items():
            ends[name] += result.ends
    return {name: dict(counted.most_common()) for name, counted in ends.items()}


def _p50_and_max(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": round(median(seconds), 3), "max": round(max(seconds), 3)} if seconds else {"p50": 0.0, "max": 0.0}


def _ordered(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.scalar(_ORDERED) or 0)


async def _remember(injector: Injector) -> None:
    while True:
        with contextlib.suppress(OSError):  # a file that went away while it was copied: next time
            await asyncio.to_thread(injector.remember_redis)
        await asyncio.sleep(REMEMBER_EVERY_SECONDS)
