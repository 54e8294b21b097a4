"""One run of chaos: start the system with spares, trade and break it at random, let it settle, check the promises."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from services.cli.chaos.evidence import collect_evidence, recovery_seconds
from services.cli.chaos.inject import Injector
from services.cli.chaos.invariants import Found, check
from services.cli.chaos.plan import Injection
from services.cli.demo.accounts import MASTER_DOLLARS, DemoAccounts, make_accounts, quote_currency
from services.cli.demo.one_broker import BrokerDemo
from services.cli.demo.person import Person
from services.cli.demo.scenario import steps
from services.cli.local import lock
from services.cli.local.errors import LocalSystemError
from services.cli.local.process import ProcessSpec
from services.cli.local.system import LocalSystem
from shared.config import Settings, load_settings
from shared.domain.identity import Broker
from shared.messaging.epoch import run_id_of
from shared.messaging.keys import BrokerKeys
from shared.observability.heartbeat import age_seconds
from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.followers import FollowerStore
from shared.persistence.reports import Reports
from shared.persistence.secrets import SecretBox

LEASE_SECONDS = 12.0
"""Longer than any request is valid (10 s)."""
PAUSE_SECONDS = LEASE_SECONDS + 3
"""A paused process loses its leases."""
WARM_UP_SECONDS = 120.0
SETTLE_SECONDS = 180.0
REMEMBER_EVERY_SECONDS = 15.0
BETWEEN_ORDERS_SECONDS = 0.5
LOOK_SECONDS = 0.5
ROUND = 4
"""Orders of the person from buy to full close."""
SPARED = frozenset({"copy_engine", "broker_worker", "master_trader"})

_ORDERED = text("SELECT count(*) FROM decisions WHERE skip_reason IS NULL")


@dataclass(frozen=True, slots=True)
class Plan:
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


class Chaos:
    """A single run."""

    def __init__(self, plan: Plan, announce: Callable[[str], None]) -> None:
        self._plan = plan
        self._announce = announce
        self._accounts: dict[Broker, DemoAccounts] = {}
        self._trading = True

    async def run(self, *, keep: bool = False) -> dict[str, Any]:
        """Return the report; everything is stopped at the end. Raises LocalSystemError when nothing works at all."""
        home = load_settings().home.absolute() / "chaos"
        if lock.holder(home) is None:
            shutil.rmtree(home, ignore_errors=True)
        children = 2 if len(self._plan.brokers) == 1 else 1  # there is a spare of each worker besides
        settings = load_settings(
            home=home, master_poll_seconds=0.25, lease_seconds=LEASE_SECONDS, worker_children=children
        ).model_copy(update={"redis_url": None, "database_url": None, "configured_secret_key": None})
        report = await self._with(settings)
        if keep or report["violations"]:
            self._announce(f"kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
        return report

    async def _with(self, settings: Settings) -> dict[str, Any]:
        async with LocalSystem(
            settings,
            brokers=self._plan.brokers,
            paper=True,
            seed=self._plan.seed,
            prepare=self._prepare,
            arrange=self._arrange,
            announce=self._announce,
        ) as system:
            with _engine(system) as engine:
                redis = Redis.from_url(system.settings.redis_url_for(self._plan.brokers[0]))
                try:
                    return await self._break(system, engine, redis)
                finally:
                    await redis.aclose()

    async def _prepare(self, system: LocalSystem) -> Mapping[str, str]:
        variables: dict[str, str] = {}
        with _engine(system) as engine:
            store = FollowerStore(engine, SecretBox(system.settings.secret_key))
            for broker, url in system.paper_urls.items():
                accounts = await make_accounts(broker, url, self._plan.followers, self._plan.seed)
                await asyncio.to_thread(store.import_rows, accounts.followers, actor="chaos")
                self._accounts[broker] = accounts
                variables |= BrokerDemo(broker, url, accounts, 0).master_variables()
        return variables

    def _arrange(self, specs: list[ProcessSpec]) -> list[ProcessSpec]:
        """Two of each stage that may have several: who is paused must find that the other went on."""
        spares = [_spare(spec) for spec in specs if spec.name.partition("-")[0] in SPARED]
        return [self._plan.change(spec) for spec in (*specs, *spares)]

    async def _break(self, system: LocalSystem, engine: Engine, redis: Redis) -> dict[str, Any]:
        await self._warm_up(redis)
        injector = Injector(system, engine, PAUSE_SECONDS, self._announce)
        started = time.monotonic()
        persons = [asyncio.create_task(self._trade(broker, system.paper_urls[broker])) for broker in self._accounts]
        remembering = asyncio.create_task(_remember(injector))
        try:
            await self._inject(injector)
            await self._until_ordered(engine, started + self._plan.least_seconds)
            self._trading = False
            await injector.end()
            self._announce("all faults are off; the system settles")
            await asyncio.gather(*persons)
        finally:
            for task in (remembering, *persons):
                task.cancel()
            await asyncio.gather(remembering, *persons, return_exceptions=True)
        settled_in = await self._settle(system, engine, redis)
        return await self._report(system, engine, redis, injector, time.monotonic() - started, settled_in)

    async def _warm_up(self, redis: Redis) -> None:
        deadline = time.monotonic() + WARM_UP_SECONDS
        for broker in self._accounts:
            keys = BrokerKeys(broker)
            while await redis.hget(keys.master, "state") != b"following" or (
                await redis.hlen(keys.accounts) < self._plan.followers
            ):
                if time.monotonic() > deadline:
                    raise LocalSystemError(f"{broker.value}: not every account was read in time")
                await asyncio.sleep(LOOK_SECONDS)

    async def _trade(self, broker: Broker, url: str) -> None:
        """Whole rounds, so that the last order sells everything."""
        async with Person(broker, url, self._accounts[broker].person, MASTER_DOLLARS) as person:
            while self._trading:
                for step in steps(ROUND, quote_currency(broker)):
                    await person.trade(step)
                    await asyncio.sleep(BETWEEN_ORDERS_SECONDS)

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

    async def _until_ordered(self, engine: Engine, not_before: float) -> None:
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                ordered = await asyncio.to_thread(_ordered, engine)
                if ordered >= self._plan.orders and time.monotonic() >= not_before:
                    return
            await asyncio.sleep(LOOK_SECONDS)

    async def _settle(self, system: LocalSystem, engine: Engine, redis: Redis) -> float:
        """Wait until nothing is pending and Redis is in line, or too long; return how long. The checks say what is."""
        started = time.monotonic()
        while time.monotonic() < started + self._plan.settle_seconds:
            with contextlib.suppress(RedisError, OSError, DatabaseUnavailable):
                if await self._is_settled(system, engine, redis):
                    break
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - started

    async def _is_settled(self, system: LocalSystem, engine: Engine, redis: Redis) -> bool:
        run_id = (await run_id_of(redis)).encode()
        for broker, url in system.paper_urls.items():
            keys = BrokerKeys(broker)
            if await redis.get(keys.epoch) != run_id or await redis.xlen(keys.events):
                return False
            seen = await collect_evidence(broker, url, engine, redis, _journal(system, broker))
            fills = await asyncio.to_thread(Reports(engine).fills, broker, limit=1_000_000)
            if seen.master_fills != seen.ledger_fills.keys() or seen.mailboxes:
                return False
            if any(fill.pending or fill.followers < self._plan.followers for fill in fills):
                return False
        return True

    async def _report(
        self,
        system: LocalSystem,
        engine: Engine,
        redis: Redis,
        injector: Injector,
        seconds: float,
        settled_in: float,
    ) -> dict[str, Any]:
        found: dict[Broker, Found] = {}
        counts = dict.fromkeys(("fills", "orders", "copied", "skipped", "failed"), 0)
        for broker, url in system.paper_urls.items():
            seen = await collect_evidence(broker, url, engine, redis, _journal(system, broker))
            found[broker] = check(seen)
            counts["fills"] += len(seen.ledger_fills)
            counts["orders"] += sum(copy.skip_reason is None for copy in seen.copies)
            counts["skipped"] += sum(copy.skip_reason is not None or copy.outcome == "skipped" for copy in seen.copies)
            for outcome in ("copied", "failed"):
                counts[outcome] += sum(copy.outcome == outcome for copy in seen.copies)
        recovery = await asyncio.to_thread(recovery_seconds, engine, injector.done)
        waits = [wait for each in recovery.values() for wait in each]
        return {
            "seed": self._plan.seed,
            "brokers": [broker.value for broker in self._plan.brokers],
            "followers": self._plan.followers,
            **counts,
            "violations": sum(number for each in found.values() for number, _ in each.violations.values()),
            "duplicates": sum(each.duplicates for each in found.values()),
            "missing": sum(each.missing for each in found.values()),
            "unresolved": sum(each.unresolved for each in found.values()),
            "invariants": _by_invariant(found),
            "injected": injector.counts,
            "requests_hit": dict(injector.requests_hit),
            "recovery_seconds": _p50_and_max(waits),
            "recovery_seconds_by_fault": {kind: _p50_and_max(each) for kind, each in recovery.items()},
            "seconds": round(seconds, 1),
            "settled_in_seconds": round(settled_in, 1),
        }


def _by_invariant(found: Mapping[Broker, Found]) -> dict[str, Any]:
    together: dict[str, Any] = {}
    for broker, each in found.items():
        for name, (number, examples) in each.violations.items():
            row = together.setdefault(name, {"violations": 0, "examples": []})
            row["violations"] += number
            row["examples"] += [f"{broker.value}: {example}" for example in examples]
    return together


def _p50_and_max(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": round(median(seconds), 3), "max": round(max(seconds), 3)} if seconds else {"p50": 0.0, "max": 0.0}


def _ordered(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.scalar(_ORDERED) or 0)


def _journal(system: LocalSystem, broker: Broker) -> Path:
    return system.data_folder / f"{broker.value}.journal"


async def _remember(injector: Injector) -> None:
    while True:
        with contextlib.suppress(OSError):  # a file that went away while it was copied: next time
            await asyncio.to_thread(injector.remember_redis)
        await asyncio.sleep(REMEMBER_EVERY_SECONDS)


def _spare(spec: ProcessSpec) -> ProcessSpec:
    """A second process of the same stage, with a name, a log and a heartbeat of its own."""
    name = f"{spec.name}-spare"
    beat = spec.environment["NIJA_HEARTBEAT_FILE"]
    return replace(
        spec,
        name=name,
        command=[part.replace("@%h", "-spare@%h") for part in spec.command],
        environment={**spec.environment, "NIJA_HEARTBEAT_FILE": f"{beat}-spare"},
        log_file=spec.log_file.with_name(f"{name}.log"),
        is_ready=_has_beaten(f"{beat}-spare"),
        before_start=lambda: None,
    )


def _has_beaten(file: str) -> Callable[[float], bool]:
    def has_beaten(started_at: float) -> bool:
        age = age_seconds(Path(file))
        return age is not None and time.time() - age >= started_at

    return has_beaten


@contextlib.contextmanager
def _engine(system: LocalSystem) -> Iterator[Engine]:
    engine = open_engine(system.settings.required_database_url(), pool_size=2)
    try:
        yield engine
    finally:
        engine.dispose()
