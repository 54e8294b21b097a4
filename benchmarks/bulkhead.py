"""Measures whether four brokers copy as fast while the fifth broker hangs as they do while it works.

The whole system runs, with a master, followers and processes for each of the five paper brokers. A simulated person
trades at four of them, about one order a second at each. During the hang, the fifth broker accepts every request and
never answers. Its followers have copies in flight when the hang begins.

Half of the time without the hang is measured before the hang, and half after it. So a change in the speed of the
machine affects both figures alike.

The figures are the milliseconds from a master's execution to the settled copy, over all copies of the four brokers.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis
from sqlalchemy import Engine

from benchmarks.phases import QUIET_SECONDS, Traders, bench_settings, copy_latencies, until, until_settled
from benchmarks.rounds import Announce
from services.demo.person import Person
from services.local_system.system import LocalSystem
from shared.brokers.registry import supported_brokers
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine


class Bulkhead:
    """One run of the benchmark. Call `run` once."""

    def __init__(self, hanging: Broker, followers: int, hang_seconds: float, announce: Announce) -> None:
        self._hanging = hanging
        self._followers = followers
        self._hang_seconds = hang_seconds
        self._announce = announce
        self._brokers = supported_brokers()
        self._others = [broker for broker in self._brokers if broker is not hanging]
        self._traders = Traders(self._brokers, followers)

    async def run(self, folder: Path) -> dict[str, Any]:
        """Start the system with its files in `folder`, measure, stop the system and return the figures.

        Raises RuntimeError when a phase does not end in time, or when nothing was copied in it.
        """
        async with (
            LocalSystem(
                bench_settings(folder),
                brokers=self._brokers,
                paper=True,
                lift_rate_limits=True,
                prepare=self._traders.prepare,
                announce=self._announce,
            ) as system,
            open_redis(system.settings.redis_url_for(self._hanging)) as redis,
            contextlib.AsyncExitStack() as stack,
        ):
            engine = open_engine(system.settings.required_database_url(), pool_size=2)
            stack.callback(engine.dispose)
            await self._traders.until_known(redis)
            persons = {
                broker: await stack.enter_async_context(part.person()) for broker, part in self._traders.parts.items()
            }
            return await self._measure(persons, system.paper_urls[self._hanging], redis, engine)

    async def _measure(
        self, persons: Mapping[Broker, Person], hanging_url: str, redis: Redis, engine: Engine
    ) -> dict[str, Any]:
        half = self._hang_seconds / 2
        keys = BrokerKeys(self._hanging)
        of_others = {broker: persons[broker] for broker in self._others}
        await self._traders.trade(of_others, 5.0)  # a warm-up that is not counted
        self._announce(f"without the hang: {half:.0f} s")
        await self._traders.place_one(self._hanging, persons[self._hanging])
        without = [await self._traders.trade(of_others, half)]
        self._announce(f"{self._hanging.value} hangs: {self._hang_seconds:.0f} s")
        async with aiohttp.ClientSession(f"{hanging_url}/paper/") as session:
            # The followers hang first, so that they have copies in flight that are never answered.
            for account in self._traders.parts[self._hanging].follower_ids:
                await _hang(session, {"account": account})
            await self._traders.place_one(self._hanging, persons[self._hanging])
            await until(lambda: self._has_mail(redis), QUIET_SECONDS, "the fill has reached the mailboxes")
            await _hang(session, {})
            hang = await self._traders.trade(of_others, self._hang_seconds)
            circuit_open = await redis.hget(keys.circuit, "open") == b"1"
            waiting = await self._waiting(redis)
            async with session.delete("faults") as reply:
                reply.raise_for_status()
        self._announce(f"without the hang: {half:.0f} s")
        without.append(await self._traders.trade(of_others, half))
        await until_settled(engine, self._others)
        before, during = copy_latencies(engine, self._others, without), copy_latencies(engine, self._others, [hang])
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

    async def _waiting(self, redis: Redis) -> int:
        """The number of followers of the hanging broker that have mail."""
        keys = BrokerKeys(self._hanging)
        names = self._traders.parts[self._hanging].follower_ids
        return sum([await redis.exists(keys.mailbox(name)) for name in names])

    async def _has_mail(self, redis: Redis) -> bool:
        # Half is enough: for the smallest followers, the order is below the broker's minimum.
        return await self._waiting(redis) * 2 >= self._followers


async def _hang(session: aiohttp.ClientSession, subject: Mapping[str, str]) -> None:
    async with session.post("faults", json={"kind": "hang", **subject}) as reply:
        reply.raise_for_status()


async def bulkhead(
    folder: Path, hanging: Broker, followers: int, hang_seconds: float, announce: Announce
) -> dict[str, Any]:
    """Run the benchmark; return the latencies in milliseconds with and without the hang, and their ratios."""
    return await Bulkhead(hanging, followers, hang_seconds, announce).run(folder)
