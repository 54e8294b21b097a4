"""Measures copies of the whole system in phases: what a simulated person traded in them, and how long each copy took.

All brokers are paper brokers without rate limits. The person places about one order a second at each broker.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import Engine, text

from services.demo.one_broker import BrokerDemo
from services.demo.person import Person
from services.demo.scenario import ScenarioStep, steps
from services.local_system.paper_accounts import quote_currency
from services.local_system.system import LocalSystem
from shared.config import Settings, load_settings
from shared.domain.identity import Broker
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
        WHERE f.broker = ANY(:brokers)
    ) copies
    WHERE EXISTS (
        SELECT 1 FROM unnest(CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[])) AS phase (begins, ends)
        WHERE copies.executed_at BETWEEN phase.begins AND phase.ends
    )
""")
_PENDING = text("SELECT coalesce(sum(pending), 0) FROM fill_summary WHERE broker = ANY(:brokers)")


@dataclass(frozen=True, slots=True)
class Phase:
    """The time during which the person traded."""

    begins: datetime
    ends: datetime


def bench_settings(folder: Path, **changes: Any) -> Settings:
    """The settings of a system whose files are in `folder`. Masters are polled often, so that a copy shows the pipeline."""
    no_files = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
    return load_settings(no_files, folder=folder, home=folder, master_poll_seconds=POLL_SECONDS, **changes)


class Traders:
    """The accounts of a system at some brokers, and what the person trades there."""

    def __init__(self, brokers: Sequence[Broker], followers: int) -> None:
        self.parts: dict[Broker, BrokerDemo] = {}
        self._brokers = tuple(brokers)
        self._followers = followers
        self._steps: dict[Broker, Iterator[ScenarioStep]] = {
            broker: steps(MOST_ORDERS, quote_currency(broker), ("BTC",)) for broker in brokers
        }

    async def prepare(self, system: LocalSystem) -> Mapping[str, str]:
        """Make the accounts; `prepare` of a LocalSystem."""
        variables: dict[str, str] = {}
        engine = open_engine(system.settings.required_database_url(), pool_size=1)
        try:
            store = FollowerStore(engine, SecretBox(system.settings.secret_key))
            for broker in self._brokers:
                url = system.paper_urls[broker]
                part = await BrokerDemo.prepare(broker, url, store, followers=self._followers, orders=0, seed=7)
                self.parts[broker] = part
                variables |= part.master_variables()
        finally:
            engine.dispose()
        return variables

    async def until_known(self, redis: Redis) -> None:
        """Wait until every account has been read. Raises RuntimeError."""

        async def known() -> bool:
            return min([await part.known_accounts(redis) for part in self.parts.values()]) == self._followers

        await until(known, WARM_UP_SECONDS, "all accounts are read")

    async def place_one(self, broker: Broker, person: Person) -> None:
        """Place the next order at a broker."""
        await person.trade(next(self._steps[broker]))

    async def trade(self, persons: Mapping[Broker, Person], seconds: float) -> Phase:
        """Place about one order a second at each of these brokers for this time, then pause."""
        begins = datetime.now(UTC)
        ends = begins + timedelta(seconds=seconds)

        async def trade_at(broker: Broker, person: Person) -> None:
            while datetime.now(UTC) < ends:
                # In step with the polls of the masters, the wait for the next poll would be the same for each order.
                next_at = time.monotonic() + random.uniform(0.6, 1.4)  # noqa: S311  no secret depends on it
                await self.place_one(broker, person)
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))

        await asyncio.gather(*(trade_at(broker, person) for broker, person in persons.items()))
        phase = Phase(begins, datetime.now(UTC))
        await asyncio.sleep(QUIET_SECONDS)
        return phase


async def until_settled(engine: Engine, brokers: Sequence[Broker]) -> None:
    """Wait until no copy at these brokers is pending. Raises RuntimeError."""

    def pending() -> int:
        with transaction(engine) as connection:
            return int(connection.execute(_PENDING, {"brokers": [each.value for each in brokers]}).scalar_one())

    async def settled() -> bool:
        return await asyncio.to_thread(pending) == 0

    await until(settled, SETTLE_SECONDS, "all copies are settled")


def copy_latencies(engine: Engine, brokers: Sequence[Broker], phases: Sequence[Phase]) -> dict[str, Any]:
    """Return the milliseconds from the execution to the settled copy, over all copies of some phases.

    Raises RuntimeError when nothing was copied in them.
    """
    asked = {
        "brokers": [each.value for each in brokers],
        "begins": [phase.begins for phase in phases],
        "ends": [phase.ends for phase in phases],
    }
    with transaction(engine) as connection:
        row = connection.execute(_LATENCIES, asked).mappings().one()
    if not row["copies"]:
        raise RuntimeError("nothing was copied in a phase")
    return {"copies": row["copies"], "p50": round(row["p50"], 1), "p99": round(row["p99"], 1)}


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Wait until a condition holds. Raises RuntimeError, which says what was waited for."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.25)
