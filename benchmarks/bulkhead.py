"""Measures whether four brokers copy as fast while the fifth broker hangs as they do while it works.

The whole system runs, with a master, followers and processes for each of the five paper brokers. A simulated person
trades at four of them, about one order a second at each. During the hang, the fifth broker accepts every request and
never answers. Its followers have copies in flight when the hang begins.

Half of the time without the hang is measured before the hang, and half after it. So a change in the speed of the
machine affects both figures alike.

The figures are the milliseconds from a master's execution to the settled copy, over all copies of the four brokers.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from benchmarks.rounds import Announce
from services.demo.one_broker import BrokerDemo
from services.demo.person import Person
from services.demo.scenario import ScenarioStep, steps
from services.local_system.paper_accounts import quote_currency
from services.local_system.system import LocalSystem
from shared.brokers.registry import supported_brokers
from shared.config import load_settings
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine, transaction
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore

POLL_SECONDS = 0.25
WARM_UP_SECONDS = 300.0
SETTLE_SECONDS = 120.0
QUIET_SECONDS = 5.0
"""The pause after each phase, in which the copies in flight settle."""
MOST_ORDERS = 100_000

_LATENCIES = text("""
    SELECT count(*) AS copies,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS p50, percentile_cont(0.99) WITHIN GROUP (ORDER BY took) AS p99
    FROM (
        SELECT extract(epoch FROM e.occurred_at - f.executed_at)::float8 * 1000 AS took, f.executed_at
        FROM master_fills f
        JOIN decisions d ON d.broker = f.broker AND d.sequence = f.sequence
        JOIN order_events e ON e.copy_order_id = d.copy_order_id AND e.outcome = 'copied'
        WHERE f.broker <> :hanging
    ) copies
    WHERE EXISTS (
        SELECT 1 FROM unnest(CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[])) AS phase (begins, ends)
        WHERE copies.executed_at BETWEEN phase.begins AND phase.ends
    )
""")
_PENDING = text("SELECT coalesce(sum(pending), 0) FROM fill_summary WHERE broker <> :hanging")


@dataclass(frozen=True, slots=True)
class Phase:
    """The time during which the person traded."""

    begins: datetime
    ends: datetime


class Bulkhead:
    """One run of the benchmark. Call `run` once."""

    def __init__(self, hanging: Broker, followers: int, hang_seconds: float, announce: Announce) -> None:
        self._hanging = hanging
        self._followers = followers
        self._hang_seconds = hang_seconds
        self._announce = announce
        self._brokers = supported_brokers()
        self._parts: dict[Broker, BrokerDemo] = {}
        self._steps: dict[Broker, Iterator[ScenarioStep]] = {
            broker: steps(MOST_ORDERS, quote_currency(broker), ("BTC",)) for broker in self._brokers
        }

    async def run(self, folder: Path) -> dict[str, Any]:
        """Start the system with its files in `folder`, measure, stop the system and return the figures.

        Raises RuntimeError when a phase does not end in time, or when nothing was copied in it.
        """
        no_files = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
        settings = load_settings(no_files, folder=folder, home=folder, master_poll_seconds=POLL_SECONDS)
        async with (
            LocalSystem(
                settings,
                brokers=self._brokers,
                paper=True,
                lift_rate_limits=True,
                prepare=self._prepare,
                announce=self._announce,
            ) as system,
            open_redis(system.settings.redis_url_for(self._hanging)) as redis,
            contextlib.AsyncExitStack() as stack,
        ):
            engine = open_engine(system.settings.required_database_url(), pool_size=2)
            stack.callback(engine.dispose)
            await self._until(lambda: self._all_known(redis), WARM_UP_SECONDS, "all accounts are read")
            persons = {broker: await stack.enter_async_context(part.person()) for broker, part in self._parts.items()}
            return await self._measure(persons, system.paper_urls[self._hanging], redis, engine)

    async def _prepare(self, system: LocalSystem) -> Mapping[str, str]:
        variables: dict[str, str] = {}
        engine = open_engine(system.settings.required_database_url(), pool_size=1)
        try:
            store = FollowerStore(engine, SecretBox(system.settings.secret_key))
            for broker in self._brokers:
                part = await BrokerDemo.prepare(
                    broker, system.paper_urls[broker], store, followers=self._followers, orders=0, seed=7
                )
                self._parts[broker] = part
                variables |= part.master_variables()
        finally:
            engine.dispose()
        return variables

    async def _measure(
        self, persons: Mapping[Broker, Person], hanging_url: str, redis: Redis, engine: Engine
    ) -> dict[str, Any]:
        half = self._hang_seconds / 2
        keys = BrokerKeys(self._hanging)
        await self._trade(persons, 5.0)  # a warm-up that is not counted
        self._announce(f"without the hang: {half:.0f} s")
        await persons[self._hanging].trade(next(self._steps[self._hanging]))
        without = [await self._trade(persons, half)]
        self._announce(f"{self._hanging.value} hangs: {self._hang_seconds:.0f} s")
        async with aiohttp.ClientSession(f"{hanging_url}/paper/") as session:
            # The followers hang first, so that they have copies in flight that are never answered.
            for account in self._parts[self._hanging].follower_ids:
                await _hang(session, {"account": account})
            await persons[self._hanging].trade(next(self._steps[self._hanging]))
            await self._until(lambda: self._has_mail(redis), QUIET_SECONDS, "the fill has reached the mailboxes")
            await _hang(session, {})
            hang = await self._trade(persons, self._hang_seconds)
            circuit_open = await redis.hget(keys.circuit, "open") == b"1"
            waiting = await self._waiting(redis)
            async with session.delete("faults") as reply:
                reply.raise_for_status()
        self._announce(f"without the hang: {half:.0f} s")
        without.append(await self._trade(persons, half))
        await self._until(lambda: self._is_settled(engine), SETTLE_SECONDS, "all copies of the four are settled")
        before, during = self._latencies(engine, without), self._latencies(engine, [hang])
        return {
            "ratio": round(during["p50"] / before["p50"], 2),
            "ratio_p99": round(during["p99"] / before["p99"], 2),
            "without_hang": before,
            "with_hang": during,
            "hanging": self._hanging.value,
            "hang_seconds": self._hang_seconds,
            "circuit_open": circuit_open,
            "waiting_at_the_hanging_broker": waiting,
            "followers": self._followers,
        }

    async def _trade(self, persons: Mapping[Broker, Person], seconds: float) -> Phase:
        """Place about one order a second at each of the four brokers for this time, then pause."""
        begins = datetime.now(UTC)
        ends = begins + timedelta(seconds=seconds)

        async def trade(broker: Broker) -> None:
            while datetime.now(UTC) < ends:
                # In step with the polls of the masters, the wait for the next poll would be the same for each order.
                next_at = time.monotonic() + random.uniform(0.6, 1.4)  # noqa: S311  no secret depends on it
                await persons[broker].trade(next(self._steps[broker]))
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))

        await asyncio.gather(*(trade(broker) for broker in self._brokers if broker is not self._hanging))
        phase = Phase(begins, datetime.now(UTC))
        await asyncio.sleep(QUIET_SECONDS)
        return phase

    def _latencies(self, engine: Engine, phases: Sequence[Phase]) -> dict[str, Any]:
        asked = {
            "hanging": self._hanging.value,
            "begins": [phase.begins for phase in phases],
            "ends": [phase.ends for phase in phases],
        }
        with transaction(engine) as connection:
            row = connection.execute(_LATENCIES, asked).mappings().one()
        if not row["copies"]:
            raise RuntimeError("nothing was copied in a phase")
        return {"copies": row["copies"], "p50": round(row["p50"], 1), "p99": round(row["p99"], 1)}

    async def _all_known(self, redis: Redis) -> bool:
        known = [await part.known_accounts(redis) for part in self._parts.values()]
        return min(known) == self._followers

    async def _waiting(self, redis: Redis) -> int:
        """The number of followers of the hanging broker that have mail."""
        keys = BrokerKeys(self._hanging)
        return sum([await redis.exists(keys.mailbox(name)) for name in self._parts[self._hanging].follower_ids])

    async def _has_mail(self, redis: Redis) -> bool:
        # Half is enough: for the smallest followers, the order is below the broker's minimum.
        return await self._waiting(redis) * 2 >= self._followers

    async def _is_settled(self, engine: Engine) -> bool:
        def ask() -> bool:
            with transaction(engine) as connection:
                return int(connection.execute(_PENDING, {"hanging": self._hanging.value}).scalar_one()) == 0

        return await asyncio.to_thread(ask)

    async def _until(self, condition: Any, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not await condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not within {seconds:.0f} s: {what}")
            await asyncio.sleep(0.25)


async def _hang(session: aiohttp.ClientSession, subject: Mapping[str, str]) -> None:
    async with session.post("faults", json={"kind": "hang", **subject}) as reply:
        reply.raise_for_status()


async def bulkhead(
    folder: Path, hanging: Broker, followers: int, hang_seconds: float, announce: Announce
) -> dict[str, Any]:
    """Run the benchmark; return the latencies in milliseconds with and without the hang, and their ratios."""
    return await Bulkhead(hanging, followers, hang_seconds, announce).run(folder)
