"""Injects failures into the system: it kills or pauses processes, empties Redis, doubles hints, makes brokers fail."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
import stamina
from aiohttp import ClientError, ClientSession, ClientTimeout
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from services.chaos.plan import ORDER_FAULTS, PAPER_FAULTS, Injection, Kind
from services.chaos.roster_changes import ROSTER_CHANGES, RosterChanges
from services.demo.as_they_are import REFUSED_KEY
from services.demo.right_copies import KeyRefusalTime
from services.local_system.errors import LocalSystemError
from services.local_system.system import LocalSystem
from shared.domain.identity import Broker
from shared.messaging.celery_app import HintPublisher
from shared.messaging.connection.connect import open_redis
from shared.messaging.fills import StreamConflict, StreamLostEntries, publish_fill
from shared.messaging.keys import BrokerKeys, queue_name
from shared.persistence.database import transaction
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.ledger.master_fills import MasterFills

HINTS_DOUBLED = 20
_PAPER_TIMEOUT = ClientTimeout(total=5)
REFUSED_SECONDS, MOST_REFUSED_SECONDS = 10.0, 40.0
"""How long the broker refuses a key: at least so long, and until nija has noticed, but no longer than that."""
_ELSEWHERE = "192.0.2.1"
"""An address for documentation (RFC 5737). A key that is bound to it is refused here."""
FAULT_REQUESTS = 3
"""How many requests a fault hits after it was switched on."""
_STAGE = {
    Kind.KILL_MASTER: "master_trader",
    Kind.KILL_ENGINE: "copy_engine",
    Kind.KILL_WORKER: "broker_worker",
    Kind.KILL_CHILD: "broker_worker",
    Kind.KILL_BOOKKEEPER: "bookkeeper",
    Kind.PAUSE_MASTER: "master_trader",
    Kind.PAUSE_ENGINE: "copy_engine",
    Kind.PAUSE_WORKER: "broker_worker",
    Kind.PAUSE_CHILD: "broker_worker",
    Kind.PAUSE_BOOKKEEPER: "bookkeeper",
    Kind.KILL_BROKER: "paper_broker",
    Kind.PAUSE_BROKER: "paper_broker",
}
_PER_BROKER = frozenset({"master_trader", "broker_worker", "paper_broker"})
_KILLS = frozenset(kind for kind in _STAGE if kind.value.startswith("kill"))
_CHILDREN = frozenset({Kind.KILL_CHILD, Kind.PAUSE_CHILD})
_REVERSE = """
local hints = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
for _, hint in ipairs(hints) do redis.call('LPUSH', KEYS[1], hint) end
return #hints
"""
_CUT_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


class Done(NamedTuple):
    """An injection that was made."""

    kind: Kind
    at: datetime


class Injector:
    """Injects failures into one local system. A failure that could not be made is not counted (its target was away)."""

    def __init__(
        self,
        system: LocalSystem,
        engine: Engine,
        roster_changes: RosterChanges,
        pause_seconds: float,
        announce: Callable[[str], None],
    ) -> None:
        self.done: list[Done] = []
        self.requests_hit: Counter[str] = Counter()
        """How many requests each fault of a paper broker has hit. Complete at the end, except for killed processes."""
        self.refusals: dict[Broker, list[KeyRefusalTime]] = defaultdict(list)
        """When the key of the special follower was refused, and accepted again."""
        self._system = system
        self._engine = engine
        self._roster_changes = roster_changes
        self._pause_seconds = pause_seconds
        self._announce = announce
        self._under_way: set[asyncio.Task[None]] = set()
        """Tasks that end what an injection has begun."""
        self._redis_folder = system.data_folder / "redis"
        self._older = system.data_folder / "older-redis"

    @property
    def counts(self) -> dict[str, int]:
        made = Counter(each.kind for each in self.done)
        return {kind.value: made[kind] for kind in Kind}

    async def inject(self, injection: Injection) -> bool:
        """Make the injection. Return False when its target is not there at the moment; then try again later."""
        at = datetime.now(UTC)
        try:
            made = await self._make(injection)
        except (LocalSystemError, RedisError, OSError, DatabaseUnavailable, psutil.Error, ClientError) as error:
            self._announce(f"not now: {injection.kind.value} ({type(error).__name__})")
            return False
        if made:
            self._announce(f"broken: {injection.kind.value} at {injection.broker.value}")
            self.done.append(Done(injection.kind, at))
        return made

    async def end(self) -> None:
        """Wait until all paused processes continue and all keys are accepted, and switch all faults off."""
        await asyncio.gather(*self._under_way)
        for url in self._system.paper_urls.values():
            await self._end_faults(url)

    @stamina.retry(on=(ClientError, TimeoutError), attempts=None, timeout=30.0)  # it may have been killed a moment ago
    async def _end_faults(self, url: str) -> None:
        async with ClientSession(url, raise_for_status=True, timeout=_PAPER_TIMEOUT) as session:
            async with session.get("/paper/faults") as reply:
                faults = (await reply.json())["faults"]
            await session.delete("/paper/faults")
        for fault in faults:
            self.requests_hit[fault["kind"]] += fault["applied"]

    async def _make(self, injection: Injection) -> bool:
        kind, broker = injection.kind, injection.broker
        if kind is Kind.KILL_BROKER:  # its faults and their counts end with it
            await self._end_faults(self._system.paper_urls[broker])
        if kind is Kind.REFUSE_KEY:
            await self._refuse_key(broker)
            return True
        if kind in PAPER_FAULTS:
            await self._switch_on(kind, broker)
            return True
        if kind in _STAGE:
            return self._hit_process(injection)
        if kind in ROSTER_CHANGES:
            return await asyncio.to_thread(self._roster_changes.make, kind, broker, injection.target)
        match kind:
            case Kind.KILL_REDIS | Kind.KILL_POSTGRES:
                self._system.kill(kind.value.removeprefix("kill "))
            case Kind.CUT_REDIS:
                async with self._redis(broker) as redis:
                    await redis.client_kill_filter(_type="normal", skipme=True)
            case Kind.CUT_POSTGRES:
                await asyncio.to_thread(self._cut_postgres)
            case Kind.EMPTY_REDIS:
                async with self._redis(broker) as redis:
                    await redis.flushall()
            case Kind.OLDER_REDIS:
                return self._go_back()
            case Kind.DROP_HINTS | Kind.DOUBLE_HINTS | Kind.REORDER_HINTS:
                await self._meddle_with_hints(kind, broker)
            case Kind.DOUBLE_FILL:
                return await self._publish_again(broker)
        return True

    def _redis(self, broker: Broker) -> Redis:
        return open_redis(self._system.settings.redis_url_for(broker), answer_seconds=5)

    def _hit_process(self, injection: Injection) -> bool:
        stage = _STAGE[injection.kind]
        wanted = f"{stage}-{injection.broker.value}" if stage in _PER_BROKER else stage
        found = [p.pid for p in self._system.processes if p.name.startswith(wanted) and p.state == "running" and p.pid]
        if injection.kind in _CHILDREN:
            found = [child.pid for pid in found for child in psutil.Process(pid).children()]
        if not found:
            return False
        pid = found[injection.target % len(found)]
        if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            return False
        if injection.kind in _KILLS:
            os.kill(pid, signal.SIGKILL)
            return True
        os.kill(pid, signal.SIGSTOP)
        self._keep(asyncio.create_task(self._go_on_later(pid)))
        return True

    async def _go_on_later(self, pid: int) -> None:
        await asyncio.sleep(self._pause_seconds)
        with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)

    def remember_redis(self) -> None:
        """Copy the files of Redis as they are now. An older Redis will start from this copy."""
        fresh = self._older.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        for entry in self._data_entries(self._redis_folder):
            _copy(entry, fresh / entry.name)
        shutil.rmtree(self._older, ignore_errors=True)
        fresh.rename(self._older)

    def _go_back(self) -> bool:
        if not self._older.exists():
            return False
        pid = next((p.pid for p in self._system.processes if p.name == "redis" and p.state == "running"), None)
        if pid is None:
            return False
        os.kill(pid, signal.SIGSTOP)  # it must not write into the older files
        for entry in self._data_entries(self._redis_folder):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for entry in self._older.iterdir():
            _copy(entry, self._redis_folder / entry.name)
        self._system.kill("redis")
        return True

    @staticmethod
    def _data_entries(folder: Path) -> list[Path]:
        return [entry for entry in folder.iterdir() if entry.name.startswith(("appendonly", "dump"))]

    async def _meddle_with_hints(self, kind: Kind, broker: Broker) -> None:
        if kind is Kind.DOUBLE_HINTS:
            await asyncio.to_thread(self._double_hints, broker)
            return
        async with self._redis(broker) as redis:
            if kind is Kind.DROP_HINTS:
                await redis.delete(queue_name(broker))
            else:
                await redis.eval(_REVERSE, 1, queue_name(broker))

    def _double_hints(self, broker: Broker) -> None:
        hints = HintPublisher(broker, self._system.settings.redis_url_for(broker))
        try:
            hints.publish(HINTS_DOUBLED)
        except Exception as error:  # kombu's errors have no common root
            raise RedisError(f"hints not published: {error}") from error
        finally:
            hints.close()

    def _cut_postgres(self) -> None:
        with transaction(self._engine) as connection:
            connection.execute(_CUT_OTHERS)

    async def _publish_again(self, broker: Broker) -> bool:
        """Publish the newest fills again, newest first, as a master's process does whose mark in the ledger was lost."""
        ledger = MasterFills(self._engine)
        last = await asyncio.to_thread(ledger.published_sequence, broker)
        fills = await asyncio.to_thread(ledger.after, broker, max(last - 3, 0), 3) if last else []
        async with self._redis(broker) as redis:
            for fill in reversed(fills):
                # Lost entries mean that Redis was emptied and is not restored yet. Then a refusal is the right answer.
                with contextlib.suppress(StreamLostEntries, StreamConflict):
                    await publish_fill(redis, BrokerKeys(broker), fill)
        return bool(fills)

    async def _refuse_key(self, broker: Broker) -> None:
        """Let the broker refuse the keys of the follower with the refused key, and accept them again later.

        The end is planned first: a request that fails here may have arrived, or arrive later.
        """
        self._keep(asyncio.create_task(self._accept_key_later(broker, datetime.now(UTC))))
        await self._bind_key(broker, [_ELSEWHERE])

    async def _accept_key_later(self, broker: Broker, since: datetime) -> None:
        await asyncio.sleep(REFUSED_SECONDS)
        for _ in range(int(MOST_REFUSED_SECONDS - REFUSED_SECONDS)):
            if await self._is_refusal_noticed(broker):
                break
            await asyncio.sleep(1.0)
        async for attempt in stamina.retry_context(on=(ClientError, TimeoutError), attempts=None, timeout=60.0):
            with attempt:
                await self._bind_key(broker, [])
        self.refusals[broker].append(KeyRefusalTime(since, datetime.now(UTC)))

    async def _is_refusal_noticed(self, broker: Broker) -> bool:
        with contextlib.suppress(RedisError, OSError):  # killed meanwhile
            async with self._redis(broker) as redis:
                return bool(await redis.hexists(BrokerKeys(broker).refused_keys, REFUSED_KEY.name))
        return False

    async def _bind_key(self, broker: Broker, addresses: list[str]) -> None:
        url = self._system.paper_urls[broker]
        async with ClientSession(url, raise_for_status=True, timeout=_PAPER_TIMEOUT) as session:
            await session.post(f"/paper/accounts/{REFUSED_KEY.name}/access", json={"addresses": addresses})

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _switch_on(self, kind: Kind, broker: Broker) -> None:
        hits = {"orders": True} if kind in ORDER_FAULTS else {"probability": 0.3}
        fault = {**PAPER_FAULTS[kind], **hits, "count": FAULT_REQUESTS}
        url = self._system.paper_urls[broker]
        async with ClientSession(url, raise_for_status=True, timeout=_PAPER_TIMEOUT) as session:
            await session.post("/paper/faults", json=fault)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
