"""Measures how fast the API answers a question about capital, and what copying loses while the API is asked.

The whole system of one paper broker runs, with its API. A simulated person trades, about one order a second. In every
second phase, the API is asked for the capital state and for `/health` at the same steady rate. `/health` asks no server,
so the ratio of both shows what an answer costs, whatever the machine is.

A request counts from the moment at which it was due, so that a slow answer does not hide those behind it. Half of the
time without requests is measured before the requests, and half after them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from benchmarks.phases import Phase, Traders, bench_settings, copy_latencies, until_settled
from benchmarks.rounds import Announce
from services.demo.person import Person
from services.local_system.system import LocalSystem
from shared.actions.tokens import add_token
from shared.brokers.registry import EXAMPLE_BROKER
from shared.config import Settings
from shared.config.operator import action_context
from shared.domain.access import Role
from shared.messaging.connection.connect import open_redis
from shared.persistence.database import open_engine

STATE: Final = "/api/capital/state"
HEALTH: Final = "/health"
_NO_LIMIT: Final = 1_000_000
_ANSWER_SECONDS: Final = 30.0


class ApiBench:
    """One run of the benchmark. Call `run` once."""

    def __init__(self, followers: int, seconds: float, rate: int, announce: Announce) -> None:
        self._followers = followers
        self._seconds = seconds
        self._rate = rate
        self._announce = announce
        self._traders = Traders((EXAMPLE_BROKER,), followers)
        self._milliseconds: dict[str, list[float]] = {STATE: [], HEALTH: []}

    async def run(self, folder: Path) -> dict[str, Any]:
        """Start the system with its files in `folder`, measure, stop the system and return the figures.

        Raises RuntimeError when a request fails, when a phase does not end in time, or when nothing was copied in it.
        """
        async with (
            LocalSystem(
                bench_settings(folder, api_requests_per_minute=_NO_LIMIT),
                brokers=(EXAMPLE_BROKER,),
                paper=True,
                lift_rate_limits=True,
                api=True,
                prepare=self._traders.prepare,
                announce=self._announce,
            ) as system,
            open_redis(system.settings.redis_url_for(EXAMPLE_BROKER)) as redis,
            self._traders.parts[EXAMPLE_BROKER].person() as person,
            _client(system.settings, str(system.api_url)) as client,
        ):
            await self._traders.until_known(redis)
            return await self._measure(system.settings, person, client)

    async def _measure(self, settings: Settings, person: Person, client: aiohttp.ClientSession) -> dict[str, Any]:
        half = self._seconds / 2
        await self._ask(client, 2.0)
        await self._trade(person, 5.0)  # a warm-up that is not counted
        for each in self._milliseconds.values():
            each.clear()
        self._announce(f"without requests: {half:.0f} s")
        without = [await self._trade(person, half)]
        self._announce(f"{self._rate} requests a second of each: {self._seconds:.0f} s")
        during, _ = await asyncio.gather(self._trade(person, self._seconds), self._ask(client, self._seconds))
        self._announce(f"without requests: {half:.0f} s")
        without.append(await self._trade(person, half))
        engine = open_engine(settings.required_database_url(), pool_size=1)
        try:
            await until_settled(engine, (EXAMPLE_BROKER,))
            alone = copy_latencies(engine, (EXAMPLE_BROKER,), without)
            asked = copy_latencies(engine, (EXAMPLE_BROKER,), [during])
        finally:
            engine.dispose()
        state, health = (_percentiles(self._milliseconds[path]) for path in (STATE, HEALTH))
        return {
            "ratio": round(state["p50"] / health["p50"], 2),
            "ratio_p99": round(state["p99"] / health["p99"], 2),
            "capital_state": state,
            "health": health,
            "copy_ratio": round(asked["p50"] / alone["p50"], 2),
            "copy_ratio_p99": round(asked["p99"] / alone["p99"], 2),
            "copies_without_requests": alone,
            "copies_with_requests": asked,
            "requests_per_second": self._rate,
            "followers": self._followers,
        }

    async def _trade(self, person: Person, seconds: float) -> Phase:
        return await self._traders.trade({EXAMPLE_BROKER: person}, seconds)

    async def _ask(self, client: aiohttp.ClientSession, seconds: float) -> None:
        """Send requests of both kinds in turns, at a steady rate, whether or not those before have an answer."""
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as asking:
            for number in range(int(self._rate * seconds)):
                for offset, path in enumerate((STATE, HEALTH)):
                    due_at = began_at + (number + offset / 2) / self._rate
                    await asyncio.sleep(max(0.0, due_at - time.monotonic()))
                    asking.create_task(self._request(client, path, due_at))

    async def _request(self, client: aiohttp.ClientSession, path: str, due_at: float) -> None:
        async with client.get(path) as reply:
            body = await reply.text()
        if not reply.ok:
            raise RuntimeError(f"{path} answers {reply.status}: {body}")
        self._milliseconds[path].append((time.monotonic() - due_at) * 1000)


@contextlib.asynccontextmanager
async def _client(settings: Settings, url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with a new token that may read."""
    engine = open_engine(settings.required_database_url(), pool_size=1)
    try:
        token = add_token(action_context(settings, engine), "bench", Role.READ, actor="bench").text
    finally:
        engine.dispose()
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as client:
        yield client


def _percentiles(milliseconds: list[float]) -> dict[str, Any]:
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return {"requests": len(milliseconds), "p50": round(float(p50), 2), "p99": round(float(p99), 2)}


async def api(folder: Path, followers: int, seconds: float, rate: int, announce: Announce) -> dict[str, Any]:
    """Run the benchmark; return latencies in milliseconds of requests and copies, and their ratios."""
    return await ApiBench(followers, seconds, rate, announce).run(folder)
